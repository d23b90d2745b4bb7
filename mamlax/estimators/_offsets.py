"""How far groups are apart, and their rows within them: variances by the method of moments."""

from typing import NamedTuple

import numpy as np

from ._rows import Rows


class Offsets(NamedTuple):
    """Of what a model leaves of the targets, in groups that it has an offset in.

    Attributes:
        variances: `[groups, outputs]`, within each group.
        squares: `[groups, outputs]`, estimates of the squares of their offsets, without bias.
        within: `[outputs]`, the variance within groups.
        between: `[outputs]`, that of their offsets.
    """

    variances: np.ndarray
    squares: np.ndarray
    within: np.ndarray
    between: np.ndarray

    @staticmethod
    def of(rows: Rows, residuals: np.ndarray) -> "Offsets":
        """Those of residuals `[rows, outputs]`, each row counting as much as its weight."""
        _, group = np.unique(rows.groups, return_inverse=True)
        weights = rows.weights[:, None].astype(np.float64)

        def sums(columns):
            return np.stack([np.bincount(group, one) for one in columns.T], axis=1)

        total = sums(weights)
        share = sums(weights**2) / total**2  # of the variance of a row, which the mean has: 1/n
        means = sums(weights * residuals) / total
        deviations = sums(weights * (residuals - means[group]) ** 2)
        freedom = total * (1 - share)
        within = deviations.sum(0) / np.maximum(freedom.sum(0), 1e-9)
        varies = share < 1 - 1e-6  # else of one row
        variances = np.where(varies, deviations / np.where(varies, freedom, 1.0), within)
        squares = means**2 - variances * share
        return Offsets(variances, squares, within, np.maximum(squares.mean(0), 1e-6))

    @property
    def shrinkage(self) -> np.ndarray:
        """`[outputs]`, rows that the prior of an offset counts as: `within / between`."""
        return np.maximum(self.within, 1e-9) / self.between
