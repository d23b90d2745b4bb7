"""The stages of an experiment: what the recipe trains, and each thing it is compared with."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxtyping import PyTree

from ..config._recipe import Recipe
from ..records._evaluation import MAIN
from ._method import MakeLearner, Method
from .problems._parts import Parts


class Stage(NamedTuple):
    """One thing to train and evaluate.

    Attributes:
        name: "main", or the baseline's name.
        shown: the name that is printed: the algorithm's or the baseline's.
        key_index: the index of its keys; see `Seeds.keys`.
        directory: where its log and checkpoints are written.
        init_params: `init_params(key) -> params`.
        finish: `finish(key, params) -> params`, after training.
        train_tasks: tasks to train on; None: nothing is trained.
        validation_tasks: tasks to choose checkpoints and step sizes by.
        test_tasks: tasks of the evaluation.
        num_outer_steps: outer steps of training.
        is_baseline: whether it is a baseline.
        make_learner: makes the learner that adapts its parameters.
    """

    name: str
    shown: str
    key_index: int
    directory: Path
    init_params: Callable[[PyTree], PyTree]
    finish: Callable[[PyTree, PyTree], PyTree]
    train_tasks: PyTree
    validation_tasks: PyTree
    test_tasks: PyTree
    num_outer_steps: int
    is_baseline: bool
    make_learner: MakeLearner


def stages_of(recipe: Recipe, parts: Parts, method: Method, directory: Path) -> dict[str, Stage]:
    """The stages by name, "main" first."""
    main = Stage(
        name=MAIN,
        shown=recipe.algorithm.name,
        key_index=0,
        directory=directory,
        init_params=parts.init_params,
        finish=parts.finish,
        train_tasks=parts.train_tasks,
        validation_tasks=parts.validation_tasks,
        test_tasks=parts.test_tasks,
        num_outer_steps=recipe.training.num_outer_steps,
        is_baseline=False,
        make_learner=method.learner,
    )
    baselines = {
        name: Stage(
            name=name,
            shown=name,
            key_index=index,
            directory=directory / "baselines" / name,
            **baseline._asdict(),
            num_outer_steps=recipe.num_baseline_steps,
            is_baseline=True,
            make_learner=method.baseline_learner,
        )
        for index, (name, baseline) in enumerate(parts.baselines.items(), start=1)
        if recipe.num_baseline_steps > 0 or baseline.train_tasks is None
    }
    return {MAIN: main, **baselines}
