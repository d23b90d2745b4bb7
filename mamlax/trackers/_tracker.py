"""What a tracker is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from ..records._evaluation import MAIN

Status: TypeAlias = Literal["finished", "interrupted", "failed"]
"""How a run ended: by itself, by Ctrl-C, a signal or a tracker, or by an error."""


class TrackedRun(NamedTuple):
    """What a tracker is told of a run when it starts.

    Attributes:
        name: what to call it: its directory.
        directory: its directory.
        settings: the recipe's settings, or what else is worth comparing; values that JSON has.
        ids: what `start` returned when this run was first tracked; empty if it was not.
    """

    name: str
    directory: Path
    settings: Mapping[str, Any]
    ids: Mapping[str, str] = {}


@runtime_checkable
class Tracker(Protocol):
    """Where a run can be watched. Subclasses override what they have a use for.

    A tracker is a sink: whatever one of its methods raises becomes a warning, the tracker is left
    out for the rest of the run, and training goes on. The exceptions named in `raises` are the one
    way for a tracker to end a run on purpose, as a search that prunes does. They reach the caller
    of `mamlax.train`; the run directory stays one that can be resumed.

    Attributes:
        name: what it is called in messages and in `trackers.json`; no two of a run share one.
        raises: exceptions that are meant to end the run, e.g. `(optuna.TrialPruned,)`.

    Example:
        >>> import mamlax
        >>> class Loss(mamlax.trackers.Tracker):
        ...     name = "loss"
        ...     def log(self, series, step, values):
        ...         print(f"{series} {step}: {values['train/query_loss']}")
        >>> isinstance(Loss(), mamlax.trackers.Tracker)
        True
    """

    name: str
    raises: tuple[type[Exception], ...] = ()

    def start(self, run: TrackedRun) -> Mapping[str, str]:
        """The run starts or resumes.

        Args:
            run: the run.

        Returns:
            What finds the tracked run again: `run.ids` of the next start.
        """
        return {}

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Some numbers at a step.

        Args:
            series: what they belong to; each series counts its own steps. `"main"` and the names of
                baselines count outer steps; `"evaluation/main"` and the like, at the end, count
                inner steps.
            step: the step.
            values: by name, e.g. `"train/query_loss"`; NaN or infinite where adaptation diverged.
        """

    def figure(self, name: str, path: Path) -> None:
        """A figure was drawn.

        Args:
            name: e.g. `"learning_curve"`.
            path: a PNG.
        """

    def finish(self, status: Status) -> None:
        """The run has ended, for now if it was interrupted.

        Args:
            status: how it ended.
        """


def full_name(series: str, name: str) -> str:
    """The name of a number where all series share one list; that of the main series stays short.

    >>> full_name("main", "train/query_loss"), full_name("pretrained", "train/query_loss")
    ('train/query_loss', 'pretrained/train/query_loss')
    """
    return name if series == MAIN else f"{series}/{name}"
