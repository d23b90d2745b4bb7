"""The parts of a problem: tasks, network, loss and metric, as made from its settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from jaxtyping import PyTree

from ..._types import LossFn
from ...records._examples import Examples

ExamplesFn = Callable[[Mapping[str, Callable[..., PyTree]], tuple[int, ...], str], Examples | None]
FinishFn = Callable[[PyTree, PyTree], PyTree]


def _as_trained(key: PyTree, params: PyTree) -> PyTree:
    return params


class Baseline(NamedTuple):
    """What a recipe is compared with: parameters from elsewhere, then fine-tuned.

    Attributes:
        init_params: `init_params(key) -> params`.
        train_tasks: tasks it is trained on jointly, without inner steps; None: not trained.
        validation_tasks: tasks on which the step size of its fine-tuning is chosen.
        test_tasks: held-out tasks, the same as the recipe's.
        finish: `finish(key, params) -> params`, after training.
    """

    init_params: Callable[[PyTree], PyTree]
    train_tasks: PyTree
    validation_tasks: PyTree
    test_tasks: PyTree
    finish: FinishFn = _as_trained


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of every problem.

    Tasks are a distribution with `sample(key) -> Task` for support and query sets, and a `TaskEnv`
    for reinforcement learning.

    Attributes:
        init_params: `init_params(key) -> params`.
        metric: the name of the metric, `"mse"`, `"accuracy"` or `"return"`.
        metric_fn: `metric_fn(params, batch) -> scalar` for support and query sets;
            `metric_fn(trajectories) -> [episodes]` for episodes.
        train_tasks: tasks to meta-train on.
        validation_tasks: tasks to choose checkpoints and step sizes by.
        test_tasks: tasks held out for the evaluation.
        baselines: baselines by name.
        examples: `examples(adapters, steps, algorithm)` makes the examples that figures show after
            these numbers of inner steps, for "main" and each baseline; None: there are none.
            `adapters[name](support, num_inner_steps) -> params` adapts, or for episodes
            `adapters[name](key, task, num_inner_steps) -> Exploration`.
        finish: `finish(key, params) -> params`, what is validated, evaluated and exported of the
            parameters that are trained.
    """

    init_params: Callable[[PyTree], PyTree]
    metric: str
    metric_fn: Callable[..., PyTree]
    train_tasks: PyTree
    validation_tasks: PyTree
    test_tasks: PyTree
    baselines: dict[str, Baseline]
    examples: ExamplesFn
    finish: FinishFn = _as_trained

    @property
    def maximize(self) -> bool:
        """Whether larger values of the metric are better."""
        return self.metric != "mse"


@dataclass(frozen=True, kw_only=True)
class SupervisedParts(Parts):
    """A problem of support and query sets.

    Attributes:
        loss_fn: the loss of both loops.
        ways: classes of a task in training; None: it has no classes.
        test_ways: the same in validation and evaluation.
        transductive: whether query examples influence one another's predictions.
        non_transductive_fn: the metric of the same parameters with a normalization that is not
            transductive; None if they are not transductive anyway.
        normalizes: whether the model has shifts after normalization.
    """

    loss_fn: LossFn
    ways: int | None = None
    test_ways: int | None = None
    transductive: bool = False
    non_transductive_fn: Callable[[PyTree, PyTree], PyTree] | None = None
    normalizes: bool = False


@dataclass(frozen=True, kw_only=True)
class PolicyParts(Parts):
    """A problem of reinforcement learning.

    Attributes:
        bounds: by name, `bound(task) -> return`, a return that is known without learning.
        success_fn: `success_fn(trajectories) -> [episodes]`, where the environment says when a task
            is solved; None where it does not.
        kinds: by name, `kind(task) -> bool`, kinds of tasks whose returns are also reported apart.
    """

    success_fn: Callable[..., PyTree] | None = None
    bounds: Mapping[str, Callable[[PyTree], PyTree]] = field(default_factory=dict)
    kinds: Mapping[str, Callable[[PyTree], PyTree]] = field(default_factory=dict)
