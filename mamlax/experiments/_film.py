"""A film of a run: the same tasks before and after each inner step, side by side."""

import shlex
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree

from .. import rl
from .._errors import MamlaxError
from ..config._recipe import PolicyRecipe, Recipe
from ..plots._film import write_film
from ..plots._style import after
from ..records._description import read_run
from ..records._evaluation import MAIN, evaluation_path
from ..records._examples import LocomotionExamples, read_examples
from ..rl.engines._renderer import render
from ._experiment import experiment_in
from ._method import draws
from ._metric import TEST_SEED
from ._result import restored_result

_FRAMES_PER_SECOND, _NUM_TASKS = 20, 4


def film(directory: Path, *, name: str = MAIN) -> Path:
    """Write `figures/film.gif`: a row for each task, a column for each number of inner steps.

    Bodies that run are filmed in the episodes of the run's figures. Other environments that can be
    drawn are played again, in tasks of the evaluation.

    Args:
        directory: a run directory of policies.
        name: "main" or the name of a baseline.

    Raises:
        MamlaxError: if the run has no episodes to show, its environment cannot be drawn, or the
            machine cannot render.
    """
    recipe = read_run(directory).recipe
    if not evaluation_path(directory).exists():
        raise MamlaxError(
            f"{directory} is not evaluated yet. Repeat its mamlax train to finish it, or evaluate "
            f"what there is: mamlax evaluate {shlex.quote(str(directory))}"
        )
    examples = read_examples(directory)
    if isinstance(examples, LocomotionExamples):
        return _film_of_body(directory, examples, name)
    return _film_of_environment(directory, recipe, name)


def _film_of_environment(directory: Path, recipe: Recipe, name: str) -> Path:
    """By playing it again."""
    experiment = experiment_in(directory) if isinstance(recipe, PolicyRecipe) else None
    if experiment is None or not hasattr(experiment.parts.test_tasks, "frames"):
        raise MamlaxError(
            f"{directory} is a run of {recipe.name}: only bodies that move can be filmed "
            "(half-cheetah, ant), and environments of Gymnasium (Meta-World)."
        )
    stage = experiment.stages.get(name)
    if stage is None:
        raise MamlaxError(
            f"{directory} has no policy called {name!r}; it has: {', '.join(experiment.stages)}."
        )
    result, env = restored_result(experiment, stage), stage.test_tasks
    adapt = experiment.method.adapter(
        stage.make_learner,
        env,
        experiment.seeds.first_of(result.params),
        result.inner_learning_rate,
    )
    which, counts = draws(TEST_SEED, _NUM_TASKS), range(recipe.evaluation.num_test_inner_steps + 1)
    every = max(1, round(1 / (_FRAMES_PER_SECOND * env.seconds_per_step)))
    played = []  # all are adapted before any is drawn
    for index in range(_NUM_TASKS):
        draw = jax.tree.map(lambda x, index=index: x[index], which)
        task = experiment.method.task(env, draw)
        played += [(draw.key, task, [adapt(draw.key, task, n).policy for n in counts])]
    panels = [
        [rl.record_frames(key, env, task, policy)[::every] for policy in policies]
        for key, task, policies in played
    ]
    titles = [[f"task {row + 1}, {after(n)}" for n in counts] for row in range(_NUM_TASKS)]
    longest = max(len(episode) for row in panels for episode in row)
    return write_film(
        directory / "figures" / "film.gif",
        [[_held(episode, longest) for episode in row] for row in panels],
        titles,
        milliseconds=round(1000 * every * env.seconds_per_step),
    )


def _held(episode: np.ndarray, count: int) -> np.ndarray:
    """With its last picture repeated."""
    return np.concatenate([episode, episode[-1:].repeat(count - len(episode), axis=0)])


def _film_of_body(directory: Path, examples: LocomotionExamples, name: str) -> Path:
    """Of the episodes of the figures."""
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
