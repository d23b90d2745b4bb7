"""Compare evaluated runs: the metric of each, and paired differences to the first.

Nothing here imports JAX.
"""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._errors import MamlaxError
from .._files import Json
from ..config._settings import Settings
from ..records._comparison import ComparedRun, Comparison, Difference, write_comparison
from ..records._curves import Curves, read_curves
from ..records._description import RunDescription, read_run
from ..records._evaluation import (
    MAIN,
    Evaluation,
    curve_of,
    evaluation_path,
    read_evaluation,
    rewrite_with,
)
from ..training._evaluation import (
    num_diverged,
    paired_difference,
    summarize,
    unpaired_difference,
)


class EvaluatedRun(NamedTuple):
    """The files of a run directory that a comparison needs.

    Attributes:
        directory: the run directory.
        description: its `recipe.json`.
        evaluation: its `evaluation.json`.
        curves: its `curves.npz`.
    """

    directory: Path
    description: RunDescription
    evaluation: Evaluation
    curves: Curves

    @property
    def main(self) -> Any:
        """The metric of what the recipe trained, in each task."""
        return self.curves.metric[MAIN]

    @property
    def problem(self) -> Settings:
        """The settings of its problem."""
        return self.description.recipe.problem


def compare(directories: Sequence[Path], out: Path) -> Comparison:
    """Compare evaluated runs with the first of them, and write `comparison.json`.

    Differences are paired task by task if the held-out tasks are the same. If not, they are
    differences of means, and the reason is given.

    Args:
        directories: two run directories or more.
        out: the directory to write to.

    Returns:
        The comparison, as written.

    Raises:
        MamlaxError: if a directory holds no evaluated run, or if metrics differ.
    """
    _check_directories(directories, out)
    runs = [read_evaluated(directory) for directory in directories]
    first = runs[0]
    for run in runs[1:]:
        if run.evaluation.metric != first.evaluation.metric:
            raise MamlaxError(
                f"{run.directory} was evaluated by {run.evaluation.metric}, {first.directory} by "
                f"{first.evaluation.metric}: there is nothing to compare. Choose runs of one kind "
                "of problem."
            )
    names = names_of(directories)
    settings = different_settings([_settings_of(run.description) for run in runs])
    comparison = Comparison(
        metric=first.evaluation.metric,
        runs=[
            ComparedRun(
                name=name,
                directory=str(run.directory),
                settings=own,
                num_tasks=run.evaluation.num_tasks,
                num_seeds=run.evaluation.num_seeds,
                transductive=run.evaluation.transductive,
                curve=curve_of(summarize(run.main)),
                num_diverged=num_diverged(run.main),
            )
            for name, own, run in zip(names, settings, runs, strict=True)
        ],
        differences=[
            _difference(name, run, names[0], first)
            for name, run in zip(names[1:], runs[1:], strict=True)
        ],
    )
    write_comparison(out, comparison)
    return comparison


def read_evaluated(directory: Path) -> EvaluatedRun:
    """Read the files of a run directory that a comparison needs.

    Raises:
        MamlaxError: if it holds no evaluated run; names the command that evaluates it.
    """
    description = read_run(directory)
    evaluation, curves = read_evaluation(directory), read_curves(directory)
    kept = [point.mean for point in summarize(curves.metric[MAIN])]
    written = [point.mean for point in evaluation.curve]
    if len(kept) != len(written) or not all(map(_agree, kept, written)):
        # for example, an evaluation was stopped between writing the two files
        raise MamlaxError(
            f"{directory / 'curves.npz'} and {evaluation_path(directory)} are of different "
            f"evaluations. {rewrite_with(directory)}"
        )
    return EvaluatedRun(directory, description, evaluation, curves)


def names_of(directories: Sequence[Path]) -> list[str]:
    """Short unique names of run directories: their paths relative to the folder common to all."""
    paths = [directory.resolve() for directory in directories]
    common = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(common).as_posix() for path in paths]


def different_settings(settings: Sequence[Mapping[str, Any]]) -> list[Json]:
    """For each run, those of its settings that differ between runs or that some runs lack."""
    names = dict.fromkeys(name for one in settings for name in one)
    differing = [
        name
        for name in names
        if any(name not in one or one[name] != settings[0].get(name) for one in settings)
    ]
    return [{name: one[name] for name in differing if name in one} for one in settings]


def _settings_of(run: RunDescription) -> Json:
    """The recipe, the seed and every setting by its name."""
    return {"recipe": run.recipe.name, "seed": run.seed, **run.recipe.settings}


def _check_directories(directories: Sequence[Path], out: Path) -> None:
    if len(directories) < 2:
        raise MamlaxError(
            f"a comparison needs two run directories or more, got {len(directories)}. "
            "Write: mamlax compare RUN RUN"
        )
    paths = [directory.resolve() for directory in directories]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise MamlaxError(f"{directories[place]} was given twice. Name each run once.")
    if (out / "recipe.json").exists():
        raise MamlaxError(f"{out} is a run directory. Choose another with --out.")
    if out.exists() and not out.is_dir():
        raise MamlaxError(f"{out} is a file. Choose a directory with --out.")


def _difference(name: str, run: EvaluatedRun, to: str, first: EvaluatedRun) -> Difference:
    why = _why_unpaired(run, first)
    difference = paired_difference if why is None else unpaired_difference
    return Difference(
        name=name,
        to=to,
        paired=why is None,
        why_unpaired=why,
        curve=curve_of(difference(run.main, first.main)),
    )


def _why_unpaired(run: EvaluatedRun, first: EvaluatedRun) -> str | None:
    """Why tasks cannot be compared one by one; None if the held-out tasks are the same."""
    if type(run.problem) is not type(first.problem):
        ours, theirs = (one.description.recipe.name for one in (run, first))
        return f"it is another problem ({ours}, not {theirs}): the difference means little"
    count, expected = (one.evaluation.num_tasks for one in (run, first))
    if count != expected:
        return (
            f"evaluated on {count} held-out tasks, the first on {expected}; "
            f"mamlax evaluate {shlex.quote(str(run.directory))} --num-tasks {expected} would make "
            "them the same"
        )
    ours, theirs = different_settings([vars(run.problem), vars(first.problem)])
    listed = ", ".join(f"{name}: {ours[name]}, not {theirs[name]}" for name in ours)
    if not run.curves.same_tasks(first.curves):
        return "its held-out tasks are different" + (f" ({listed})" if listed else "")
    # returns of the same task differ if episodes are longer or rewards sparser
    if run.evaluation.metric == "return" and listed:
        return f"its environment is different ({listed})"
    return None


def _agree(kept: float, written: float | None) -> bool:
    if written is None:
        return math.isnan(kept)
    return math.isclose(kept, written, rel_tol=1e-6)
