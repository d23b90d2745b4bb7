"""Means and deviations of numbers of any size, and whether single precision can tell them apart."""

from typing import Any

import numpy as np

_MOST_ROWS = 10_000


def exponent_of(values: np.ndarray) -> Any:
    """The power of two of the largest magnitude along the first axis.

    Divided by it (which is exact), numbers can be squared and added up, whatever their size.
    """
    return np.frexp(np.max(np.abs(values), axis=0, initial=0.0))[1]


def are_lost(values: np.ndarray, encoded: np.ndarray) -> bool:
    """Whether most different values have become the same.

    Args:
        values: `[rows]`.
        encoded: `[rows]`, the same in single precision, standardized.
    """
    step = max(1, len(values) // _MOST_ROWS)
    before, after = (len(np.unique(one[::step])) for one in (values, encoded))
    return before > 4 and after < before / 2
