"""What a run leaves on disk, its log and its checkpoints; nothing, where it has no directory."""

from pathlib import Path
from typing import Any, NamedTuple

from ._checkpoint import Checkpoints, Restored
from ._metrics import append_metrics, keep_metrics_until


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
    state: Any
    best_value: float | None
    best_step: int
    best_state: Any


class Record:
    """The files of one run.

    Args:
        directory: where they lie; None: nowhere.
    """

    def __init__(self, directory: str | Path | None):
        self.directory = None if directory is None else Path(directory)
        self._saved: int | None = None
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._latest = Checkpoints(self.directory / "checkpoint" / "latest")
            self._best = Checkpoints(self.directory / "checkpoint" / "best", keep=1)

    def progress(self, state: Any) -> Progress | None:
        """The last checkpoint, in the structure of `state`; None if there is none.

        Raises:
            MamlaxError: if checkpoints exist but cannot be used.
        """
        if self.directory is None or (restored := self._latest.restore(state)) is None:
            return None
        self._saved = restored.step
        best = restored.info["best"]
        if best is None:
            return Progress(restored.step, restored.state, None, restored.step, restored.state)
        # after a crash the best one may be newer than the latest; it will be found again
        kept: Restored = self._best.restore(state) or restored
        return Progress(restored.step, restored.state, best, kept.step, kept.state)

    def resume(self, state: Any) -> Progress:
        """The last checkpoint, or the beginning; log lines after it are dropped."""
        progress = self.progress(state) or Progress(0, state, None, 0, state)
        if self.directory is not None:
            keep_metrics_until(self.directory / "metrics.jsonl", progress.step)
        return progress

    def log(self, line: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        if self.directory is not None:
            append_metrics(self.directory / "metrics.jsonl", line)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, unless this step has one."""
        if self.directory is not None and self._saved != progress.step:
            self._latest.save(progress.step, progress.state, {"best": progress.best_value})
            self._saved = progress.step

    def save_best(self, progress: Progress) -> None:
        """Write the best state so far."""
        if self.directory is not None:
            self._best.save(progress.best_step, progress.best_state, {})

    def close(self) -> None:
        """Release the files."""
        if self.directory is not None:
            self._latest.close()
            self._best.close()

    def __str__(self) -> str:
        if self.directory is None:
            return "Nothing was written: no directory was given."
        if self._saved is None:
            return f"There is no checkpoint yet in {self.directory}."
        return (
            f"The last good checkpoint, of step {self._saved}, is in "
            f"{self.directory / 'checkpoint'}."
        )
