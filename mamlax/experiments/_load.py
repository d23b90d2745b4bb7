"""Load a trained run."""

from pathlib import Path
from typing import NamedTuple

from jaxtyping import PyTree

from .._types import MetaLearner
from ..records._evaluation import MAIN
from ..rl import PolicyLearner
from ._experiment import Experiment, experiment_in
from ._result import StageResult, restored_result
from .problems._parts import Parts


class LoadedRun(NamedTuple):
    """A trained run, ready to use.

    Attributes:
        learner: `learner.adapt(params, support).params` adapts; for policies
            `learner.explore(key, params, task)`, which also returns the episodes used.
        params: the meta-learned initialization; with several seeds, that of the first.
        parts: the problem it was trained on: task distributions, loss and metric.
    """

    learner: MetaLearner | PolicyLearner
    params: PyTree
    parts: Parts


def load_run(directory: str | Path, *, data_dir: str | None = None) -> LoadedRun:
    """Load what a run of `mamlax train` has learned, to adapt it to your own tasks.

    Args:
        directory: the run directory.
        data_dir: where data sets are; see `omniglot`.

    Raises:
        MamlaxError: if the directory holds no trained run.

    Example:
        After `mamlax train sinusoid`::

            loaded = mamlax.load_run("runs/sinusoid/0")
            model = loaded.learner.adapt(loaded.params, support, num_inner_steps=5).params
            predictions = model(inputs)
    """
    experiment, result = trained_in(Path(directory), data_dir)
    main, algorithm = experiment.stages[MAIN], experiment.recipe.algorithm
    learner = main.make_learner(
        main.test_tasks, algorithm.num_inner_steps, algorithm.inner_learning_rate
    )
    return LoadedRun(learner, result.params, experiment.parts)


def trained_in(directory: Path, data_dir: str | None) -> tuple[Experiment, StageResult]:
    """The experiment of a run, and what its first seed has learned.

    Raises:
        MamlaxError: if the directory holds no trained run.
    """
    experiment = experiment_in(directory, data_dir)
    result = restored_result(experiment, experiment.stages[MAIN])
    return experiment, result._replace(params=experiment.seeds.first_of(result.params))
