"""What a tracker is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from ..records._evaluation import MAIN

Status: TypeAlias = Literal["finished", "interrupted", "failed"]
"""How a run ended: normally; by Ctrl-C, a signal or a tracker; or by an error."""


class TrackedRun(NamedTuple):
    """The description of a run that a tracker gets when the run starts.

    Attributes:
        name: name of the run: its directory.
        directory: the run directory.
        settings: the recipe's settings, or other settings to compare; values must be JSON.
        ids: the result of `start` when this run was first tracked; empty if it was not.
    """

    name: str
    directory: Path
    settings: Mapping[str, Any]
    ids: Mapping[str, str] = {}


@runtime_checkable
class Tracker(Protocol):
    """Base class of experiment trackers. Subclasses override the methods they need.

    A tracker cannot break a run: if one of its methods raises, this becomes a warning, the tracker
    is not used for the rest of the run, and training continues. Only the exceptions in `raises` can
    end a run on purpose, e.g. when a hyperparameter search prunes it. They reach the caller of
    `mamlax.train`; the run directory can still be resumed.

    Attributes:
        name: name of the tracker in messages and in `trackers.json`; unique among the trackers of a
            run.
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
        """Called when the run starts or resumes.

        Args:
            run: the run.

        Returns:
            Ids with which to find the tracked run again. They are `run.ids` at the next start.
        """
        return {}

    def log(self, series: str, step: int, values: Mapping[str, float]) -> None:
        """Called with the values of a step.

        Args:
            series: the series that the values belong to. Each series counts its own steps: `"main"`
                and the names of baselines count outer steps; `"evaluation/main"` and similar
                series, at the end of a run, count inner steps.
            step: the step.
            values: values by name, e.g. `"train/query_loss"`; NaN or infinite where adaptation
                diverged.
        """

    def figure(self, name: str, path: Path) -> None:
        """Called when a figure was drawn.

        Args:
            name: name of the figure, e.g. `"learning_curve"`.
            path: the PNG file.
        """

    def finish(self, status: Status) -> None:
        """Called when the run has ended or was interrupted.

        Args:
            status: how it ended.
        """


def full_name(series: str, name: str) -> str:
    """The name of a value if all series share one list; names of the main series stay short.

    >>> full_name("main", "train/query_loss"), full_name("pretrained", "train/query_loss")
    ('train/query_loss', 'pretrained/train/query_loss')
    """
    return name if series == MAIN else f"{series}/{name}"
