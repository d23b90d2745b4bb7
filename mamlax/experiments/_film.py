"""A film of a run: the same tasks before and after each inner step, side by side."""

from pathlib import Path

import numpy as np
from jaxtyping import PyTree

from .._errors import MamlaxError
from ..plots._film import write_film
from ..plots._style import after
from ..records._description import read_run
from ..records._evaluation import MAIN, evaluation_path
from ..records._examples import LocomotionExamples, read_examples
from ..rl.engines._renderer import render

_FRAMES_PER_SECOND = 20


def film(directory: Path, *, name: str = MAIN) -> Path:
    """Write `figures/film.gif`: a row for each task, a column for each number of inner steps.

    Args:
        directory: a run directory of locomotion.
        name: "main" or the name of a baseline.

    Raises:
        MamlaxError: if the run has no episodes to show, or the machine cannot render.
    """
    recipe = read_run(directory).recipe
    if not evaluation_path(directory).exists():
        raise MamlaxError(
            f"{directory} is not evaluated yet. Repeat its mamlax train to finish it, or evaluate "
            f"what there is: mamlax evaluate {directory}"
        )
    examples = read_examples(directory)
    if not isinstance(examples, LocomotionExamples):
        raise MamlaxError(
            f"{directory} is a run of {recipe.name}: only bodies that move can be filmed, those of "
            "half-cheetah and ant."
        )
    if name not in examples.positions:
        raise MamlaxError(
            f"{directory} has no episodes of {name!r} to show; it has those of: "
            f"{', '.join(sorted(examples.positions))}."
        )
    every = max(1, round(1 / (_FRAMES_PER_SECOND * examples.seconds_per_step)))
    panels = [
        [np.stack(list(render(examples.model, episode[::every]))) for episode in episodes]
        for episodes in examples.positions[name]  # [tasks, steps, time, coordinates]
    ]
    titles = [
        [f"{_goal(examples.goal, task)}, {after(count)}" for count in examples.num_steps]
        for task in examples.tasks
    ]
    return write_film(
        directory / "figures" / "film.gif",
        panels,
        titles,
        milliseconds=round(1000 * every * examples.seconds_per_step),
    )


def _goal(goal: str, task: PyTree) -> str:
    """The goal of a task, in words."""
    if goal == "direction":
        return "forward" if task > 0 else "backward"
    if goal == "velocity":
        return f"{float(task):.1f} m/s"
    return "to ({:.1f}, {:.1f}) m".format(*task)
