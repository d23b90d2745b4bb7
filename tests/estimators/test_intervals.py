"""Intervals and standard deviations of predictions: calibrated on groups held out."""

import copy

import numpy as np
import pytest

import mamlax
from mamlax.estimators._calibration import _MANY_GROUPS, Calibration, Scores

from .materials import TINY

COLUMNS = ["speed", "kind"]


def scores_of(groups, rng, num_rows=20):
    """Normal scores; each group has a spread of its own."""
    spreads = np.exp(rng.normal(size=groups))
    values = rng.normal(size=(groups, num_rows)) * spreads[:, None]
    weights = np.full(groups * num_rows, 1 / num_rows)
    return Scores(values.reshape(-1, 1), weights, np.repeat(np.arange(groups), num_rows))


def half_width(calibration, coverage, num_support=5, variance=0.0):
    widths = calibration.half_widths(np.array([num_support]), np.array([variance]), coverage)
    return widths[0, 0]


def of_rows_alone(groups, rng):
    """Normal scores of groups that do not differ."""
    return scores_of(groups, rng)._replace(values=rng.normal(size=(20 * groups, 1)))


def of_groups_alone(groups, rng):
    """All scores of a group are the same."""
    values = np.repeat(rng.normal(size=(groups, 1)), 20, axis=0)
    return scores_of(groups, rng)._replace(values=values)


@pytest.mark.parametrize("groups", [9, 19])
@pytest.mark.parametrize("law", [scores_of, of_rows_alone, of_groups_alone])
def test_a_new_group_is_covered_as_often_as_asked_in_the_mean(law, groups):
    """And no oftener: as a quantile of all scores, it would be between the two."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        width = half_width(Calibration.of([(5, law(groups, rng))]), 0.85)
        new = law(20, rng).values
        covered.append(np.mean(np.abs(new) <= width))
    error = np.std(covered) / np.sqrt(len(covered))
    # groups alone: what so many groups can promise, 0.9 of both numbers
    expected = 0.9 if law is of_groups_alone else 0.85
    assert abs(np.mean(covered) - expected) < 0.02 + 3 * error


def test_groups_count_alike_however_many_rows_they_have():
    sizes = np.repeat([10, 1_000], 10)
    values = np.repeat(np.repeat([1.0, 2.0], 10), sizes)[:, None]
    units = np.repeat(np.arange(20), sizes)
    calibration = Calibration.of([(5, Scores(values, 1 / sizes[units], units))])
    assert half_width(calibration, 0.45) == 1.0
    assert half_width(calibration, 0.55) == 2.0
    np.testing.assert_allclose(calibration.deviations, np.sqrt([[(1 + 4) / 2]]), rtol=1e-6)


def test_leaving_one_of_many_groups_out_changes_little():
    """So little that it is not done: the same scores, with and without."""
    rng, found = np.random.default_rng(0), []
    for groups in (_MANY_GROUPS, _MANY_GROUPS + 1):
        scores = scores_of(groups, rng)
        of_all = np.quantile(np.abs(scores.values), 0.9)
        found.append(half_width(Calibration.of([(5, scores)]), 0.9) / of_all)
    np.testing.assert_allclose(found, 1, rtol=0.01)


def test_a_coverage_that_few_groups_cannot_promise_is_warned_of():
    calibration = Calibration.of([(5, scores_of(4, np.random.default_rng(0)))])
    reached = float(calibration.reached.min())
    with pytest.warns(UserWarning, match=f"4 groups.*covers {reached:.3g} of the rows"):
        width = half_width(calibration, reached + 0.01)
    assert width == pytest.approx(calibration.quantiles.max())


def test_one_group_promises_nothing_of_another():
    calibration = Calibration.of([(5, scores_of(1, np.random.default_rng(0)))])
    with pytest.warns(UserWarning, match="1 groups.*covers 0 of the rows"):
        assert half_width(calibration, 0.1) == pytest.approx(calibration.quantiles.max())


def test_a_row_of_almost_no_weight_may_have_the_largest_error():
    scores = scores_of(9, np.random.default_rng(0))
    values, weights = scores.values.copy(), scores.weights.copy()
    values[0], weights[0] = 1e3, 1e-14
    calibration = Calibration.of([(5, Scores(values, weights, scores.units))])
    assert half_width(calibration, 0.8) < 100 and calibration.quantiles.max() == 1e3


def test_of_no_rows_there_are_no_intervals(regressor, table):
    lower, upper = regressor.predict_interval(table[COLUMNS][:0], 0.6)
    assert len(lower) == len(upper) == 0


def test_sizes_of_support_after_which_predictions_overflow_are_left_out():
    rng = np.random.default_rng(0)
    broken = scores_of(9, rng)
    broken.values[3] = np.inf
    assert Calibration.of([(1, scores_of(9, rng)), (3, broken)]).sizes == (1,)
    assert Calibration.of([(3, broken)]) is None


def test_between_numbers_of_support_rows_and_beyond_them():
    rng = np.random.default_rng(0)
    few, many = (scores_of(30, rng) for _ in range(2))
    calibration = Calibration.of([(1, few), (3, many)])
    first, last = (half_width(Calibration.of([(5, one)]), 0.9) for one in (few, many))
    assert half_width(calibration, 0.9, 1) == pytest.approx(first)
    assert half_width(calibration, 0.9, 0) == pytest.approx(first)
    assert half_width(calibration, 0.9, 300) == pytest.approx(last)
    share = np.log(3 / 2) / np.log(4 / 2)
    between = np.exp((1 - share) * np.log(first) + share * np.log(last))
    assert half_width(calibration, 0.9, 2) == pytest.approx(between)


def test_sizes_of_few_groups_are_left_out():
    rng = np.random.default_rng(0)
    calibration = Calibration.of([(1, scores_of(30, rng)), (50, scores_of(14, rng))])
    assert calibration.sizes == (1,)


def test_what_is_unknown_widens():
    calibration = Calibration.of([(5, scores_of(30, np.random.default_rng(0)))])
    assert half_width(calibration, 0.9, variance=3.0) == pytest.approx(
        2 * half_width(calibration, 0.9)
    )


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1, 90])
def test_a_coverage_that_is_no_share_is_refused(regressor, table, coverage):
    with pytest.raises(mamlax.MamlaxError, match=f"between 0 and 1; got {coverage}"):
        regressor.predict_interval(table[COLUMNS], coverage)


def test_intervals_are_about_the_prediction_and_wider_for_more(regressor, table):
    adapted = regressor.adapt(table[COLUMNS][:6], table["wear"][:6])
    rows = table[COLUMNS][6:30]
    with pytest.warns(UserWarning, match="groups were held out"):
        (low, high), (lower, higher) = (adapted.predict_interval(rows, c) for c in (0.5, 0.95))
    np.testing.assert_allclose((low + high) / 2, adapted.predict(rows))
    assert np.all(lower <= low) and np.all(high <= higher) and np.any(lower < low)


def test_every_row_of_support_makes_what_is_unknown_less(regressor, table):
    inputs = regressor.columns_.encode(table[COLUMNS])
    tasks, found = np.zeros(len(table), int), []
    for number in (0, 3, 6):
        support = inputs[:number], np.zeros((number, 1), np.float32)
        adapted = regressor.learner_.adapt(*support)
        found.append(regressor.learner_.variances(adapted, tasks, inputs))
    assert np.all(found[0] > found[1]) and np.all(found[1] > found[2]) and found[2].min() > 0


def test_rows_of_no_weight_are_not_there(regressor, table):
    x, y, weights = table[COLUMNS][:6], table["wear"][:6], np.repeat([1.0, 0.0], [2, 4])
    one, other = regressor.adapt(x, y, sample_weight=weights), regressor.adapt(x[:2], y[:2])
    many = regressor.adapt_many(x, y, np.zeros(6, int), sample_weight=weights)
    rows = table[COLUMNS][6:12]
    expected = other.predict_interval(rows, 0.6)
    np.testing.assert_allclose(one.predict_interval(rows, 0.6), expected, rtol=1e-6)
    found = many.predict_interval(rows, np.zeros(6, int), 0.6)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert one.num_support_ == 2


def test_classes_have_none(classifier, table):
    many = classifier.adapt_many(table[COLUMNS][:4], ["good"] * 4, np.zeros(4, int))
    with pytest.raises(mamlax.MamlaxError, match="probabilities say how sure"):
        many.predict_interval(table[COLUMNS][:4], np.zeros(4, int))


def test_many_tasks_have_the_intervals_of_each(regressor, table):
    machines = table["machine"].unique()[:3]
    there = table[table["machine"].isin(machines)]
    support, query = there.groupby("machine").head(5), there.groupby("machine").tail(4)
    many = regressor.adapt_many(support[COLUMNS], support["wear"], support["machine"])
    _, deviations = many.predict(query[COLUMNS], query["machine"], return_std=True)
    lower, upper = many.predict_interval(query[COLUMNS], query["machine"], 0.6)
    for machine in machines:
        own, rows = support["machine"] == machine, (query["machine"] == machine).to_numpy()
        one = regressor.adapt(support[COLUMNS][own], support["wear"][own])
        expected = one.predict(query[COLUMNS][rows], return_std=True)[1]
        np.testing.assert_allclose(deviations[rows], expected, rtol=1e-4)
        expected = one.predict_interval(query[COLUMNS][rows], 0.6)
        np.testing.assert_allclose((lower[rows], upper[rows]), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("num_support", [0, 6])
def test_a_file_keeps_them_to_the_bit(regressor, table, tmp_path, num_support):
    model = regressor
    if num_support:
        model = regressor.adapt(table[COLUMNS][:num_support], table["wear"][:num_support])
    model.save(tmp_path / "model.safetensors")
    loaded = mamlax.load(tmp_path / "model.safetensors")
    for one, other in zip(
        (
            *model.predict(table[COLUMNS], return_std=True),
            *model.predict_interval(table[COLUMNS], 0.6),
        ),
        (
            *loaded.predict(table[COLUMNS], return_std=True),
            *loaded.predict_interval(table[COLUMNS], 0.6),
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_where_no_group_was_held_out_it_is_said(regressor, table):
    model = copy.copy(regressor)
    model.calibration_ = None
    with pytest.raises(mamlax.MamlaxError, match=r"no group was held out.*compare=True"):
        model.predict_interval(table[COLUMNS])
    with pytest.raises(mamlax.MamlaxError, match="no group was held out"):
        model.predict(table[COLUMNS], return_std=True)


@pytest.mark.slow
def test_gradient_descent_has_intervals_of_one_width(table):
    """It says nothing of how much its support leaves unknown."""
    settings = TINY | {"algorithm": "fomaml", "refit": False, "validation_fraction": 0.0}
    y = np.stack([table["wear"], 3 * table["wear"] + 1], axis=1)
    model = mamlax.FewShotRegressor(**settings).fit(table[COLUMNS], y, groups=table["machine"])
    lower, upper = model.predict_interval(table[COLUMNS], 0.6)
    widths = upper - lower
    np.testing.assert_allclose(widths, np.repeat(widths[:1], len(table), 0))
    np.testing.assert_allclose(widths[:, 1], 3 * widths[:, 0], rtol=0.5)
