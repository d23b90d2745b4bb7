"""The two workloads of the benchmarks, as numbers and data: NumPy only, for every library alike.

Both are MAML of the second order with one inner step of gradient descent, the mean query loss over
tasks, and one step of Adam:

- `sinusoid`: the paper's regression (section 5.1); MLP 1-40-40-1 with ReLU.
- `omniglot`: the paper's 5-way 1-shot network (four strided 3×3 convolutions of 64 channels, each
  normalized by its batch and shifted, spatial mean, linear head), on random 28×28 images.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Workload:
    """What is computed.

    Attributes:
        num_tasks: tasks per outer step.
        num_support: support examples per task.
        num_query: query examples per task.
        inner_learning_rate: of the one step of gradient descent.
        outer_learning_rate: of Adam.
    """

    num_tasks: int
    num_support: int
    num_query: int
    inner_learning_rate: float
    outer_learning_rate: float = 1e-3


class Tasks(NamedTuple):
    """A meta-batch: inputs `[tasks, examples, ...]`, targets `[tasks, examples, 1]` (sinusoid) or
    `[tasks, examples]` (omniglot)."""

    support_inputs: np.ndarray
    support_targets: np.ndarray
    query_inputs: np.ndarray
    query_targets: np.ndarray


WAYS = 5
IMAGE_SHAPE = (28, 28, 1)
WORKLOADS = {
    "sinusoid": Workload(num_tasks=25, num_support=10, num_query=10, inner_learning_rate=0.01),
    "omniglot": Workload(num_tasks=32, num_support=5, num_query=5, inner_learning_rate=0.4),
}


def random_tasks(name: str, rng: np.random.Generator) -> Tasks:
    """A meta-batch of the workload: sine waves as in the paper, or images of random bytes."""
    sample = {"sinusoid": _sine_waves, "omniglot": _random_images}[name]
    return sample(WORKLOADS[name], rng)


def _sine_waves(workload: Workload, rng: np.random.Generator) -> Tasks:
    amplitude = rng.uniform(0.1, 5.0, (workload.num_tasks, 1, 1))
    phase = rng.uniform(0.0, np.pi, (workload.num_tasks, 1, 1))

    def batch(num_examples: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = rng.uniform(-5.0, 5.0, (workload.num_tasks, num_examples, 1))
        targets = amplitude * np.sin(inputs - phase)
        return inputs.astype(np.float32), targets.astype(np.float32)

    return Tasks(*batch(workload.num_support), *batch(workload.num_query))


def _random_images(workload: Workload, rng: np.random.Generator) -> Tasks:
    def batch(num_examples: int) -> tuple[np.ndarray, np.ndarray]:
        images = rng.integers(256, size=(workload.num_tasks, num_examples, *IMAGE_SHAPE))
        targets = np.arange(num_examples, dtype=np.int32) * WAYS // num_examples
        return (images / 255).astype(np.float32), np.tile(targets, (workload.num_tasks, 1))

    return Tasks(*batch(workload.num_support), *batch(workload.num_query))
