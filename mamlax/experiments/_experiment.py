"""An experiment: the objects that a recipe describes, for training, evaluation and planning."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from .._errors import MamlaxError
from .._processes import from_first
from .._types import OuterLoop
from ..algorithms._over_tasks import check_micro_batches
from ..config._recipe import PolicyRecipe, Recipe, SupervisedRecipe
from ..records._description import read_run
from ._mesh import mesh_for, tasks_at_once
from ._method import Method
from ._metric import CurvesOf, curves_program
from ._policy_search import PolicySearch
from ._seeds import Seeds
from ._stage import Stage, stages_of
from ._supervised import Supervised
from .problems._build import parts_of
from .problems._parts import Parts, PolicyParts, SupervisedParts

Announce = Callable[[str], None]
_AFTER_TRAINING = (
    "test_ways",
    "shots",
    "num_query",
    "within_alphabet",
    "mirrored_features",
    "centered_features",
)
"""Settings of a problem that its training does not depend on, or need not."""


def silent(*_: Any) -> None:
    """An `announce` or `report` that does nothing."""


class Experiment(NamedTuple):
    """The objects that a recipe describes, and its run directory.

    Attributes:
        recipe: the settings.
        parts: the problem.
        method: how its tasks are learned.
        stages: what is trained and compared, by name, "main" first.
        directory: the run directory.
        seeds: which seeds.
        curves_of: the compiled evaluation; see `curves_program`.
        announce: called with the name of each phase before it starts; some compile for minutes.
    """

    recipe: Recipe
    parts: Parts
    method: Method
    stages: dict[str, Stage]
    directory: Path
    seeds: Seeds
    curves_of: CurvesOf
    announce: Announce


def experiment_of(
    recipe: Recipe,
    parts: Parts,
    directory: Path,
    *,
    seed: int = 0,
    num_seeds: int = 1,
    announce: Announce = silent,
) -> Experiment:
    """Make the experiment of a recipe; nothing is written yet.

    Args:
        recipe: the settings.
        parts: the parts of its problem.
        directory: the run directory.
        seed: the (first) seed.
        num_seeds: seeds trained side by side in one program.
        announce: called with the name of each phase before it starts.

    Raises:
        MamlaxError: if settings do not fit one another.
    """
    method = _method_of(recipe, parts)
    seeds = Seeds(seed, num_seeds)
    return Experiment(
        recipe,
        parts,
        method,
        stages_of(recipe, parts, method, directory),
        directory,
        seeds,
        curves_program(method, seeds, recipe.training.num_devices),
        announce,
    )


def experiment_in(
    directory: Path, data_dir: str | None = None, announce: Announce = silent, **problem: Any
) -> Experiment:
    """The experiment of the run in a directory.

    Args:
        directory: the run directory.
        data_dir: where data sets are.
        announce: called with the name of each phase before it starts.
        **problem: settings of its problem, in the place of those trained with.

    Raises:
        MamlaxError: if it holds no run, or `problem` is no setting of its problem.
    """
    run = from_first(lambda: read_run(directory))
    recipe, settings = run.recipe, {field.name for field in fields(run.recipe.problem)}
    if strange := problem.keys() - settings:
        raise MamlaxError(recipe.no_such_setting(strange.pop()))
    if others := problem.keys() - set(_AFTER_TRAINING):
        known = ", ".join(name for name in _AFTER_TRAINING if name in settings)
        raise MamlaxError(
            f"{others.pop()} cannot be another than in training: it says which data was learned "
            f"from, or what the network is. Only {known or 'no settings'} can be changed."
        )
    if (recipe.training.num_devices or 0) > jax.local_device_count():  # of another machine
        problem["num_devices"] = None
    recipe = recipe.changed(**problem)
    return experiment_of(
        recipe,
        parts_of(recipe, data_dir),
        directory,
        seed=run.seed,
        num_seeds=run.num_seeds,
        announce=announce,
    )


def _method_of(recipe: Recipe, parts: Parts) -> Method:
    match recipe, parts:
        case SupervisedRecipe(), SupervisedParts():
            return Supervised(recipe, parts)
        case PolicyRecipe(), PolicyParts():
            return PolicySearch(recipe, parts)
    raise TypeError(f"{type(recipe).__name__} cannot be learned from {type(parts).__name__}.")


def loop_of(experiment: Experiment, stage: Stage, *, on_one_device: bool = False) -> OuterLoop:
    """The outer loop that trains a stage.

    Args:
        experiment: the experiment.
        stage: one of its stages.
        on_one_device: of this process, e.g. to read checkpoints; else on those of the recipe.

    Raises:
        ValueError: if the stage has nothing to train.
    """
    if stage.train_tasks is None:
        raise ValueError(f"{stage.name} has nothing to train.")
    training = experiment.recipe.training
    mesh = None if on_one_device else mesh_for(training.meta_batch_size, training.num_devices)
    if stage.is_baseline:
        return experiment.method.baseline_loop(stage.train_tasks, stage.num_outer_steps, mesh)
    return experiment.method.main_loop(mesh)


def initial_params(experiment: Experiment, stage: Stage) -> PyTree:
    """The initial parameters of a stage, for every seed."""
    init_key, _ = experiment.seeds.keys(stage.key_index)
    return experiment.seeds.each(stage.init_params)(init_key)


def check(experiment: Experiment) -> None:
    """Check that the experiment can be trained.

    Raises:
        MamlaxError: if settings do not fit one another.
    """
    training = experiment.recipe.training
    num_tasks = training.meta_batch_size
    mesh = mesh_for(num_tasks, training.num_devices)
    num_devices = 1 if mesh is None else mesh.size
    if num_tasks % jax.process_count():
        raise MamlaxError(
            f"meta_batch_size={num_tasks} does not divide over {jax.process_count()} processes. "
            f"Give a multiple of {jax.process_count()}."
        )
    asked = training.num_devices
    if asked is not None and num_devices != asked * jax.process_count():
        raise MamlaxError(f"{num_tasks} tasks do not divide over num_devices={asked}.")
    try:
        check_micro_batches(num_tasks // num_devices, tasks_at_once(training))
        for stage in experiment.stages.values():
            if stage.train_tasks is not None:
                loop_of(experiment, stage)
    except (ValueError, TypeError) as error:
        raise MamlaxError(str(error)) from error
