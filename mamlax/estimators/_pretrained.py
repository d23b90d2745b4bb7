"""The pretrained baseline of a run, in the file of what the run has meta-learned: to compare."""

import shlex
from typing import Any

import numpy as np

from .._errors import MamlaxError
from ..config._algorithms import Maml
from ..experiments._experiment import Experiment
from ..experiments._result import restored_result
from ..records._evaluation import Evaluation
from ._architecture import architecture_of
from ._container import Container
from ._learner import ArrayLearner, LearnerSettings
from ._steps import outputs_by_step

PRETRAINED = "pretrained"


def pretrained_of(
    experiment: Experiment, evaluation: Evaluation | None, like: LearnerSettings
) -> ArrayLearner:
    """The network trained on all tasks together, which adapts by plain gradient descent.

    Args:
        experiment: the run.
        evaluation: of the run; it chose the step size.
        like: settings of what is meta-learned; it takes as many inner steps, or, where that takes
            none, as many as its step size was chosen for.

    Raises:
        MamlaxError: if the run has no such baseline, or was not evaluated.
    """
    stage = experiment.stages.get(PRETRAINED)
    if stage is None:
        raise MamlaxError(
            f"{experiment.directory} has no pretrained baseline: it was trained with "
            "--num-baseline-steps 0. Train it with more, or export without --with-pretrained."
        )
    if evaluation is None or PRETRAINED not in evaluation.inner_learning_rates:
        raise MamlaxError(
            f"the evaluation of {experiment.directory} chooses the step size of its pretrained "
            f"baseline: mamlax evaluate {shlex.quote(str(experiment.directory))}, then export it."
        )
    rate = evaluation.inner_learning_rates[PRETRAINED]
    result = restored_result(experiment, stage, inner_learning_rate=rate)
    params = experiment.seeds.first_of(result.params)
    steps = like.num_inner_steps or experiment.recipe.evaluation.num_tuning_inner_steps
    steps = steps if rate else 0  # no step size helped
    algorithm = Maml(inner_learning_rate=rate or 1.0, num_inner_steps=max(steps, 1))
    return ArrayLearner(
        LearnerSettings(architecture_of(params), algorithm, like.loss, 0.0, steps), params
    )


def pretrained_by_step(
    pretrained: ArrayLearner, inputs: Any, targets: Any, queries: Any, num_inner_steps: int
) -> np.ndarray:
    """Outputs `[steps + 1, rows, outputs]` for queries, before the first inner step and after each.

    Args:
        pretrained: the baseline.
        inputs: `[support, ...]`.
        targets: `[support, outputs]`, or `[support]` of integers.
        queries: `[rows, ...]`.
        num_inner_steps: of what it is compared with. It takes as many; its own number where that is
            0, and none where no step size helped it.
    """
    own = pretrained.settings.num_inner_steps
    steps = own and (num_inner_steps or own)
    return outputs_by_step(pretrained, inputs, targets, queries, steps)


def state_of(pretrained: ArrayLearner | None) -> Container:
    """What a file must hold of it, for `from_state`."""
    if pretrained is None:
        return Container({}, {})
    header, arrays = pretrained.state()
    named = {f"{PRETRAINED}.{name}": array for name, array in arrays.items()}
    return Container({PRETRAINED: header["learner"]}, named)


def from_state(content: Container) -> ArrayLearner | None:
    """What `state_of` gave; None of a file without it.

    Raises:
        MamlaxError: if an array is missing or of another shape than the header says.
    """
    if PRETRAINED not in content.header:
        return None
    start = f"{PRETRAINED}."
    named = {
        name.removeprefix(start): array
        for name, array in content.arrays.items()
        if name.startswith(start)
    }
    return ArrayLearner.from_state(Container({"learner": content.header[PRETRAINED]}, named))
