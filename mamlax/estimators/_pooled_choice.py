"""Which pooled model adaptation starts from, by groups held out; and what it says of new groups.

The pooled model of a new group has not seen it, so that of a group which is learned from must not
have either: what is meta-learned would else be how to adapt residuals that are too small. Of every
row, predictions are by a model fitted to other groups.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from ..config._tables import PooledChoice, PooledKind
from ._differences import Differences
from ._pooled import Pooled
from ._pooled_classes import ClassLogits
from ._pooled_values import Values
from ._rows import Rows

_FOLDS = 5
_FEW_ROWS = 20_000
_STAGE, _BURSTS = 10, (3, 6, 10)
"""How many trees a stage has, and after how many stages it is asked whether more trees help."""

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


class PooledFit(NamedTuple):
    """A pooled model, and what it leaves.

    Attributes:
        model: fitted to all rows; None: there is none.
        cross_fitted: `[rows, outputs]`, what models of other groups say of each row; no columns
            where there is none.
        differences: what groups are expected to differ by, of rows with these columns; None where
            no head is solved for.
    """

    model: Pooled | None
    cross_fitted: np.ndarray
    differences: Differences | None = None


def fit_pooled(
    rows: Rows,
    wanted: PooledChoice,
    seed: int,
    classes: int | None = None,
    *,
    is_ordered: bool = False,
) -> PooledFit:
    """Choose one and fit it.

    Args:
        rows: of the groups to learn from; targets `[rows, outputs]`, or `[rows]` of classes.
        wanted: which; "auto": the one of least error once a group's offset is known as well as few
            rows tell it. A later one of `kinds` must be better by more than a standard error.
        seed: of the trees.
        classes: how many; None: targets are values.
        is_ordered: whether rows of a group stand in an order.
    """
    of_kind: Values | ClassLogits = (
        Values(seed, rows.targets.shape[1])
        if classes is None
        else ClassLogits(seed, classes, is_ordered)
    )
    folds = _folds(rows)
    kinds: tuple[PooledKind, ...] = of_kind.kinds if wanted == "auto" else (wanted,)
    if not folds:
        kinds = ("none",)
    # of few rows, threads cost more than they bring where others use the cores as well
    limit = 1 if len(rows.inputs) < _FEW_ROWS else None
    with threadpool_limits(limit, user_api="openmp"):
        found = [_candidate(of_kind, kind, rows, folds) for kind in kinds]
        errors = [of_kind.errors(rows, one.predicted) for one in found]
        best = 0
        for i in range(1, len(found)):
            if _is_better(errors[i], errors[best], rows):
                best = i
        chosen = found[best]
        model = _fitted(of_kind, chosen, rows)
    columns = chosen.predicted if model is not None else chosen.predicted[:, :0]
    columns = columns.astype(np.float32)
    differences = of_kind.differences(rows.with_pooled(columns), chosen.predicted)
    return PooledFit(model, columns, differences)


class _Candidate(NamedTuple):
    """Predictions for each row by models of other groups; and how many trees these have."""

    kind: PooledKind
    predicted: np.ndarray
    num_trees: int = 0


def _folds(rows: Rows) -> Folds:
    """Rows to fit and rows to predict, five times; none where there is one group."""
    from sklearn.model_selection import GroupKFold

    number = min(_FOLDS, len(np.unique(rows.units)))
    return list(GroupKFold(number).split(rows.inputs, groups=rows.units)) if number > 1 else []


def _candidate(
    of_kind: Values | ClassLogits, kind: PooledKind, rows: Rows, folds: Folds
) -> _Candidate:
    if kind == "trees":
        return _forest(of_kind, rows, folds)
    predicted = np.zeros((len(rows.inputs), of_kind.num_outputs), np.float32)
    for others, those in folds:
        train = rows.of(others)
        model = of_kind.line(train) if kind == "linear" else of_kind.constant(train)
        if model is not None:
            predicted[those] = model(rows.inputs[those])
    return _Candidate(kind, predicted)


def _forest(of_kind: Values | ClassLogits, rows: Rows, folds: Folds) -> _Candidate:
    """As many trees as predict other groups best. They grow until two stages have not helped."""
    shape = (_BURSTS[-1], len(rows.inputs), of_kind.num_outputs)
    stages, best = np.zeros(shape, np.float32), 0
    grown: list[list[Any]] = [[] for _ in folds]
    for num_stages in _BURSTS:
        for fold, (others, those) in enumerate(folds):
            train, inputs = rows.of(others), rows.inputs[those]
            grown[fold] = of_kind.boosted(train, num_stages * _STAGE, grown[fold])
            if not grown[fold]:
                model = of_kind.constant(train)
                stages[:, those] = 0 if model is None else model(inputs)
                continue
            for number, values in enumerate(of_kind.staged(grown[fold], inputs), start=1):
                if number % _STAGE == 0:
                    stages[number // _STAGE - 1, those] = values
        best = int(np.argmin([of_kind.stage_error(rows, one) for one in stages[:num_stages]]))
        if best < num_stages - 2:
            break
    return _Candidate("trees", stages[best], (best + 1) * _STAGE)


def _fitted(of_kind: Values | ClassLogits, chosen: _Candidate, rows: Rows) -> Pooled | None:
    if chosen.kind == "linear":
        return of_kind.line(rows)
    if chosen.kind == "trees" and (boosted := of_kind.boosted(rows, chosen.num_trees)):
        return of_kind.trees(boosted)
    return of_kind.constant(rows)


def _is_better(errors: np.ndarray, others: np.ndarray, rows: Rows) -> bool:
    """By more than a standard error over what is held out together."""
    _, first = np.unique(rows.groups, return_index=True)
    _, unit = np.unique(rows.units[first], return_inverse=True)
    gain = np.bincount(unit, others - errors) / np.bincount(unit)
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))
