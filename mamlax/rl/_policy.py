"""Policies: networks from observations to distributions over actions.

A policy is any pytree that can be called with observations `[..., features]` and returns a
`Distribution`. This module has the paper's policies.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..models._mlp import MLP, Activation
from ._distribution import Categorical, Distribution, Gaussian
from ._environment import Box, Discrete, TaskEnv, action_shape
from ._moments import ObservationMoments

_SMALLEST_LOG_STD = math.log(1e-6)


class GaussianPolicy(eqx.Module):
    """A policy for continuous actions: a normal distribution whose mean is a network's output.

    Attributes:
        network: the network from observations to means.
        log_std: `[size]`, the logarithm of the standard deviation, the same for all observations.
            It adapts like every parameter. The distribution's is at least log 10⁻⁶.
        moments: moments that normalize the observations. None: they are not normalized.
    """

    network: MLP
    log_std: Float[Array, " size"]
    moments: ObservationMoments | None = None

    def __call__(self, observations):
        """The distribution of actions for observations `[..., features]`."""
        mean = _outputs(self, observations)
        log_std = jnp.maximum(self.log_std, _SMALLEST_LOG_STD)
        return Gaussian(mean, jnp.broadcast_to(log_std, mean.shape))


class CategoricalPolicy(eqx.Module):
    """A policy for discrete actions: a distribution whose logits are a network's outputs.

    Attributes:
        network: the network from observations to logits.
        start: the first action.
        moments: moments that normalize the observations. None: they are not normalized.
    """

    network: MLP
    start: int = eqx.field(static=True, default=0)
    moments: ObservationMoments | None = None

    def __call__(self, observations):
        """The distribution of actions for observations `[..., features]`."""
        return Categorical(_outputs(self, observations), self.start)


def mlp_policy(
    key,
    env: TaskEnv,
    *,
    hidden_sizes: tuple[int, ...] = (100, 100),
    activation: Activation = "relu",
    log_std: float = 0.0,
    normalize_observations: bool = False,
) -> GaussianPolicy | CategoricalPolicy:
    """A fully connected policy for an environment, as in the paper's control problems.

    Initial weights are drawn from Glorot and Bengio's uniform distribution. Biases start at zero.

    Args:
        key: a PRNG key.
        env: the environment. The type of its actions determines the type of the policy.
        hidden_sizes: width of each hidden layer.
        activation: activation between layers.
        log_std: initial logarithm of the standard deviation, for continuous actions.
        normalize_observations: normalize observations by the moments of those collected in
            training; see `ObservationMoments`.

    Raises:
        ValueError: if a size is not positive.

    Example:
        >>> import jax, jax.numpy as jnp, mamlax
        >>> policy = mamlax.rl.mlp_policy(jax.random.key(0), mamlax.rl.PointNavigation())
        >>> policy(jnp.zeros((3, 2))).mean.shape
        (3, 2)
    """
    if min(hidden_sizes, default=1) < 1:
        raise ValueError(f"hidden_sizes must be positive, got {hidden_sizes}.")
    action = env.action
    num_outputs = action.size if isinstance(action, Box) else action.num_actions
    sizes = (env.observation_size, *hidden_sizes, num_outputs)
    keys = jax.random.split(key, len(sizes) - 1)
    weights = [
        jax.nn.initializers.glorot_uniform()(k, (m, n))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]
    network = MLP(weights, [jnp.zeros(n) for n in sizes[1:]], "none", activation)
    moments = ObservationMoments.none(sizes[0]) if normalize_observations else None
    if isinstance(action, Box):
        return GaussianPolicy(network, jnp.full(action.size, float(log_std)), moments)
    return CategoricalPolicy(network, action.start, moments)


def check_policy(policy: PyTree, env: TaskEnv) -> None:
    """Check that the actions of a policy match the environment.

    Raises:
        TypeError: if the policy does not return a distribution.
        ValueError: if its actions have the wrong shape or type.
    """
    name = type(env).__name__
    observations = jax.ShapeDtypeStruct((2, env.observation_size), jnp.result_type(float))
    distribution = eqx.filter_eval_shape(lambda policy, x: policy(x), policy, observations)
    if not isinstance(distribution, Distribution):
        raise TypeError(
            "a policy must return a distribution over actions, e.g. mamlax.rl.Gaussian(mean, "
            "log_std), with all methods of mamlax.rl.Distribution; got "
            f"{type(distribution).__name__}."
        )
    key = jax.eval_shape(lambda: jax.random.key(0))
    found = jax.eval_shape(lambda d, key: d.sample(key), distribution, key)
    wanted = action_shape(env.action)
    same_kind = jnp.issubdtype(found.dtype, jnp.floating) == isinstance(env.action, Box)
    if found.shape != (2, *wanted.shape) or not same_kind:
        raise ValueError(
            f"{name} takes {env.action}, but the policy's actions are {found.dtype} of shape "
            f"{list(found.shape[1:])}. Build it for this environment: "
            "mamlax.rl.mlp_policy(key, env)."
        )
    if isinstance(distribution, Categorical) and isinstance(env.action, Discrete):
        num_logits = distribution.logits.shape[-1]
        if (num_logits, distribution.start) != (env.action.num_actions, env.action.start):
            raise ValueError(
                f"{name} takes {env.action}, but the policy has {num_logits} logits, the first for "
                f"the action {distribution.start}. Build it for this environment: "
                "mamlax.rl.mlp_policy(key, env)."
            )
    log_prob = jax.eval_shape(lambda d, actions: d.log_prob(actions), distribution, found)
    if log_prob.shape != (2,):
        raise ValueError(
            "log_prob must be one number per action, summed over the numbers of an action: "
            f"[2] for two observations, got {list(log_prob.shape)}."
        )


def _outputs(policy: GaussianPolicy | CategoricalPolicy, observations: PyTree) -> PyTree:
    """The outputs of the policy's network, `[..., outputs]`."""
    if policy.moments is not None:
        observations = policy.moments(observations)
    outputs = policy.network(observations.reshape(-1, observations.shape[-1]))
    return outputs.reshape(*observations.shape[:-1], outputs.shape[-1])
