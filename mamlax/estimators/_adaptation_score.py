"""Scores of the adapted model: cross-validated, or as a scorer for scikit-learn's tools."""

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
    """Cross-validated scores of a model that is adapted to groups it has not learned from.

    For each fold, a clone is fitted to the other groups. The clone is adapted to the first
    `support_size` rows of each group in the fold. It is judged on all later rows of these groups
    together.

    Args:
        model: a `FewShotRegressor` or `FewShotClassifier`, or a pipeline that ends in one. It does
            not change. Clones are fitted with `compare=False`.
        X: `[rows, columns]`, as for `fit`.
        y: `[rows]` or `[rows, outputs]`.
        groups: `[rows]`, which task a row belongs to.
        support_size: how many rows to adapt to. 0: the model is not adapted. With several sizes,
            all are judged on the same rows: the rows after the largest support.
        cv: folds of groups: a number, one of scikit-learn's splitters, or pairs of indices (to
            learn from, to judge on). None: five folds. "prefit": nothing is fitted, and the given
            model is judged on all groups.
        scoring: scikit-learn's name of a score, or `scoring(estimator, X, y) -> float`, which is
            also passed `sample_weight` if that is given. None: R² for regression, accuracy for
            classification.
        order_by: `[rows]`, numbers or dates that order the rows of a group, also in training. None:
            the rows are in the given order.
        sample_weight: `[rows]`, how much each row counts, in fitting, adapting and judging.

    Returns:
        `[folds]`, or `[sizes, folds]` if `support_size` is a list.

    Raises:
        MamlaxError: if in some fold no group has more rows than the largest support, if a group is
            both learned from and judged on, or if adapting to a group diverges.

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
    """A scorer that adapts the model, for `cross_val_score`, `GridSearchCV` and similar tools.

    Called as `scorer(fitted_model, X, y, groups=groups)`, it adapts to the first rows of each group
    and judges on the later rows. In scikit-learn's tools, the groups reach the scorer (and `fit`,
    and the splitter) by metadata routing, which you must turn on.

    Args:
        support_size: how many rows to adapt to. 0: the model is not adapted.
        scoring: as for [`adaptation_score`][mamlax.adaptation_score].

    Returns:
        The scorer. It also accepts `order_by=`, `sample_weight=` and pipelines.

    Raises:
        MamlaxError: when called, if the groups did not reach the scorer, or no group has more rows
            than the support.

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
        """The arguments that scikit-learn passes on to the scorer."""
        request: Any = MetadataRequest(owner=self)
        for name in ("groups", "order_by", "sample_weight"):
            request.score.add_request(param=name, alias=True)
        return request

    def __repr__(self) -> str:
        return f"adaptation_scorer(support_size={self.support_size}, scoring={self.scoring!r})"
