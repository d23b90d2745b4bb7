"""Groups that differ in how likely their classes are: an offset of each in the logits.

Of a row of group g the classes have the logits `l(x) + b_g`, where l is a pooled model and
`b_g ~ N(0, v I)`. v is that of the largest likelihood in Laplace's approximation, by
expectation-maximization. Of a new group, b is the mode of its posterior. See Breslow & Clayton,
Approximate inference in generalized linear mixed models, 1993.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from ._rows import Rows

_MOST_WORK = 2e6
"""Rows that are learned from, times the square of the classes."""
_NUM_ROUNDS, _NUM_NEWTON_STEPS, _TOLERANCE = 50, 30, 1e-4
_LONGEST_STEP = 2.0
_LEAST_VARIANCE = 1e-6


class LogOdds(NamedTuple):
    """What was learned.

    Attributes:
        variance: v.
    """

    variance: float

    @staticmethod
    def of(rows: Rows, logits: np.ndarray, seed: int = 0) -> "LogOdds":
        """Learn v from groups.

        Args:
            rows: of the groups to learn from; targets are classes `[rows]`.
            logits: `[rows, classes]`, what the pooled model says of them.
            seed: of the groups that are drawn, where they are too many.
        """
        classes = logits.shape[1]
        rows = rows._replace(inputs=logits)
        rows = rows.of_some(int(_MOST_WORK / classes**2), seed, by_rows=True)
        rows = rows.of(np.argsort(rows.groups, kind="stable"))
        group = np.unique(rows.groups, return_inverse=True)[1]
        variance, offsets = 1.0, np.zeros((group[-1] + 1, classes))
        for _ in range(_NUM_ROUNDS):
            offsets, precisions = modes(rows, group, offsets, LogOdds(variance))
            unknown = np.trace(np.linalg.inv(precisions), axis1=1, axis2=2)
            after = np.mean(np.sum(offsets**2, axis=1) + unknown) / classes
            moved, variance = abs(after / variance - 1), max(float(after), _LEAST_VARIANCE)
            if moved < _TOLERANCE:
                break
        return LogOdds(variance)

    def __call__(self, support: Rows, logits: np.ndarray) -> np.ndarray:
        """The offset `[classes]` of a group.

        Args:
            support: rows of the group; none: the offset is zero.
            logits: `[rows, classes]`, what the pooled model says of them.
        """
        start = np.zeros((1, logits.shape[1]))
        if not len(logits):
            return start[0]
        group = np.zeros(len(logits), int)
        return modes(support._replace(inputs=logits), group, start, self)[0][0]


def modes(
    rows: Rows, group: np.ndarray, offsets: np.ndarray, of_groups: LogOdds
) -> tuple[np.ndarray, np.ndarray]:
    """The modes of the posteriors `[groups, classes]`, and their precisions, by Newton's method.

    Args:
        rows: sorted by group, their inputs logits `[rows, classes]`.
        group: `[rows]`, which group each is of: 0, 1, …
        offsets: where to start.
        of_groups: their prior.
    """
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    weights, each = rows.weights[:, None].astype(np.float64), np.eye(offsets.shape[1])
    variance = of_groups.variance
    prior = each / variance
    seen = np.add.reduceat(weights * each[rows.targets], starts)
    for _ in range(_NUM_NEWTON_STEPS):
        chances = softmax(rows.inputs + offsets[group], axis=1)
        weighted = weights * chances
        expected = np.add.reduceat(weighted, starts)
        squares = np.add.reduceat(weighted[:, :, None] * chances[:, None], starts)
        precisions = expected[:, :, None] * each - squares + prior
        slopes = seen - expected - offsets / variance
        steps = np.linalg.solve(precisions, slopes[..., None])[..., 0]
        longest = np.abs(steps).max(axis=1, keepdims=True)
        offsets = offsets + steps * np.minimum(1, _LONGEST_STEP / np.maximum(longest, 1e-12))
        if longest.max() < _TOLERANCE:
            break
    return offsets, precisions
