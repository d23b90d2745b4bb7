"""What errors of some groups show of all groups like them."""

import math

import numpy as np
from scipy.special import stdtrit


def mean_and_interval(values: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """The mean over groups, and half of Student's 95 % interval; NaN where there is one unit.

    Args:
        values: `[groups]`.
        units: `[groups]`, the number of what a group was held out with; a unit is one draw.
    """
    draws = _draws(values, units)
    if len(draws) < 2:
        return float(values.mean()), math.nan
    deviation = draws.std(ddof=1) / math.sqrt(len(draws))
    return float(values.mean()), float(stdtrit(len(draws) - 1, 0.975) * deviation)


def is_shown_positive(values: np.ndarray, units: np.ndarray, confidence: float) -> bool:
    """Whether the mean of all groups like these is above zero.

    Student's test, and the same with Hall's correction for skewness: squared errors have a long
    tail, and where a few of them miss in the sample, Student's test alone is too sure.

    Args:
        values: `[groups]`.
        units: `[groups]`, the number of what a group was held out with.
        confidence: with which it is not said where it is not so.
    """
    draws = _draws(values, units)
    number, mean = len(draws), float(np.mean(draws))
    if number < 3 or not mean > 0:
        return False
    centered = draws - mean
    variance = float(np.mean(centered**2))
    if not variance > 0:
        return True
    ratio = mean / math.sqrt(variance * number / (number - 1))
    skewness = float(np.mean(centered**3)) / variance**1.5
    skewness *= math.sqrt(number * (number - 1)) / (number - 2)
    corrected = ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27
    corrected += skewness / (6 * number)
    least = stdtrit(number - 1, confidence)
    return bool(math.sqrt(number) * min(ratio, corrected) > least)


def _draws(values: np.ndarray, units: np.ndarray) -> np.ndarray:
    """A number of each unit, with the mean of the groups' values: larger units count for more."""
    _, index = np.unique(units, return_inverse=True)
    sums = np.bincount(index, values - values.mean())
    return values.mean() + sums * len(sums) / len(values)
