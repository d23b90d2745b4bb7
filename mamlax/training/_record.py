"""The files of a run: its log and its checkpoints. Without a directory, nothing is written.

If several processes train together, the first one has the files. The others write nothing, and get
what they need from the first.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from .._errors import MamlaxError, warn
from .._files import Json, open_locked
from .._processes import from_first, is_first
from ..records._metrics import append_metrics, keep_metrics_until
from ._checkpoint import Checkpoints
from ._state_arrays import arrays_of, with_arrays


class Progress(NamedTuple):
    """How far a run has come.

    Attributes:
        step: outer steps taken.
        state: the outer loop's state after them.
        best_value: the best validation so far; None without validation.
        best_step: its outer step.
        best_state: the state then.
    """

    step: int
    state: PyTree
    best_value: float | None
    best_step: int
    best_state: PyTree


class Record:
    """The files of one run.

    Args:
        directory: the run directory. None: nothing is written.
        is_shared: whether several processes train this run. The first one then has the files.

    Raises:
        MamlaxError: if this is not the first process of a job, but trains alone with a directory.
    """

    def __init__(self, directory: str | Path | None, *, is_shared: bool = False):
        if directory is not None and not is_shared and not is_first():
            raise MamlaxError(
                f"{directory}: only process 0 of a job can keep the files of a run of its own, "
                "since orbax writes arrays there alone. Train without a directory here, or "
                "outside of the job (--num-processes 1)."
            )
        self._is_elsewhere = is_shared and not is_first()
        self._of_first = from_first if is_shared else _called
        self.directory = None if directory is None or self._is_elsewhere else Path(directory)
        self._saved: int | None = None
        self._saved_best: int | None = None
        self._lock: int | None = None
        if self.directory is not None:
            self._latest = Checkpoints(self.directory / "checkpoint" / "latest")
            # as many as the latest, because each of those refers to its own best one
            self._best = Checkpoints(self.directory / "checkpoint" / "best")

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return self._of_first(lambda: self.directory is not None and not self._latest.is_empty)

    def progress(self, state: PyTree, key: Any = None) -> Progress | None:
        """The last checkpoint, in the structure of `state`. None if there is none.

        Processes that train together all get the same, bit for bit.

        Args:
            state: a state of the same structure.
            key: the key that the run must have. None: any key.

        Raises:
            MamlaxError: if checkpoints exist but cannot be used, or have another key.
        """

        def read():
            if (found := self._progress(state, key)) is None:
                return None
            best = None if found.best_step == found.step else arrays_of(found.best_state)
            return found._replace(state=arrays_of(found.state), best_state=best)

        if (found := self._of_first(read)) is None:
            return None
        latest = with_arrays(state, found.state)
        best = latest if found.best_state is None else with_arrays(state, found.best_state)
        return found._replace(state=latest, best_state=best)

    def _progress(self, state: PyTree, key: Any) -> Progress | None:
        if self.directory is None or (restored := self._latest.restore(state)) is None:
            return None
        if key is not None and restored.info["key"] != _as_json(key):
            raise MamlaxError(
                f"{self.directory} holds a run of another key (seed). Repeat it with its own key "
                "to resume it, or give another directory."
            )
        self._saved, step = restored.step, restored.step
        if restored.info["best"] is None:
            return Progress(step, restored.state, None, step, restored.state)
        best_step = restored.info["best_step"]
        try:
            best = self._best.restore_step(best_step, state)
        except MamlaxError as error:
            warn(
                f"{error} The best state so far is lost. The best of later validations is used "
                "instead, or the last state.",
                stacklevel=2,
            )
            return Progress(step, restored.state, None, step, restored.state)
        self._saved_best = best_step
        return Progress(step, restored.state, restored.info["best"], best_step, best.state)

    def open(self) -> None:
        """Create and lock the directory, so that no other process trains in it.

        Raises:
            MamlaxError: if it cannot be created, or another process trains in it.
        """
        self._of_first(self._open)

    def _open(self) -> None:
        if self.directory is None:
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MamlaxError(
                f"{self.directory} cannot be a run directory ({error}). Give another."
            ) from error
        try:
            self._lock = open_locked(self.directory)
        except BlockingIOError as error:
            raise MamlaxError(
                f"{self.directory} is being trained in already. Wait for that process, stop it, or "
                "give another directory."
            ) from error

    def drop_lines_after(self, step: int) -> None:
        """Remove the lines of `metrics.jsonl` after `step`, at which the run resumes."""
        if self.directory is not None:
            keep_metrics_until(self.directory / "metrics.jsonl", step)

    def log(self, line: Json) -> None:
        """Add a line to `metrics.jsonl`."""
        if self.directory is not None:
            append_metrics(self.directory / "metrics.jsonl", line)

    def save(self, progress: Progress, key: Any) -> None:
        """Write a checkpoint, unless this step already has one.

        The best state is written just before the checkpoint that refers to it. So each checkpoint
        has its best state, whenever the process is killed.
        """
        if self.directory is None or self._saved == progress.step:
            return
        has_best = progress.best_value is not None
        if has_best and progress.best_step != self._saved_best:
            self._best.save(progress.best_step, progress.best_state, {})
            self._saved_best = progress.best_step
        info = {
            "best": progress.best_value,
            "best_step": progress.best_step if has_best else None,
            "key": _as_json(key),
        }
        self._latest.save(progress.step, progress.state, info)
        self._saved = progress.step

    def close(self) -> None:
        """Release the files."""
        if self.directory is not None:
            self._latest.close()
            self._best.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def how_to_resume(self) -> str:
        """Where the last checkpoint is, and how to resume from it, if there is one."""
        return f"{self}{'' if self._saved is None else ' Repeat the command to resume.'}"

    def __str__(self) -> str:
        if self._is_elsewhere:
            return "Process 0 has the files of this run."
        if self.directory is None:
            return "Nothing was written: no directory was given."
        if self._saved is None:
            return f"There is no checkpoint yet in {self.directory}."
        return (
            f"The last good checkpoint, of step {self._saved}, is in "
            f"{self.directory / 'checkpoint'}."
        )


def _called(fn: Callable[[], Any]) -> Any:
    return fn()


def _as_json(key: Any) -> PyTree:
    return np.asarray(jax.random.key_data(key)).tolist()
