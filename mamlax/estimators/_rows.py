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

    def of(self, rows: np.ndarray) -> "Rows":
        """Some of them."""
        return Rows(*(array[rows] for array in self))

    def with_pooled(self, outputs: np.ndarray) -> "Rows":
        """The same, with what a pooled model says `[rows, outputs]` as columns after the others."""
        return self._replace(inputs=np.concatenate([self.inputs, outputs], axis=1))
