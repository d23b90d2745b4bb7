"""Pooled models of classes, and the loss that groups are left with once their offset is known.

Outputs are logits of the classes. A class that the training rows do not have gets a small one.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax

from ..config._tables import PooledKind
from ._differences import Differences
from ._log_odds import LogOdds
from ._pooled import Constant, Line, Trees
from ._rows import Rows
from ._sklearn_trees import MOST_LEAVES, trees_of_classes

_SIZES = (0, 1, 3, 10)
"""Rows of support by which a pooled model is judged."""
_MOST_ROWS = 50_000
"""That a model learns from, of all groups: enough for it, and seconds."""
_ABSENT = -6.0
"""Logit of a class that is not there, beside others around zero."""
_MOST_ITERATIONS = 200
_MOST_CLASSES = 10
"""That trees are tried for."""


class ClassLogits(NamedTuple):
    """Of targets `[rows]`, integers below `num_outputs`."""

    seed: int
    num_outputs: int
    is_ordered: bool = False

    @property
    def kinds(self) -> tuple[PooledKind, ...]:
        """First the line: no head that holds for all groups is learned, which would stand for it.
        Trees are as many as classes, and take as much longer.
        """
        return ("linear", "none", "trees")[: 3 if self.num_outputs <= _MOST_CLASSES else 2]

    def constant(self, train: Rows) -> Constant:
        """The frequencies of the classes."""
        counts = np.bincount(train.targets, train.weights, self.num_outputs) + 0.5
        return Constant(np.log(counts / counts.sum()).astype(np.float32))

    def line(self, train: Rows) -> Line:
        """Logistic regression."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        train = train.thinned(_MOST_ROWS, self.seed)
        weight = np.zeros((train.inputs.shape[1], self.num_outputs), np.float32)
        bias = np.full(self.num_outputs, _ABSENT, np.float32)
        present = np.unique(train.targets)
        if len(present) < 2:
            bias[present] = 0.0
            return Line(weight, bias)
        model = LogisticRegression(max_iter=_MOST_ITERATIONS)
        with warnings.catch_warnings():  # a line that is nearly the best is as good
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train.inputs, train.targets, train.weights)
        if len(present) == 2:  # of two classes, the logit of the second
            bias[present[0]], present = 0.0, present[1:]
        weight[:, present], bias[present] = model.coef_.T, model.intercept_
        return Line(weight, bias)

    def boosted(self, train: Rows, num_trees: int, grown: Sequence[Any] = ()) -> list[Any]:
        """One model for all classes; none if the rows have one class. If it was `grown` to fewer
        trees, it grows on.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier

        train = train.thinned(_MOST_ROWS, self.seed)
        if len(np.unique(train.targets)) < 2:
            return []
        settings: dict[str, Any] = {
            "max_iter": num_trees,
            "max_leaf_nodes": MOST_LEAVES,
            "early_stopping": False,  # it would hold out rows, not groups
            "random_state": self.seed,
            "warm_start": True,
        }
        (model,) = grown or [HistGradientBoostingClassifier()]
        return [model.set_params(**settings).fit(train.inputs, train.targets, train.sample_weight)]

    def staged(self, boosted: list[Any], inputs: np.ndarray) -> Any:
        """Logits after each tree."""
        (model,) = boosted
        for raw in model.staged_decision_function(inputs):
            logits = np.full((len(inputs), self.num_outputs), _ABSENT)
            # of two classes it has the logit of the second
            logits[:, model.classes_] = raw if raw.ndim > 1 else np.stack([0 * raw, raw], axis=1)
            yield logits

    def stage_error(self, rows: Rows, predicted: np.ndarray) -> float:
        """By which a number of trees is chosen: the log loss without an offset, which is fast."""
        logs = log_softmax(predicted, axis=1)[np.arange(len(predicted)), rows.targets]
        return float(np.average(-logs, weights=rows.weights + 1e-12))

    def trees(self, boosted: list[Any]) -> Trees:
        """The same as arrays."""
        (model,) = boosted
        return trees_of_classes(model, self.num_outputs, _ABSENT)

    def errors(self, rows: Rows, predicted: np.ndarray) -> np.ndarray:
        """`[groups]`, the log loss of half of the rows once others have told an offset, over
        numbers of these. Where rows stand in an order, the others are the first.
        """
        of_groups = LogOdds.of(rows, predicted, self.seed)
        places = np.arange(len(predicted))
        if not self.is_ordered:
            places = np.random.default_rng(self.seed).random(len(predicted))
        order = np.lexsort((places, rows.groups))
        rows, logits = rows.of(order), predicted[order]
        group, starts, sizes = np.unique(rows.groups, return_index=True, return_counts=True)
        group = np.repeat(np.arange(len(group)), sizes)
        place, half = np.arange(len(group)) - starts[group], (sizes // 2)[group]
        weights = rows.weights.astype(np.float64)
        of_query = np.where(place >= half, weights, 0) + 1e-12
        losses = []
        for size in _SIZES:
            support = rows._replace(
                inputs=logits, weights=np.where(place < np.minimum(size, half), weights, 0)
            )
            offsets = self._offsets(of_groups, support, group)
            logs = log_softmax(logits + offsets[group], axis=1)
            of_rows = -logs[np.arange(len(logs)), rows.targets]
            losses.append(np.bincount(group, of_query * of_rows) / np.bincount(group, of_query))
        return np.mean(losses, axis=0)

    def _offsets(self, of_groups: LogOdds, support: Rows, group: np.ndarray) -> np.ndarray:
        """Of each group `[groups, classes]`, some groups at a time."""
        ends = np.searchsorted(group, np.arange(group[-1] + 1), side="right")
        lots = np.unique(ends // _MOST_ROWS, return_index=True)[1][1:]
        found = []
        for groups in np.split(np.arange(len(ends)), lots):
            those = slice(0 if not groups[0] else ends[groups[0] - 1], ends[groups[-1]])
            none = np.zeros((len(groups), self.num_outputs))
            found.append(of_groups.modes(support.of(those), group[those] - groups[0], none).offsets)
        return np.concatenate(found)

    def differences(self, rows: Rows, predicted: np.ndarray) -> Differences:
        """Offsets of the logits of groups."""
        offset = LogOdds.of(rows, predicted, self.seed).variance
        return Differences.of_offsets(offset, rows.inputs.shape[1], self.num_outputs)
