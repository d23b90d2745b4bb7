"""Groups that a model has not learned from: adapted to from their first rows, judged on others."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_consistent_length, check_is_fitted

from .._errors import MamlaxError, warn
from ._frames import as_pandas
from ._order import positions_in
from ._splits import numbered

Scoring = str | Callable[..., float] | None


class RowsInGroups(NamedTuple):
    """Rows of groups.

    Attributes:
        X: `[rows, columns]`.
        y: `[rows]` or `[rows, outputs]`.
        groups: `[rows]`.
        order: `[rows]`, what rows are ordered by; None: they stand in their order.
        weights: `[rows]`, how much each counts; None: all alike.
        places: `[rows]`, the place of each row in its group, from 0 on.
    """

    X: Any
    y: Any
    groups: np.ndarray
    order: np.ndarray | None
    weights: np.ndarray | None
    places: np.ndarray

    @staticmethod
    def checked(X: Any, y: Any, groups: Any, order_by: Any, sample_weight: Any) -> "RowsInGroups":
        """Those of a table, as `fit` takes it.

        Raises:
            MamlaxError: if groups or an order do not fit the table.
        """
        X = as_pandas(X)
        check_consistent_length(X, y, sample_weight)
        _, numbers = numbered("groups", groups, _num_samples(X))
        order = None if order_by is None else np.asarray(order_by)
        weights = None if sample_weight is None else np.asarray(sample_weight)
        places = _places(numbers, order_by)
        return RowsInGroups(X, y, np.asarray(groups), order, weights, places)

    def of(self, rows: np.ndarray) -> "RowsInGroups":
        """Some of them."""
        X, y = (_safe_indexing(one, rows) for one in (self.X, self.y))
        order, weights = (None if one is None else one[rows] for one in (self.order, self.weights))
        return RowsInGroups(X, y, self.groups[rows], order, weights, self.places[rows])

    @property
    def weighted(self) -> "RowsInGroups":
        """Those that have a weight."""
        return self if self.weights is None else self.of(np.flatnonzero(self.weights > 0))

    @property
    def weighting(self) -> dict[str, np.ndarray]:
        """`sample_weight`, where there is one, as an argument."""
        return {} if self.weights is None else {"sample_weight": self.weights}

    def after(self, size: int) -> "RowsInGroups":
        """The rows to judge on, after so many to adapt from.

        Raises:
            MamlaxError: if there is none.
        """
        if self.places.max(initial=-1) < size:
            raise MamlaxError(
                f"no group to judge on has more than {size} rows: none is left to judge after "
                f"{size} to adapt from (the largest has {self.places.max(initial=-1) + 1}). Give "
                "a smaller support_size."
            )
        return self.of(np.flatnonzero(self.places >= size))


class OfRows(BaseEstimator):
    """An estimator adapted to many groups, asked about rows whose groups are known."""

    def __init__(self, estimator: Any, adapted: Any, groups: np.ndarray):
        self.estimator, self.adapted, self.groups = estimator, adapted, groups

    @property
    def classes_(self) -> np.ndarray:
        """Of a classifier."""
        return self.estimator.classes_

    def predict(self, X) -> np.ndarray:
        """As the estimator does."""
        return self.adapted.predict(X, self.groups)

    def predict_proba(self, X) -> np.ndarray:
        """As the estimator does."""
        return self.adapted.predict_proba(X, self.groups)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self):
        return self.estimator.__sklearn_tags__()


def scores_of(
    model: Any, rows: RowsInGroups, sizes: Sequence[int], scoring: Scoring
) -> list[float]:
    """A fitted model's score at each size of support, all on the rows after the largest."""
    if 0 in sizes and model.num_support_:
        raise MamlaxError(
            f"this model is adapted to {model.num_support_} rows; support_size=0 is of one that "
            "is not. Give the model as fit has left it."
        )
    query, scorer = rows.after(max(sizes)), scorer_of(model, scoring, rows)
    is_judged = np.isin(rows.groups, query.groups)
    found = []
    for size in sizes:
        predictor = model
        if size:
            support = rows.of(np.flatnonzero((rows.places < size) & is_judged))
            adapted = model.adapt_many(support.X, support.y, support.groups, **support.weighting)
            predictor = OfRows(model, adapted, query.groups)
        found.append(float(scorer(predictor, query.X, query.y, **query.weighting)))
    return found


def last_step(model: Any, rows: RowsInGroups) -> tuple[Any, RowsInGroups]:
    """What adapts in a fitted pipeline, and rows as the steps before it hand them on."""
    if not isinstance(model, Pipeline):
        return model, rows
    X = model[:-1].transform(rows.X) if len(model) > 1 else rows.X
    return model[-1], rows._replace(X=X)


def scorer_of(model: Any, scoring: Scoring, rows: RowsInGroups) -> Any:
    """`scorer(estimator, X, y) -> float`, which takes `sample_weight` where rows have weights."""
    scorer: Any = check_scoring(model, scoring or default_scoring(model))
    taken = inspect.signature(scorer).parameters.values()
    if rows.weighting and not any(
        one.name == "sample_weight" or one.kind is one.VAR_KEYWORD for one in taken
    ):
        raise MamlaxError(
            "rows are judged by their sample_weight, and scoring does not take it. Write it as "
            "scoring(estimator, X, y, sample_weight), or leave the weights out."
        )
    return scorer


def default_scoring(model: Any) -> str:
    """What scikit-learn's `score` is."""
    return "accuracy" if is_classifier(model) else "r2"


class Fold(NamedTuple):
    """A fitted model, and rows of groups that it has not learned from.

    Attributes:
        model: fitted; of a pipeline the last step, and rows as it takes them.
        learned: what it has learned from; None: it was there already.
        judged: the others.
    """

    model: Any
    learned: RowsInGroups | None
    judged: RowsInGroups


def folds_of(model: Any, rows: RowsInGroups, cv: Any, *, num_sets: int = 1) -> Iterator[Fold]:
    """Fit a clone for each fold of groups.

    Args:
        model: that adapts.
        rows: of all groups.
        cv: as for `adaptation_score`.
        num_sets: of a model that is fitted already: sets of groups to judge it on.

    Raises:
        MamlaxError: if a group is both learned from and judged on.
    """
    if isinstance(cv, str) and cv == "prefit":
        check_is_fitted(model)
        num_sets = min(num_sets, len(np.unique(rows.groups)))
        sets = [np.arange(len(rows.groups))]
        if num_sets > 1:
            sets = [those for _, those in _indices(num_sets, rows)]
        for those in sets:
            last, judged = last_step(model, rows.of(those))
            yield Fold(last, None, judged)
        return
    for learned, judged in _indices(cv, rows):
        if len(both := np.intersect1d(rows.groups[learned], rows.groups[judged])):
            raise MamlaxError(
                f"group {both.tolist()[0]!r} is both learned from and judged on in a fold: it "
                "would not be new. Give folds of whole groups: cv=GroupKFold(5)."
            )
        fitted = _fitted(model, rows.of(learned))
        last, some = last_step(fitted, rows.of(learned))
        yield Fold(last, some, last_step(fitted, rows.of(judged))[1])


def _fitted(model: Any, rows: RowsInGroups) -> Any:
    """A clone that has learned from these rows."""
    one: Any = clone(model)
    last, prefix = one, ""
    if isinstance(one, Pipeline):
        last, prefix = one[-1], f"{one.steps[-1][0]}__"
    if "compare" in last.get_params(deep=False):  # what it would say of itself, nobody would see
        last.set_params(compare=False)
    given = {"groups": rows.groups, "order_by": rows.order, **rows.weighting}
    with config_context(enable_metadata_routing=False):  # a pipeline takes names of its steps
        return one.fit(rows.X, rows.y, **{prefix + name: value for name, value in given.items()})


def _indices(cv: Any, rows: RowsInGroups) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Pairs of indices: of rows to learn from, and of rows to judge on."""
    if isinstance(cv, str):
        raise MamlaxError(
            f'cv must be a number, a splitter, pairs of indices or "prefit", got {cv!r}.'
        )
    if cv is None or isinstance(cv, int | np.integer):
        cv = GroupKFold(5 if cv is None else int(cv))
    return cv.split(rows.X, rows.y, rows.groups) if hasattr(cv, "split") else cv


def _places(numbers: np.ndarray, order_by: Any) -> np.ndarray:
    """The place of each row in its group."""
    order = np.arange(len(numbers)) if order_by is None else positions_in(order_by, len(numbers))
    order = order[np.argsort(numbers[order], kind="stable")]
    starts = np.cumsum(np.bincount(numbers)) - np.bincount(numbers)
    places = np.empty(len(numbers), int)
    places[order] = np.arange(len(numbers)) - starts[numbers[order]]
    return places


def checked_sizes(support_size: Any) -> list[int]:
    """As a list."""
    sizes = np.atleast_1d(support_size)
    if sizes.ndim > 1 or not sizes.size or sizes.dtype.kind not in "iu" or sizes.min() < 0:
        raise MamlaxError(
            f"support_size must be a number of rows, 0 or more, or several, got {support_size!r}."
        )
    return sizes.tolist()


def check_adapts(model: Any) -> None:
    """Refuse what does not."""
    last = model[-1] if isinstance(model, Pipeline) else model
    if not hasattr(last, "adapt_many"):
        raise MamlaxError(
            f"{type(last).__name__} does not adapt to groups. Give a FewShotRegressor, a "
            "FewShotClassifier, or a pipeline that ends in one."
        )


def warn_of_small(rows: RowsInGroups, size: int) -> None:
    """Warn of groups that leave no row to judge on."""
    counts = np.unique(rows.groups, return_counts=True)[1]
    small = int(np.sum(counts <= size))
    if 0 < small < len(counts):
        warn(
            f"{small} of {len(counts)} groups have {size} rows or fewer: after the support none "
            "is left to judge on, and they are left out of the scores.",
            stacklevel=3,
        )
