"""Environments of Gymnasium between calls: which are free, and which play whose episodes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np

from ..._errors import MamlaxError

_MOST_UNFINISHED = 64


class _Session(NamedTuple):
    vector: Any
    num_envs: int
    steps_left: int


class Sessions:
    """Vectorized environments, each lent to the episodes of one call, from reset to horizon."""

    def __init__(self, make: Callable[[int], Any], set_tasks: Callable[..., None], horizon: int):
        self._make, self._set_tasks, self._horizon = make, set_tasks, horizon
        self._made: list[Any] = []
        self._free: dict[int, list[Any]] = {}
        self._playing: OrderedDict[int, _Session] = OrderedDict()
        self._count, self._lock = 0, threading.RLock()

    def begin(self, tasks: Any, seeds: np.ndarray) -> tuple[int, Any]:
        """A new session's number, and the first observations."""
        with self._lock, self._closing_on_failure("reset"):
            vector = self._borrow(len(seeds))
            self._set_tasks(vector, tasks)
            observation, _ = vector.reset(seed=[int(seed) for seed in seeds])
            self._count += 1
            self._playing[self._count] = _Session(vector, len(seeds), self._horizon)
            while len(self._playing) > _MOST_UNFINISHED:
                # that of a program that was broken off: the one not stepped for the longest time
                _, abandoned = self._playing.popitem(last=False)
                self._give_back(abandoned.vector, abandoned.num_envs)
            return self._count, observation

    def step(self, sessions: np.ndarray, actions: np.ndarray) -> tuple[Any, Any, Any]:
        """Observations, rewards, and which episodes are over."""
        with self._lock, self._closing_on_failure("step"):
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
            # what was over before stays over, whatever it says from now on
            observation, reward, terminated, truncated, *_ = session.vector.step(actions)
            name, left = int(sessions[0]), session.steps_left - 1
            self._playing[name] = session._replace(steps_left=left)
            self._playing.move_to_end(name)
            if left == 0:
                del self._playing[name]
                self._give_back(session.vector, session.num_envs)
            return observation, reward, np.logical_or(terminated, truncated)

    def first_try(self, use: Callable[[Any], Any]) -> Any:
        """`use(vector)` of two environments outside of any episode."""
        with self._closing_on_failure("a first try"):
            vector = self._borrow(2)
            found = use(vector)
            self._give_back(vector, 2)
            return found

    def close(self) -> None:
        """End all processes."""
        vectors, self._made = self._made, []
        self._free.clear()
        self._playing.clear()
        for vector in vectors:
            for process in getattr(vector, "processes", ()):
                process.terminate()
            with suppress(Exception):  # their pipes may be broken
                vector.close()

    def _borrow(self, num_envs: int) -> Any:
        if free := self._free.get(num_envs):
            return free.pop()
        vector = self._make(num_envs)
        self._made.append(vector)
        return vector

    def _give_back(self, vector: Any, num_envs: int) -> None:
        self._free.setdefault(num_envs, []).append(vector)

    @contextmanager
    def _closing_on_failure(self, what: str) -> Iterator[None]:
        try:
            yield
        except MamlaxError:
            self.close()
            raise
        except Exception as error:
            self.close()
            died = "its process died: " if isinstance(error, OSError | EOFError) else ""
            raise MamlaxError(
                f"an environment failed in {what}: {died}{type(error).__name__}: {error}. All "
                "environments and their processes are closed."
            ) from error
