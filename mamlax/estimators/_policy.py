"""Use a trained policy outside of its environment: it acts, and adapts to logged episodes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from .. import rl
from .._errors import MamlaxError
from .._files import Json
from ..algorithms._inner_loop import inner_loop
from ..config._policies import (
    POLICY_ALGORITHMS,
    Episodes,
    PolicyAlgorithm,
    PolicyNetwork,
)
from ..experiments._policy_search import SURROGATES
from ..models import MLP
from ..records._settings import algorithm_from_json, settings_as_json, settings_from_json
from ..rl._policy import check_policy
from ._container import Container, filled, named_arrays, write_container
from ._episode_log import episodes_of, observations_of
from ._policy_settings import PolicySettings

_FILE, _REMEDY = Path("the file"), "Export the run again."


@dataclass(frozen=True)
class FewShotPolicy:
    """A trained policy: it acts, and adapts to the episodes in which it acted.

    `mamlax export RUN` writes it for a run of reinforcement learning, `of` makes one from a policy
    trained in Python, and `mamlax.load` reads it. It does not change: `adapt` returns another
    policy.

    Attributes:
        settings: how it acts and adapts.
        params: a `GaussianPolicy` or `CategoricalPolicy`.
        num_inner_steps: inner steps taken so far.
        summary: what is known about the run: its recipe and its results.

    Example:
        On a machine with the observations and actions of the environment::

            policy = mamlax.load("policy.safetensors")
            key, observation = jax.random.key(0), machine.reset()
            for step in range(200):
                action = policy.act(observation, jax.random.fold_in(key, step))
                ...  # execute policy.within(action); log observation, action, reward, end
            adapted = policy.adapt(observations, actions, rewards, ends)
            action = adapted.act(observation)
    """

    settings: PolicySettings
    params: PyTree
    num_inner_steps: int
    summary: Json

    @classmethod
    def of(
        cls,
        policy: PyTree,
        env: rl.TaskEnv,
        *,
        algorithm: PolicyAlgorithm,
        episodes: Episodes | None = None,
        environment: Json | None = None,
        summary: Json | None = None,
    ) -> "FewShotPolicy":
        """Make one from a policy that was trained in Python.

        Args:
            policy: meta-learned parameters, of a policy made by `mlp_policy`.
            env: the environment it was trained in.
            algorithm: how it adapts. Only `inner_learning_rate`, `inner_learning_rate_decay` and
                `surrogate` are used. Give the settings of training.
            episodes: how advantages are computed. Only `discount`, `gae_lambda`, `baseline` and
                `normalize_advantages` are used, and `episodes_per_task` in the warning of a single
                episode. None: `Episodes()`.
            environment: further information on the environment, besides its name; must be JSON.
            summary: further information to store in a file; must be JSON.

        Raises:
            MamlaxError: if the policy was not made by `mlp_policy`.
            ValueError: if it does not match the environment.

        Example:
            >>> import jax, mamlax
            >>> from mamlax.config import MamlTrpo
            >>> env = mamlax.rl.PointNavigation()
            >>> params = mamlax.rl.mlp_policy(jax.random.key(0), env)
            >>> policy = mamlax.FewShotPolicy.of(
            ...     params, env, algorithm=MamlTrpo(inner_learning_rate=0.5)
            ... )
            >>> policy.act([0.0, 0.0]).shape
            (2,)
        """
        network = getattr(policy, "network", None)
        is_known = isinstance(policy, rl.GaussianPolicy | rl.CategoricalPolicy)
        if not (is_known and isinstance(network, MLP) and _is_plain(network)):
            raise MamlaxError(
                "a file holds a GaussianPolicy or CategoricalPolicy, as mamlax.rl.mlp_policy makes "
                f"them, not a {type(policy).__name__} of a {type(network).__name__}."
            )
        check_policy(policy, env)
        sizes = tuple(weight.shape[1] for weight in network.weights[:-1])
        settings = PolicySettings(
            PolicyNetwork(
                hidden_sizes=sizes,
                activation=network.activation,
                normalize_observations=policy.moments is not None,
            ),
            algorithm,
            episodes or Episodes(),
            env.observation_size,
            env.action,
            {"name": type(env).__name__, **(environment or {})},
        )
        return cls(settings, policy, 0, summary or {})

    def act(self, observation: Any, key: Any = None) -> np.ndarray:
        """Choose an action.

        Args:
            observation: `[features]`, or `[n, features]` for several at once.
            key: a PRNG key, or an integer seed: the action is drawn at random. Episodes to adapt to
                need this. None: the most likely action.

        Returns:
            `[size]` numbers, or one integer if actions are discrete; for several observations, with
            a leading axis `[n]`. A drawn action may be out of bounds: log it unchanged, and execute
            `within(action)`.

        Raises:
            MamlaxError: if the observation has the wrong shape, or a number that is not finite.
        """
        observations = observations_of(self.settings, observation)
        if isinstance(key, int | np.integer):
            key = jax.random.key(int(key))
        actions = _act(self.params, jnp.atleast_2d(observations), key)
        return np.asarray(actions if observations.ndim == 2 else actions[0])

    def within(self, action: Any) -> np.ndarray:
        """The nearest action within the bounds, to execute."""
        space = self.settings.action
        if isinstance(space, rl.Discrete):
            return np.asarray(action)
        return np.clip(action, space.low, space.high)

    def adapt(self, observations: Any, actions: Any, rewards: Any, ends: Any) -> "FewShotPolicy":
        """The policy after one inner step on episodes in which this policy acted.

        The arrays hold one episode after another, of any lengths. To take another inner step, let
        the adapted policy act, and call its `adapt` with the new episodes.

        Args:
            observations: `[steps, features]`, each before the action.
            actions: `[steps, size]`, or `[steps]` integers; as `act` drew them.
            rewards: `[steps]`, each after the action.
            ends: `[steps]`, true at the last step of each episode.

        Raises:
            MamlaxError: if shapes do not match each other or the policy, a number is not finite, or
                it is very unlikely that this policy drew the actions.
        """
        trajectory = episodes_of(self.settings, self.params, observations, actions, rewards, ends)
        algorithm, episodes = self.settings.algorithm, self.settings.episodes
        rate = algorithm.inner_learning_rate
        rate *= algorithm.inner_learning_rate_decay**self.num_inner_steps
        adapted = _adapted_to(algorithm.surrogate, episodes, self.params, trajectory, rate)
        if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(adapted)):
            raise MamlaxError(
                "the inner step diverged: a parameter is no longer finite. Look for rewards that "
                "are far larger than those of training."
            )
        return replace(self, params=adapted, num_inner_steps=self.num_inner_steps + 1)

    def save(self, path: str | Path) -> None:
        """Write the policy to a file that `mamlax.load` reads, without pickle."""
        write_container(path, self.state())

    def state(self) -> Container:
        """The content of a file of this policy, for `from_state`."""
        settings = self.settings
        action = {"kind": type(settings.action).__name__, **asdict(settings.action)}
        header = {
            "kind": type(self).__name__,
            "network": settings_as_json(settings.network),
            "algorithm": {
                "name": settings.algorithm.name,
                **settings_as_json(settings.algorithm),
            },
            "episodes": settings_as_json(settings.episodes),
            "observation_size": settings.observation_size,
            "action": action,
            "environment": settings.environment,
            "num_inner_steps": self.num_inner_steps,
            "summary": self.summary,
        }
        return Container(header, named_arrays("policy", self.params))

    @classmethod
    def from_state(cls, content: Container) -> "FewShotPolicy":
        """The policy whose `state` is `content`.

        Raises:
            MamlaxError: if something is missing, or has the wrong shape.
        """
        header = content.header
        settings = PolicySettings(
            network=_settings(header["network"], PolicyNetwork),
            algorithm=algorithm_from_json(header["algorithm"], POLICY_ALGORITHMS, _FILE, _REMEDY),
            episodes=_settings(header["episodes"], Episodes),
            observation_size=int(header["observation_size"]),
            action=_action_space(header["action"]),
            environment=header["environment"],
        )
        params = filled(_template(settings), "policy", content.arrays)
        return cls(settings, params, int(header["num_inner_steps"]), header["summary"])


@eqx.filter_jit
def _act(policy: PyTree, observations: PyTree, key: Any) -> PyTree:
    distribution = policy(observations)
    return distribution.mode() if key is None else distribution.sample(key)


def adapted_to(
    surrogate: str, episodes: Episodes, policy: PyTree, trajectory: rl.Trajectory, rate: Any
) -> PyTree:
    """The policy after one inner step."""
    experience = rl.estimate_advantages(
        trajectory,
        discount=episodes.discount,
        gae_lambda=episodes.gae_lambda,
        baseline_fn=rl.linear_baseline if episodes.baseline == "linear" else None,
        normalize=episodes.normalize_advantages,
        moments=policy.moments,
    )
    return inner_loop(
        SURROGATES[surrogate], optax.sgd(rate), policy, experience, num_steps=1
    ).params


_adapted_to = eqx.filter_jit(adapted_to)


def _is_plain(network: MLP) -> bool:
    """Whether the network has no normalization and no context."""
    return network.norm == "none" and network.context is None


def _template(settings: PolicySettings) -> PyTree:
    """A policy with the structure that the settings describe."""
    action = settings.action
    continuous = isinstance(action, rl.Box)
    outputs = action.size if continuous else action.num_actions
    sizes = (settings.observation_size, *settings.network.hidden_sizes, outputs)
    weights = [jnp.zeros(shape) for shape in pairwise(sizes)]
    biases = [jnp.zeros(size) for size in sizes[1:]]
    network = MLP(weights, biases, "none", settings.network.activation)
    moments = None
    if settings.network.normalize_observations:
        moments = rl.ObservationMoments.none(settings.observation_size)
    if continuous:
        return rl.GaussianPolicy(network, jnp.zeros(action.size), moments)
    return rl.CategoricalPolicy(network, action.start, moments)


def _settings(value: Any, kind: type) -> Any:
    return settings_from_json(value, kind, _FILE, _REMEDY)


def _action_space(value: Mapping[str, Any]) -> rl.Box | rl.Discrete:
    options = dict(value)
    return {"Box": rl.Box, "Discrete": rl.Discrete}[options.pop("kind")](**options)
