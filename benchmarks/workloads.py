"""The workloads of the benchmarks, as numbers and data: NumPy only, for every library alike.

All are MAML of the second order with inner steps of gradient descent, the mean query loss over
tasks, and one step of Adam:

- `sinusoid`: the paper's regression (section 5.1); MLP 1-40-40-1 with ReLU.
- `omniglot`: the paper's 5-way 1-shot network (four strided 3×3 convolutions of 64 channels, each
  normalized by its batch and shifted, spatial mean, linear head), on random 28×28 images.
- `cifar-fs`, `mini-imagenet`: the paper's 5-way 1-shot network for photographs (four 3×3
  convolutions, each pooled, normalized and shifted, linear head), on random 32×32 images with 64
  channels and on 84×84 images with 32; five inner steps, 75 queries.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Workload:
    """What is computed.

    Attributes:
        num_tasks: tasks per outer step.
        num_support: support examples per task.
        num_query: query examples per task.
        inner_learning_rate: of gradient descent.
        num_inner_steps: steps of gradient descent.
        outer_learning_rate: of Adam.
        images: of the network that sees images.
        peers: libraries to compare with.
    """

    num_tasks: int
    num_support: int
    num_query: int
    inner_learning_rate: float
    num_inner_steps: int = 1
    outer_learning_rate: float = 1e-3
    images: "Images | None" = None
    peers: tuple[str, ...] = ("higher", "torchopt", "torch.func", "torch")


@dataclass(frozen=True)
class Images:
    """Images and a network for them.

    Attributes:
        shape: height, width, colours.
        channels: of each convolution.
        downsample: `stride` or `pool`.
    """

    shape: tuple[int, int, int]
    channels: int
    downsample: Literal["stride", "pool"]


class Tasks(NamedTuple):
    """A meta-batch: inputs `[tasks, examples, ...]`, targets `[tasks, examples, 1]` (sinusoid) or
    `[tasks, examples]` (images)."""

    support_inputs: np.ndarray
    support_targets: np.ndarray
    query_inputs: np.ndarray
    query_targets: np.ndarray


WAYS = 5
_PHOTOGRAPHS: dict[str, Any] = {
    "num_tasks": 4,
    "num_support": 5,
    "num_query": 75,
    "inner_learning_rate": 0.01,
    "num_inner_steps": 5,
    "peers": ("torch",),  # the others would take minutes a step, or gigabytes
}
WORKLOADS = {
    "sinusoid": Workload(num_tasks=25, num_support=10, num_query=10, inner_learning_rate=0.01),
    "omniglot": Workload(
        num_tasks=32,
        num_support=5,
        num_query=5,
        inner_learning_rate=0.4,
        images=Images((28, 28, 1), 64, "stride"),
    ),
    "cifar-fs": Workload(**_PHOTOGRAPHS, images=Images((32, 32, 3), 64, "pool")),
    "mini-imagenet": Workload(**_PHOTOGRAPHS, images=Images((84, 84, 3), 32, "pool")),
}


def random_tasks(name: str, rng: np.random.Generator) -> Tasks:
    """A meta-batch of the workload: sine waves as in the paper, or images of random bytes."""
    workload = WORKLOADS[name]
    if workload.images is None:
        return _sine_waves(workload, rng)
    return _random_images(workload, workload.images.shape, rng)


def _sine_waves(workload: Workload, rng: np.random.Generator) -> Tasks:
    amplitude = rng.uniform(0.1, 5.0, (workload.num_tasks, 1, 1))
    phase = rng.uniform(0.0, np.pi, (workload.num_tasks, 1, 1))

    def batch(num_examples: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = rng.uniform(-5.0, 5.0, (workload.num_tasks, num_examples, 1))
        targets = amplitude * np.sin(inputs - phase)
        return inputs.astype(np.float32), targets.astype(np.float32)

    return Tasks(*batch(workload.num_support), *batch(workload.num_query))


def _random_images(
    workload: Workload, shape: tuple[int, int, int], rng: np.random.Generator
) -> Tasks:
    def batch(num_examples: int) -> tuple[np.ndarray, np.ndarray]:
        images = rng.integers(256, size=(workload.num_tasks, num_examples, *shape))
        targets = np.arange(num_examples, dtype=np.int32) * WAYS // num_examples
        return (images / 255).astype(np.float32), np.tile(targets, (workload.num_tasks, 1))

    return Tasks(*batch(workload.num_support), *batch(workload.num_query))
