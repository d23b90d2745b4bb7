"""Rows of tasks of any size as arrays of few sizes, so that few programs are compiled."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

_SMALLEST = 8
_TASKS_AT_ONCE = 256
_MOST_TASKS = 1_024  # of a program: in powers of two, up to half of more would be padding


def bucket_of(size: int) -> int:
    """The size that a program is compiled for: the next power of two."""
    return max(_SMALLEST, 1 << max(size - 1, 0).bit_length())


def by_bucket(sizes: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The tasks of each bucket, some at a time."""
    found, index = np.unique(sizes, return_inverse=True)
    buckets = np.array([bucket_of(size) for size in found.tolist()])[index]
    parts = []
    for bucket in np.unique(buckets):
        tasks = np.flatnonzero(buckets == bucket)
        starts = range(0, len(tasks), _MOST_TASKS)
        parts += [(int(bucket), tasks[start : start + _MOST_TASKS]) for start in starts]
    return parts


def padded(array: np.ndarray, size: int) -> np.ndarray:
    """With zeros after it."""
    if len(array) == size:
        return array
    shape = (size - len(array), *array.shape[1:])
    return np.concatenate([array, np.zeros(shape, array.dtype)])


def rows_of(
    starts: np.ndarray, sizes: np.ndarray, tasks: np.ndarray, bucket: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of some tasks, side by side.

    Args:
        starts: `[all tasks]`, the first row of each.
        sizes: `[all tasks]`, how many there are.
        tasks: `[tasks]`, a bucket of them or fewer.
        bucket: room for so many rows of each.

    Returns:
        Rows `[num_padded(tasks), bucket]`, 0 where there is none; and whether there is one.
    """
    chosen = padded(tasks, num_padded(tasks))
    there = np.arange(bucket) < sizes[chosen, None]
    there[len(tasks) :] = False
    return np.where(there, starts[chosen, None] + np.arange(bucket), 0), there


def num_padded(tasks: np.ndarray) -> int:
    """How many tasks a program is compiled for: one, or a bucket."""
    return 1 if len(tasks) == 1 else bucket_of(len(tasks))


def in_lots(fn: Callable[[Any], Any], tasks: PyTree) -> Any:
    """`fn` of every task, as many at once as a processor's caches hold."""
    return jax.lax.map(fn, tasks, batch_size=_TASKS_AT_ONCE)
