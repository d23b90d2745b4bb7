"""`comparison.json`: several runs, and the difference of each to the first."""

from dataclasses import dataclass
from pathlib import Path

from .._errors import MamlaxError
from .._files import Json, write_json
from ._evaluation import Curve
from ._json import from_json, read_json, to_json


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One of the runs.

    Attributes:
        name: a short unique name of its directory.
        directory: its directory.
        settings: the settings in which runs differ, by name.
        num_tasks: held-out tasks.
        num_seeds: seeds trained side by side.
        transductive: whether query examples influenced one another's predictions.
        curve: the metric after 0, 1, … inner steps.
        num_diverged: number of tasks on which adaptation had diverged after 0, 1, … inner steps.
    """

    name: str
    directory: str
    settings: Json
    num_tasks: int
    num_seeds: int
    transductive: bool
    curve: Curve
    num_diverged: list[int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The metric of a run minus that of the first.

    Attributes:
        name: name of the run.
        to: name of the first run.
        paired: whether tasks were compared one by one.
        why_unpaired: the reason if they were not.
        curve: the difference after 0, 1, … inner steps.
    """

    name: str
    to: str
    paired: bool
    why_unpaired: str | None
    curve: Curve


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The content of a `comparison.json`.

    Attributes:
        metric: the metric by which runs are compared.
        runs: all runs.
        differences: the difference of each run after the first.
    """

    metric: str
    runs: list[ComparedRun]
    differences: list[Difference]


def write_comparison(directory: Path, comparison: Comparison) -> None:
    """Write a `comparison.json`, atomically."""
    write_json(directory / "comparison.json", to_json(comparison))


def read_comparison(directory: Path) -> Comparison:
    """Read a `comparison.json`.

    Raises:
        MamlaxError: if there is none, or it is damaged.
    """
    path, remedy = directory / "comparison.json", "Write it again with: mamlax compare RUN RUN"
    if not path.exists():
        raise MamlaxError(f"{path} is missing. {remedy}")
    return from_json(read_json(path, remedy), Comparison, path, remedy)
