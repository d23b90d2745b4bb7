"""What a model is compared with: the simpler things that somebody could do with the same table.

A row counts as much as its weight in all of them; TabICL alone takes none.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from ._entry import (
    GPBOOST,
    NOTHING,
    OFFSET,
    POOLED,
    SLOPES,
    SUPPORT_ONLY,
    TABICL,
    TREES,
    TREES_OF_GROUP,
)
from ._gpboost import gpboost_predictions
from ._log_odds import LogOdds
from ._offsets import Offsets
from ._pooled_values import line_of
from ._random_slopes import RandomSlopes
from ._rows import Rows
from ._separate_process import is_installed
from ._tabicl import tabicl_outputs

SUPPORT_SIZES = (0, 1, 2, 5, 10, 20, 50)
_FEW_ROWS = 20_000
_MOST_ROWS = 200_000
"""Of the trees' training set: enough for them, and seconds."""
_TREES: dict[str, Any] = {"early_stopping": False}  # theirs would hold out rows, not groups

Predict = Callable[[list[Rows], list[Rows]], list[np.ndarray]]
"""`predict(supports, queries) -> outputs` `[rows, outputs]` for each query. Raises `LeftOut` where
the model fails."""
_OfInputs = Callable[[np.ndarray], np.ndarray]
"""`[rows, outputs]` of inputs: values, or logs of chances."""


class _Fits(NamedTuple):
    """How simpler models are fitted to all groups.

    Attributes:
        pooled: `pooled()`, a line.
        offset: `offset()(support)`, what is added to it in a group.
        support_only: `support_only(support)`, a line of the support's rows alone.
        boosted: `boosted(rows)`, trees.
    """

    pooled: Callable[[], _OfInputs]
    offset: Callable[[], Callable[[Rows], np.ndarray]]
    support_only: Callable[[Rows], _OfInputs]
    boosted: Callable[[Rows], _OfInputs]


def simpler_models(
    train: Rows,
    classes: int | None,
    rng: np.random.Generator,
    seed: int,
    *,
    is_ordered: bool = False,
) -> dict[str, Predict]:
    """Models that are fitted when they are first asked.

    Args:
        train: rows of the groups to learn from.
        classes: how many; None: a regression.
        rng: draws the rows whose mean trees are given.
        seed: of the trees.
        is_ordered: whether rows of a group stand in an order, the support being the first.

    Returns:
        What predicts, by the name of the model.
    """
    weighted = _weighted(train, classes)
    sums = (_before if is_ordered else _peers)(train.groups, weighted, rng)
    rows, sums = _some(train, sums, rng)
    of_group = rows._replace(inputs=_with_mean(rows.inputs, sums))
    mean = weighted[:, :-1].sum(0) / weighted[:, -1].sum()
    fits = _regressors(train, mean, seed) if classes is None else _classifiers(rows, mean, seed)

    def sum_of(support):
        return _weighted(support, classes).sum(0)

    def with_offset(supports, queries):
        outputs = _of_all(fits.pooled)(supports, queries)
        return [one + fits.offset()(s) for s, one in zip(supports, outputs, strict=True)]

    def support_only(supports, queries):
        pairs = zip(supports, queries, strict=True)
        return [fits.support_only(support)(query.inputs) for support, query in pairs]

    models = {
        NOTHING: _of_all(lambda: _constant(mean if classes is None else _logs(mean))),
        POOLED: _of_all(fits.pooled),
        OFFSET: with_offset,
        SUPPORT_ONLY: support_only,
        TREES: _of_all(lambda: fits.boosted(rows)),
        TREES_OF_GROUP: _of_all(lambda: fits.boosted(of_group), sum_of),
    }
    if classes is None:
        models |= _mixed_models(train, seed)
    if is_installed("tabicl"):

        def in_context(inputs):
            outputs = tabicl_outputs(of_group, inputs, classes, seed)
            return outputs if classes is None else _logs(outputs)

        models[TABICL] = _of_all(lambda: in_context, sum_of)
    # of few rows, threads cost more than they bring where others use the cores as well
    limit = 1 if len(train.inputs) < _FEW_ROWS else None
    return {name: _limited(predict, limit) for name, predict in models.items()}


def _limited(predict: Predict, limit: int | None) -> Predict:
    """With so many threads of OpenMP at most."""

    def limited(supports, queries):
        with threadpool_limits(limit, user_api="openmp"):
            return predict(supports, queries)

    return limited


def _mixed_models(train: Rows, seed: int) -> dict[str, Predict]:
    """Of values: what groups differ by has a law that is learned from all."""

    def slopes(supports, queries):
        model = RandomSlopes.of(train, seed)
        return [model(s, query.inputs) for s, query in zip(supports, queries, strict=True)]

    def trees(supports, queries):
        return gpboost_predictions(train, supports, queries, seed)

    return {SLOPES: slopes} | ({GPBOOST: trees} if is_installed("gpboost") else {})


def _regressors(train: Rows, mean: np.ndarray, seed: int) -> _Fits:
    from sklearn.ensemble import HistGradientBoostingRegressor

    @cache
    def pooled():
        return line_of(train)

    @cache
    def offset():
        line = pooled()
        # a group's offset, shrunken by how much groups differ and how much rows do
        shrinkage = Offsets.of(train, train.targets - line(train.inputs)).shrinkage

        def of(support):
            if not len(support.inputs):
                return np.zeros(len(mean))
            residuals = support.targets - line(support.inputs)
            return support.weights @ residuals / (support.weights.sum() + shrinkage)

        return of

    def support_only(support):
        return line_of(support) if len(support.inputs) else _constant(mean)

    def boosted(rows):
        models = [
            HistGradientBoostingRegressor(**_TREES, random_state=seed).fit(
                rows.inputs, y, rows.sample_weight
            )
            for y in rows.targets.T
        ]
        return lambda x: np.stack([model.predict(x) for model in models], axis=1)

    return _Fits(pooled, offset, support_only, boosted)


def _classifiers(train: Rows, mean: np.ndarray, seed: int) -> _Fits:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    classes = len(mean)

    def fitted(model, rows, weights):
        """`chances(inputs)` `[rows, classes]`; of a single class nothing is to be learned."""
        if len(np.unique(rows.targets)) < 2:
            return _constant(np.eye(classes)[rows.targets[0]])
        model.fit(rows.inputs, rows.targets, weights)

        def chances(inputs):
            found = np.zeros((len(inputs), classes))
            if len(inputs):
                found[:, model.classes_] = model.predict_proba(inputs)
            return found

        return chances

    def linear(rows):
        return fitted(LogisticRegression(max_iter=200), rows, rows.weights)

    @cache
    def pooled():
        chances = linear(train)
        return lambda inputs: _logs(chances(inputs))

    @cache
    def offset():
        line = pooled()
        log_odds = LogOdds.of(train, line(train.inputs), seed)
        return lambda support: log_odds(support, line(support.inputs))

    def support_only(support):  # beside it the frequencies of all, as if one row more
        if not len(support.inputs):
            return _constant(_logs(mean))
        number, chances = support.weights.sum(), linear(support)
        return lambda inputs: _logs((number * chances(inputs) + mean) / (number + 1))

    def boosted(rows):
        trees = HistGradientBoostingClassifier(**_TREES, random_state=seed)
        chances = fitted(trees, rows, rows.sample_weight)
        return lambda inputs: _logs(chances(inputs))

    return _Fits(pooled, offset, support_only, boosted)


def _constant(outputs: np.ndarray) -> _OfInputs:
    """The same outputs for all inputs."""
    return lambda inputs: np.repeat(outputs[None], len(inputs), 0)


def _logs(chances: np.ndarray) -> np.ndarray:
    return np.log(chances + 1e-12)


def _of_all(
    fit: Callable[[], _OfInputs], sum_of: Callable[[Rows], np.ndarray] | None = None
) -> Predict:
    """The queries of all groups in one call; with `sum_of`, the support's mean beside them."""

    def predictions(supports, queries):
        lengths = [len(query.inputs) for query in queries]
        inputs = np.concatenate([query.inputs for query in queries])
        if sum_of is not None:
            sums = np.stack([sum_of(support) for support in supports])
            inputs = _with_mean(inputs, np.repeat(sums, lengths, axis=0))
        return np.split(fit()(inputs), np.cumsum(lengths)[:-1])

    return predictions


def _some(rows: Rows, sums: np.ndarray, rng: np.random.Generator) -> tuple[Rows, np.ndarray]:
    """As many rows as trees learn from, at random."""
    if len(rows.inputs) <= _MOST_ROWS:
        return rows, sums
    chosen = np.sort(rng.choice(len(rows.inputs), _MOST_ROWS, replace=False))
    return rows.of(chosen), sums[chosen]


def _weighted(rows: Rows, classes: int | None) -> np.ndarray:
    """`[rows, outputs + 1]`: targets, or ones at classes, times the weight; and the weight."""
    numbers = rows.targets if classes is None else np.eye(classes)[rows.targets]
    weights = rows.weights[:, None].astype(np.float64)
    return np.concatenate([weights * numbers, weights], axis=1)


def _peers(groups: np.ndarray, columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each row the sums of columns over some other rows of its group.

    As many as one of `SUPPORT_SIZES`, drawn for each row, or all others. Rows are shuffled within
    their group; those that follow a row, in a circle, are its peers.
    """
    order = np.lexsort((rng.random(len(groups)), groups))
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    wanted = np.minimum(rng.choice(SUPPORT_SIZES, len(order)), size - 1)
    before = _cumulated(columns[order])
    first = np.arange(len(order)) + 1
    last, end = first + wanted, start + size
    around = np.maximum(last - end, 0)  # how many of them lie at the beginning again
    sums = before[np.minimum(last, end)] - before[first] + before[start + around] - before[start]
    return sums[np.argsort(order)]


def _before(groups: np.ndarray, columns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same of the first rows of its group, as many as come before a row at most."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    start = np.repeat(starts, sizes)
    wanted = np.minimum(rng.choice(SUPPORT_SIZES, len(order)), np.arange(len(order)) - start)
    before = _cumulated(columns[order])
    return (before[start + wanted] - before[start])[np.argsort(order)]


def _cumulated(columns: np.ndarray) -> np.ndarray:
    """`[rows + 1, columns]`, the sums of all rows before each."""
    return np.concatenate([np.zeros((1, columns.shape[1])), np.cumsum(columns, axis=0)])


def _with_mean(inputs: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The inputs, the mean of the support's targets (missing where there is none), and its size.

    Args:
        inputs: `[rows, features]`.
        sums: `[rows, outputs + 1]`, of targets times their weights, and of weights.
    """
    totals, counts = sums[:, :-1], sums[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts > 1e-9, totals / counts, np.nan)
    return np.concatenate([inputs, means, counts], axis=1)
