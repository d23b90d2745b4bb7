"""Rows of a table, as numbers."""

from typing import NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Encoded rows of some groups.

    Attributes:
        inputs: `[rows, features]`.
        targets: `[rows, outputs]`, or `[rows]` of classes.
        weights: `[rows]`.
        groups: `[rows]`, the number of each row's group.
        units: `[rows]`, that of the groups that are held out together.
    """

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    groups: np.ndarray
    units: np.ndarray

    def of(self, rows: np.ndarray | slice) -> "Rows":
        """Some of them."""
        return Rows(*(array[rows] for array in self))

    def of_some(self, most: int, seed: int, *, by_rows: bool = False) -> "Rows":
        """Those of so many groups, drawn; all, where they are no more.

        Args:
            most: how many groups; at least one is kept.
            seed: of the draw.
            by_rows: whether `most` is a number of rows instead.
        """
        _, group, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        if (len(self.groups) if by_rows else len(sizes)) <= most:
            return self
        order = np.random.default_rng(seed).permutation(len(sizes))
        if by_rows:
            most = int(np.searchsorted(np.cumsum(sizes[order]), most))
        return self.of(np.flatnonzero(np.isin(group, order[: max(1, most)])))

    def thinned(self, most: int, seed: int) -> "Rows":
        """So many rows of all groups, drawn, in their order; all, where they are no more."""
        if len(self.groups) <= most:
            return self
        drawn = np.random.default_rng(seed).choice(len(self.groups), most, replace=False)
        return self.of(np.sort(drawn))

    @property
    def sample_weight(self) -> np.ndarray | None:
        """The weights as scikit-learn's trees take them. None where all are alike: making bins is
        then much faster.
        """
        return None if np.ptp(self.weights) == 0 else self.weights

    def with_pooled(self, outputs: np.ndarray) -> "Rows":
        """The same, with what a pooled model says `[rows, outputs]` as columns after the others."""
        return self._replace(inputs=np.concatenate([self.inputs, outputs], axis=1))
