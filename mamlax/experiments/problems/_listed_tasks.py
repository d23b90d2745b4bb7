"""An environment whose evaluation is on tasks of a list, not on tasks that are drawn."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import PyTree


@dataclass(frozen=True)
class ListedTasks:
    """An environment, and the tasks it is evaluated on; it draws and plays as it does.

    Attributes:
        env: a `TaskEnv`.
        tasks: numbers, each a task.
    """

    env: Any
    tasks: tuple[float, ...]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def at(self, place: PyTree) -> PyTree:
        """The task at a place in (0, 1): fewer are spread over the list, more repeat it."""
        tasks = jnp.asarray(self.tasks)
        return tasks[(place * len(self.tasks)).astype(int)]
