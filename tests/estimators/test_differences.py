"""What groups are expected to differ by before meta-training."""

import jax
import numpy as np
import pytest

from mamlax.estimators._differences import Differences
from mamlax.estimators._entry import LeftOut
from mamlax.estimators._rows import Rows
from mamlax.estimators._table_network import table_network

NOISE = 0.2


def lines(num_groups=200, size=20, seed=0, num_columns=2):
    """Groups with an offset and a slope of their own in the first column, of variances 1 and 2."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), size)
    x = rng.normal(size=(len(groups), num_columns)).astype(np.float32)
    offset, slope = rng.normal(size=(2, num_groups, 1)) * np.sqrt([[[1.0]], [[2.0]]])
    y = 0.5 + offset[groups] + (1.5 + slope[groups]) * x[:, :1] - 0.7 * x[:, 1:2]
    y = (y + NOISE * rng.normal(size=y.shape)).astype(np.float32)
    ones = np.ones(len(groups), np.float32)
    return Rows(x, y, ones, groups, groups)


def test_variances_are_in_units_of_a_rows():
    found = Differences.of_lines(lines(), seed=0)
    assert found.offset == pytest.approx(1 / NOISE**2, rel=0.25)
    assert found.slopes[0] == pytest.approx(2 / NOISE**2, rel=0.25)
    assert found.slopes[1] < 0.05
    np.testing.assert_allclose(found.mean[:, 0], [0.5, 1.5, -0.7], atol=0.25)


def test_a_column_that_is_there_twice_is_not_counted_twice():
    rows = lines()
    twice = rows._replace(inputs=rows.inputs[:, [0, 1, 0]])
    found = Differences.of_lines(twice, seed=0)
    assert found.slopes[[0, 2]].sum() == pytest.approx(2 / NOISE**2, rel=0.25)


def test_nothing_is_expected_of_a_column_that_never_changes_within_groups():
    rows = lines()
    of_group = np.random.default_rng(1).normal(size=(200, 1)).astype(np.float32)[rows.groups]
    found = Differences.of_lines(rows._replace(inputs=np.hstack([rows.inputs, of_group])), seed=0)
    # it may stand for a part of the offset, and for no more
    assert found.slopes[2] + found.offset == pytest.approx(1 / NOISE**2, rel=0.3)


def test_of_many_columns_there_is_no_line():
    with pytest.raises(LeftOut, match="columns become 65 numbers"):
        Differences.of_lines(lines(num_groups=5, num_columns=65), seed=0)


def test_a_network_expects_what_was_found():
    """Before it has learned: the mean line, and the variances of lines about it."""
    rows, ridge = lines(), 100.0
    found = Differences.of_lines(rows, seed=0)
    network = table_network(
        jax.random.key(0), 2, 1, features="waves", hidden_sizes=(), num_pooled=0, turns=True
    ).expecting(found, ridge)
    x = rows.inputs[:50]
    np.testing.assert_allclose(
        network(x)[:, 0], found.mean[0, 0] + x @ found.mean[1:, 0], rtol=1e-4, atol=1e-4
    )
    features = np.asarray(network.features(x))
    features = np.hstack([features, np.ones((50, 1))])  # the regression has a one of its own
    variances = np.sum(features**2, axis=1) / ridge
    expected = found.offset + x**2 @ found.slopes
    np.testing.assert_allclose(variances, expected, rtol=0.01, atol=0.2)  # and some for curves
