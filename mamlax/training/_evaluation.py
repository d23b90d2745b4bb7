"""The paper's evaluation: a metric on held-out tasks after 0, 1, 2, … inner steps."""

import math
from typing import Any, NamedTuple

import numpy as np


class Point(NamedTuple):
    """A metric after some number of inner steps.

    Attributes:
        num_inner_steps: inner steps taken.
        mean: mean over tasks (and seeds).
        ci95: half the width of the 95 % interval: 1.96 s/√n over n tasks of one seed; with
            several seeds, Student's t over the seeds' means. NaN with one task of one seed.
    """

    num_inner_steps: int
    mean: float
    ci95: float


def summarize(curves: Any) -> list[Point]:
    """Means and 95 % intervals of metric curves; NaN where adaptation diverged on some task.

    Args:
        curves: `[tasks, steps]` of one seed, or `[seeds, tasks, steps]`; the metric after
            0, 1, … inner steps.

    Raises:
        ValueError: if `curves` has another rank, or nothing in it.

    Example:
        >>> import mamlax
        >>> [point.mean for point in mamlax.summarize([[4.0, 1.0], [2.0, 0.0]])]
        [3.0, 0.5]
    """
    values = np.asarray(curves, np.float64)
    if values.ndim not in (2, 3):
        raise ValueError(
            f"curves must be [tasks, steps] or [seeds, tasks, steps], got {values.shape}."
        )
    if 0 in values.shape:
        raise ValueError(
            f"curves must hold at least one task and one number of steps, got {values.shape}."
        )
    values = np.where(np.isfinite(values), values, np.nan)
    if values.ndim == 3 and len(values) > 1:
        from scipy.stats import t

        samples = values.mean(axis=1)
        factor = float(t.ppf(0.975, len(samples) - 1))
    else:
        samples = values.reshape(-1, values.shape[-1])
        factor = 1.96
    count = len(samples)
    # one number says nothing of its spread
    deviation = samples.std(axis=0, ddof=1) if count > 1 else np.full(values.shape[-1], np.nan)
    return [
        Point(step, float(mean), float(factor * s / math.sqrt(count)))
        for step, (mean, s) in enumerate(zip(samples.mean(axis=0), deviation, strict=True))
    ]
