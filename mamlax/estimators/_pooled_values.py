"""Pooled models of values, and the error that groups are left with once their offset is known."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..config._tables import PooledKind
from ._differences import Differences
from ._entry import LeftOut
from ._offsets import Offsets
from ._pooled import Line, Trees
from ._rows import Rows
from ._sklearn_trees import MOST_LEAVES, trees_of

_SIZES = np.array([0, 1, 3, 10, 30])[:, None, None]
"""Rows of support by which a pooled model is judged."""
_MOST_ROWS = 50_000
"""That trees learn from, of all groups: enough for them, and seconds."""


class Values(NamedTuple):
    """Of targets `[rows, outputs]`."""

    seed: int
    num_outputs: int

    @property
    def kinds(self) -> tuple[PooledKind, ...]:
        """From the simplest. Without any, a head that holds for all groups is learned."""
        return "none", "linear", "trees"

    def constant(self, train: Rows) -> None:
        """Nothing: targets are standardized."""

    def line(self, train: Rows) -> Line:
        """Ridge regression."""
        return line_of(train)

    def boosted(self, train: Rows, num_trees: int, grown: Sequence[Any] = ()) -> list[Any]:
        """One model for each output; those of fewer trees that were `grown` grow on."""
        from sklearn.ensemble import HistGradientBoostingRegressor

        train = train.thinned(_MOST_ROWS, self.seed)
        settings: dict[str, Any] = {
            "max_iter": num_trees,
            "max_leaf_nodes": MOST_LEAVES,
            "early_stopping": False,  # it would hold out rows, not groups
            "random_state": self.seed,
            "warm_start": True,
        }
        models = grown or [HistGradientBoostingRegressor() for _ in train.targets.T]
        return [
            model.set_params(**settings).fit(train.inputs, y, train.sample_weight)
            for model, y in zip(models, train.targets.T, strict=True)
        ]

    def staged(self, boosted: list[Any], inputs: np.ndarray) -> Any:
        """Outputs after each tree."""
        stages = zip(*(model.staged_predict(inputs) for model in boosted), strict=True)
        return (np.stack(one, axis=1) for one in stages)

    def stage_error(self, rows: Rows, predicted: np.ndarray) -> float:
        """By which a number of trees is chosen: the mean of `errors`."""
        return float(self.errors(rows, predicted).mean())

    def trees(self, boosted: list[Any]) -> Trees:
        """The same as arrays."""
        return trees_of(boosted)

    def errors(self, rows: Rows, predicted: np.ndarray) -> np.ndarray:
        """`[groups]`, the squared error to expect once an offset is learned, over numbers of rows.

        Of n rows the offset is n / (n + κ) of their mean residual, κ = within / between. Where the
        offset is β and rows vary by s², the error is `s² (1 + n / (n + κ)²) + β² (κ / (n + κ))²`.
        """
        offsets = Offsets.of(rows, rows.targets - predicted)
        prior = offsets.shrinkage
        of_rows = offsets.variances * (1 + _SIZES / (_SIZES + prior) ** 2)
        return (of_rows + offsets.squares * (prior / (_SIZES + prior)) ** 2).mean((0, 2))

    def differences(self, rows: Rows, predicted: np.ndarray) -> Differences:
        """What groups differ by once this is predicted: lines, or offsets if columns are many."""
        rows = rows._replace(targets=rows.targets - predicted)
        try:
            return Differences.of_lines(rows, self.seed)
        except LeftOut:
            offset = np.mean(1 / Offsets.of(rows, rows.targets).shrinkage)
            return Differences.of_offsets(float(offset), rows.inputs.shape[1], self.num_outputs)


def line_of(rows: Rows) -> Line:
    """Ridge regression of the targets, weighted."""
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1.0).fit(rows.inputs, rows.targets, rows.weights)
    weight = np.reshape(model.coef_, (-1, rows.inputs.shape[1])).T.astype(np.float32)
    bias = np.broadcast_to(model.intercept_, weight.shape[1:]).astype(np.float32)
    return Line(np.ascontiguousarray(weight), bias)
