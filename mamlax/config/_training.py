"""Settings that recipes share: how long to train, how to evaluate, and the outer optimizer."""

from dataclasses import dataclass
from typing import Literal

from ._settings import Advanced, Count, FractionBelowOne, Natural, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings):
    """How long to train, and from which weights, devices and batch sizes."""

    meta_batch_size: Count
    """Tasks per outer step."""
    num_outer_steps: Count
    """Total number of outer steps."""
    num_baseline_steps: Natural | None = None
    """Outer steps of each trained baseline. None: as many as num_outer_steps. 0: no such
    baseline."""
    init_from: Advanced[str | None] = None
    """Start from the weights of a safetensors file or a run (matched by name and shape), not from
    random ones. pretrained: start from the pretrained baseline, which is then trained first."""
    log_interval: Advanced[Count] = 100
    """Outer steps per line of metrics.jsonl."""
    checkpoint_interval: Advanced[Count | None] = None
    """Outer steps between checkpoints, a multiple of log_interval. None: twenty checkpoints per
    run."""
    task_batch_size: Advanced[Count | Literal["auto"] | None] = None
    """Tasks per device at once: a meta-batch is processed in micro-batches of this size. None: all
    at once. auto: one on a CPU (which suits its caches), all on an accelerator."""
    num_devices: Advanced[Count | None] = None
    """Devices (or processor cores) of each process that share the tasks. None: as many as divide
    the meta-batch evenly."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """How the result is measured, and how the best checkpoint is chosen."""

    num_test_tasks: Count = 600
    """Number of held-out tasks in the evaluation."""
    num_test_inner_steps: Natural = 10
    """Number of inner steps in the evaluation, which reports the metric after each step."""
    validation_interval: Count | None = None
    """Outer steps between validations. They choose the best checkpoint. None: no validation; the
    last checkpoint is used."""
    num_validation_tasks: Advanced[Count] = 400
    """Number of tasks in each validation."""
    num_validation_inner_steps: Advanced[Natural | None] = None
    """Number of inner steps in each validation. None: as many as in training."""
    num_baseline_inner_steps: Advanced[Count | None] = None
    """Number of inner steps after which a baseline's best step size is chosen. None: as in
    validation if inner steps are set there, otherwise as in the evaluation."""

    @property
    def num_tuning_inner_steps(self) -> int:
        """Number of inner steps after which a baseline's step size is chosen."""
        given = (self.num_baseline_inner_steps, self.num_validation_inner_steps)
        return next((n for n in given if n), self.num_test_inner_steps)


@dataclass(frozen=True, kw_only=True)
class Adam(Settings):
    """Adam, the outer optimizer for support and query sets."""

    outer_learning_rate: Positive = 1e-3
    """Outer learning rate β, of Adam."""
    gradient_clip: Positive | None = None
    """Largest norm of the outer gradient; longer gradients are scaled down. None: no limit."""
    outer_schedule: Advanced[Literal["constant", "cosine"]] = "constant"
    """Schedule of the outer learning rate: constant, or falling to zero along a cosine."""
    second_moment_decay: Advanced[FractionBelowOne] = 0.999
    """Adam's β₂ in the outer loop: how long Adam remembers the size of past gradients."""
