"""The report: what simpler models do on the same rows, and which to use."""

import json

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import t
from sklearn.metrics import brier_score_loss, log_loss
from threadpoolctl import threadpool_limits

import mamlax
from mamlax.estimators import _entry
from mamlax.estimators._comparison import Judged, _measured, judge, report_of
from mamlax.estimators._entry import OFFSET, Entry
from mamlax.estimators._report import Report, report_from_json
from mamlax.estimators._rows import Rows

SETTINGS = dict(meta_batch_size=8, hidden_sizes=(8,), random_state=0)


def table(num_groups, rows, law, seed=0, noise=0.1):
    """Rows of groups whose targets are `law(x, z)`, `z` three numbers of the group's own."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), rows)
    x, z = rng.normal(size=(len(groups), 2)), rng.normal(size=(num_groups, 3))
    return x, law(x.T, z[groups].T) + noise * rng.normal(size=len(groups)), groups


def offsets(x, z):
    return x[0] + 2 * x[1] + 2 * z[0]


def waves(x, z):
    """No line in the columns, in any group."""
    return (1 + z[0]) * np.sin(3 * x[0]) + z[1] * np.cos(3 * x[0]) + 0.5 * x[1]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for one another are slow where other tests run beside these."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def fitted():
    """A model hardly trained, and the rows that it learned from."""
    x, y, groups = table(20, 12, offsets)
    model = mamlax.FewShotRegressor(num_outer_steps=20, compare=False, **SETTINGS)
    model.fit(x, y, groups=groups)
    return model, rows_of(model, x, y, groups)


def judged(model, train, test, **options):
    """What a model that learned from some rows is found to be on others."""
    found = judge(model.learner_, train, test, classes=None, seed=0, **options)
    return None if found is None else report_of([found], **options)


def rows_of(model, x, y, groups):
    weights = np.ones(len(x), np.float32)
    return Rows(model.columns_.encode(x), model.targets_.encode(y), weights, groups, groups)


@pytest.fixture(scope="module")
def alike(fitted):
    """Groups of rows that are all the same, so that those drawn as a query do not matter."""
    x, y, _ = table(6, 1, offsets, seed=1)
    return rows_of(fitted[0], np.repeat(x, 30, 0), np.repeat(y, 30), np.repeat(np.arange(6), 30))


@pytest.fixture(scope="module")
def report(fitted, alike):
    return judged(*fitted, alike)


def by_hand(predicted, test):
    """Error relative to the variance, a mean over groups, and the half width of its interval."""
    errors = (predicted - test.targets[:, 0]) ** 2 / np.var(test.targets)
    of_groups = np.array([errors[test.groups == group].mean() for group in np.unique(test.groups)])
    number = len(of_groups)
    width = t.ppf(0.975, number - 1) * of_groups.std(ddof=1) / np.sqrt(number)
    return of_groups.mean(), width


def pooled(train, inputs):
    """Ridge regression with λ = 1 and an offset that is not penalized, by its normal equations."""
    mean, center = train.inputs.mean(0), train.targets[:, 0].mean()
    x, y = (train.inputs - mean).astype(np.float64), train.targets[:, 0] - center
    weight = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
    return (inputs - mean) @ weight + center


@pytest.mark.slow
def test_the_pooled_line_is_that_by_hand(fitted, alike, report):
    expected = by_hand(pooled(fitted[1], alike.inputs), alike)
    for size in report.sizes:
        entry = report.entry(_entry.POOLED, size)
        np.testing.assert_allclose((entry.error, entry.ci95), expected, rtol=1e-4)
        assert entry.num_groups == report.num_groups == report.num_units == 6


def test_no_model_at_all_is_the_mean_of_the_training_groups(fitted, alike, report):
    entry = report.entry(_entry.NOTHING, 0)
    expected = by_hand(np.full(len(alike.inputs), fitted[1].targets.mean()), alike)
    np.testing.assert_allclose((entry.error, entry.ci95), expected, rtol=1e-4)


def test_the_offset_is_what_the_pooled_line_missed_shrunken(fitted, alike, report):
    """Where all rows of a group miss it by r, n of them leave r s / (n + s) of the error."""
    missed = alike.targets[:, 0] - pooled(fitted[1], alike.inputs)
    errors = [report.entry(_entry.OFFSET, size).error for size in (0, 1, 2, 5)]
    relative = np.sqrt(np.array(errors) / (np.mean(missed**2) / np.var(alike.targets)))
    shrinkage = relative[1] / (1 - relative[1])  # s / (1 + s) after one row
    assert 0 < shrinkage < 0.2, "groups differ by much more than rows do"
    np.testing.assert_allclose(
        relative, shrinkage / (np.array([0, 1, 2, 5]) + shrinkage), rtol=0.01
    )


def test_the_model_not_adapted_is_what_it_predicts(fitted, alike, report):
    learner = fitted[0].learner_
    empty = learner.adapt(alike.inputs[:0], alike.targets[:0])
    expected = by_hand(learner.predict(empty, alike.inputs)[:, 0], alike)
    for name in (_entry.UNADAPTED, _entry.ADAPTED):
        entry = report.entry(name, 0)
        np.testing.assert_allclose((entry.error, entry.ci95), expected, rtol=1e-3)


def test_every_model_is_there_at_every_size_that_the_groups_have_rows_for(report):
    assert report.sizes == [0, 1, 2, 5, 10]
    assert len(report.models) == 9 and len(report.entries) == 45
    for entry in report.entries:
        assert np.isfinite(entry.error) and entry.ci95 >= 0
        adapted = report.entry(_entry.ADAPTED, entry.num_support)
        assert entry.worse_than_adapted == pytest.approx(entry.error - adapted.error, abs=1e-6)


def test_groups_held_out_together_count_as_one(fitted, alike, report):
    """Each group twice, in the unit of the first: errors are the same, and no surer."""
    twice = Rows(*(np.concatenate([one, one]) for one in alike))
    twice = twice._replace(groups=np.concatenate([alike.groups, alike.groups + 6]))
    found = judged(*fitted, twice)
    assert (found.num_groups, found.num_units) == (12, 6)
    for model in (_entry.POOLED, _entry.NOTHING, _entry.OFFSET):
        one, other = (r.entry(model, 5) for r in (found, report))
        assert one.error == pytest.approx(other.error, rel=1e-4)
        assert one.ci95 == pytest.approx(other.ci95, rel=1e-4)


def test_the_same_seed_gives_the_same_report(fitted, alike, report):
    assert judged(*fitted, alike) == report


def test_in_an_order_the_support_is_the_first_rows(fitted, alike):
    """Where these miss what follows, the report says so; drawn at random they do not."""
    first = np.arange(len(alike.groups)) % 30 < 2
    shifted = alike._replace(targets=alike.targets + 3 * first[:, None].astype(np.float32))
    ordered = judged(*fitted, shifted, is_ordered=True)
    assert ordered.is_ordered and "the first rows of a group as support" in str(ordered)
    # what misses all that follows by 3, but for shrinkage
    added = 0.9 * 9 / np.var(shifted.targets)
    assert ordered.entry(OFFSET, 2).error > added
    at_random = judged(*fitted, shifted)
    assert at_random.entry(OFFSET, 2).error < added / 2
    assert "first rows" not in str(at_random)


def test_there_is_nothing_to_compare_in_groups_of_one_row(fitted, alike):
    single = alike.of(np.arange(0, 180, 30))
    assert judged(*fitted, single) is None


def test_a_report_is_printed_and_makes_a_round_trip_through_json(report):
    assert report_from_json(json.loads(json.dumps(report.as_json()))) == report
    lines = str(report).splitlines()
    assert "6 groups held out" in lines[0]
    assert lines[1].split()[-5:] == ["0", "1", "2", "5", "10"]
    for model in report.models:
        assert sum(line.startswith(model + " ") for line in lines) == 1
    assert lines[-1] == report.verdict


def test_of_a_single_group_there_is_no_interval(fitted, alike):
    single = judged(*fitted, alike.of(np.flatnonzero(alike.groups == 0)))
    text = str(single)
    assert "nan" not in text and "±" not in text
    assert text.startswith(f"{single.metric}, 1 group held out\n")


@pytest.mark.parametrize("classes", [2, 3])
def test_chances_are_judged_as_scikit_learn_does(classes):
    """By the log loss, the Brier score and the share misclassified; rows count by their weights."""
    rng = np.random.default_rng(0)
    outputs, targets = 2 * rng.normal(size=(40, classes)), rng.integers(0, classes, 40)
    weights = rng.uniform(size=40).astype(np.float32)
    rows = Rows(np.zeros((40, 1)), targets, weights, np.zeros(40, int), np.zeros(40, int))
    chances = softmax(outputs, axis=1)
    given = chances if classes > 2 else chances[:, 1]
    np.testing.assert_allclose(
        _measured(outputs, rows, classes),
        [
            log_loss(targets, chances, sample_weight=weights),
            brier_score_loss(targets, given, sample_weight=weights),
            np.average(outputs.argmax(1) != targets, weights=weights),
        ],
        rtol=1e-5,
    )


def test_a_chance_of_nothing_counts_as_a_millionth():
    rows = Rows(*(np.zeros((1, 1)), np.array([1]), np.ones(1), np.zeros(1, int), np.zeros(1, int)))
    assert _measured(np.array([[900.0, 0.0]]), rows, 2)[0] == pytest.approx(np.log(1e6))


def test_a_report_of_classes_has_a_table_for_each_measure():
    """The verdict is by the first."""
    errors = {
        model: np.full((8, 7, 3), np.nan) for model in (_entry.ADAPTED, _entry.UNADAPTED, OFFSET)
    }
    for place, model in enumerate(errors):
        errors[model][:, :3] = [0.5 + place, 0.25, 0.02]
        errors[model][0, :, 0] += 0.001
    found = report_of([Judged(np.arange(8), errors, np.zeros(8, int))])
    assert (found.metric, found.sizes) == ("log loss", [0, 1, 2])
    lines = str(found).splitlines()
    titles = ["log loss, 8 groups held out", "Brier score", "share of rows misclassified"]
    for title, cell in zip(titles, ("0.500 ± ", "0.250", "0.020"), strict=True):
        (start,) = (i for i, line in enumerate(lines) if line.startswith(title))
        assert lines[start + 2].startswith(_entry.ADAPTED) and cell in lines[start + 2]
    assert found.verdict.startswith("At every number of rows tried (0, 1 and 2) the adapted")
    assert report_from_json(json.loads(json.dumps(found.as_json()))) == found


def test_cells_of_any_length_stay_apart():
    wide = Report(
        "error",
        12,
        12,
        tuple(
            Entry(model, size, error, 0.1, error - 1, 0.1, 12)
            for model, error in ((_entry.ADAPTED, 1.0), (OFFSET, 123457.0))
            for size in (0, 1, 2)
        ),
    )
    line = next(line for line in str(wide).splitlines() if line.startswith(OFFSET))
    assert line.split("   ")[1:] == ["123457.000 ± 0.100"] * 3
    assert len({len(line) for line in str(wide).splitlines()[1:-2]}) == 1


@pytest.mark.slow
def test_where_groups_differ_by_an_offset_the_verdict_is_the_simple_model():
    x, y, groups = table(120, 40, offsets, noise=0.5)
    model = mamlax.FewShotRegressor(num_outer_steps=1_000, random_state=0).fit(x, y, groups=groups)
    verdict = model.report().verdict
    assert verdict.startswith((f"Use {_entry.OFFSET}", f"Use {_entry.SLOPES}")), verdict


@pytest.mark.slow
def test_where_groups_share_a_shape_that_no_simple_model_has_the_verdict_is_to_adapt():
    x, y, groups = table(200, 60, waves)
    model = mamlax.FewShotRegressor(num_outer_steps=2_000, random_state=0).fit(x, y, groups=groups)
    report = model.report()
    assert "the adapted model is the best (95 % confidence" in report.verdict, report
    for size in (5, 10, 20):
        assert report.entry(_entry.SUPPORT_ONLY, size).worse_than_adapted > 0
    assert report.entry(_entry.ADAPTED, 20).error < 0.3


@pytest.mark.slow
def test_a_classifier_is_compared_by_its_chances_and_its_mistakes():
    x, y, groups = table(100, 40, waves)
    model = mamlax.FewShotClassifier(num_outer_steps=500, random_state=0)
    report = model.fit(x, np.where(y > 0, "up", "down"), groups=groups).report()
    assert report.metric == "log loss" and len(report.models) == 8
    constant, adapted = report.entry(_entry.NOTHING, 0), report.entry(_entry.ADAPTED, 20)
    for measure in ("error", "brier", "misclassified"):
        assert getattr(adapted, measure) < 0.75 * getattr(constant, measure)


@pytest.mark.slow
def test_a_class_that_training_groups_lack_does_not_stop_the_comparison():
    """Classes are those of all rows: a rare one may be in groups held out alone."""
    x, y, groups = table(30, 12, offsets)
    labels = np.where(groups < 2, "rare", np.where(y > 0, "up", "down"))
    for seed in range(2):
        model = mamlax.FewShotClassifier(num_outer_steps=20, **SETTINGS | dict(random_state=seed))
        model.fit(x, labels, groups=groups)
        assert str(model.report())
