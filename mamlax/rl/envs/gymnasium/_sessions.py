"""Keep environments of Gymnasium between calls: which are free, and which play which episodes."""

import multiprocessing.connection
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import PyTree

from ...._errors import MamlaxError

_MOST_UNFINISHED = 64


class _Session(NamedTuple):
    vector: PyTree
    num_envs: int
    steps_left: int


class Sessions:
    """Vectorized environments. A session is the episodes of one call, from reset to horizon."""

    def __init__(self, make: Callable[[int], Any], set_tasks: Callable[..., None], horizon: int):
        self._make, self._set_tasks, self._horizon = make, set_tasks, horizon
        self._made: list[PyTree] = []
        self._free: dict[int, list[PyTree]] = {}
        self._playing: OrderedDict[int, _Session] = OrderedDict()
        self._count, self._lock = 0, threading.RLock()
        self.names: set[str] = set()
        """What infos have had so far."""

    def begin(self, tasks: PyTree, seeds: np.ndarray) -> tuple[int, Any]:
        """Start a session. Returns its number and the first observations."""
        with self._lock, self._closing_on_failure():
            vector = self._borrow(len(seeds))
            with failing_in("set_task", vector):
                self._set_tasks(vector, tasks)
            with failing_in("reset", vector):
                observation, _ = vector.reset(seed=[int(seed) for seed in seeds])
            self._count += 1
            self._playing[self._count] = _Session(vector, len(seeds), self._horizon)
            if len(self._playing) > _MOST_UNFINISHED:
                # left by a program that was stopped: the session that was not stepped for longest
                self.break_off(next(iter(self._playing)))
            return self._count, observation

    def step(self, sessions: np.ndarray, actions: np.ndarray) -> tuple[Any, Any, Any, Any]:
        """Take one step. Returns observations, rewards, which episodes are over, and the infos."""
        with self._lock, self._closing_on_failure():
            session = self._playing.get(int(sessions[0]))
            if session is None:
                raise MamlaxError(
                    "an episode was stepped that is over, or was never begun, or was broken off "
                    f"while {_MOST_UNFINISHED} others were begun: step the state of a reset up to "
                    "the horizon, once."
                )
            if len(sessions) > 1 or len(actions) != session.num_envs:
                raise MamlaxError(
                    f"{len(actions)} actions for {session.num_envs} episodes that were begun "
                    "together: policies that act side by side in the same task need keys of their "
                    "own, because each environment can play one episode at a time."
                )
            # an episode that has ended stays ended, whatever the environment returns later
            with failing_in("step", session.vector):
                observation, reward, terminated, truncated, info = session.vector.step(actions)
            returned = {"reward": reward, "terminated": terminated, "truncated": truncated}
            for word, values in returned.items():
                if np.shape(values) != (session.num_envs,):
                    raise MamlaxError(
                        f"a vectorized environment must return one {word} for each of its "
                        f"{session.num_envs} environments, got {type(values).__name__} of shape "
                        f"{np.shape(values)}."
                    )
            said = {**info, **info.get("final_info", {})}.keys() - {"final_info", "final_obs"}
            self.names |= {name for name in said if not name.startswith("_")}
            name, left = int(sessions[0]), session.steps_left - 1
            self._playing[name] = session._replace(steps_left=left)
            self._playing.move_to_end(name)
            if left == 0:
                self.break_off(name)
            return observation, reward, np.logical_or(terminated, truncated), info

    def picture(self, name: int) -> np.ndarray:
        """A picture of the first environment of a session, `[height, width, 3]`."""
        vector = self._playing[name].vector
        with failing_in("render", vector):
            return np.asarray(vector.render()[0], np.uint8)

    def check_drawn(self) -> None:
        """Raise an error if the environments draw no pictures.

        Raises:
            MamlaxError: if they draw none; says how they would.
        """
        vector = self._borrow(1)
        mode = getattr(vector, "render_mode", None)
        self._give_back(vector, 1)
        if mode != "rgb_array":
            raise MamlaxError(
                f"these environments draw nothing (their render_mode is {mode}). If they can, make "
                'them with render_mode="rgb_array", such as gymnasium.make(name, '
                'render_mode="rgb_array").'
            )

    def break_off(self, name: int) -> None:
        """End a session before its horizon; its environments become free."""
        with self._lock:
            session = self._playing.pop(name, None)
            if session is not None:
                self._give_back(session.vector, session.num_envs)

    def frames_per_second(self) -> float:
        """Frames per second of films, as the environment declares (`render_fps`); otherwise 30."""
        vector = self._borrow(1)
        rate = vector.metadata.get("render_fps") or 30
        self._give_back(vector, 1)
        return float(rate)

    def spaces(self) -> tuple[PyTree, PyTree]:
        """The spaces of one observation and of one action."""
        vector = self._borrow(2)
        if not hasattr(vector, "single_observation_space"):
            raise MamlaxError(
                "make_vector_env must return a gymnasium.vector.VectorEnv, got "
                f"{type(vector).__name__}."
            )
        mode = vector.metadata.get("autoreset_mode")
        if getattr(mode, "name", mode) == "DISABLED":
            raise MamlaxError(
                "make_vector_env gave environments that do not reset by themselves: let them, by "
                "autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP."
            )
        self._give_back(vector, 2)
        return vector.single_observation_space, vector.single_action_space

    def forks(self) -> bool:
        """Whether processes are forked from this one, in which JAX has threads."""
        processes = [process for vector in self._made for process in _processes(vector)]
        return any(type(process).__name__ == "ForkProcess" for process in processes)

    def close(self) -> None:
        """Close all environments and their processes. Later calls make new ones."""
        vectors, self._made = self._made, []
        self._free.clear()
        self._playing.clear()
        for vector in vectors:
            end(vector)

    def _borrow(self, num_envs: int) -> PyTree:
        if free := self._free.get(num_envs):
            return free.pop()
        with failing_in("make_vector_env"):
            vector = self._make(num_envs)
        self._made.append(vector)
        return vector

    def _give_back(self, vector: PyTree, num_envs: int) -> None:
        self._free.setdefault(num_envs, []).append(vector)

    @contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.close()
            raise


def end(vector: PyTree) -> None:
    """Close environments, and kill their processes: closing would wait for one that has died."""
    processes = _processes(vector)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(timeout=5)
        process.kill()
    with suppress(Exception):  # making it may have failed halfway
        if processes:
            vector.unwrapped.close_extras = lambda **_: None  # dead processes cannot close
        vector.close()


@contextmanager
def failing_in(what: str, vector: PyTree = None) -> Iterator[None]:
    """Errors say that `what` failed, unless they say so already."""
    try:
        yield
    except MamlaxError:
        raise
    except Exception as error:
        raise failure(what, error, vector) from error


def failure(what: str, error: Exception, vector: PyTree = None) -> MamlaxError:
    """An error as one line: of its message, a compiled program passes on only the last one."""
    reason = _death(vector) if isinstance(error, OSError | EOFError) else None
    if reason is None:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":.")
    stop = "" if reason.endswith(("?", "!")) else "."
    return MamlaxError(f"an environment failed in {what}: {reason}{stop}")


def _death(vector: PyTree) -> str | None:
    """How a process ended, if one has."""
    processes = {process.sentinel: process for process in _processes(vector)}
    # the pipe breaks a moment before the process ends
    gone = multiprocessing.connection.wait(processes, timeout=5) if processes else []
    for sentinel in gone:
        process = processes[sentinel]
        process.join(timeout=5)
        if process.exitcode is not None:
            return _ending(process.exitcode)
    return None


def _ending(exitcode: int) -> str:
    if exitcode >= 0:
        return f"its process ended with exit code {exitcode}"
    name = signal.Signals(-exitcode).name
    memory = " (by the system, if memory ran out)" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{memory}"


def _processes(vector: PyTree) -> list[PyTree]:
    """The processes that were started."""
    base = getattr(vector, "unwrapped", vector)
    return [process for process in getattr(base, "processes", ()) if process.pid is not None]
