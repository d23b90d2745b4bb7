"""Films: an episode is played, and then again by the thread that asks, which draws it.

Compiled programs call environments from threads of their own, a context of OpenGL belongs to one.
"""

from typing import Any

import numpy as np
from jaxtyping import PyTree

from ._sessions import Sessions


class RecordedSessions:
    """Sessions of which one is remembered.

    Attributes:
        began: the tasks and seeds of its beginning.
        actions: what was done, one after another.
    """

    def __init__(self, sessions: Sessions):
        self._sessions = sessions
        self.began: tuple[PyTree, np.ndarray] | None = None
        self.actions: list[np.ndarray] = []

    def begin(self, tasks: PyTree, seeds: np.ndarray) -> tuple[int, Any]:
        """As `Sessions` does."""
        self.began = (tasks, seeds)
        return self._sessions.begin(tasks, seeds)

    def step(self, sessions: np.ndarray, actions: np.ndarray) -> tuple[Any, Any, Any, Any]:
        """As `Sessions` does."""
        self.actions.append(actions)
        return self._sessions.step(sessions, actions)

    def pictures(self, num_steps: int) -> np.ndarray:
        """What its first environment draws before each of the first steps, played again."""
        assert self.began is not None
        session, _ = self._sessions.begin(*self.began)
        pictures = []
        for actions in self.actions[:num_steps]:
            pictures.append(self._sessions.picture(session))
            self._sessions.step(np.array([session]), actions)
        self._sessions.close()  # what draws must be closed before Python ends
        return np.stack(pictures)
