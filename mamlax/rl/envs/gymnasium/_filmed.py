"""Films: an episode is played once, and then again in the calling thread, which draws it.

Compiled programs call environments from their own threads, but an OpenGL context belongs to one
thread.
"""

from typing import Any

import numpy as np
from jaxtyping import PyTree

from ._sessions import Sessions


class RecordedSessions:
    """Sessions that remember the last one, to play it again.

    Attributes:
        began: the tasks and seeds it started with.
        actions: the actions, in order.
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
        """Play the session again; returns pictures of the first environment, one per step."""
        assert self.began is not None
        session, _ = self._sessions.begin(*self.began)
        pictures = []
        for actions in self.actions[:num_steps]:
            pictures.append(self._sessions.picture(session))
            self._sessions.step(np.array([session]), actions)
        self._sessions.close()  # environments that draw must be closed before Python ends
        return np.stack(pictures)
