"""The stages of an experiment: MAML, and each thing it is compared with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ._parts import Parts
from ._recipe import Recipe


class Stage(NamedTuple):
    """One thing to train and evaluate.

    Attributes:
        name: "maml", or the baseline's.
        key_index: which of the seed's keys is its own.
        directory: where its log and checkpoints go.
        init_params: `init_params(key) -> params`.
        finish: `finish(key, params) -> params`, after training.
        train_tasks: tasks to train on; None: nothing is trained.
        validation_tasks: tasks to choose by.
        test_tasks: tasks of the evaluation.
        num_inner_steps: inner steps in training.
        num_outer_steps: outer steps of training.
        is_baseline: whether it is what MAML is compared with.
    """

    name: str
    key_index: int
    directory: Path
    init_params: Callable[[Any], Any]
    finish: Callable[[Any, Any], Any]
    train_tasks: Any
    validation_tasks: Any
    test_tasks: Any
    num_inner_steps: int
    num_outer_steps: int
    is_baseline: bool


class Learned(NamedTuple):
    """What a stage has learned.

    Attributes:
        params: the parameters, with a leading axis where there are several seeds.
        inner_learning_rate: the step size they are adapted with.
        outer_step: the outer step they are of.
    """

    params: Any
    inner_learning_rate: float
    outer_step: int


def stages_of(recipe: Recipe, parts: Parts, directory: Path) -> dict[str, Stage]:
    """The stages by name, "maml" first."""
    main = Stage(
        name="maml",
        key_index=0,
        directory=directory,
        init_params=parts.init_params,
        finish=lambda key, params: params,
        train_tasks=parts.train_tasks,
        validation_tasks=parts.validation_tasks,
        test_tasks=parts.test_tasks,
        num_inner_steps=recipe.num_inner_steps,
        num_outer_steps=recipe.num_outer_steps,
        is_baseline=False,
    )
    num_baseline_steps = recipe.num_baseline_steps
    if num_baseline_steps is None:
        num_baseline_steps = recipe.num_outer_steps
    baselines = {
        name: Stage(
            name=name,
            key_index=index,
            directory=directory / "baselines" / name,
            **baseline._asdict(),
            num_inner_steps=0,
            num_outer_steps=num_baseline_steps,
            is_baseline=True,
        )
        for index, (name, baseline) in enumerate(parts.baselines.items(), start=1)
        if num_baseline_steps > 0 or baseline.train_tasks is None
    }
    return {"maml": main, **baselines}
