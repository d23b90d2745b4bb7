"""Trees of scikit-learn as arrays: the one place that reads what it keeps to itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._pooled import Trees

MOST_LEAVES = 31
_NODES = 64
"""Of a tree: a tree of n leaves has 2 n − 1. All trees have the same, and programs are shared."""


def trees_of(models: Sequence[Any]) -> Trees:
    """The same function as arrays.

    scikit-learn compares in double precision: a threshold rounded down to single precision tells
    numbers of single precision apart alike.

    Args:
        models: a `HistGradientBoostingRegressor` for each output, of the same number of trees of at
            most `MOST_LEAVES`, fitted to single precision without gaps or categories.
    """
    grown = [[tree for (tree,) in model._predictors] for model in models]
    return _arrays(grown, [np.ravel(model._baseline_prediction)[0] for model in models])


def trees_of_classes(model: Any, classes: int, absent: float) -> Trees:
    """The logits of a `HistGradientBoostingClassifier` as arrays.

    Args:
        model: as in `trees_of`.
        classes: how many outputs; the model may know fewer.
        absent: the logit of a class that it does not know.
    """
    by_class: list[list[Any]] = [[] for _ in range(classes)]
    bias = np.full(classes, absent)
    known = model.classes_
    if len(known) == 2:  # it has the logit of the second alone
        bias[known[0]], known = 0.0, known[1:]
    for number, each in enumerate(known):
        by_class[each] = [trees[number] for trees in model._predictors]
    bias[known] = np.ravel(model._baseline_prediction)
    return _arrays(by_class, bias)


def _arrays(grown: Sequence[Sequence[Any]], bias: Any) -> Trees:
    """Trees of each output; an output without any is constant."""
    shape = (len(grown), max(map(len, grown)), _NODES)
    itself = np.broadcast_to(np.arange(_NODES, dtype=np.int32), shape)
    features, lefts, rights = np.zeros(shape, np.int32), itself.copy(), itself.copy()
    thresholds, values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for output, trees in enumerate(grown):
        for tree, predictor in enumerate(trees):
            nodes = predictor.nodes
            if nodes["is_categorical"].any():
                raise ValueError("trees that split by categories have no thresholds")
            (inner,) = np.nonzero(nodes["is_leaf"] == 0)
            features[output, tree, inner] = nodes["feature_idx"][inner]
            thresholds[output, tree, inner] = _rounded_down(nodes["num_threshold"][inner])
            lefts[output, tree, inner] = nodes["left"][inner]
            rights[output, tree, inner] = nodes["right"][inner]
            values[output, tree, : len(nodes)] = nodes["value"]
    return Trees(features, thresholds, lefts, rights, values, np.asarray(bias, np.float32))


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    finite = np.minimum(thresholds, np.finfo(np.float32).max)  # all that have a value go left
    rounded = finite.astype(np.float32)
    return np.where(rounded > finite, np.nextafter(rounded, np.float32(-np.inf)), rounded)
