"""The result of a stage: its parameters and its inner step size."""

from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from .._errors import MamlaxError, warn
from .._processes import of_each
from ..training._record import Record
from ..training._run import Run, restore_run
from ._experiment import Experiment, initial_params, loop_of
from ._metric import VALIDATION_SEED
from ._stage import Stage

STEP_SIZE_FACTORS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
NUM_TUNING_TASKS = 100


class StageResult(NamedTuple):
    """What a stage has learned.

    Attributes:
        params: the parameters; with several seeds, they have a leading axis.
        inner_learning_rate: the step size they are adapted with.
        outer_step: the outer step at which they were taken.
    """

    params: PyTree
    inner_learning_rate: float
    outer_step: int


def restored_result(
    experiment: Experiment, stage: Stage, *, inner_learning_rate: float | None = None
) -> StageResult:
    """The result of a stage from its checkpoints.

    Args:
        experiment: the run.
        stage: one of its stages.
        inner_learning_rate: of a baseline; None: it is chosen on validation tasks.

    Raises:
        MamlaxError: if it has no checkpoint, or none can be read.
    """
    return result_of(experiment, stage, _restored(experiment, stage), inner_learning_rate)


def result_of(
    experiment: Experiment,
    stage: Stage,
    trained: Run | None,
    inner_learning_rate: float | None = None,
) -> StageResult:
    """The result of a stage: the best state of its training, or its initialization."""
    if trained is None:
        params, outer_step = initial_params(experiment, stage), 0
    else:
        params, outer_step = trained.best_state.meta_params, trained.best_step
    params = finished(experiment, stage, params)
    rate = experiment.recipe.algorithm.inner_learning_rate
    if stage.is_baseline and inner_learning_rate is not None:
        rate = inner_learning_rate
    elif stage.is_baseline:
        rate = _best_step_size(experiment, stage, params, rate)
    return StageResult(params, rate, outer_step)


def finished(experiment: Experiment, stage: Stage, params: PyTree) -> PyTree:
    """Parameters as they are validated and evaluated."""
    init_key, _ = experiment.seeds.keys(stage.key_index)
    return experiment.seeds.each(stage.finish)(init_key, params)


def validation_score(
    experiment: Experiment,
    stage: Stage,
    params: PyTree,
    inner_learning_rate: float,
    num_inner_steps: int,
    num_tasks: int,
) -> float:
    """The mean metric after `num_inner_steps` on validation tasks."""
    curves = experiment.curves_of(
        stage.make_learner, experiment.parts.metric_fn, num_inner_steps, num_tasks
    )
    values = curves(params, inner_learning_rate, stage.validation_tasks, VALIDATION_SEED)
    return float(np.mean(values[..., -1]))


def _best_step_size(experiment: Experiment, stage: Stage, params: PyTree, rate: float) -> float:
    """The step size of a baseline's fine-tuning, chosen on validation tasks."""
    rates = [factor * rate for factor in STEP_SIZE_FACTORS]
    steps = experiment.recipe.evaluation.num_tuning_inner_steps
    experiment.announce(f"{stage.name}: choosing an inner learning rate")
    scores = [
        validation_score(experiment, stage, params, one, steps, NUM_TUNING_TASKS) for one in rates
    ]
    scores = of_each(scores)[0]  # machines of several kinds round in several ways
    best = rates[(np.nanargmax if experiment.parts.maximize else np.nanargmin)(scores)]
    if best == 0.0:
        experiment.announce(f"{stage.name}: no inner learning rate helps; it stays unadapted")
    return best


def _restored(experiment: Experiment, stage: Stage) -> Run | None:
    """What a stage's checkpoints hold; None if it has nothing to train."""
    if stage.train_tasks is None:
        return None
    if not Record(stage.directory, is_shared=True).has_checkpoint:
        raise MamlaxError(_unfinished(experiment, stage, 0))
    restored = restore_run(
        loop_of(experiment, stage, on_one_device=True),
        initial_params(experiment, stage),
        stage.directory,
        seeds=experiment.seeds.count > 1,
        is_shared=True,
    )
    if restored.step < stage.num_outer_steps:
        unfinished = _unfinished(experiment, stage, restored.step)
        warn(f"{unfinished} This is what there is so far.", stacklevel=2)
    return restored


def _unfinished(experiment: Experiment, stage: Stage, taken: int) -> str:
    return (
        f"{experiment.directory} is unfinished: {stage.shown} has taken {taken} of "
        f"{stage.num_outer_steps} outer steps. Repeat its mamlax train to finish it."
    )
