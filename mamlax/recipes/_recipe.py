"""What a recipe is: a typed value with every setting of an experiment, and its evidence.

Nothing here imports JAX, so that the command line answers at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import tyro

from ._omniglot import OmniglotProblem
from ._sinusoid import SinusoidProblem


@dataclass(frozen=True)
class Evidence:
    """What a recipe should give, and what it gave here.

    Attributes:
        summary: the experiment in a few words.
        paper: where it was published.
        expected: the published number.
        measured: our number; the files under `benchmarks/` say how.
        duration: how long it took, on what.
    """

    summary: str
    paper: str
    expected: str
    measured: str
    duration: str


@dataclass(frozen=True)
class Recipe:
    """Every setting of an experiment. Each field is a flag of `mamlax train`."""

    name: tyro.conf.Suppress[str]
    evidence: tyro.conf.Suppress[Evidence]
    problem: tyro.conf.AvoidSubcommands[SinusoidProblem | OmniglotProblem]
    """Where tasks come from and what model learns them."""
    inner_learning_rate: float
    """Step size α of the inner gradient descent."""
    num_inner_steps: int
    """Inner steps while meta-training."""
    outer_learning_rate: float
    """Adam's learning rate β in the outer loop."""
    meta_batch_size: int
    """Tasks per outer step."""
    num_outer_steps: int
    """Outer steps in all."""
    first_order: bool = False
    """Treat inner gradients as constants (FOMAML)."""
    outer_schedule: Literal["constant", "cosine"] = "constant"
    """Course of the outer learning rate: constant, or falling to zero along a cosine."""
    second_moment_decay: float = 0.999
    """Adam's β₂ in the outer loop: how long it remembers the size of past gradients."""
    gradient_clip: float | None = None
    """Largest norm of the outer gradient; longer ones are scaled down."""
    remat: bool = False
    """Recompute inner steps instead of storing them: less memory, more time."""
    task_batch_size: int | None = None
    """Tasks per device at once; the others of a meta-batch wait in sequence. None: all at once."""
    num_devices: int | None = None
    """Devices (or processor cores) that tasks are spread over. None: as many as divide the
    meta-batch."""
    num_baseline_steps: int | None = None
    """Outer steps of each trained baseline; as many as num_outer_steps where None, 0 for none."""
    num_test_tasks: int = 600
    """Held-out tasks of the evaluation."""
    num_test_inner_steps: int = 10
    """Inner steps of the evaluation, which reports the metric after each."""
    validation_interval: int | None = None
    """Outer steps between validations that choose the best checkpoint. None: the last is kept."""
    num_validation_tasks: int = 400
    """Tasks of each validation."""
    num_validation_inner_steps: int | None = None
    """Inner steps of each validation; as many as in training where None. Also those after which a
    baseline's step size is chosen; as many as in the evaluation where None."""
    log_interval: int = 100
    """Outer steps per line of metrics.jsonl."""
    checkpoint_interval: int | None = None
    """Outer steps between checkpoints, a multiple of log_interval. None: twenty per run."""


class Baseline(NamedTuple):
    """What MAML is compared with: parameters got in another way, fine-tuned alike.

    Attributes:
        init_params: `init_params(key) -> params`.
        sample_train: tasks it is trained on jointly, without inner steps; None: not trained.
        sample_validation: tasks on which the step size of its fine-tuning is chosen.
        sample_test: held-out tasks, the same ones as MAML's.
        finish: `finish(key, params) -> params`, after training.
    """

    init_params: Callable[[Any], Any]
    sample_train: Callable[[Any], Any] | None
    sample_validation: Callable[[Any], Any]
    sample_test: Callable[[Any], Any]
    finish: Callable[[Any, Any], Any] = lambda key, params: params


class Parts(NamedTuple):
    """A problem made concrete: functions and distributions, for algorithms and evaluation.

    Attributes:
        init_params: `init_params(key) -> params`.
        loss_fn: the loss of both loops.
        metric: the name of what is reported, `"mse"` or `"accuracy"`.
        metric_fn: `metric_fn(params, batch) -> scalar`.
        sample_train: tasks to meta-train on.
        sample_validation: tasks to choose by.
        sample_test: tasks held out for the result.
        transductive: whether query examples influence one another's predictions.
        baselines: by name.
        examples: `examples(adapters) -> {name: array}`, what the figures of adaptation show, where
            `adapters[name](support, num_inner_steps) -> params`, for "maml" and each baseline.
    """

    init_params: Callable[[Any], Any]
    loss_fn: Callable[[Any, Any], Any]
    metric: str
    metric_fn: Callable[[Any, Any], Any]
    sample_train: Callable[[Any], Any]
    sample_validation: Callable[[Any], Any]
    sample_test: Callable[[Any], Any]
    transductive: bool
    baselines: dict[str, Baseline]
    examples: Callable[[dict[str, Callable[[Any, int], Any]]], dict[str, Any]]
