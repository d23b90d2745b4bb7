"""Trained runs beside one another: the metric of each, and paired differences to the first.

Reads what `Experiment.evaluate` wrote; nothing here imports JAX.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .._errors import MamlaxError
from .._files import write_json
from ..training._evaluation import (
    as_json,
    num_diverged,
    paired_difference,
    summarize,
    unpaired_difference,
)
from ..training._run_directory import read_run
from ._catalog import RECIPES
from ._curves import Curves, read_curves


class EvaluatedRun(NamedTuple):
    """What a comparison needs of a run directory.

    Attributes:
        directory: where it was found.
        description: its `recipe.json`.
        evaluation: its `evaluation.json`.
        curves: its `curves.npz`.
    """

    directory: Path
    description: dict[str, Any]
    evaluation: dict[str, Any]
    curves: Curves

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by its flag's name, those of the problem among them, and the seed."""
        about = {name: self.description.get(name) for name in ("recipe", "seed")}
        settings = dict(self.description.get("settings", {}))
        settings.pop("problem", None)
        return {**about, **settings, **self.problem}

    @property
    def problem(self) -> dict[str, Any]:
        """The settings of its problem."""
        return self.description.get("settings", {}).get("problem", {})


def compare(directories: Sequence[Path], out: Path) -> dict[str, Any]:
    """Compare evaluated runs with the first of them, and write `comparison.json`.

    Differences are paired task by task where the held-out tasks are the same ones, and otherwise
    between means, with the reason.

    Args:
        directories: two run directories or more.
        out: the directory to write to.

    Returns:
        The comparison, as written.

    Raises:
        MamlaxError: if a directory holds no evaluated run, or the metrics differ.
    """
    _check_directories(directories, out)
    runs = [read_evaluated(directory) for directory in directories]
    first = runs[0]
    metric = first.evaluation["metric"]
    for run in runs[1:]:
        if run.evaluation["metric"] != metric:
            raise MamlaxError(
                f"{run.directory} was evaluated by {run.evaluation['metric']}, {first.directory} "
                f"by {metric}: there is nothing to compare. Choose runs of one kind of problem."
            )
    names, settings = names_of(directories), different_settings([run.settings for run in runs])
    comparison = {
        "metric": metric,
        "runs": [
            {
                "name": name,
                "directory": str(run.directory),
                "settings": told,
                **{key: run.evaluation[key] for key in _SHOWN},
                "curve": as_json(summarize(run.curves.metric["maml"])),
                "num_diverged": num_diverged(run.curves.metric["maml"]),
            }
            for name, told, run in zip(names, settings, runs, strict=True)
        ],
        "differences": [
            {"name": name, "to": names[0], **_difference(run, first)}
            for name, run in zip(names[1:], runs[1:], strict=True)
        ],
    }
    write_json(out / "comparison.json", comparison)
    return comparison


_SHOWN = ("num_tasks", "num_seeds", "transductive")


def read_evaluated(directory: Path) -> EvaluatedRun:
    """Read what a comparison needs of a run directory.

    Raises:
        MamlaxError: if it holds no evaluated run, naming the command that makes it one.
    """
    description = read_run(directory)
    path = directory / "evaluation.json"
    again = f"Write it with: mamlax evaluate {directory}"
    if not path.exists():
        raise MamlaxError(f"{path} is missing: the run was not evaluated. {again}")
    try:
        evaluation = json.loads(path.read_text())
        means = [point["mean"] for point in evaluation["curve"]]
        evaluation = {**evaluation, **{key: evaluation[key] for key in ("metric", *_SHOWN)}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MamlaxError(f"{path} is damaged ({error!r}). {again}") from error
    curves = read_curves(directory)
    kept = [point.mean for point in summarize(curves.metric["maml"])]
    if len(kept) != len(means) or not all(map(_agree, kept, means)):
        # as after an evaluation that was stopped between the two
        raise MamlaxError(
            f"{directory / 'curves.npz'} and {path} are of different evaluations. Write both "
            f"with: mamlax evaluate {directory}"
        )
    return EvaluatedRun(directory, description, evaluation, curves)


def names_of(directories: Sequence[Path]) -> list[str]:
    """What tells run directories apart: their paths, without the folder common to all."""
    paths = [directory.resolve() for directory in directories]
    common = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(common).as_posix() for path in paths]


def different_settings(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each run, the settings that not all have alike; those it does not have are left out."""
    names = dict.fromkeys(name for one in settings for name in one)
    differing = [
        name
        for name in names
        if any(name not in one or one[name] != settings[0].get(name) for one in settings)
    ]
    return [{name: one[name] for name in differing if name in one} for one in settings]


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


def _difference(run: EvaluatedRun, first: EvaluatedRun) -> dict[str, Any]:
    why = _why_unpaired(run, first)
    difference = paired_difference if why is None else unpaired_difference
    points = difference(run.curves.metric["maml"], first.curves.metric["maml"])
    return {"paired": why is None, "why_unpaired": why, "curve": as_json(points)}


def _why_unpaired(run: EvaluatedRun, first: EvaluatedRun) -> str | None:
    """What makes the held-out tasks of two runs others; None if they are the same."""
    ours, theirs = (one.description.get("recipe") for one in (run, first))
    if _kind_of(ours) != _kind_of(theirs):
        return f"it is another problem ({ours}, not {theirs}): the difference means little"
    count, expected = (one.evaluation["num_tasks"] for one in (run, first))
    if count != expected:
        return (
            f"evaluated on {count} held-out tasks, the first on {expected}; "
            f"mamlax evaluate {run.directory} --num-tasks {expected} would make them the same"
        )
    ours, theirs = different_settings([run.problem, first.problem])
    told = ", ".join(f"{name}: {ours.get(name)}, not {theirs.get(name)}" for name in ours | theirs)
    if not run.curves.same_tasks(first.curves):
        return "its held-out tasks are others" + (f" ({told})" if told else "")
    # the return in the same task is another where episodes are longer or rewards sparser
    if run.evaluation["metric"] == "return" and told:
        return f"its environment is another ({told})"
    return None


def _kind_of(recipe: str | None) -> Any:
    """What problems are of one kind: their settings have the same meaning."""
    return type(RECIPES[recipe].problem) if recipe in RECIPES else recipe


def _agree(kept: float, written: float | None) -> bool:
    if written is None:
        return math.isnan(kept)
    return math.isclose(kept, written, rel_tol=1e-6)
