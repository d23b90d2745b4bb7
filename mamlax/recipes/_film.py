"""A film of a run: the same tasks before and after each inner step, side by side."""

from pathlib import Path
from typing import Any

import numpy as np

from .._errors import MamlaxError
from ..plots._film import write_film
from ..plots._style import after
from ..rl.engines._renderer import render
from ..training._run_directory import read_run
from ._catalog import RECIPES

_FRAMES_PER_SECOND = 20


def film(directory: Path, *, name: str = "maml") -> Path:
    """Write `figures/film.gif`: a row for each task, a column for each number of inner steps.

    Args:
        directory: a run directory of animals.
        name: "maml", or a baseline that it was compared with.

    Raises:
        MamlaxError: if the run has no episodes to show, or nothing can be drawn here.
    """
    recipe = RECIPES.get(read_run(directory)["recipe"])
    if recipe is None or not hasattr(recipe.problem, "engine"):
        raise MamlaxError(f"{directory} is no run of animals, and only these can be filmed.")
    path = directory / "examples.npz"
    if not (directory / "evaluation.json").exists():
        raise MamlaxError(
            f"{directory} is not evaluated yet. Repeat its mamlax train to finish it, or evaluate "
            f"what there is: mamlax evaluate {directory}"
        )
    examples = {}
    if path.exists():
        with np.load(path) as arrays:
            examples = dict(arrays)
    if f"{name}/positions" not in examples:
        shown = sorted(key.split("/")[0] for key in examples if key.endswith("/positions"))
        raise MamlaxError(
            f"{directory} has no episodes of {name!r} to show; it has those of: "
            f"{', '.join(shown) or 'nothing'}."
        )
    positions = examples[f"{name}/positions"]  # [tasks, steps, time, nq]
    seconds_per_step = float(examples["seconds_per_step"])
    every = max(1, round(1 / (_FRAMES_PER_SECOND * seconds_per_step)))
    model, goal = str(examples["model"]), str(examples["goal"])
    panels = [
        [np.stack(list(render(model, episode[::every]))) for episode in episodes]
        for episodes in positions
    ]
    titles = [
        [f"{_asked(goal, task)}, {after(count)}" for count in examples["num_steps"]]
        for task in examples["tasks"]
    ]
    return write_film(
        directory / "figures" / "film.gif",
        panels,
        titles,
        milliseconds=round(1000 * every * seconds_per_step),
    )


def _asked(goal: str, task: Any) -> str:
    if goal == "direction":
        return "forward" if task > 0 else "backward"
    if goal == "velocity":
        return f"{float(task):.1f} m/s"
    return "to ({:.1f}, {:.1f}) m".format(*task)
