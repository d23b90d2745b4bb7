"""The paper's evaluation: a metric on held-out tasks after 0, 1, 2, … inner steps.

In this module, curves are `[tasks, steps]` for one seed, or `[seeds, tasks, steps]`.
"""

import math
from typing import Any, NamedTuple

import numpy as np


class Point(NamedTuple):
    """A metric after some number of inner steps.

    Attributes:
        num_inner_steps: number of inner steps taken.
        mean: mean over tasks (and seeds).
        ci95: half the width of the 95 % interval. For one seed: 1.96 s/√n over n tasks. For several
            seeds: Student's t over the means of the seeds. NaN for one task of one seed.
    """

    num_inner_steps: int
    mean: float
    ci95: float


def summarize(curves: Any) -> list[Point]:
    """Means and 95 % intervals of metric curves. NaN where adaptation diverged on some task.

    Args:
        curves: `[tasks, steps]` for one seed, or `[seeds, tasks, steps]`: the metric after
            0, 1, … inner steps.

    Raises:
        ValueError: if `curves` has another rank or is empty.

    Example:
        >>> import mamlax
        >>> [point.mean for point in mamlax.summarize([[4.0, 1.0], [2.0, 0.0]])]
        [3.0, 0.5]
    """
    values = _finite(curves)
    if values.ndim == 3 and len(values) > 1:
        from scipy.stats import t

        samples = values.mean(axis=1)
        factor = float(t.ppf(0.975, len(samples) - 1))
    else:
        samples = values.reshape(-1, values.shape[-1])
        factor = 1.96
    return _points(samples.mean(axis=0), factor * _standard_error(samples))


def paired_difference(curves: Any, reference: Any) -> list[Point]:
    """`curves` minus `reference` on the same tasks: the mean of dₜ, ± 1.96 s/√n.

    dₜ is the difference on task t, averaged over seeds. s is the standard deviation of dₜ over all
    n tasks. If a task is easy or hard for both learners, this cancels in dₜ, so the interval is
    usually much narrower than that of `unpaired_difference`. It describes these two training runs;
    other runs may differ by more or less.

    Args:
        curves: the metric of one learner; NaN or infinite where adaptation diverged.
        reference: the metric of the other learner, with tasks in the same order.

    Returns:
        A point for each number of inner steps that both curves have.

    Raises:
        ValueError: if the numbers of tasks differ, or a rank is wrong.
    """
    ours, theirs = _per_task(curves), _per_task(reference)
    if len(ours) != len(theirs):
        raise ValueError(
            f"pairs need the same tasks, got {len(ours)} and {len(theirs)} of them; "
            "unpaired_difference compares the means."
        )
    steps = min(ours.shape[1], theirs.shape[1])
    differences = ours[:, :steps] - theirs[:, :steps]
    return _points(differences.mean(axis=0), 1.96 * _standard_error(differences))


def unpaired_difference(curves: Any, reference: Any) -> list[Point]:
    """The mean of `curves` minus the mean of `reference`, each on its own tasks.

    The interval is 1.96 √(s₁²/n₁ + s₂²/n₂), over tasks, after averaging over seeds.

    Args:
        curves: the metric of one learner; NaN or infinite where adaptation diverged.
        reference: the metric of the other learner.

    Returns:
        A point for each number of inner steps that both curves have.
    """
    ours, theirs = _per_task(curves), _per_task(reference)
    steps = min(ours.shape[1], theirs.shape[1])
    ours, theirs = ours[:, :steps], theirs[:, :steps]
    error = np.hypot(_standard_error(ours), _standard_error(theirs))
    return _points(ours.mean(axis=0) - theirs.mean(axis=0), 1.96 * error)


def num_diverged(curves: Any) -> list[int]:
    """The number of tasks on which adaptation had diverged for some seed, after each step."""
    return np.isnan(_per_task(curves)).sum(axis=0).tolist()


def _finite(curves: Any) -> np.ndarray:
    """Curves in double precision, with NaN in place of infinity."""
    values = np.asarray(curves, np.float64)
    if values.ndim not in (2, 3):
        raise ValueError(
            f"curves must be [tasks, steps] or [seeds, tasks, steps], got {values.shape}."
        )
    if 0 in values.shape:
        raise ValueError(
            f"curves must hold at least one task and one number of steps, got {values.shape}."
        )
    return np.where(np.isfinite(values), values, np.nan)


def _per_task(curves: Any) -> np.ndarray:
    """The mean over seeds, `[tasks, steps]`; NaN if a seed diverged."""
    values = _finite(curves)
    return values.mean(axis=0) if values.ndim == 3 else values


def _standard_error(samples: np.ndarray) -> np.ndarray:
    """s/√n over the first axis; NaN for a single sample."""
    count = len(samples)
    if count == 1:
        return np.full(samples.shape[1:], np.nan)
    return samples.std(axis=0, ddof=1) / math.sqrt(count)


def _points(means: np.ndarray, errors: np.ndarray) -> list[Point]:
    return [
        Point(step, float(mean), float(error))
        for step, (mean, error) in enumerate(zip(means, errors, strict=True))
    ]
