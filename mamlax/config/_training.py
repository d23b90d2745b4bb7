"""Settings shared by recipes: how long to train, how to evaluate, and the outer optimizer."""

from dataclasses import dataclass
from typing import Literal

from ._settings import Advanced, Count, FractionBelowOne, Natural, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class TrainingSettings(Settings):
    """How long to train, and on what."""

    meta_batch_size: Count
    """Tasks per outer step."""
    num_outer_steps: Count
    """Outer steps in all."""
    num_baseline_steps: Natural | None = None
    """Outer steps of each trained baseline; as many as num_outer_steps where None, 0 for none."""
    init_from: Advanced[str | None] = None
    """Begin from the weights of a safetensors file or a run, instead of random ones: parameters are
    matched by name and shape. pretrained: from that baseline, which is trained first."""
    log_interval: Advanced[Count] = 100
    """Outer steps per line of metrics.jsonl."""
    checkpoint_interval: Advanced[Count | None] = None
    """Outer steps between checkpoints, a multiple of log_interval. None: twenty per run."""
    task_batch_size: Advanced[Count | Literal["auto"] | None] = None
    """Tasks per device at once; a meta-batch is processed in micro-batches of this size. auto: one
    on a processor, which suits its caches, all on an accelerator. None: all."""
    num_devices: Advanced[Count | None] = None
    """Devices (or processor cores) of each process that tasks are spread over. None: as many as
    divide the meta-batch."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """How the result is measured, and the best checkpoint chosen."""

    num_test_tasks: Count = 600
    """Held-out tasks of the evaluation."""
    num_test_inner_steps: Natural = 10
    """Inner steps of the evaluation, which reports the metric after each."""
    validation_interval: Count | None = None
    """Outer steps between validations that choose the best checkpoint. None: the last is kept."""
    num_validation_tasks: Advanced[Count] = 400
    """Tasks of each validation."""
    num_validation_inner_steps: Advanced[Natural | None] = None
    """Inner steps of each validation; as many as in training where None."""
    num_baseline_inner_steps: Advanced[Count | None] = None
    """Inner steps after which the step size of a baseline is chosen. None: those of validation if
    set, otherwise those of the evaluation."""

    @property
    def num_tuning_inner_steps(self) -> int:
        """After how many inner steps the step size of a baseline is chosen."""
        given = (self.num_baseline_inner_steps, self.num_validation_inner_steps)
        return next((n for n in given if n is not None), self.num_test_inner_steps)


@dataclass(frozen=True, kw_only=True)
class Adam(Settings):
    """The outer optimizer for support and query sets."""

    outer_learning_rate: Positive = 1e-3
    """Outer learning rate β, of Adam."""
    gradient_clip: Positive | None = None
    """Largest norm of the outer gradient; longer ones are scaled down."""
    outer_schedule: Advanced[Literal["constant", "cosine"]] = "constant"
    """Schedule of the outer learning rate: constant, or falling to zero along a cosine."""
    second_moment_decay: Advanced[FractionBelowOne] = 0.999
    """Adam's β₂ in the outer loop: how long it remembers the size of past gradients."""
