"""What groups are expected to differ by, before anything is learned: where meta-training starts."""

from typing import NamedTuple

import numpy as np

from ._random_slopes import RandomSlopes
from ._rows import Rows

_LEAST, _MOST = 0.01, 300.0
"""Variances, by that of a row: fewer rows tell nothing of less, and of more one row tells all."""
_SLOPES = 1.0
"""Of what no line was fitted to."""
_MOST_WORK = 2e6
"""Of the fit: a few tenths of a second."""


class Differences(NamedTuple):
    """Variances are relative to that of a row within its group.

    Attributes:
        offset: the variance of what groups are apart.
        slopes: `[inputs]`, the variance of the slope in each.
        mean: `[1 + inputs, outputs]`, the mean offset and slopes of all groups.
    """

    offset: float
    slopes: np.ndarray
    mean: np.ndarray

    @staticmethod
    def of_offsets(offset: float, num_inputs: int, num_outputs: int) -> "Differences":
        """Where nothing more is known."""
        mean = np.zeros((1 + num_inputs, num_outputs))
        return Differences(
            float(np.clip(offset, _LEAST, _MOST)), np.full(num_inputs, _SLOPES), mean
        )

    @staticmethod
    def of_lines(rows: Rows, seed: int) -> "Differences":
        """Those of a linear mixed model of the targets, which may be residuals.

        Args:
            rows: of some groups; targets `[rows, outputs]`.
            seed: of the groups that are drawn, where they are too many.

        Raises:
            LeftOut: if rows have too many numbers for it.
        """
        weights = rows.weights / rows.weights.mean()  # a row of none is then none of its rows
        rows = rows._replace(weights=weights)
        model = RandomSlopes.of(rows, seed, most_work=_MOST_WORK, are_independent=True)
        variances = np.diagonal(model.covariance, axis1=1, axis2=2) / model.noise[:, None]
        offset, *slopes = np.clip(variances.mean(0), _LEAST, _MOST)
        return Differences(float(offset), np.array(slopes), model.beta.T)
