"""What a support leaves unknown of predictions, where the head of a network is solved for."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..algorithms._heads import posterior_variance
from ..tasks._class_arrays import bounds_of
from ._buckets import by_bucket, in_lots, padded, rows_of


class Supports(NamedTuple):
    """Rows that tasks are adapted to, those of one after those of another.

    Attributes:
        inputs: `[rows, inputs]`, as the network takes them.
        weights: `[rows]`.
        sizes: `[tasks]`, how many rows each task has.
    """

    inputs: np.ndarray
    weights: np.ndarray
    sizes: np.ndarray


def posterior_variances(
    meta_params: PyTree, ridge: float, supports: Supports, tasks: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
    """Variances of predictions, in units of the variance of a row about them.

    Args:
        meta_params: the network, whose `features` the head is given.
        ridge: λ of its regression.
        supports: what tasks are adapted to.
        tasks: `[rows]`, the task of each row.
        inputs: `[rows, inputs]`, as the network takes them.

    Returns:
        `[rows]`.
    """
    order = np.argsort(tasks, kind="stable")
    present, starts, sizes = np.unique(tasks[order], return_index=True, return_counts=True)
    support_starts, support_sizes = bounds_of(supports.sizes)
    given, weights = (padded(one, max(len(one), 1)) for one in (supports.inputs, supports.weights))
    found = np.zeros(len(inputs), np.float32)
    for bucket, those in by_bucket(sizes):
        for of_support, at in by_bucket(support_sizes[present[those]]):
            chosen = those[at]
            rows, is_asked = rows_of(starts, sizes, chosen, bucket)
            support, is_there = rows_of(support_starts, support_sizes, present[chosen], of_support)
            counts = np.where(is_there, weights[support], np.float32(0))
            values = _variances(ridge)(meta_params, given[support], counts, inputs[order[rows]])
            found[order[rows[is_asked]]] = np.asarray(values)[is_asked]
    return found


@functools.cache
def _variances(ridge: float) -> Any:
    """A program for each λ; its sizes are powers of two."""

    def of_task(meta_params, task):
        support, weights, inputs = task
        features = jnp.sqrt(weights)[:, None] * _features(meta_params, support)
        return posterior_variance(features, _features(meta_params, inputs), ridge=ridge)

    def of_tasks(meta_params, *tasks):
        return in_lots(functools.partial(of_task, meta_params), tasks)

    return jax.jit(of_tasks)


def _features(meta_params: Any, inputs: Any) -> Any:
    """What the regression sees: the features of the head, and a one."""
    features = meta_params.features(inputs, None)
    return jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)
