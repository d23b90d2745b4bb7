"""Offsets of groups in the logits of classes: the mode of a posterior, and its prior's variance."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from mamlax.estimators._log_odds import LogOdds
from mamlax.estimators._rows import Rows


def rows_of(targets, groups, weights=None):
    ones = np.ones(len(targets)) if weights is None else weights
    return Rows(np.zeros((len(targets), 1)), targets, ones, groups, groups)


def simulated(num_groups, num_rows, classes, variance, seed=0):
    """Targets of rows with logits of their own and offsets of groups."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), num_rows)
    logits = rng.normal(size=(len(groups), classes))
    offsets = np.sqrt(variance) * rng.normal(size=(num_groups, classes))
    chances = softmax(logits + offsets[groups], axis=1)
    targets = np.array([rng.choice(classes, p=one) for one in chances])
    return rows_of(targets, groups), logits, offsets


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("variance", [0.1, 1.0, 100.0])
def test_an_offset_is_the_mode_of_its_posterior(classes, variance):
    rng = np.random.default_rng(classes)
    logits, weights = 3 * rng.normal(size=(7, classes)), rng.uniform(0.2, 2, 7)
    targets = np.zeros(7, int)  # all of one class: without a prior the mode is infinite
    support = rows_of(targets, np.zeros(7, int), weights)

    def minus_log_posterior(b):
        likelihood = weights @ log_softmax(logits + b, axis=1)[np.arange(7), targets]
        return b @ b / (2 * variance) - likelihood

    found = minimize(minus_log_posterior, np.zeros(classes), options={"gtol": 1e-9}).x
    np.testing.assert_allclose(LogOdds(variance)(support, logits), found, atol=1e-3)


def test_without_support_the_offset_is_zero():
    none = rows_of(np.zeros(0, int), np.zeros(0, int))
    np.testing.assert_array_equal(LogOdds(2.0)(none, np.zeros((0, 3))), np.zeros(3))


@pytest.mark.parametrize(("classes", "variance"), [(2, 1.0), (3, 1.0), (3, 0.2)])
def test_the_variance_of_offsets_is_found(classes, variance):
    rows, logits, _ = simulated(300, 60, classes, variance)
    assert LogOdds.of(rows, logits).variance == pytest.approx(variance, rel=0.2)


@pytest.mark.parametrize(("num_rows", "shift"), [(2, 0.0), (5, 0.0), (10, 2.0)])
def test_few_rows_of_groups_that_are_alike_tell_no_large_variance(num_rows, shift):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), num_rows)
    logits = np.tile([shift, 0.0], (len(groups), 1))
    targets = (rng.random(len(groups)) < 1 / (1 + np.exp(shift))).astype(int)
    assert LogOdds.of(rows_of(targets, groups), logits).variance < 0.05


def test_many_classes_take_little_memory_and_find_the_mode():
    """Their matrices of classes by classes would be 30,000 × 200 × 200 numbers."""
    rows, logits, _ = simulated(30, 100, 200, 1.0)
    found = LogOdds.of(rows, logits)
    assert 0.2 < found.variance < 3
    support = rows.of(np.arange(50))
    b = found(support, logits[:50])
    chances = softmax(logits[:50] + b, axis=1)
    slope = np.bincount(support.targets, minlength=200) - chances.sum(0) - b / found.variance
    assert np.abs(slope).max() < 0.01


def test_groups_that_are_alike_have_no_offset():
    rows, logits, _ = simulated(100, 60, 2, 0.0)
    of_groups = LogOdds.of(rows, logits)
    assert of_groups.variance < 0.02
    few = rows.of(np.arange(5))
    assert np.abs(of_groups(few, logits[:5])).max() < 0.1


def test_the_order_of_rows_does_not_matter():
    rows, logits, _ = simulated(20, 10, 3, 1.0)
    order = np.random.default_rng(1).permutation(200)
    one, other = LogOdds.of(rows, logits), LogOdds.of(rows.of(order), logits[order])
    assert one.variance == pytest.approx(other.variance, rel=1e-6)


def test_new_groups_are_predicted_better_with_their_offset():
    rows, logits, _ = simulated(60, 20, 3, 2.0)
    fresh, of_fresh, _ = simulated(200, 40, 3, 2.0, seed=1)
    of_groups = LogOdds.of(rows, logits)
    losses = []
    for group in range(200):
        support, query = group * 40 + np.arange(10), group * 40 + np.arange(10, 40)
        b = of_groups(fresh.of(support), of_fresh[support])
        for offset in (0, b):
            logs = log_softmax(of_fresh[query] + offset, axis=1)
            losses.append(-logs[np.arange(30), fresh.targets[query]].mean())
    without, with_offset = np.reshape(losses, (200, 2)).mean(0)
    assert with_offset < 0.85 * without
