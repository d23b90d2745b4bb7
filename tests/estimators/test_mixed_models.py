"""The linear mixed model of a report, and GPBoost where it is installed: right, or left out."""

import sys

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mamlax.estimators import _separate_process, _simpler_models
from mamlax.estimators._comparison import Judged, judge, report_of
from mamlax.estimators._entry import ADAPTED, GPBOOST, OFFSET, SLOPES, UNADAPTED, LeftOut
from mamlax.estimators._gpboost import gpboost_predictions
from mamlax.estimators._learner import AdaptedParams, ArrayLearner
from mamlax.estimators._random_slopes import RandomSlopes
from mamlax.estimators._remarks import tried
from mamlax.estimators._report import report_from_json
from mamlax.estimators._rows import Rows


def grouped(num_groups=60, num_rows=12, seed=0, num_columns=2):
    """Rows of groups that have lines of their own, intercept and slopes going together."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), num_rows)
    x = rng.normal(size=(len(groups), num_columns))
    half = np.tril(rng.normal(size=(1 + num_columns, 1 + num_columns))) / 2 + np.eye(
        1 + num_columns
    )
    lines = 0.5 + rng.normal(size=(num_groups, 1 + num_columns)) @ half.T
    y = np.sum(with_one(x) * lines[groups], axis=1) + 0.5 * rng.normal(size=len(groups))
    weights = rng.uniform(0.5, 2.0, len(groups)).astype(np.float32)
    return Rows(x, y[:, None], weights, groups, groups)


def with_one(x):
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


def of_group(rows, group):
    return rows.of(np.flatnonzero(rows.groups == group))


def marginal(rows, beta, covariance, noise):
    """The mean of the targets of a group, and their covariance."""
    z = with_one(rows.inputs)
    return z @ beta, z @ covariance @ z.T + np.diag(noise / rows.weights)


def likelihood(rows, *parameters):
    """The log of the marginal one, by dense matrices."""
    return sum(
        multivariate_normal.logpdf(one.targets[:, 0], *marginal(one, *parameters))
        for one in (of_group(rows, group) for group in np.unique(rows.groups))
    )


def test_the_mixed_model_is_of_the_largest_likelihood():
    rows, rng = grouped(30, 6, num_columns=1), np.random.default_rng(1)
    beta, covariance, noise = (one[0] for one in RandomSlopes.of(rows))
    best = likelihood(rows, beta, covariance, noise)
    for _ in range(20):
        moved = np.eye(2) + 0.05 * rng.normal(size=(2, 2))
        others = (
            beta + 0.05 * rng.normal(size=2),
            moved @ covariance @ moved.T,
            noise * np.exp(0.05 * rng.normal()),
        )
        assert likelihood(rows, *others) < best


def test_a_new_group_is_predicted_by_what_its_support_says_of_it():
    """The conditional mean of a Gaussian, by dense matrices."""
    model, new = RandomSlopes.of(grouped()), grouped(1, 7, seed=3)
    support, query = new.of(np.arange(4)), new.of(np.arange(4, 7))
    beta, covariance, noise = (one[0] for one in model)
    mean, of_support = marginal(support, beta, covariance, noise)
    z, at = with_one(query.inputs), with_one(support.inputs)
    gain = z @ covariance @ at.T @ np.linalg.inv(of_support)
    expected = z @ beta + gain @ (support.targets[:, 0] - mean)
    np.testing.assert_allclose(model(support, query.inputs)[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(model(support.of(np.arange(0)), query.inputs)[:, 0], z @ beta)


def test_it_says_what_mixed_lm_of_statsmodels_says():
    models = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    rows = grouped()._replace(weights=np.ones(720, np.float32))
    z = with_one(rows.inputs)
    theirs = models.MixedLM(rows.targets[:, 0], z, rows.groups, exog_re=z).fit(reml=False)
    ours = RandomSlopes.of(rows)
    np.testing.assert_allclose(ours.beta[0], theirs.fe_params, rtol=2e-3)
    np.testing.assert_allclose(ours.covariance[0], theirs.cov_re, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(ours.noise[0], theirs.scale, rtol=2e-3)
    line = theirs.fe_params + np.asarray(theirs.random_effects[7])
    found = ours(of_group(rows, 7), rows.inputs[:5])[:, 0]
    np.testing.assert_allclose(found, z[:5] @ line, atol=1e-3)


def test_of_few_groups_intercept_and_slopes_are_independent():
    covariance = RandomSlopes.of(grouped(num_groups=5)).covariance[0]
    assert np.count_nonzero(covariance) == 3 and (np.diag(covariance) > 0).all()


def test_columns_that_are_sums_of_others_and_targets_without_noise_do_no_harm():
    rows = grouped(num_columns=1)
    inputs = np.concatenate([rows.inputs, 1 - rows.inputs], axis=1)
    twice = rows._replace(inputs=inputs, targets=0 * rows.targets)
    assert np.isfinite(RandomSlopes.of(twice)(of_group(twice, 0), inputs)).all()


def test_it_leaves_a_table_with_many_columns_to_others():
    rows = grouped(num_columns=65)
    with pytest.raises(LeftOut, match="columns become 65 numbers, and it takes 64"):
        RandomSlopes.of(rows)


FAKE = """
import numpy as np
class GPModel:
    def __init__(self, group_data, likelihood, weights=None):
        assert likelihood == "gaussian"
    def get_cov_pars(self, std_err, format_pandas):
        return np.array([[0.5, 0.25]])
class Dataset:
    def __init__(self, inputs, targets):
        self.mean = targets.mean()
class Model:
    def predict(self, inputs, ignore_gp_model):
        return inputs[:, 0]
def train(settings, data, gp_model, num_boost_round):
    {}
    return Model()
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """`fake(line)`: a library called gpboost whose training is this line."""
    monkeypatch.setattr(_simpler_models, "is_installed", lambda library: library == "gpboost")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("gpboost", None)
    return lambda line: (tmp_path / "gpboost.py").write_text(FAKE.format(line))


def test_gpboost_adds_what_a_support_says_of_the_intercept(fake):
    """Its variance is half of that of rows, which thus counts as two."""
    fake("pass")
    assert _separate_process.is_installed("gpboost")
    rows = grouped(2, 6)
    support, query = rows.of(np.arange(3)), rows.of(np.arange(3, 6))
    (found,) = gpboost_predictions(rows, [support], [query], 0)
    weights = support.weights[:, None]
    missed = np.sum(weights * (support.targets - support.inputs[:, :1]), axis=0)
    np.testing.assert_allclose(found, query.inputs[:, :1] + missed / (weights.sum() + 2))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("raise ValueError('no groups of mine')", r"it failed \(ValueError: no groups of mine\)"),
        ("import os; os._exit(11)", r"it failed \(exit status 11\)"),
        ("import time; time.sleep(60)", "it took longer than 0.5 seconds"),
    ],
)
def test_gpboost_that_fails_or_hangs_is_left_out(fake, monkeypatch, line, said):
    fake(line)
    monkeypatch.setattr(_separate_process, "_TIME_LIMIT", 0.5 if "sleep" in line else 60.0)
    rows = grouped(2, 6)
    with pytest.raises(LeftOut, match=said):
        gpboost_predictions(rows, [rows], [rows], 0)


class Zero(ArrayLearner):
    """A learner that predicts zero."""

    def adapt_many(self, inputs, targets, sizes, weights=None):
        return AdaptedParams(np.zeros((len(sizes), 1)), None)

    def predict_many(self, adapted, tasks, inputs):
        return np.zeros((len(inputs), 1))

    def variances(self, adapted, tasks, inputs):
        return np.zeros(len(inputs))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("print('[GPBoost] [Warning] few rows')", "warned: [GPBoost] [Warning] few rows"),
        (
            "Model.predict = lambda self, x, **_: np.full(len(x), np.nan)",
            "left out: its predictions are ",
        ),
    ],
)
def test_a_report_says_what_happened_to_a_model(fake, line, said):
    fake(line)
    rows = grouped(12, 6)
    report = report_of([judge(Zero.__new__(Zero), rows, rows, classes=None, sizes=(2,), seed=0)])
    assert SLOPES in report.models and (GPBOOST in report.models) == said.startswith("warned")
    assert dict(report.remarks)[GPBOOST].startswith(said)
    assert f"\n{GPBOOST}: {said}" in str(report)
    assert report_from_json(report.as_json()) == report


def test_a_model_that_one_round_leaves_out_is_left_out_of_all():
    values, units = np.ones((6, 7, 1)), np.arange(6)
    errors = {ADAPTED: values, UNADAPTED: values, OFFSET: values, GPBOOST: values}
    whole = Judged(units, errors, np.arange(6.0)[:, None])
    part = whole._replace(
        units=units + 6,
        errors={model: one for model, one in errors.items() if model != GPBOOST},
        remarks={GPBOOST: "left out: it took too long"},
    )
    report = report_of([whole, part])
    assert report.models == [ADAPTED, UNADAPTED, OFFSET] and report.num_groups == 12
    assert report.remarks == ((GPBOOST, "left out: it took too long (in 1 of 2 rounds)"),)


def test_gpboost_learns_an_offset_of_each_group():
    pytest.importorskip("gpboost")
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 20)
    x, offsets = rng.normal(size=(800, 2)), 2 * rng.normal(size=40)
    y = np.sin(2 * x[:, 0]) + offsets[groups] + 0.1 * rng.normal(size=800)
    rows = Rows(x, y[:, None], np.ones(800, np.float32), groups, groups)
    train, new = rows.of(np.arange(600)), rows.of(np.arange(780, 800))
    (found,) = gpboost_predictions(train, [new.of(np.arange(10))], [new.of(np.arange(10, 20))], 0)
    assert np.mean((found - new.targets[10:]) ** 2) < 0.1


def test_an_opponent_whose_algebra_fails_is_left_out_with_a_word():
    def fails(supports, queries):
        raise np.linalg.LinAlgError("Singular matrix")

    assert tried(fails, [], []) == (None, "left out: it failed (Singular matrix)")
