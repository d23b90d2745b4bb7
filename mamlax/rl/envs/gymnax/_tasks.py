"""Environments of gymnax, which are pure JAX functions; their parameters are the task."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ..._environment import ActionSpace, Box, Discrete
from .._observations import flat


class GymnaxTasks:
    """A gymnax environment whose parameters differ from task to task.

    The task is the environment's parameters, such as gravity, lengths or a position. There is no
    automatic reset. An episode ends when the environment says so, or at its time limit.

    gymnax is not imported here. Any object with the functions `reset_env`, `step_env`,
    `action_space` and `default_params` works.

    Args:
        env: the environment, the first value that `gymnax.make` returns.
        sample_task: `sample_task(key) -> parameters`, a JAX function.
        horizon: steps per episode. None: the parameters' `max_steps_in_episode`.

    Raises:
        TypeError: if a function is missing, or actions are neither discrete nor numbers that all
            have the same bounds.
        ValueError: if `horizon` is None and the parameters have no time limit.

    Example:
        Pendulums on planets of different gravity (`pip install gymnax`)::

            env, params = gymnax.make("Pendulum-v1")
            tasks = mamlax.rl.GymnaxTasks(
                env,
                sample_task=lambda key: params.replace(
                    g=jax.random.uniform(key, (), minval=3, maxval=15)
                ),
            )

    References:
        Lange, gymnax: A JAX-based Reinforcement Learning Environment Library, 2022.
    """

    def __init__(
        self,
        env: Any,
        *,
        sample_task: Callable[[PyTree], PyTree],
        horizon: int | None = None,
    ):
        lacking = [name for name in _FUNCTIONS if not hasattr(env, name)]
        if lacking:
            raise TypeError(
                f"{type(env).__name__} is no environment of gymnax: it lacks {', '.join(lacking)}. "
                "gymnax.make gives (environment, parameters)."
            )
        params = env.default_params
        if horizon is None:
            horizon = getattr(params, "max_steps_in_episode", None)
        if horizon is None or horizon < 1:
            raise ValueError(f"{type(env).__name__} has no time limit of its own: give horizon.")
        self._env, self._sample_task, self.horizon = env, sample_task, int(horizon)
        self.action, self._shape = _action(env.action_space(params))
        seen, _ = jax.eval_shape(env.reset_env, jax.random.key(0), params)
        self.observation_size = sum(int(np.prod(x.shape)) for x in jax.tree.leaves(seen))

    def sample_task(self, key: PRNGKeyArray) -> PyTree:
        """Draw the parameters of an environment."""
        return _arrays(self._sample_task(key))

    def reset(self, key: PRNGKeyArray, task: PyTree) -> tuple[PyTree, PyTree]:
        """Start an episode. Returns gymnax's state and the observation `[observation_size]`."""
        seen, state = self._env.reset_env(key, task)
        return self._like_later_ones(_arrays(state), task), flat(seen)

    def step(
        self, key: PRNGKeyArray, task: PyTree, state: PyTree, action: PyTree
    ) -> tuple[PyTree, PyTree, PyTree, PyTree]:
        """Take one step. Returns the state, observation, reward, and whether the episode ends."""
        if isinstance(self.action, Box):
            action = action.reshape(self._shape)
        seen, after, reward, ended, _ = self._env.step_env(key, state, action, task)
        if hasattr(self._env, "is_truncated"):
            ended = ended | self._env.is_truncated(after, task)
        # a state may start with Python's numbers; they are converted only if nothing is lost
        after = jax.tree.map(lambda x, like: _as(like.dtype, x), after, state)
        reward = jnp.asarray(reward, jnp.result_type(float)).reshape(())
        return after, flat(seen), reward, jnp.asarray(ended, bool).reshape(())

    def _like_later_ones(self, state: PyTree, task: PyTree) -> PyTree:
        """Convert integers of a state to floats where a step returns floats."""
        action = jnp.zeros(self._shape) if isinstance(self.action, Box) else jnp.zeros((), int)
        _, after, *_ = jax.eval_shape(self._env.step_env, jax.random.key(0), state, action, task)
        return jax.tree.map(
            lambda x, y: jnp.asarray(x, jnp.promote_types(x.dtype, y.dtype)), state, after
        )


_FUNCTIONS = ("reset_env", "step_env", "action_space", "default_params")


def _action(space: Any) -> tuple[ActionSpace, tuple[int, ...]]:
    """The policy's actions for a gymnax space, and their shape."""
    if hasattr(space, "n"):
        return Discrete(int(space.n)), ()
    if not hasattr(space, "low"):
        raise TypeError(f"actions must be a Discrete or a Box of gymnax, got {space}.")
    bounds = [np.unique(np.asarray(bound, float)) for bound in (space.low, space.high)]
    if any(len(bound) > 1 for bound in bounds):
        raise TypeError(f"the numbers of an action must have the same bounds, got {space}.")
    low, high = (float(bound[0]) for bound in bounds)
    return Box(int(np.prod(space.shape)), low, high), tuple(space.shape)


def _arrays(tree: PyTree) -> PyTree:
    """Convert Python's numbers to arrays, so that tasks and states can be mapped over."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), tree)


def _as(dtype: Any, x: Any) -> PyTree:
    x = jnp.asarray(x)
    is_lost = jnp.issubdtype(x.dtype, jnp.inexact) and not jnp.issubdtype(dtype, jnp.inexact)
    return x if is_lost else x.astype(dtype)
