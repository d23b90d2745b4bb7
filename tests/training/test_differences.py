"""Differences between two learners, checked against the formulas and against simulation."""

import math

import numpy as np
import pytest

from mamlax.training._evaluation import (
    num_diverged,
    paired_difference,
    summarize,
    unpaired_difference,
)


def curves(seed, *shape):
    return np.random.default_rng(seed).normal(3.0, 2.0, shape)


def test_a_paired_difference_is_the_mean_over_tasks_and_1_96_standard_errors():
    ours, theirs = curves(0, 40, 3), curves(1, 40, 3)
    for step, point in enumerate(paired_difference(ours, theirs)):
        differences = [a[step] - b[step] for a, b in zip(ours, theirs, strict=True)]
        mean = sum(differences) / 40
        s = math.sqrt(sum((d - mean) ** 2 for d in differences) / 39)
        assert point.num_inner_steps == step
        assert point.mean == pytest.approx(mean, rel=1e-12)
        assert point.ci95 == pytest.approx(1.96 * s / math.sqrt(40), rel=1e-12)


def test_difficulty_common_to_both_cancels_only_in_pairs():
    """The same numbers, in an order that pairs them and in an order that does not."""
    hard = 100 * np.random.default_rng(0).random((50, 1))
    ours, theirs = hard + 0.1 + 0.01 * curves(1, 50, 1), hard
    (paired,), (unpaired,) = paired_difference(ours, theirs), unpaired_difference(ours, theirs)
    assert paired.mean == pytest.approx(unpaired.mean)
    assert paired.ci95 < 0.01 < 5 < unpaired.ci95
    (shuffled,) = paired_difference(ours[::-1], theirs)
    assert shuffled.mean == pytest.approx(paired.mean) and shuffled.ci95 > 5


def test_an_unpaired_difference_adds_the_variances_of_both_means():
    ours, theirs = curves(0, 40, 3), 5 * curves(1, 25, 3)
    for step, point in enumerate(unpaired_difference(ours, theirs)):
        a, b = ours[:, step], theirs[:, step]
        error = math.sqrt(np.var(a, ddof=1) / 40 + np.var(b, ddof=1) / 25)
        assert point.mean == pytest.approx(np.mean(a) - np.mean(b), rel=1e-12)
        assert point.ci95 == pytest.approx(1.96 * error, rel=1e-12)


@pytest.mark.parametrize("difference", [paired_difference, unpaired_difference])
def test_seeds_are_averaged_in_each_task_first(difference):
    ours, theirs = curves(0, 3, 20, 2), curves(1, 2, 20, 2)
    expected = difference(ours.mean(axis=0), theirs.mean(axis=0))
    assert difference(ours, theirs) == expected
    assert difference(ours, theirs[0]) != expected


@pytest.mark.parametrize("difference", [paired_difference, unpaired_difference])
def test_the_difference_is_of_the_steps_that_both_have(difference):
    ours, theirs = curves(0, 20, 5), curves(1, 20, 3)
    assert difference(ours, theirs) == difference(ours[:, :3], theirs)
    assert len(difference(theirs, ours)) == 3


@pytest.mark.parametrize("difference", [paired_difference, unpaired_difference])
def test_the_interval_of_a_difference_holds_the_truth_95_times_in_100(difference):
    random = np.random.default_rng(2)
    inside = 0
    for _ in range(1000):
        (point,) = difference(random.normal(1.0, 2.0, (100, 1)), random.normal(0.5, 1.0, (100, 1)))
        inside += abs(point.mean - 0.5) < point.ci95
    assert 925 <= inside <= 973, f"{inside} of 1000"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("difference", [paired_difference, unpaired_difference])
@pytest.mark.parametrize("swap", [False, True])
def test_the_difference_is_nan_where_one_learner_diverged(difference, value, swap):
    ours, theirs = np.ones((5, 3)), np.zeros((5, 3))
    (theirs if swap else ours)[2, 1] = value
    points = difference(ours, theirs)
    assert math.isnan(points[1].mean) and math.isnan(points[1].ci95)
    assert points[0] == (0, 1.0, 0.0) and points[2] == (2, 1.0, 0.0)


def test_tasks_that_diverged_are_counted_once_whatever_the_seed():
    values = np.zeros((2, 6, 3))
    values[0, 3, 1:] = np.nan
    values[1, 3, 2] = np.inf
    values[1, 4, 2] = -np.inf
    assert num_diverged(values) == [0, 1, 2]
    assert num_diverged(values[0]) == [0, 1, 1]


def test_pairs_need_the_same_number_of_tasks():
    with pytest.raises(ValueError, match="the same tasks, got 5 and 6"):
        paired_difference(np.ones((5, 2)), np.ones((6, 2)))


@pytest.mark.parametrize("difference", [paired_difference, unpaired_difference])
def test_other_ranks_are_refused(difference):
    with pytest.raises(ValueError, match=r"\[tasks, steps\]"):
        difference(np.ones((5, 2)), np.ones(5))
    with pytest.raises(ValueError, match="at least one task"):
        difference(np.ones((0, 2)), np.ones((0, 2)))


def test_one_task_has_a_difference_without_interval():
    (point,) = paired_difference([[3.0]], [[1.0]])
    assert point.mean == 2.0 and math.isnan(point.ci95)


def test_the_difference_to_zero_is_the_summary():
    ours = curves(0, 30, 4)
    for point, expected in zip(paired_difference(ours, 0 * ours), summarize(ours), strict=True):
        assert point == pytest.approx(expected, rel=1e-12)
