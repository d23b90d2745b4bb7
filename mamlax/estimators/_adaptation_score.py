"""How good a model is once it is adapted, cross-validated or as scikit-learn's tools ask for it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import GroupKFold
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.validation import _num_samples, check_consistent_length, check_is_fitted

from .._errors import MamlaxError, warn
from ._frames import as_pandas
from ._order import positions_in
from ._splits import numbered

_Scoring = str | Callable[..., float] | None


def adaptation_score(
    model: Any,
    X: Any,
    y: Any,
    groups: Any,
    *,
    support_size: int | Sequence[int],
    cv: Any = None,
    scoring: _Scoring = None,
    order_by: Any = None,
) -> np.ndarray:
    """Scores of a model that is adapted to groups it has not learned from.

    For each fold a clone is fitted to the other groups. It is adapted to each group of the fold
    from its first `support_size` rows, and judged on all rows that follow in any of them, together.

    Args:
        model: a `FewShotRegressor` or `FewShotClassifier`; it stays as it is. Clones do not judge
            themselves, whatever its `compare`.
        X: `[rows, columns]`, as for `fit`.
        y: `[rows]` or `[rows, outputs]`.
        groups: `[rows]`, which task a row belongs to.
        support_size: rows to adapt from; 0: the model is not adapted. With several, all are judged
            on the same rows: those after the largest.
        cv: folds of groups: a number, one of scikit-learn's splitters, or pairs of indices to learn
            from and to judge on. None: five. "prefit": nothing is fitted; the model is judged as it
            is, on all groups.
        scoring: scikit-learn's name of a score, or `scoring(estimator, X, y) -> float`. None: R² of
            values, the share of rows classified rightly of classes.
        order_by: `[rows]` of numbers or dates, in which the rows of a group come one after another;
            also in training. None: as they stand.

    Returns:
        `[folds]`; `[sizes, folds]` where `support_size` is several.

    Raises:
        MamlaxError: if no group of a fold has more rows than the largest support, a group is both
            learned from and judged on, or adapting to one diverges.

    Example:
        >>> import numpy as np, mamlax
        >>> rng = np.random.default_rng(0)
        >>> machine, x = np.arange(600) % 30, rng.normal(size=(600, 1))
        >>> y = 3 * rng.normal(size=30)[machine] + x[:, 0]  # each machine has an offset of its own
        >>> model = mamlax.FewShotRegressor(
        ...     num_outer_steps=20, pooled="linear", validation_fraction=0.0, random_state=0
        ... )
        >>> scores = mamlax.adaptation_score(
        ...     model, x, y, machine, support_size=[0, 5], cv=2, scoring="neg_mean_squared_error"
        ... )
        >>> scores.shape, bool((scores[1] > scores[0]).all())
        ((2, 2), True)
    """
    is_one = np.ndim(support_size) == 0
    sizes = _checked_sizes(support_size)
    _check_adapts(model)
    X = as_pandas(X)
    total = _num_samples(X)
    check_consistent_length(X, y)
    labels, numbers = numbered("groups", groups, total)
    rows = _Judged(X, y, np.asarray(groups), _places(numbers, order_by))
    _warn_of_small(np.bincount(numbers), max(sizes))
    if isinstance(cv, str) and cv == "prefit":
        check_is_fitted(model)
        found = [_scores(model, rows, sizes, scoring)]
    else:
        found = []
        order = None if order_by is None else np.asarray(order_by)
        for learned, judged in _folds(cv, X, y, rows.groups):
            if len(both := np.intersect1d(numbers[learned], numbers[judged])):
                raise MamlaxError(
                    f"group {labels.tolist()[both[0]]!r} is both learned from and judged on in a "
                    "fold: it would not be new. Give folds of whole groups: cv=GroupKFold(5)."
                )
            fitted = _fitted(model, rows.of(learned), None if order is None else order[learned])
            found.append(_scores(fitted, rows.of(judged), sizes, scoring))
    scores = np.array(found).T
    return scores[0] if is_one else scores


def adaptation_scorer(*, support_size: int, scoring: _Scoring = None) -> Any:
    """A score of the adapted model, for `cross_val_score`, `GridSearchCV` and their like.

    Called as `scorer(fitted_model, X, y, groups=groups)`, it adapts to each group from its first
    rows, and judges on those that follow. In scikit-learn's tools, groups reach it (and `fit`, and
    the splitter) by metadata routing, which is to be switched on.

    Args:
        support_size: rows to adapt from; 0: the model is not adapted.
        scoring: as for [`adaptation_score`][mamlax.adaptation_score].

    Returns:
        The scorer. It takes `order_by=`, too.

    Raises:
        MamlaxError: where it is called, if groups did not reach it, or none has more rows.

    Example:
        >>> import mamlax
        >>> mamlax.adaptation_scorer(support_size=5, scoring="r2")  # scoring= of cross_val_score
        adaptation_scorer(support_size=5, scoring='r2')
    """
    return _Scorer(_checked_sizes(support_size)[0], scoring)


class _Scorer:
    """What `adaptation_scorer` returns."""

    def __init__(self, support_size: int, scoring: _Scoring):
        self.support_size, self.scoring = support_size, scoring

    def __call__(self, estimator: Any, X: Any, y: Any, groups: Any = None, order_by: Any = None):
        _check_adapts(estimator)
        if groups is None:
            raise MamlaxError(
                "groups did not reach the scorer. In scikit-learn's tools they do by metadata "
                "routing: sklearn.set_config(enable_metadata_routing=True), then "
                'cross_val_score(..., params={"groups": groups}) or '
                "GridSearchCV(...).fit(X, y, groups=groups)."
            )
        X = as_pandas(X)
        _, numbers = numbered("groups", groups, _num_samples(X))
        rows = _Judged(X, y, np.asarray(groups), _places(numbers, order_by))
        _warn_of_small(np.bincount(numbers), self.support_size)
        return _scores(estimator, rows, [self.support_size], self.scoring)[0]

    def get_metadata_routing(self) -> MetadataRequest:
        """What scikit-learn passes on to it."""
        request: Any = MetadataRequest(owner=self)
        for name in ("groups", "order_by"):
            request.score.add_request(param=name, alias=True)
        return request

    def __repr__(self) -> str:
        return f"adaptation_scorer(support_size={self.support_size}, scoring={self.scoring!r})"


class _Judged(NamedTuple):
    """Rows of groups.

    Attributes:
        X: `[rows, columns]`.
        y: `[rows]` or `[rows, outputs]`.
        groups: `[rows]`.
        places: `[rows]`, the place of each row in its group, from 0 on.
    """

    X: Any
    y: Any
    groups: np.ndarray
    places: np.ndarray

    def of(self, rows: np.ndarray) -> "_Judged":
        """Some of them."""
        X, y = (_safe_indexing(one, rows) for one in (self.X, self.y))
        return _Judged(X, y, self.groups[rows], self.places[rows])


class _OfRows(BaseEstimator):
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


def _scores(model: Any, rows: _Judged, sizes: Sequence[int], scoring: _Scoring) -> list[float]:
    """A fitted model's score at each size of support."""
    if 0 in sizes and model.num_support_:
        raise MamlaxError(
            f"this model is adapted to {model.num_support_} rows; support_size=0 is of one that "
            "is not. Give the model as fit has left it."
        )
    query = rows.of(np.flatnonzero(rows.places >= max(sizes)))
    if not len(query.groups):
        raise MamlaxError(
            f"no group to judge on has more than {max(sizes)} rows: none is left to judge after "
            f"{max(sizes)} to adapt from (the largest has {rows.places.max(initial=-1) + 1}). Give "
            "a smaller support_size."
        )
    is_judged = np.isin(rows.groups, query.groups)
    scorer: Any = check_scoring(model, scoring or ("accuracy" if is_classifier(model) else "r2"))
    found = []
    for size in sizes:
        predictor = model
        if size:
            support = rows.of(np.flatnonzero((rows.places < size) & is_judged))
            adapted = model.adapt_many(support.X, support.y, support.groups)
            predictor = _OfRows(model, adapted, query.groups)
        found.append(float(scorer(predictor, query.X, query.y)))
    return found


def _fitted(model: Any, rows: _Judged, order_by: np.ndarray | None) -> Any:
    """A clone that has learned from these rows."""
    one: Any = clone(model)
    if "compare" in one.get_params(deep=False):  # what it would say of itself, nobody would see
        one.set_params(compare=False)
    return one.fit(rows.X, rows.y, groups=rows.groups, order_by=order_by)


def _folds(cv: Any, X: Any, y: Any, groups: np.ndarray) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Pairs of indices: of rows to learn from, and of rows to judge on."""
    if isinstance(cv, str):
        raise MamlaxError(
            f'cv must be a number, a splitter, pairs of indices or "prefit", got {cv!r}.'
        )
    if cv is None or isinstance(cv, int | np.integer):
        cv = GroupKFold(5 if cv is None else int(cv))
    return cv.split(X, y, groups) if hasattr(cv, "split") else cv


def _places(numbers: np.ndarray, order_by: Any) -> np.ndarray:
    """The place of each row in its group."""
    order = np.arange(len(numbers)) if order_by is None else positions_in(order_by, len(numbers))
    order = order[np.argsort(numbers[order], kind="stable")]
    starts = np.cumsum(np.bincount(numbers)) - np.bincount(numbers)
    places = np.empty(len(numbers), int)
    places[order] = np.arange(len(numbers)) - starts[numbers[order]]
    return places


def _checked_sizes(support_size: Any) -> list[int]:
    sizes = np.atleast_1d(support_size)
    if sizes.ndim > 1 or not sizes.size or sizes.dtype.kind not in "iu" or sizes.min() < 0:
        raise MamlaxError(
            f"support_size must be a number of rows, 0 or more, or several, got {support_size!r}."
        )
    return sizes.tolist()


def _check_adapts(model: Any) -> None:
    if not hasattr(model, "adapt_many"):
        raise MamlaxError(
            f"{type(model).__name__} does not adapt to groups. Give a FewShotRegressor or a "
            "FewShotClassifier; columns of categories, missing values and scaling need no steps "
            "of a pipeline."
        )


def _warn_of_small(counts: np.ndarray, size: int) -> None:
    """Warn of groups that leave no row to judge on."""
    small = int(np.sum(counts <= size))
    if 0 < small < len(counts):
        warn(
            f"{small} of {len(counts)} groups have {size} rows or fewer: after the support none "
            "is left to judge on, and they are left out of the scores.",
            stacklevel=3,
        )
