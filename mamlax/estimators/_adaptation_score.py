"""How good a model is once it is adapted, cross-validated or as scikit-learn's tools ask for it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.metadata_routing import MetadataRequest

from .._errors import MamlaxError
from ._judged_groups import (
    RowsInGroups,
    Scoring,
    check_adapts,
    checked_sizes,
    folds_of,
    last_step,
    scores_of,
    warn_of_small,
)


def adaptation_score(
    model: Any,
    X: Any,
    y: Any,
    groups: Any,
    *,
    support_size: int | Sequence[int],
    cv: Any = None,
    scoring: Scoring = None,
    order_by: Any = None,
    sample_weight: Any = None,
) -> np.ndarray:
    """Scores of a model that is adapted to groups it has not learned from.

    For each fold a clone is fitted to the other groups. It is adapted to each group of the fold
    from its first `support_size` rows, and judged on all rows that follow in any of them, together.

    Args:
        model: a `FewShotRegressor` or `FewShotClassifier`, or a pipeline that ends in one; it stays
            as it is. Clones do not judge themselves, whatever its `compare`.
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
        sample_weight: `[rows]`, how much each row counts, in fitting, adapting and judging.

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
    sizes = checked_sizes(support_size)
    check_adapts(model)
    rows = RowsInGroups.checked(X, y, groups, order_by, sample_weight)
    warn_of_small(rows, max(sizes))
    folds = folds_of(model, rows, cv)
    scores = np.array([scores_of(fold.model, fold.judged, sizes, scoring) for fold in folds]).T
    return scores[0] if is_one else scores


def adaptation_scorer(*, support_size: int, scoring: Scoring = None) -> Any:
    """A score of the adapted model, for `cross_val_score`, `GridSearchCV` and their like.

    Called as `scorer(fitted_model, X, y, groups=groups)`, it adapts to each group from its first
    rows, and judges on those that follow. In scikit-learn's tools, groups reach it (and `fit`, and
    the splitter) by metadata routing, which is to be switched on.

    Args:
        support_size: rows to adapt from; 0: the model is not adapted.
        scoring: as for [`adaptation_score`][mamlax.adaptation_score].

    Returns:
        The scorer. It takes `order_by=` and `sample_weight=`, too, and pipelines.

    Raises:
        MamlaxError: where it is called, if groups did not reach it, or none has more rows.

    Example:
        >>> import mamlax
        >>> mamlax.adaptation_scorer(support_size=5, scoring="r2")  # scoring= of cross_val_score
        adaptation_scorer(support_size=5, scoring='r2')
    """
    return _Scorer(checked_sizes(support_size)[0], scoring)


class _Scorer:
    """What `adaptation_scorer` returns."""

    def __init__(self, support_size: int, scoring: Scoring):
        self.support_size, self.scoring = support_size, scoring

    def __call__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        groups: Any = None,
        order_by: Any = None,
        sample_weight: Any = None,
    ) -> float:
        check_adapts(estimator)
        if groups is None:
            raise MamlaxError(
                "groups did not reach the scorer. In scikit-learn's tools they do by metadata "
                "routing: sklearn.set_config(enable_metadata_routing=True), then "
                'cross_val_score(..., params={"groups": groups}) or '
                "GridSearchCV(...).fit(X, y, groups=groups)."
            )
        rows = RowsInGroups.checked(X, y, groups, order_by, sample_weight)
        warn_of_small(rows, self.support_size)
        return scores_of(*last_step(estimator, rows), [self.support_size], self.scoring)[0]

    def get_metadata_routing(self) -> MetadataRequest:
        """What scikit-learn passes on to it."""
        request: Any = MetadataRequest(owner=self)
        for name in ("groups", "order_by", "sample_weight"):
            request.score.add_request(param=name, alias=True)
        return request

    def __repr__(self) -> str:
        return f"adaptation_scorer(support_size={self.support_size}, scoring={self.scoring!r})"
