"""Scores of a model, and of simpler models, by the number of support rows: a learning curve."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier

from .._errors import MamlaxError
from .._files import Json
from ._entry import ADAPTED, aligned, counted
from ._evidence import mean_and_interval
from ._judged_groups import (
    Fold,
    OfRows,
    RowsInGroups,
    Scoring,
    check_adapts,
    checked_sizes,
    default_scoring,
    folds_of,
    scorer_of,
    scores_of,
    warn_of_small,
)
from ._remarks import remarks_of, tried
from ._rows import Rows
from ._simpler_models import SUPPORT_SIZES, simpler_models

_NUM_SETS = 5


class SupportCurve(NamedTuple):
    """Scores by the number of support rows. Printed, it is a table.

    Attributes:
        scoring: name of the score; larger is better.
        sizes: numbers of support rows.
        scores: scores `[sizes, folds]` of each model, the adapted model first.
        num_groups: number of groups judged on.
        remarks: pairs of a model and a remark: that it failed and is left out, or that it warned.
    """

    scoring: str
    sizes: tuple[int, ...]
    scores: dict[str, np.ndarray]
    num_groups: int
    remarks: tuple[tuple[str, str], ...] = ()

    @property
    def num_folds(self) -> int:
        """Number of folds."""
        return self.scores[ADAPTED].shape[1]

    def mean(self, model: str = ADAPTED) -> np.ndarray:
        """Mean score over folds, `[sizes]`."""
        return self._of(model)[0]

    def ci95(self, model: str = ADAPTED) -> np.ndarray:
        """Half the width of Student's 95 % interval over folds, `[sizes]`. NaN for one fold."""
        return self._of(model)[1]

    def _of(self, model: str) -> np.ndarray:
        folds = np.arange(self.num_folds)
        return np.array([mean_and_interval(one, folds) for one in self.scores[model]]).T

    def __str__(self) -> str:
        interval = ", mean ± 95 % interval over folds" if self.num_folds > 1 else ""
        title = f"{self.scoring}, {counted(self.num_groups, 'group')} held out in "
        rows = [["rows of support", *map(str, self.sizes)]]
        for model in self.scores:
            cells = [f"{score:.3f}" for score in self.mean(model)]
            if self.num_folds > 1:
                cells = [f"{x} ± {half:.3f}" for x, half in zip(cells, self.ci95(model))]  # noqa: B905
            rows.append([model, *cells])
        remarks = [f"{model}: {said}." for model, said in self.remarks]
        return "\n".join(
            [f"{title}{counted(self.num_folds, 'fold')}{interval}", *aligned(rows), *remarks]
        )

    def as_json(self) -> Json:
        """For `mamlax.plots.support_curve`."""
        entries = [
            {"model": model, "num_support": size, "score": score, "ci95": ci95}
            for model in self.scores
            for size, score, ci95 in zip(
                self.sizes, self.mean(model).tolist(), self.ci95(model).tolist(), strict=True
            )
        ]
        return {
            "scoring": self.scoring,
            "num_groups": self.num_groups,
            "num_folds": self.num_folds,
            "entries": entries,
            "remarks": [list(one) for one in self.remarks],
        }


def support_curve(
    model: Any,
    X: Any,
    y: Any,
    groups: Any,
    *,
    support_sizes: Sequence[int] | None = None,
    cv: Any = None,
    scoring: Scoring = None,
    order_by: Any = None,
    sample_weight: Any = None,
    compare: bool = True,
) -> SupportCurve:
    """Scores of a model, and of simpler models, by the number of support rows of a new group.

    As in `adaptation_score`, for each fold a clone is fitted to the other groups, adapted to the
    first rows of each group in the fold, and judged on later rows, the same for all support sizes.
    The simpler models are those of `report()`, fitted to the same groups.

    Args:
        model: a `FewShotRegressor` or `FewShotClassifier`, or a pipeline that ends in one. It does
            not change.
        X: `[rows, columns]`, as for `fit`.
        y: `[rows]` or `[rows, outputs]`.
        groups: `[rows]`, which task a row belongs to.
        support_sizes: how many rows to adapt to; 0: the model is not adapted. None: those of 0, 1,
            2, 5, 10, 20 and 50 that are at most half the rows of a group (the median group).
        cv: folds of groups, as for `adaptation_score`. "prefit": nothing is fitted. The given model
            is judged in five sets of groups, without simpler models.
        scoring: scikit-learn's name of a score, or `scoring(estimator, X, y) -> float`, which is
            also passed `sample_weight` if that is given. None: R² for regression, accuracy for
            classification.
        order_by: `[rows]`, numbers or dates that order the rows of a group. None: the rows are in
            the given order.
        sample_weight: `[rows]`, how much each row counts, in fitting, adapting and judging.
        compare: whether to fit simpler models too.

    Returns:
        The scores. `mamlax.plots.support_curve(curve.as_json())` draws them.

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
        >>> curve = mamlax.support_curve(model, x, y, machine, support_sizes=[0, 2, 5], cv=2)
        >>> curve.sizes, bool((np.diff(curve.mean()) > 0).all())
        ((0, 2, 5), True)
        >>> bool(curve.mean("one pooled linear model")[2] < curve.mean()[2])
        True
    """
    check_adapts(model)
    rows = RowsInGroups.checked(X, y, groups, order_by, sample_weight)
    sizes = _default_sizes(rows) if support_sizes is None else checked_sizes(support_sizes)
    warn_of_small(rows, max(sizes))
    found: list[dict[str, np.ndarray]] = []
    remarks: list[dict[str, str]] = []
    judged = set()
    for fold in folds_of(model, rows, cv, num_sets=_NUM_SETS):
        scores = {ADAPTED: np.array(scores_of(fold.model, fold.judged, sizes, scoring))}
        others, said = _simpler(fold, sizes, scoring) if compare else ({}, {})
        found.append(scores | others)
        remarks.append(said)
        judged |= set(fold.judged.after(max(sizes)).groups.tolist())
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", str(scoring))
    return SupportCurve(
        default_scoring(model) if scoring is None else name,
        tuple(sizes),
        {
            model: np.stack([one[model] for one in found], axis=1)
            for model in found[0]
            if all(model in one for one in found)
        },
        len(judged),
        remarks_of(remarks),
    )


def _default_sizes(rows: RowsInGroups) -> list[int]:
    _, counts = np.unique(rows.groups, return_counts=True)
    half = np.median(counts) / 2
    sizes = [size for size in SUPPORT_SIZES if size <= half]
    if len(sizes) < 2:
        raise MamlaxError(
            f"groups have {np.median(counts):g} rows (the median): too few to adapt from some and "
            "be judged on others. Give support_sizes, if larger groups are to be judged alone."
        )
    return sizes


def _simpler(
    fold: Fold, sizes: Sequence[int], scoring: Scoring
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Scores `[sizes]` of each simpler model, and remarks on some of them."""
    if fold.learned is None:
        return {}, {}
    model: Any = fold.model
    classes = len(model.classes_) if is_classifier(model) else None
    # in their order within groups: what comes before a row is then what stands before it
    learned = fold.learned.of(np.argsort(fold.learned.places, kind="stable"))
    train, query = _encoded(model, learned.weighted), fold.judged.after(max(sizes))
    known = fold.judged.weighted  # of which supports are
    asked, rows = _encoded(model, query), _encoded(model, known)
    names, group = np.unique(query.groups, return_inverse=True)
    those = [np.flatnonzero(group == i) for i in range(len(names))]
    queries = [asked.of(one) for one in those]
    supports = [
        rows.of(first[np.argsort(known.places[first])])
        for size in sizes
        for first in (
            np.flatnonzero((known.groups == name) & (known.places < size)) for name in names
        )
    ]
    seed, is_ordered = model._seed(), fold.learned.order is not None
    simpler = simpler_models(
        train, classes, np.random.default_rng(seed), seed, is_ordered=is_ordered
    )
    scorer, scores, remarks = scorer_of(model, scoring, fold.judged), {}, {}
    for name, predict in simpler.items():
        outputs, remark = tried(predict, supports, queries * len(sizes))
        if remark is not None:
            remarks[name] = remark
        if outputs is None:
            continue
        scores[name] = np.zeros(len(sizes))
        for i in range(len(sizes)):
            of_size = outputs[i * len(names) : (i + 1) * len(names)]
            joined = np.concatenate(of_size)[np.argsort(np.concatenate(those))]
            predictor = OfRows(model, _Known(model, joined), query.groups)
            scores[name][i] = scorer(predictor, query.X, query.y, **query.weighting)
    return scores, remarks


class _Known(NamedTuple):
    """Predictions that are already computed, in the place of an `AdaptedMany`."""

    model: Any
    outputs: np.ndarray

    def predict(self, X: Any, groups: np.ndarray) -> np.ndarray:
        """As the estimator does."""
        return self.model._decoded(self.outputs)

    def predict_proba(self, X: Any, groups: np.ndarray) -> np.ndarray:
        """As the estimator does."""
        return self.model.targets_.probabilities(self.outputs)


def _encoded(model: Any, rows: RowsInGroups) -> Rows:
    """Rows encoded for a fitted model."""
    _, numbers = np.unique(rows.groups, return_inverse=True)
    targets = model.targets_.encode(model._checked_targets(rows.y))
    weights = model._weights(rows.weights, rows.X)
    return Rows(model._inputs(rows.X), targets, weights, numbers, numbers)
