"""TabICL as an opponent in reports, where it is installed: what it is given, and how it fails."""

import sys

import numpy as np
import pytest

import mamlax
from mamlax.estimators import _simpler_models, _tabicl
from mamlax.estimators._entry import TABICL
from mamlax.estimators._remarks import tried
from mamlax.estimators._rows import Rows
from mamlax.estimators._simpler_models import simpler_models

from .materials import TINY

FAKE = """
import numpy as np
class TabICLRegressor:
    def __init__(self, random_state, device, **settings):
        assert isinstance(random_state, int) and device == "cpu"
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
    monkeypatch.setattr(_simpler_models, "is_installed", lambda library: library == "tabicl")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tabicl", raising=False)
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


def test_a_class_that_is_not_among_its_rows_has_a_chance(fake, monkeypatch):
    """That of its frequency, as if of one row more; and rows without a weight are not given."""
    fake()
    monkeypatch.setattr(_tabicl, "_MOST_ROWS", 2)
    targets = np.tile([0, 0, 3, 0, 3, 1], 10)
    weights = np.where((targets == 1) & (np.arange(60) < 30), 0, 1).astype(np.float32)
    rows = table(targets)._replace(weights=weights)
    found, remark = compared(rows, classes=4)
    assert remark is None and found is not None
    given = rows.of(np.flatnonzero(weights)).thinned(2, 3).targets
    assert 1 not in given
    counts = np.bincount(given, minlength=4)
    chances = (counts + np.array([30, 5, 0, 20]) / 55) / 3
    np.testing.assert_allclose(np.exp(found[0]), [chances] * 2, atol=1e-9)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise OSError('no weights here')", r"left out: it failed \(OSError: no weights here\)"),
        ("import os; os._exit(9)", r"left out: it failed \(exit status 9\)"),
        ("import os; print(end='', flush=True); os.closerange(0, 3); os._exit(0)", "left out: it "),
        (
            "raise ValueError('Checkpoint x not cached, set a thing')",
            "left out: it failed (its weights are not here; download them once: python -c ",
        ),
    ],
)
def test_it_is_left_out_where_it_fails(fake, line, said):
    fake(line)
    outputs, remark = compared(table(np.zeros((60, 1))))
    assert outputs is None and remark.startswith(said.replace("\\", ""))


def test_what_was_left_out_is_not_tried_again(fake, tmp_path):
    counted = f"open({str(tmp_path / 'tries')!r}, 'a').write('x'); raise OSError"
    fake(counted)
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(12), 6)
    x = rng.normal(size=(72, 1))
    model = mamlax.FewShotRegressor(pooled="linear", test_fraction=0.5, **TINY)
    model.fit(x, x[:, 0] + rng.normal(size=12)[groups], groups=groups)
    assert (tmp_path / "tries").read_text() == "x"
    assert dict(model.report().remarks)[TABICL].endswith("(in 1 of 2 rounds)")
