"""TabICL as an opponent in reports, where it is installed: what it is given, and how it fails."""

import sys

import numpy as np
import pytest

from mamlax.estimators import _simpler_models, _tabicl
from mamlax.estimators._entry import TABICL
from mamlax.estimators._remarks import tried
from mamlax.estimators._rows import Rows
from mamlax.estimators._simpler_models import simpler_models

FAKE = """
import numpy as np
class TabICLRegressor:
    def __init__(self, n_estimators, random_state):
        assert random_state == 3
    def fit(self, inputs, targets):
        {}
        self.mean = targets.mean()
        assert inputs.shape == (len(targets), 4), inputs.shape  # mean and size of the support
        return self
    def predict(self, inputs):
        means = inputs[:, 2]
        return np.where(np.isnan(means), self.mean, means) + 100 * inputs[:, 3]
class TabICLClassifier(TabICLRegressor):
    def fit(self, inputs, targets):
        self.classes_, counts = np.unique(targets, return_counts=True)
        self.shares = counts / len(targets)
        return self
    def predict_proba(self, inputs):
        return np.repeat(self.shares[None], len(inputs), 0)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """`fake(line)`: a library called tabicl whose regressor does this when it is fitted."""
    monkeypatch.setattr(_simpler_models, "is_tabicl_there", _tabicl.is_tabicl_there)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("tabicl", None)
    return lambda line="pass": (tmp_path / "tabicl.py").write_text(FAKE.format(line))


def table(targets):
    """Ten groups of six rows, of one column and its square."""
    x = np.random.default_rng(0).normal(size=60)
    groups = np.repeat(np.arange(10), 6)
    return Rows(np.stack([x, x**2], 1), targets, np.ones(60, np.float32), groups, groups)


def compared(rows, classes=None):
    """What TabICL says of two rows of each of two groups, after no row and after three."""
    models = simpler_models(rows, classes, np.random.default_rng(0), 3)
    support, query = rows.of(np.arange(3)), rows.of(np.arange(4, 6))
    return tried(models[TABICL], [rows.of(np.arange(0)), support], [query, query])


def test_it_is_given_the_mean_and_size_of_the_support(fake, monkeypatch):
    fake()
    monkeypatch.setattr(_tabicl, "_MOST_ROWS", 50)
    targets = np.random.default_rng(1).normal(size=(60, 1))
    found, remark = compared(table(targets))
    assert remark is None and found is not None
    without, with_three = found
    assert without.shape == with_three.shape == (2, 1)
    np.testing.assert_allclose(with_three, targets[:3].mean() + 300)
    fifty = table(targets).thinned(50, 3).targets
    np.testing.assert_allclose(without, fifty.mean())


def test_classes_that_it_has_not_seen_have_no_chance(fake):
    fake()
    targets = np.tile([0, 0, 3, 0, 3, 3], 10)
    found, remark = compared(table(targets), classes=4)
    assert remark is None and found is not None
    np.testing.assert_allclose(np.exp(found[0]), [[0.5, 0, 0, 0.5]] * 2, atol=1e-9)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise OSError('no weights here')", r"left out: it failed \(OSError: no weights here\)"),
        ("import os; os._exit(9)", r"left out: it failed \(exit status 9\)"),
    ],
)
def test_it_is_left_out_where_it_fails(fake, line, said):
    fake(line)
    outputs, remark = compared(table(np.zeros((60, 1))))
    assert outputs is None and remark.startswith(said.replace("\\", ""))


def test_it_is_no_opponent_where_it_is_not_installed():
    assert TABICL not in simpler_models(table(np.ones((60, 1))), None, np.random.default_rng(0), 3)
