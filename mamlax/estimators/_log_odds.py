"""Groups that differ in how likely their classes are: an offset of each in the logits.

Of a row of group g the classes have the logits `l(x) + b_g`, where l is a pooled model and
`b_g ~ N(0, v I)`. v is that of the largest likelihood in Laplace's approximation. Of a new group, b
is the mode of its posterior. See Breslow & Clayton, Approximate inference in generalized linear
mixed models, 1993.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ._rows import Rows

_MOST_WORK = 2e6
"""Rows that are learned from, times classes, times these again where they are few."""
_FEW_CLASSES = 10
"""With more, what a step of the solver knows of classes together is left out: it takes more steps,
and Laplace's approximation is coarser."""
_LEAST_VARIANCE, _MOST_VARIANCE = 1e-4, 30.0
_NUM_STEPS, _TOLERANCE = 50, 1e-4
_LONGEST_STEP = 2.0


class Modes(NamedTuple):
    """Of the posteriors of offsets.

    Attributes:
        offsets: `[groups, classes]`.
        likelihood: the logarithm of the likelihood of all rows, in Laplace's approximation.
    """

    offsets: np.ndarray
    likelihood: float


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
        work = classes**2 if classes <= _FEW_CLASSES else classes
        rows = rows._replace(inputs=logits).of_some(int(_MOST_WORK / work), seed, by_rows=True)
        rows = rows.of(np.argsort(rows.groups, kind="stable"))
        group = np.unique(rows.groups, return_inverse=True)[1]
        offsets = np.zeros((group[-1] + 1, classes))

        def minus_likelihood(log_variance):
            nonlocal offsets
            found = LogOdds(math.exp(log_variance)).modes(rows, group, offsets)
            offsets = found.offsets  # where the next one starts
            return -found.likelihood

        bounds = math.log(_LEAST_VARIANCE), math.log(_MOST_VARIANCE)
        found: Any = minimize_scalar(
            minus_likelihood, bounds=bounds, method="bounded", options={"xatol": 0.01}
        )
        return LogOdds(math.exp(found.x))

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
        return self.modes(support._replace(inputs=logits), group, start).offsets[0]

    def modes(self, rows: Rows, group: np.ndarray, start: np.ndarray) -> Modes:
        """The modes of the posteriors, by Newton's method.

        Args:
            rows: sorted by group, their inputs logits `[rows, classes]`.
            group: `[rows]`, which group each is of: 0, 1, …
            start: offsets to start from.
        """
        firsts, offsets = np.flatnonzero(np.diff(group, prepend=-1)), start
        classes = offsets.shape[1]
        weights, each = rows.weights[:, None].astype(np.float64), np.eye(classes)
        seen = np.add.reduceat(weights * each[rows.targets], firsts)
        logs, volume = np.zeros_like(rows.inputs), 0.0
        for _ in range(_NUM_STEPS):
            logs = log_softmax(rows.inputs + offsets[group], axis=1)
            chances = np.exp(logs)
            weighted = weights * chances
            expected = np.add.reduceat(weighted, firsts)
            slopes = seen - expected - offsets / self.variance
            if classes <= _FEW_CLASSES:
                squares = np.add.reduceat(weighted[:, :, None] * chances[:, None], firsts)
                precisions = (expected + 1 / self.variance)[:, :, None] * each - squares
                steps = np.linalg.solve(precisions, slopes[..., None])[..., 0]
                volume = np.linalg.slogdet(precisions)[1].sum()
            else:  # no less than the whole matrix, so that no step is too long
                diagonal = expected + 1 / self.variance
                steps, volume = slopes / diagonal, np.log(diagonal).sum()
            longest = np.abs(steps).max(axis=1, keepdims=True)
            if longest.max() < _TOLERANCE:
                break
            offsets = offsets + steps * np.minimum(1, _LONGEST_STEP / np.maximum(longest, 1e-12))
        of_rows = weights[:, 0] @ logs[np.arange(len(logs)), rows.targets]
        prior = np.sum(offsets**2) / self.variance + offsets.size * math.log(self.variance)
        return Modes(offsets, float(of_rows - (prior + volume) / 2))
