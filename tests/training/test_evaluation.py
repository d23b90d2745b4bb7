"""Means and 95 % intervals, checked against the formulas and against simulation."""

import math

import numpy as np
import pytest

import mamlax


def test_one_seed_is_mean_and_1_96_standard_errors():
    curves = np.random.default_rng(0).normal(3.0, 2.0, (50, 4))
    points = mamlax.summarize(curves)
    assert [point.num_inner_steps for point in points] == [0, 1, 2, 3]
    for column, point in zip(curves.T, points, strict=True):
        mean = sum(column) / 50
        s = math.sqrt(sum((x - mean) ** 2 for x in column) / 49)
        assert point.mean == pytest.approx(mean, rel=1e-12)
        assert point.ci95 == pytest.approx(1.96 * s / math.sqrt(50), rel=1e-12)
        assert type(point.mean) is type(point.ci95) is float


# Student's t at 97.5 % for 1, 2, 4 and 9 degrees of freedom, from tables
@pytest.mark.parametrize("seeds, t", [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_several_seeds_are_means_of_seeds_with_students_t(seeds, t):
    curves = np.random.default_rng(0).normal(size=(seeds, 20, 3)) + np.arange(seeds)[:, None, None]
    for step, point in enumerate(mamlax.summarize(curves)):
        means = [np.mean(curves[seed, :, step]) for seed in range(seeds)]
        expected = t * np.std(means, ddof=1) / math.sqrt(seeds)
        assert point.mean == pytest.approx(np.mean(means), rel=1e-12)
        assert point.ci95 == pytest.approx(expected, rel=1e-3)


def test_one_seed_with_its_axis_is_one_seed():
    curves = np.random.default_rng(0).normal(size=(30, 3))
    assert mamlax.summarize(curves[None]) == mamlax.summarize(curves)


def test_one_task_has_no_interval():
    points = mamlax.summarize([[1.0, 2.0]])
    assert [point.mean for point in points] == [1.0, 2.0]
    assert all(math.isnan(point.ci95) for point in points)


def test_single_precision_curves_are_averaged_in_double():
    curves = np.full((100_000, 1), 0.1, np.float32)
    assert mamlax.summarize(curves)[0].mean == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_the_interval_holds_the_truth_95_times_in_100():
    random = np.random.default_rng(1)
    for shape in ((200, 1), (4, 50, 1)):
        inside = 0
        for _ in range(1000):
            curves = random.normal(size=shape)
            if len(shape) == 3:
                curves += random.normal(size=(4, 1, 1))
            (point,) = mamlax.summarize(curves)
            inside += abs(point.mean) < point.ci95
        assert 925 <= inside <= 973, f"{inside} of 1000"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("seeds", [(), (3,)])
def test_the_mean_is_nan_where_adaptation_diverged(value, seeds):
    curves = np.ones((*seeds, 5, 3))
    curves[..., 2, 1] = value
    points = mamlax.summarize(curves)
    assert math.isnan(points[1].mean) and math.isnan(points[1].ci95)
    assert points[0] == (0, 1.0, 0.0) and points[2] == (2, 1.0, 0.0)


@pytest.mark.parametrize("shape", [(3,), (), (1, 2, 3, 4)])
def test_other_ranks_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[tasks, steps\] or \[seeds, tasks, steps\]"):
        mamlax.summarize(np.ones(shape))


@pytest.mark.parametrize("shape", [(0, 3), (0, 5, 3), (2, 0, 3), (5, 0), (2, 5, 0)])
def test_nothing_to_summarize_is_refused(shape):
    with pytest.raises(ValueError, match="at least one task"):
        mamlax.summarize(np.ones(shape))


def test_a_seed_that_diverged_is_not_averaged_away():
    curves = np.ones((3, 5, 2))
    curves[1, :, 1] = np.nan
    points = mamlax.summarize(curves)
    assert points[0] == (0, 1.0, 0.0) and math.isnan(points[1].mean)
