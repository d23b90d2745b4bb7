"""What a support leaves unknown of predictions, where the head of a network is solved for."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ..tasks._class_arrays import bounds_of
from ._buckets import by_bucket, padded, rows_of

_TASKS_AT_ONCE = 64


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
    found = np.zeros(len(inputs))
    for bucket, those in by_bucket(sizes):
        for of_support, at in by_bucket(support_sizes[present[those]]):
            for chosen in np.split(those[at], range(_TASKS_AT_ONCE, len(at), _TASKS_AT_ONCE)):
                rows, is_asked = rows_of(starts, sizes, chosen, bucket)
                tasks_of = present[chosen]
                support, is_there = rows_of(support_starts, support_sizes, tasks_of, of_support)
                roots = np.sqrt(np.where(is_there, weights[support], 0.0))
                values = posterior_variance(
                    roots[..., None] * np.asarray(_features(meta_params, given[support])),
                    np.asarray(_features(meta_params, inputs[order[rows]])),
                    ridge=ridge,
                )
                found[order[rows[is_asked]]] = values[is_asked]
    return found


def posterior_variance(
    support_features: np.ndarray, features: np.ndarray, *, ridge: float
) -> np.ndarray:
    """What a ridge regression of a support leaves unknown of its predictions.

    Ridge regression is the mean of the posterior of a linear model whose weights are, before the
    support, independent and normal about W₀ with the variance σ²/λ, where the targets have noise of
    variance σ². The variance of what it predicts, without the noise, is then σ² times

        f (FᵀF + λ I)⁻¹ fᵀ,

    computed in double precision: of many rows that are alike, single precision makes it grow.

    Args:
        support_features: F, `[..., examples, features]`, each row times the root of its weight.
        features: f, `[..., rows, features]`, of what is predicted. Both have the column of ones.
        ridge: λ.

    Returns:
        `[..., rows]`, in units of σ².

    References:
        Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3.2.
    """
    support_features, features = (np.asarray(x, np.float64) for x in (support_features, features))
    precision = support_features.swapaxes(-1, -2) @ support_features
    precision = precision + ridge * np.eye(precision.shape[-1])
    solved = np.linalg.solve(precision, features.swapaxes(-1, -2))
    return np.maximum(np.sum(features.swapaxes(-1, -2) * solved, axis=-2), 0.0)


@jax.jit
def _features(meta_params: Any, inputs: Any) -> Any:
    """What the regression sees, of `[tasks, rows, inputs]`: features of the head, and a one."""

    def of_task(inputs):
        features = meta_params.features(inputs, None)
        return jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)

    return jax.vmap(of_task)(inputs)
