"""Any environments of Gymnasium as tasks for meta-learning."""

import copy
import functools
import weakref
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ...._errors import warn
from ...._host_call import host_call
from ..._environment import Discrete
from ..._rollout import rollout
from .._checks import check_choice
from ._filmed import RecordedSessions
from ._first_try import first_try, two_tasks
from ._members import Workers, set_tasks, vectorized
from ._sessions import Sessions
from ._spaces import actions_of, observation_size, solved_in

_FUNCTIONS = {
    "make_env": 'make_env() -> gymnasium.Env, such as lambda: gymnasium.make("CartPole-v1")',
    "make_vector_env": "make_vector_env(num_envs) -> gymnasium.vector.VectorEnv",
    "sample_task": "sample_task(key) -> task",
    "set_task": "set_task(env, task) -> None",
}


class GymnasiumTasks:
    """A `TaskEnv` whose episodes are played by environments of Gymnasium, one per episode.

    They run outside of the compiled program, which calls them once per step, for all tasks and
    episodes together. The same key gives the same episodes if the environment draws all its
    randomness from the seed it is reset with, and keeps nothing of earlier episodes. Unlike other
    environments, these are not functions: a state can be stepped only once, and policies that act
    at the same time need different keys.

    Observations must be a `Box` of any shape; policies get them flattened. Actions may be

    - `Discrete`: policies choose one of the environment's integers, the first of which is `start`;
    - a `Box` of floating-point numbers that all have the same bounds. A new policy's actions are
      around 0 with a standard deviation of 1. Wrap an environment that needs others, such as
      Box(0, 255) or Box(0, ∞); a warning says how;
    - a `Box` of integers: policies act in [-1, 1], which is mapped evenly to the integers of each
      number. If a bound is infinite, actions are rounded to the nearest integer instead.

    Args:
        make_env: `make_env() -> gymnasium.Env`.
        sample_task: `sample_task(key) -> task`, any pytree of arrays. JAX must be able to trace it.
        set_task: `set_task(env, task) -> None`, called before each reset with what `make_env`
            returned and with a task of NumPy arrays; `env.unwrapped` is the environment without
            wrappers.
        horizon: the longest episode, in steps. Episodes end earlier if the environment truncates
            them.
        workers: `"sync"`: one after another in this process, which is fastest for fast
            environments. `"subprocesses"`: each in its own process, for slow ones. There are then
            2 × tasks × episodes processes, because episodes after an inner step are reset before
            those before it have ended. Each needs the memory of a Python that has imported the
            environment. The script must start its work under `if __name__ == "__main__":`.
        success_key: the key in `info` that says whether the task is solved, such as
            `"is_success"`. Success rates are then logged beside returns.
        make_vector_env: instead of `make_env`: `make_vector_env(num_envs)` returns a
            `gymnasium.vector.VectorEnv` that resets episodes which have ended (any autoreset mode
            except `DISABLED`). `set_task` is then called with it and with tasks stacked along an
            axis `[num_envs]`.

    Raises:
        MamlaxError: if Gymnasium is not installed; or if a function or its process fails or
            returns a wrong value, in the first try or later.
        TypeError: if both or none of `make_env` and `make_vector_env` are given; if an argument is
            not a function; if JAX cannot trace `sample_task`; or if a space is not supported, in
            which case the message says how to wrap it.
        ValueError: if `horizon` is not positive or `workers` is unknown.

    Warns:
        UserWarning: if, in the first try, the same task and seed give different episodes; if two
            tasks behave alike, as if `set_task` did nothing; if an observation or a reward is NaN
            or infinite; if all tasks are the same; or if a new policy would try only a small part
            of the actions.

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
        (4, Discrete(num_actions=2, start=0))
    """

    acts_together = True
    keeps_state = True

    def __init__(
        self,
        make_env: Callable[[], PyTree] | None = None,
        *,
        sample_task: Callable[[PyTree], PyTree],
        set_task: Callable[[Any, Any], None],
        horizon: int,
        workers: Workers = "sync",
        success_key: str | None = None,
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
        self._sample_task, self.horizon, self._success_key = sample_task, horizon, success_key
        if success_key is not None:
            self.solved = lambda state: state[1]
        two = two_tasks(sample_task)
        self._sessions = Sessions(make_vector_env, set_task, horizon)
        # closed when the environment is no longer used, and when Python ends
        weakref.finalize(self, self._sessions.close)
        try:
            observations, actions = self._sessions.spaces()
            self.observation_size = observation_size(observations)
            self.action, self._to_env, advice = actions_of(actions)
            sentences = [*first_try(self._sessions, two, actions, horizon), advice]
            if success_key is not None and success_key not in self._sessions.names:
                sentences.append(
                    f"in a first try no info of a step had success_key={success_key!r}; they had: "
                    f"{', '.join(sorted(self._sessions.names)) or 'nothing'}."
                )
            if self._sessions.forks():
                sentences.append(
                    "make_vector_env forks processes, which may wait forever, because JAX has "
                    'threads in this one: give AsyncVectorEnv context="spawn".'
                )
        finally:
            self._sessions.close()  # a run makes as many as it needs; these would be idle
        for sentence in filter(None, sentences):
            warn(sentence, stacklevel=2)

    def sample_task(self, key: PRNGKeyArray) -> PyTree:
        """Draw a task."""
        return self._sample_task(key)

    def reset(self, key: PRNGKeyArray, task: PyTree) -> tuple[PyTree, PyTree]:
        """Start an episode. Returns the state and the observation `[observation_size]`.

        The state is the session's number; with `success_key`, `(number, whether it is solved)`.
        """
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
        state, observation = host_call(begin, (_STATE, seen), seed, *leaves)
        return (state if self._success_key is None else (state, jnp.zeros((), bool))), observation

    def step(
        self, key: PRNGKeyArray, task: PyTree, state: PyTree, action: PyTree
    ) -> tuple[PyTree, PyTree, PyTree, PyTree]:
        """Take one step. Returns the state, observation, reward, and whether the episode ends."""
        shape = () if isinstance(self.action, Discrete) else (self.action.size,)
        session = state if self._success_key is None else state[0]

        def advance(session, action):
            lead = _lead([(), shape], session, action)
            actions = np.broadcast_to(action, (*lead, *shape)).reshape(-1, *shape)
            session = np.broadcast_to(session, lead)
            observation, reward, ended, info = self._sessions.step(
                np.unique(session), self._to_env(actions)
            )
            return (
                session,
                np.asarray(observation).reshape(*lead, -1).astype(seen.dtype),
                np.asarray(reward).reshape(lead).astype(seen.dtype),
                np.asarray(ended).reshape(lead),
                solved_in(info, self._success_key, len(actions)).reshape(lead),
            )

        seen = self._observation_shape()
        shapes = (
            _STATE,
            seen,
            jax.ShapeDtypeStruct((), seen.dtype),
            *[jax.ShapeDtypeStruct((), jnp.bool_)] * 2,
        )
        *stepped, solved = host_call(advance, shapes, session, action)
        session, observation, reward, ended = stepped
        after = session if self._success_key is None else (session, solved)
        return after, observation, reward, ended

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step of a film, as the environment declares (`render_fps`)."""
        return 1 / self._sessions.frames_per_second()

    def frames(
        self, key: PRNGKeyArray, task: PyTree, policy: PyTree, *, greedy: bool = False
    ) -> np.ndarray:
        """Pictures of an episode; see `record_frames`."""
        self._sessions.check_drawn()
        recorded = copy.copy(self)
        recorded._sessions = sessions = RecordedSessions(self._sessions)  # pyright: ignore
        trajectory = rollout(key, recorded, task, policy, num_episodes=1, greedy=greedy)
        return sessions.pictures(int(jnp.sum(trajectory.mask)))

    def _observation_shape(self) -> jax.ShapeDtypeStruct:
        """In the caller's precision, which is not known where environments are called."""
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


def _lead(shapes: list[tuple[int, ...]], *arrays: Any) -> tuple[int, ...]:
    """The leading axes over which arrays of these shapes are mapped."""
    leads = [np.shape(x)[: np.ndim(x) - len(s)] for x, s in zip(arrays, shapes, strict=True)]
    return np.broadcast_shapes(*leads)
