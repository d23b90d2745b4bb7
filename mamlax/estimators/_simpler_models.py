"""What a model is compared with: the simpler things that somebody could do with the same table."""

from collections.abc import Callable
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
_Peers = Callable[[Rows, np.random.Generator], tuple[np.ndarray, np.ndarray]]


class _Models(NamedTuple):
    """What was fitted to all groups; outputs `[rows, outputs]` are values, or logs of chances.

    Attributes:
        mean: `[outputs]`, the prediction without any features.
        pooled: `pooled(inputs) -> outputs`.
        offset: `offset(support)`, what is added to them in a group.
        support_only: `support_only(support, query) -> outputs`.
        trees: `trees(inputs) -> outputs`.
        trees_of_group: the same of inputs with the mean of the support beside them.
        of_group: the rows that these learned from, with the means of other rows of their groups.
        sum_of: `sum_of(support)`, the sum of its targets.
    """

    mean: np.ndarray
    pooled: Callable[[np.ndarray], np.ndarray]
    offset: Callable[[Rows], np.ndarray]
    support_only: Callable[[Rows, Rows], np.ndarray]
    trees: Callable[[np.ndarray], np.ndarray]
    trees_of_group: Callable[[np.ndarray], np.ndarray]
    of_group: Rows
    sum_of: Callable[[Rows], np.ndarray]


def simpler_models(
    train: Rows,
    classes: int | None,
    rng: np.random.Generator,
    seed: int,
    *,
    is_ordered: bool = False,
) -> dict[str, Predict]:
    """Fit them.

    Args:
        train: rows of the groups to learn from.
        classes: how many; None: a regression.
        rng: draws the rows whose mean trees are given.
        seed: of the trees.
        is_ordered: whether rows of a group stand in an order, the support being the first.

    Returns:
        What predicts, by the name of the model.
    """
    peers = _before if is_ordered else _peers
    # of few rows, threads cost more than they bring where others use the cores as well
    limit = 1 if len(train.inputs) < _FEW_ROWS else None
    with threadpool_limits(limit, user_api="openmp"):
        if classes is None:
            made = _regressors(train, peers, rng, seed)
        else:
            made = _classifiers(train, classes, peers, rng, seed)

    def support_only(supports, queries):
        return [made.support_only(s, q) for s, q in zip(supports, queries, strict=True)]

    def with_offset(supports, queries):
        outputs = _of_all(made.pooled)(supports, queries)
        return [one + made.offset(s) for s, one in zip(supports, outputs, strict=True)]

    models = {
        NOTHING: _of_all(lambda inputs: np.repeat(made.mean[None], len(inputs), 0)),
        POOLED: _of_all(made.pooled),
        OFFSET: with_offset,
        SUPPORT_ONLY: support_only,
        TREES: _of_all(made.trees),
        TREES_OF_GROUP: _of_all(made.trees_of_group, made.sum_of),
    }
    if is_installed("tabicl"):

        def in_context(inputs):
            outputs = tabicl_outputs(made.of_group, inputs, classes, seed)
            return outputs if classes is None else _logs(outputs)

        models[TABICL] = _of_all(in_context, made.sum_of)
    return models if classes is not None else models | _mixed_models(train, seed)


def _mixed_models(train: Rows, seed: int) -> dict[str, Predict]:
    """Of values: what groups differ by has a law that is learned from all."""

    def slopes(supports, queries):
        model = RandomSlopes.of(train, seed)
        return [model(s, query.inputs) for s, query in zip(supports, queries, strict=True)]

    def trees(supports, queries):
        return gpboost_predictions(train, supports, queries, seed)

    return {SLOPES: slopes} | ({GPBOOST: trees} if is_installed("gpboost") else {})


def _regressors(train: Rows, peers: _Peers, rng: np.random.Generator, seed: int) -> _Models:
    from sklearn.ensemble import HistGradientBoostingRegressor

    def boosted(inputs):
        models = [
            HistGradientBoostingRegressor(**_TREES, random_state=seed).fit(
                inputs, y, rows.sample_weight
            )
            for y in rows.targets.T
        ]
        return lambda x: np.stack([model.predict(x) for model in models], axis=1)

    rows, sums, counts = _some(train, *peers(train, rng), rng)
    pooled, mean = line_of(train), train.targets.mean(0)
    # a group's offset, shrunken by how much groups differ and how much rows do
    shrinkage = Offsets.of(train, train.targets - pooled(train.inputs)).shrinkage

    def offset(support):
        residuals = support.targets - pooled(support.inputs) if len(support.inputs) else mean[:0]
        return residuals.sum(0) / (len(residuals) + shrinkage)

    def support_only(support, query):
        if not len(support.inputs):
            return np.repeat(mean[None], len(query.inputs), 0)
        return line_of(support)(query.inputs)

    of_group = rows._replace(inputs=_with_mean(rows.inputs, sums, counts))
    return _Models(
        mean,
        pooled,
        offset,
        support_only,
        boosted(rows.inputs),
        boosted(of_group.inputs),
        of_group,
        lambda support: support.targets.sum(0),
    )


def _classifiers(
    train: Rows, classes: int, peers: _Peers, rng: np.random.Generator, seed: int
) -> _Models:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    one_hot = train._replace(targets=np.eye(classes)[train.targets])
    mean = one_hot.targets.mean(0)
    rows, sums, counts = _some(train, *peers(one_hot, rng), rng)

    def fitted(model, inputs, targets, weights):
        """`chances(inputs)` `[rows, classes]`; of a single class nothing is to be learned."""
        if len(np.unique(targets)) < 2:
            only = np.eye(classes)[targets[0]]
            return lambda inputs: np.repeat(only[None], len(inputs), 0)
        model.fit(inputs, targets, weights)

        def chances(inputs):
            found = np.zeros((len(inputs), classes))
            found[:, model.classes_] = model.predict_proba(inputs)
            return found

        return chances

    def linear(of):
        return fitted(LogisticRegression(max_iter=200), of.inputs, of.targets, of.weights)

    def boosted(inputs):
        trees = HistGradientBoostingClassifier(**_TREES, random_state=seed)
        chances = fitted(trees, inputs, rows.targets, rows.sample_weight)
        return lambda x: _logs(chances(x))

    def counts_of(support):
        return np.bincount(support.targets, minlength=classes).astype(float)

    def support_only(support, query):  # beside it the frequencies of all, as if one row more
        number = len(support.inputs)
        found = linear(support)(query.inputs) if number else np.zeros((len(query.inputs), 1))
        return _logs((number * found + mean) / (number + 1))

    chances = linear(rows)

    def pooled(inputs):
        return _logs(chances(inputs)) if len(inputs) else np.zeros((0, classes))

    log_odds = LogOdds.of(rows, pooled(rows.inputs), seed)
    of_group = rows._replace(inputs=_with_mean(rows.inputs, sums, counts))
    return _Models(
        _logs(mean),
        pooled,
        lambda support: log_odds(support, pooled(support.inputs)),
        support_only,
        boosted(rows.inputs),
        boosted(of_group.inputs),
        of_group,
        counts_of,
    )


def _logs(chances: np.ndarray) -> np.ndarray:
    return np.log(chances + 1e-12)


def _of_all(
    predict: Callable[[np.ndarray], np.ndarray], sum_of: Callable[[Rows], Any] | None = None
) -> Predict:
    """The queries of all groups in one call; with `sum_of`, the support's mean beside them."""

    def predictions(supports, queries):
        lengths = [len(query.inputs) for query in queries]
        inputs = np.concatenate([query.inputs for query in queries])
        if sum_of is not None:
            sums = np.repeat([sum_of(support) for support in supports], lengths, axis=0)
            counts = np.repeat([len(support.inputs) for support in supports], lengths)
            inputs = _with_mean(inputs, sums, counts)
        return np.split(predict(inputs), np.cumsum(lengths)[:-1])

    return predictions


def _some(
    rows: Rows, sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> tuple[Rows, np.ndarray, np.ndarray]:
    """As many rows as trees learn from, at random."""
    if len(rows.inputs) <= _MOST_ROWS:
        return rows, sums, counts
    chosen = np.sort(rng.choice(len(rows.inputs), _MOST_ROWS, replace=False))
    return rows.of(chosen), sums[chosen], counts[chosen]


def _peers(rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each row the sum of the targets of some other rows of its group, and how many.

    As many as one of `SUPPORT_SIZES`, drawn for each row, or all others. Rows are shuffled within
    their group; those that follow a row, in a circle, are its peers.
    """
    order = np.lexsort((rng.random(len(rows.groups)), rows.groups))
    _, starts, sizes = np.unique(rows.groups[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    wanted = np.minimum(rng.choice(SUPPORT_SIZES, len(order)), size - 1)
    targets = rows.targets[order].astype(np.float64)
    before = np.concatenate([np.zeros((1, targets.shape[1])), np.cumsum(targets, axis=0)])
    first = np.arange(len(order)) + 1
    last, end = first + wanted, start + size
    around = np.maximum(last - end, 0)  # how many of them lie at the beginning again
    sums = before[np.minimum(last, end)] - before[first] + before[start + around] - before[start]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return sums[back], wanted[back]


def _before(rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same of the first rows of its group, as many as come before a row at most."""
    order = np.argsort(rows.groups, kind="stable")
    _, starts, sizes = np.unique(rows.groups[order], return_index=True, return_counts=True)
    start = np.repeat(starts, sizes)
    wanted = np.minimum(rng.choice(SUPPORT_SIZES, len(order)), np.arange(len(order)) - start)
    targets = rows.targets[order].astype(np.float64)
    before = np.concatenate([np.zeros((1, targets.shape[1])), np.cumsum(targets, axis=0)])
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return (before[start + wanted] - before[start])[back], wanted[back]


def _with_mean(inputs: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The inputs, the mean of the support's targets (missing where there is none), and its size."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts[:, None] > 0, sums / counts[:, None], np.nan)
    return np.concatenate([inputs, means, counts[:, None]], axis=1)
