"""A problem made concrete: what a recipe's settings become before anything is learned.

Nothing here imports JAX, so that the command line answers at once.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Baseline(NamedTuple):
    """What MAML is compared with: parameters got in another way, fine-tuned alike.

    Attributes:
        init_params: `init_params(key) -> params`.
        train_tasks: tasks it is trained on jointly, without inner steps; None: not trained.
        validation_tasks: tasks on which the step size of its fine-tuning is chosen.
        test_tasks: held-out tasks, the same ones as MAML's.
        finish: `finish(key, params) -> params`, after training.
    """

    init_params: Callable[[Any], Any]
    train_tasks: Any
    validation_tasks: Any
    test_tasks: Any
    finish: Callable[[Any, Any], Any] = lambda key, params: params


class Parts(NamedTuple):
    """A problem made concrete: functions and distributions, for algorithms and evaluation.

    Where tasks come from is a distribution with `sample(key) -> Task` for support and query sets,
    and a `TaskEnv` for reinforcement learning.

    Attributes:
        init_params: `init_params(key) -> params`.
        metric: the name of what is reported, `"mse"`, `"accuracy"` or `"return"`.
        train_tasks: tasks to meta-train on.
        validation_tasks: tasks to choose by.
        test_tasks: tasks held out for the result.
        baselines: by name.
        examples: `examples(adapters, steps) -> {name: array}`, what the figures of adaptation show
            after each of these numbers of inner steps, for "maml" and each baseline:
            `adapters[name](support, num_inner_steps) -> params`, or
            `adapters[name](key, task, num_inner_steps) -> Exploration`.
        loss_fn: the loss of both loops; episodes have surrogates of their own.
        metric_fn: `metric_fn(params, batch) -> scalar`; episodes have their return.
        transductive: whether query examples influence one another's predictions.
        non_transductive_fn: `metric_fn` of the same parameters with a normalization under which
            they do not; None where they do not anyway.
        normalizes: whether the model has shifts after normalization.
        bounds: by name, `bound(task) -> metric`: what is known without learning.
    """

    init_params: Callable[[Any], Any]
    metric: str
    train_tasks: Any
    validation_tasks: Any
    test_tasks: Any
    baselines: dict[str, Baseline]
    examples: Callable[[dict[str, Callable[..., Any]], tuple[int, ...]], dict[str, Any]]
    loss_fn: Callable[[Any, Any], Any] | None = None
    metric_fn: Callable[[Any, Any], Any] | None = None
    transductive: bool = False
    non_transductive_fn: Callable[[Any, Any], Any] | None = None
    normalizes: bool = False
    bounds: Mapping[str, Callable[[Any], Any]] = MappingProxyType({})

    @property
    def maximize(self) -> bool:
        """Whether more of the metric is better."""
        return self.metric != "mse"
