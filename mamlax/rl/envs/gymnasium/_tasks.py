"""Environments of Gymnasium, whoever wrote them, as tasks to meta-learn."""

import functools
import math
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ...._host_call import host_call
from ..._environment import Box, Discrete
from .._checks import check_choice
from ._members import Workers, gymnasium_library, set_tasks, vectorized
from ._sessions import Sessions

_NUM_TRIED_KEYS = 32

_FUNCTIONS = {
    "make_env": 'make_env() -> gymnasium.Env, such as lambda: gymnasium.make("CartPole-v1")',
    "make_vector_env": "make_vector_env(num_envs) -> gymnasium.vector.VectorEnv",
    "sample_task": "sample_task(key) -> task",
    "set_task": "set_task(env, task) -> None",
}


class GymnasiumTasks:
    """A `TaskEnv` whose episodes are played by environments of Gymnasium, one for each.

    They live outside of the compiled program, which calls them at each step for all tasks and
    episodes at once. Episodes of one key are the same each time if the environment draws all its
    randomness from the seed it is reset with. Unlike other environments, these are not functions:
    a state can be stepped once, and policies that act side by side need keys of their own.

    Args:
        make_env: `make_env() -> gymnasium.Env`. Observations must be a `Box`; actions a `Discrete`,
            or a `Box` with the same bounds for every number. A policy begins with actions around 0
            with a standard deviation of 1: wrap what needs others in `RescaleAction`.
        sample_task: `sample_task(key) -> task`, any pytree of arrays; traceable.
        set_task: `set_task(env, task) -> None`, called before each reset with what `make_env`
            returned and a task of NumPy arrays; `env.unwrapped` is the environment without
            wrappers.
        horizon: the longest episode, in steps. Where the environment truncates sooner, episodes end
            there.
        workers: `"sync"`, one after another in this process, which is fastest for quick ones, or
            `"subprocesses"`, each in a process of its own, for slow ones: twice as many processes
            as there are episodes side by side, tasks × episodes, because those after adapting are
            reset before those before it have ended. Each takes the memory of a Python that has
            imported the environment. A script that asks for them must begin its work under
            `if __name__ == "__main__":`.
        make_vector_env: `make_vector_env(num_envs)`, a `gymnasium.vector.VectorEnv` in place of
            `make_env`, which resets by itself what has ended (any autoreset mode but `DISABLED`);
            `set_task` then gets it, and tasks stacked along an axis `[num_envs]`.

    Raises:
        MamlaxError: if Gymnasium is not installed; or if, in a first try or later, a function or
            its process fails, or returns what it should not.
        TypeError: if both or none of `make_env` and `make_vector_env` are given; if an argument is
            no function, or JAX cannot trace `sample_task`; or if a space is of a kind that is not
            supported; says how to wrap it.
        ValueError: if `horizon` is not positive or `workers` is unknown.

    Warns:
        UserWarning: if two tasks behave alike: `set_task` seems to do nothing; or if the
            first try met an observation or a reward that is NaN or infinite.

    Example:
        >>> import gymnasium, jax, mamlax
        >>> def set_task(env, task):
        ...     env.unwrapped.length = float(task)
        >>> env = mamlax.rl.GymnasiumTasks(
        ...     lambda: gymnasium.make("CartPole-v1"),
        ...     sample_task=lambda key: jax.random.uniform(key, (), minval=0.3, maxval=1.0),
        ...     set_task=set_task,
        ...     horizon=20,
        ... )
        >>> env.observation_size, env.action
        (4, Discrete(num_actions=2))
    """

    acts_together = True

    def __init__(
        self,
        make_env: Callable[[], PyTree] | None = None,
        *,
        sample_task: Callable[[PyTree], PyTree],
        set_task: Callable[[Any, Any], None],
        horizon: int,
        workers: Workers = "sync",
        make_vector_env: Callable[[int], Any] | None = None,
    ):
        _check_functions(make_env, make_vector_env, sample_task=sample_task, set_task=set_task)
        if horizon < 1:
            raise ValueError(f"horizon must be positive, got {horizon}.")
        check_choice("workers", workers, Workers)
        if make_env is not None:
            make_vector_env = functools.partial(vectorized, make_env, set_task, workers)
            set_task = set_tasks
        assert make_vector_env is not None
        self._sample_task, self.horizon = sample_task, horizon
        tasks, differ = _two_tasks(sample_task)
        if not differ:
            warnings.warn(
                f"sample_task gave the same task for each of {_NUM_TRIED_KEYS} keys: does it draw "
                "with jax.random, from its key?",
                stacklevel=2,
            )
        self._sessions = Sessions(make_vector_env, set_task, horizon)
        # when the environment is no longer used, and when Python ends
        weakref.finalize(self, self._sessions.close)
        try:
            observations, actions = self._sessions.spaces()
            self.observation_size = _observation_size(observations)
            self.action, self._first_action = _action_space(actions)
            num_steps = horizon if differ else 1
            alike, not_finite = _first_try(self._sessions, tasks, actions, num_steps)
        finally:
            self._sessions.close()  # two would be idle while a run plays as many as it asks for
        if isinstance(self.action, Box) and not _suits(self.action):
            warnings.warn(
                f"actions lie in [{self.action.low:g}, {self.action.high:g}], and a policy begins "
                "with actions around 0 with a standard deviation of 1. Wrap the environment: "
                "gymnasium.wrappers.RescaleAction(env, -1.0, 1.0).",
                stacklevel=2,
            )
        if not_finite:
            warnings.warn(
                f"in a first try with random actions, the {' and the '.join(not_finite)} was NaN "
                "or infinite, which no policy can learn from. Does reset or step divide by zero?",
                stacklevel=2,
            )
        if differ and alike and not not_finite:
            warnings.warn(
                "two different tasks gave the same observations and rewards for the same actions: "
                "set_task seems to do nothing. Does it set what the environment reads "
                "(env.unwrapped)?",
                stacklevel=2,
            )

    def sample_task(self, key: PRNGKeyArray) -> PyTree:
        """Draw a task."""
        return self._sample_task(key)

    def reset(self, key: PRNGKeyArray, task: PyTree) -> tuple[PyTree, PyTree]:
        """Begin an episode: who plays it, an integer, and the observation `[observation_size]`."""
        leaves, structure = jax.tree.flatten(task)
        shapes = [jnp.shape(leaf) for leaf in leaves]

        def begin(seed, *leaves):
            lead = _lead([(), *shapes], seed, *leaves)
            seeds, *leaves = (
                np.broadcast_to(leaf, (*lead, *shape)).reshape(-1, *shape)
                for leaf, shape in zip((seed, *leaves), [(), *shapes], strict=True)
            )
            session, observation = self._sessions.begin(structure.unflatten(leaves), seeds)
            observation = np.asarray(observation).reshape(*lead, -1).astype(seen.dtype)
            return np.full(lead, session, np.int32), observation

        seed = jax.random.bits(key, (), jnp.uint32) >> 1
        seen = self._observation_shape()
        return host_call(begin, (_STATE, seen), seed, *leaves)

    def step(
        self, key: PRNGKeyArray, task: PyTree, state: PyTree, action: PyTree
    ) -> tuple[PyTree, PyTree, PyTree, PyTree]:
        """Act: the state, observation, reward, and whether the episode is over."""
        shape = () if isinstance(self.action, Discrete) else (self.action.size,)

        def advance(session, action):
            lead = _lead([(), shape], session, action)
            actions = np.broadcast_to(action, (*lead, *shape)).reshape(-1, *shape)
            actions = actions + self._first_action
            session = np.broadcast_to(session, lead)
            observation, reward, ended = self._sessions.step(np.unique(session), actions)
            return (
                session,
                np.asarray(observation).reshape(*lead, -1).astype(seen.dtype),
                np.asarray(reward).reshape(lead).astype(seen.dtype),
                np.asarray(ended).reshape(lead),
            )

        seen = self._observation_shape()
        shapes = (
            _STATE,
            seen,
            jax.ShapeDtypeStruct((), seen.dtype),
            jax.ShapeDtypeStruct((), jnp.bool_),
        )
        return host_call(advance, shapes, state, action)

    def _observation_shape(self) -> jax.ShapeDtypeStruct:
        """In the precision of who asks: that is not known where environments are called."""
        return jax.ShapeDtypeStruct((self.observation_size,), jnp.result_type(float))


_STATE = jax.ShapeDtypeStruct((), np.int32)


def _check_functions(make_env: Any, make_vector_env: Any, **others: PyTree) -> None:
    makers = {"make_env": make_env, "make_vector_env": make_vector_env}
    given = {name: maker for name, maker in makers.items() if maker is not None}
    if len(given) != 1:
        raise TypeError("give one of make_env and make_vector_env.")
    for name, function in (given | others).items():
        if not callable(function):
            raise TypeError(f"{name} must be a function, {_FUNCTIONS[name]}; got {function!r}.")


def _two_tasks(sample_task: Callable[[PyTree], PyTree]) -> tuple[Any, bool]:
    """Two, stacked, and whether they differ: if any do, those."""
    keys = jax.random.split(jax.random.key(0), _NUM_TRIED_KEYS)
    try:
        tasks = jax.tree.map(np.asarray, jax.vmap(sample_task)(keys))
    except Exception as error:
        came = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise TypeError(
            "sample_task(key) must be traceable by JAX (use jax.random and jnp) and return a "
            f"pytree of arrays, got {came}"
        ) from error
    for other in range(1, _NUM_TRIED_KEYS):
        two = jax.tree.map(lambda x, other=other: x[[0, other]], tasks)
        if any(not np.array_equal(*leaf) for leaf in jax.tree.leaves(two)):
            return two, True
    return jax.tree.map(lambda x: x[:2], tasks), False


def _first_try(
    sessions: Sessions, tasks: PyTree, action_space: Any, num_steps: int
) -> tuple[bool, list[str]]:
    """Whether two tasks make the same of the same actions and seed, and what was not finite."""
    alike, not_finite = True, set()
    for step, seen in enumerate(_two_episodes(sessions, tasks, action_space, num_steps)):
        for name, rows in seen.items():
            alike = alike and np.array_equal(*rows, equal_nan=True)
            if not np.isfinite(rows).all():
                not_finite.add(name)
        if step > 0 and not alike:
            break
    return alike, sorted(not_finite)


def _two_episodes(
    sessions: Sessions, tasks: PyTree, action_space: Any, num_steps: int
) -> Iterator[dict[str, Any]]:
    session, observation = sessions.begin(tasks, np.zeros(2, int))
    yield {"observation": observation}
    action_space.seed(0)
    for _ in range(num_steps):
        action = action_space.sample()
        observation, reward, _ = sessions.step(np.array([session]), np.stack([action, action]))
        yield {"observation": observation, "reward": reward}


def _observation_size(space: Any) -> int:
    """The numbers of an observation."""
    if not isinstance(space, gymnasium_library().spaces.Box):
        raise TypeError(
            f"observations must be a gymnasium.spaces.Box, got {space}. Wrap the environment: "
            "gymnasium.wrappers.FlattenObservation(env) makes one of what is discrete, "
            "of dictionaries and of tuples."
        )
    return int(np.prod(space.shape))


def _action_space(space: Any) -> tuple[Box | Discrete, int]:
    """Our kind of space, and the first of discrete actions."""
    spaces = gymnasium_library().spaces
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n)), int(space.start)
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise TypeError(
            f"actions must be a gymnasium.spaces.Discrete or a Box with one axis, got {space}. "
            "Wrap the environment in a gymnasium.ActionWrapper that takes one of these."
        )
    low, high = np.unique(space.low), np.unique(space.high)
    if len(low) > 1 or len(high) > 1:
        raise TypeError(
            f"the numbers of an action must have the same bounds, got {space}. Wrap the "
            "environment: gymnasium.wrappers.RescaleAction(env, -1.0, 1.0)."
        )
    return Box(int(space.shape[0]), float(low[0]), float(high[0])), 0


def _suits(action: Box) -> bool:
    """Whether a new policy, normal(0, 1), tries what there is, not the ends or the middle alone."""
    width = action.high - action.low
    return math.isinf(width) or (action.low <= -0.5 and action.high >= 0.5 and width <= 10)


def _lead(shapes: list[tuple[int, ...]], *arrays: Any) -> tuple[int, ...]:
    """The axes that arrays of these shapes are mapped over."""
    leads = [np.shape(x)[: np.ndim(x) - len(s)] for x, s in zip(arrays, shapes, strict=True)]
    return np.broadcast_shapes(*leads)
