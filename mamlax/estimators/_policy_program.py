"""A policy as programs that act and adapt without this package."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from .. import rl
from .._files import Json
from ..rl._environment import action_shape
from ._policy import FewShotPolicy, adapted_to
from ._program_description import PLATFORMS


def acting_program(policy: FewShotPolicy) -> jax.export.Exported:
    """`(parameters [p], observations [n, features]) ->` what actions are drawn from.

    Of a Gaussian policy `(mean [n, size], log_std [size])`, of a categorical one
    `(logits [n, actions],)`.
    """
    parameters, unravel = _raveled(policy)

    def act(parameters, observations):
        distribution = unravel(parameters)(observations)
        if isinstance(distribution, rl.Gaussian):
            return distribution.mean, distribution.log_std[0]
        return (distribution.logits,)

    (n,) = jax.export.symbolic_shape("n")
    return _exported(act, parameters, _numbers(n, policy.settings.observation_size))


def adapting_program(policy: FewShotPolicy) -> jax.export.Exported:
    """`(parameters, observations, actions, rewards, mask, rate) -> parameters` of one inner step.

    Episodes are padded to one length: `observations` `[e, t, features]`, `actions` `[e, t, size]`
    or `[e, t]` integers, `rewards` `[e, t]`, `mask` `[e, t]`, true up to each episode's last step.
    """
    parameters, unravel = _raveled(policy)
    settings = policy.settings

    def adapt(parameters, observations, actions, rewards, mask, rate):
        acting, none = unravel(parameters), jnp.zeros(mask.shape[0], bool)
        observations = jnp.where(mask[..., None], observations, 0.0)
        counts = mask.reshape(mask.shape + (1,) * (actions.ndim - 2))
        actions = jnp.where(counts, actions, jnp.zeros((), actions.dtype))
        rewards = jnp.where(mask, rewards, 0.0)
        log_probs = acting(observations).log_prob(actions)
        trajectory = rl.Trajectory(
            observations, actions, log_probs, rewards, mask, terminated=none, unstable=none
        )
        adapted = adapted_to(
            settings.algorithm.surrogate, settings.episodes, acting, trajectory, rate
        )
        return ravel_pytree(adapted)[0]

    e, t = jax.export.symbolic_shape("e, t")
    action = action_shape(settings.action)
    return _exported(
        adapt,
        parameters,
        _numbers(e, t, settings.observation_size),
        jax.ShapeDtypeStruct((e, t, *action.shape), action.dtype),
        _numbers(e, t),
        jax.ShapeDtypeStruct((e, t), bool),
        _numbers(),
    )


def description_of_policy(policy: FewShotPolicy) -> Json:
    """What stands beside the programs: JSON, and enough to call them."""
    state, algorithm = policy.state().header, policy.settings.algorithm
    parameters, _ = _raveled(policy)
    decay = algorithm.inner_learning_rate_decay
    rate = algorithm.inner_learning_rate * decay**policy.num_inner_steps
    return {
        "program": {
            "platforms": list(PLATFORMS),
            "act": {"arguments": _ACT, "results": _RESULTS[state["action"]["kind"]]},
            "adapt": {"arguments": _ADAPT, "results": "parameters [p] after one inner step"},
        },
        "rate": rate,
        "rate_decay": decay,
        "observation_size": state["observation_size"],
        "action": state["action"],
        "environment": state["environment"],
        "summary": state["summary"],
        "parameters": parameters.tolist(),
    }


_PARAMETERS = "[p], those of parameters below, or what adapt gave"
_ACT = {"parameters": _PARAMETERS, "observations": "float32 [n, observation_size]"}
_ADAPT = {
    "parameters": _PARAMETERS,
    "observations": "float32 [episodes, steps, observation_size], each before its action; episodes "
    "are padded to one length",
    "actions": "as drawn: float32 [episodes, steps, size], or int32 [episodes, steps]",
    "rewards": "float32 [episodes, steps], each after its action",
    "mask": "bool [episodes, steps], true up to the last step of each episode",
    "rate": "float32, rate below; times rate_decay for each step after the first",
}
_RESULTS = {
    "Box": "mean [n, size] and log_std [size] of a normal distribution: the mean is the likeliest "
    "action; draw mean + exp(log_std) * normal noise to adapt to. Execute the nearest action "
    "between low and high, and log it as drawn",
    "Discrete": "logits [n, actions]: softmax gives the probabilities of the actions start, "
    "start + 1, …",
}


def _raveled(policy: FewShotPolicy) -> tuple[jax.Array, Any]:
    """Parameters `[p]`, and the policy as a function of them."""
    return ravel_pytree(policy.params)


def _numbers(*shape: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _exported(program: Any, parameters: jax.Array, *arguments: PyTree) -> jax.export.Exported:
    whole = jax.export.export(jax.jit(program), platforms=PLATFORMS)
    return whole(_numbers(*parameters.shape), *arguments)
