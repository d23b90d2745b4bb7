"""`evaluation.json`: the metric of a run and its baselines on held-out tasks."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._errors import MamlaxError
from .._files import write_json
from ._json import from_json, read_json, to_json

MAIN = "main"
"""The name of what a recipe trains, as opposed to the names of its baselines."""


@dataclass(frozen=True)
class CurvePoint:
    """A metric after some number of inner steps.

    Attributes:
        num_inner_steps: inner steps taken.
        mean: mean over tasks (and seeds); None if adaptation diverged on some task.
        ci95: half the width of the 95 % interval; None if there is none.
    """

    num_inner_steps: int
    mean: float | None
    ci95: float | None


Curve = list[CurvePoint]


def curve_of(points: Sequence[Any]) -> Curve:
    """Convert `mamlax.Point`s for writing: NaN becomes None."""
    return [
        CurvePoint(
            point.num_inner_steps,
            *(None if value != value else value for value in (point.mean, point.ci95)),
        )
        for point in points
    ]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The content of an `evaluation.json`.

    Attributes:
        recipe: the recipe's name.
        algorithm: the algorithm's name.
        metric: `"mse"`, `"accuracy"` or `"return"`.
        num_tasks: held-out tasks.
        num_seeds: seeds trained side by side.
        transductive: whether query examples influenced one another's predictions.
        outer_step: the outer step that was evaluated.
        curve: the metric after 0, 1, … inner steps.
        baselines: the curve of each baseline, by name.
        inner_learning_rates: step sizes of the inner loop, of "main" and of each baseline.
        published: published means after 0, 1, … inner steps, of "main" and of baselines; None if
            there are none for these tasks.
        seeds: with several seeds, the curve of each.
        non_transductive_curve: if `transductive`, the metric of the same parameters when query
            examples do not influence one another.
        success_curve: of policies, where the environment says when a task is solved: the share of
            episodes in which it was at any time, after 0, 1, … inner steps.
        kind_curves: of policies, where tasks are of a few kinds, as forward and backward: the curve
            of each kind, by name.
        held_out: settings of the problem that were not those of the recipe, as `shots`;
            None if there were none.
    """

    recipe: str
    algorithm: str
    metric: str
    num_tasks: int
    num_seeds: int
    transductive: bool
    outer_step: int
    curve: Curve
    baselines: dict[str, Curve]
    inner_learning_rates: dict[str, float]
    published: dict[str, list[float]] | None = None
    seeds: list[Curve] | None = None
    non_transductive_curve: Curve | None = None
    success_curve: Curve | None = None
    kind_curves: dict[str, Curve] | None = None
    held_out: dict[str, int | bool] | None = None


def evaluation_path(directory: Path) -> Path:
    """The path of a run's evaluation."""
    return directory / "evaluation.json"


def write_evaluation(directory: Path, evaluation: Evaluation) -> None:
    """Write the `evaluation.json` of a run directory, atomically."""
    write_json(evaluation_path(directory), to_json(evaluation))


def read_evaluation(directory: Path) -> Evaluation:
    """Read the `evaluation.json` of a run directory.

    Raises:
        MamlaxError: if there is none, or it is damaged; saying how to write it again.
    """
    path, remedy = evaluation_path(directory), rewrite_with(directory)
    if not path.exists():
        raise MamlaxError(f"{path} is missing: the run was not evaluated. {remedy}")
    value = read_json(path, remedy)
    for name in ("inner_learning_rates", "published"):  # "maml" is the name in mamlax 0.1.0
        if isinstance(value.get(name), dict) and "maml" in value[name]:
            value[name] = {MAIN: value[name].pop("maml"), **value[name]}
    return from_json(value, Evaluation, path, remedy)


def rewrite_with(directory: Path) -> str:
    """A sentence on how to write the results of a run again."""
    return f"Write it again with: mamlax evaluate {shlex.quote(str(directory))}"
