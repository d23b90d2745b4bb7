"""Which pooled model adaptation starts from, by groups held out; and what it says of new groups.

The pooled model of a new group has not seen it, so that of a group which is learned from must not
have either: what is meta-learned would else be how to adapt residuals that are too small. Of every
row, predictions are by a model fitted to other groups.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from ..config._tables import PooledChoice
from ._offsets import Offsets
from ._pooled import Kind, Line, Pooled
from ._rows import Rows
from ._sklearn_trees import MOST_LEAVES, trees_of

_FOLDS = 5
_MOST_ROWS = 50_000
"""That trees learn from, of whole groups: enough for them, and seconds."""
_FEW_ROWS = 20_000
_NUM_TREES, _STAGE = 100, 10
_SIZES = np.array([0, 1, 3, 10, 30])[:, None, None]
"""Rows of support by which a pooled model is judged."""
_LEAST_SPREAD, _MOST_SPREAD = 0.03, 30.0

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


class PooledFit(NamedTuple):
    """A pooled model, and what it leaves.

    Attributes:
        model: fitted to all rows; None: there is none.
        cross_fitted: `[rows, outputs]`, what models of other groups say of each row; no columns
            where there is none.
        spread: variance of what is left between groups, by that within them.
    """

    model: Pooled | None
    cross_fitted: np.ndarray
    spread: float = 1.0


def fit_pooled(rows: Rows, wanted: PooledChoice, seed: int) -> PooledFit:
    """Choose one and fit it.

    Args:
        rows: of the groups to learn from; targets `[rows, outputs]`.
        wanted: which; "auto": the one of least error once a group's offset is known as well as few
            rows tell it. One that is less simple must be better by more than a standard error.
        seed: of the trees.
    """
    folds = _folds(rows)
    kinds: tuple[Kind, ...] = ("none", "linear", "trees") if wanted == "auto" else (wanted,)
    if not folds:
        kinds = ("none",)
    # of few rows, threads cost more than they bring where others use the cores as well
    limit = 1 if len(rows.inputs) < _FEW_ROWS else None
    with threadpool_limits(limit, user_api="openmp"):
        found = [_candidate(kind, rows, folds, seed) for kind in kinds]
        errors = [_errors(rows, rows.targets - one.predicted) for one in found]
        best = 0
        for i in range(1, len(found)):
            if _is_better(errors[i], errors[best], rows):
                best = i
        chosen = found[best]
        model = _fitted(chosen, rows, seed)
    columns = chosen.predicted if model is not None else chosen.predicted[:, :0]
    offsets = Offsets.of(rows, rows.targets - chosen.predicted)
    spread = np.clip(np.mean(1 / offsets.shrinkage), _LEAST_SPREAD, _MOST_SPREAD)
    return PooledFit(model, columns.astype(np.float32), float(spread))


class _Candidate(NamedTuple):
    """Predictions for each row by models of other groups; and how many trees these have."""

    kind: Kind
    predicted: np.ndarray
    num_trees: int = 0


def _folds(rows: Rows) -> Folds:
    """Rows to fit and rows to predict, five times; none where there is one group."""
    from sklearn.model_selection import GroupKFold

    number = min(_FOLDS, len(np.unique(rows.units)))
    return list(GroupKFold(number).split(rows.inputs, groups=rows.units)) if number > 1 else []


def _candidate(kind: Kind, rows: Rows, folds: Folds, seed: int) -> _Candidate:
    predicted = np.zeros_like(rows.targets)
    if kind == "linear":
        for others, those in folds:
            predicted[those] = line_of(rows.of(others))(rows.inputs[those])
    if kind != "trees":
        return _Candidate(kind, predicted)
    stages = np.zeros((_NUM_TREES // _STAGE, *predicted.shape), np.float32)
    for others, those in folds:
        for output, model in enumerate(_boosted(rows.of(others), _NUM_TREES, seed)):
            for number, values in enumerate(model.staged_predict(rows.inputs[those]), start=1):
                if number % _STAGE == 0:
                    stages[number // _STAGE - 1, those, output] = values
    best = int(np.argmin([_errors(rows, rows.targets - one).mean() for one in stages]))
    return _Candidate(kind, stages[best], (best + 1) * _STAGE)


def _fitted(chosen: _Candidate, rows: Rows, seed: int) -> Pooled | None:
    if chosen.kind == "none":
        return None
    if chosen.kind == "linear":
        return line_of(rows)
    return trees_of(_boosted(rows, chosen.num_trees, seed))


def line_of(rows: Rows) -> Line:
    """Ridge regression of the targets, weighted."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1.0).fit(rows.inputs, rows.targets, rows.weights)
    weight = np.reshape(model.coef_, (-1, rows.inputs.shape[1])).T.astype(np.float32)
    bias = np.broadcast_to(model.intercept_, weight.shape[1:]).astype(np.float32)
    return Line(np.ascontiguousarray(weight), bias)


def _boosted(rows: Rows, num_trees: int, seed: int) -> list[Any]:
    """One model for each output."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = rows.of_some(_MOST_ROWS, seed, by_rows=True)
    settings: dict[str, Any] = {
        "max_iter": num_trees,
        "max_leaf_nodes": MOST_LEAVES,
        "early_stopping": False,  # it would hold out rows, not groups
        "random_state": seed,
    }
    return [
        HistGradientBoostingRegressor(**settings).fit(rows.inputs, y, rows.weights)
        for y in rows.targets.T
    ]


def _errors(rows: Rows, residuals: np.ndarray) -> np.ndarray:
    """`[groups]`, the squared error to expect once an offset is learned, over numbers of rows.

    Of n rows the offset is n / (n + κ) of their mean residual, κ = within / between. Where the
    offset is β and rows vary by s², the error is `s² (1 + n / (n + κ)²) + β² (κ / (n + κ))²`.
    """
    offsets = Offsets.of(rows, residuals)
    prior = offsets.shrinkage
    of_rows = offsets.variances * (1 + _SIZES / (_SIZES + prior) ** 2)
    return (of_rows + offsets.squares * (prior / (_SIZES + prior)) ** 2).mean((0, 2))


def _is_better(errors: np.ndarray, others: np.ndarray, rows: Rows) -> bool:
    """By more than a standard error over what is held out together."""
    _, first = np.unique(rows.groups, return_index=True)
    _, unit = np.unique(rows.units[first], return_inverse=True)
    gain = np.bincount(unit, others - errors) / np.bincount(unit)
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))
