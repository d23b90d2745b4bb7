"""What adaptation to classes starts from: logits of a model of all groups."""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

import mamlax
from mamlax.estimators._export import write_stablehlo
from mamlax.estimators._pooled import Constant, Line, Trees
from mamlax.estimators._pooled_choice import fit_pooled
from mamlax.estimators._pooled_classes import ClassLogits
from mamlax.estimators._rows import Rows
from mamlax.estimators._sklearn_trees import trees_of_classes

from .materials import TINY


def rows_of(law, classes=2, num_groups=40, size=12, spread=1.0, seed=0):
    """Rows of groups whose classes have the logits `law(x)` and an offset of the group."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), size)
    x = rng.uniform(-1, 1, (len(groups), 2)).astype(np.float32)
    logits = law(x) + spread * rng.normal(size=(num_groups, classes))[groups]
    targets = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    ones = np.ones(len(groups), np.float32)
    return Rows(x, targets, ones, groups, groups)


QUICKLY = {"compare": False, "refit": False}


def line(x):
    return np.stack([0 * x[:, 0], 4 * x[:, 0]], axis=1)


def steps(x):
    return np.stack([0 * x[:, 0], 8.0 * ((x > 0).sum(1) == 1) - 4], axis=1)


def nothing(x):
    return np.zeros((len(x), 2))


@pytest.mark.parametrize("classes", [2, 3])
def test_trees_have_the_chances_of_scikit_learn(classes):
    rows = rows_of(lambda x: 3 * np.tile(x, 2)[:, :classes], classes)
    model = HistGradientBoostingClassifier(max_iter=20, early_stopping=False)
    model.fit(rows.inputs, rows.targets)
    trees = trees_of_classes(model, classes, -6.0)
    logits = jax.jit(lambda x: trees(x))(rows.inputs)
    expected = np.log(model.predict_proba(rows.inputs))
    np.testing.assert_allclose(log_softmax(logits, axis=1), expected, atol=1e-5)


@pytest.mark.parametrize("present", [[0, 2], [0, 1, 3], [1]])
def test_classes_that_are_not_there_are_unlikely(present):
    """Of a line and of trees; the others are as if there were no more."""
    rows = rows_of(lambda x: 3 * np.tile(x, 2)[:, : len(present)], len(present))
    rows = rows._replace(targets=np.array(present)[rows.targets])
    pooled = ClassLogits(0, 4)
    absent = [one for one in range(4) if one not in present]
    boosted = pooled.boosted(rows, 20)
    assert bool(boosted) == (len(present) > 1)
    for model in [pooled.line(rows), *([pooled.trees(boosted)] if boosted else [])]:
        logits = np.asarray(model(rows.inputs))
        logs = log_softmax(logits, axis=1)
        assert logs[:, absent].max() < logs[:, present].max(1).min()
        assert np.exp(logs[:, absent]).mean() < 0.02
        if boosted and isinstance(model, Line):
            alone = LogisticRegression().fit(rows.inputs, rows.targets)
            found = log_softmax(logits[:, present], axis=1)
            expected = alone.predict_log_proba(rows.inputs)
            np.testing.assert_allclose(found, expected, atol=1e-3)


def test_in_an_order_the_offset_is_told_by_the_first_rows():
    """Which are all of the other class here."""
    rows = rows_of(nothing)
    of_group, is_first = rows.groups % 2, np.arange(len(rows.groups)) % 12 < 3
    rows = rows._replace(targets=np.where(is_first, 1 - of_group, of_group))
    logits = nothing(rows.inputs)
    at_random, ordered = (
        ClassLogits(0, 2, is_ordered).errors(rows, logits).mean() for is_ordered in (False, True)
    )
    assert ordered > 1.3 * at_random


def test_stages_of_trees_end_where_their_arrays_are():
    rows, pooled = rows_of(steps), ClassLogits(0, 3)
    boosted = pooled.boosted(rows, 20)
    *_, last = pooled.staged(boosted, rows.inputs)
    np.testing.assert_allclose(last, pooled.trees(boosted)(rows.inputs), atol=1e-5)


def test_a_line_is_chosen_for_a_line_trees_for_steps_and_a_constant_where_a_line_misleads():
    assert isinstance(fit_pooled(rows_of(line), "auto", 0, 2).model, Line)
    assert isinstance(fit_pooled(rows_of(steps, num_groups=80), "auto", 0, 2).model, Trees)
    rows = rows_of(nothing, size=30, spread=0.2)
    columns = np.random.default_rng(0).normal(size=(40, 60))  # they tell groups apart, no more
    found = fit_pooled(rows._replace(inputs=columns[rows.groups].astype(np.float32)), "auto", 0, 2)
    assert isinstance(found.model, Constant) and found.cross_fitted.shape == (1200, 2)
    share = rows.targets.mean()
    np.testing.assert_allclose(np.exp(found.model.bias), [1 - share, share], atol=1e-2)


def test_a_constant_is_saved_and_says_the_frequencies(tmp_path):
    rng = np.random.default_rng(0)
    groups, x = np.repeat(np.arange(20), 10), rng.normal(size=(200, 1))
    y = np.where(rng.random(200) < 0.1, "rare", "usual")
    model = mamlax.FewShotClassifier(**TINY | QUICKLY | {"pooled": "none"})
    model.fit(x, y, groups=groups).save(tmp_path / "model.safetensors")
    read = mamlax.load(tmp_path / "model.safetensors")
    assert isinstance(read, mamlax.FewShotClassifier) and read.pooled_ == "constant"
    chances = read.predict_proba(x[:5])
    np.testing.assert_allclose(chances[:, 0], np.mean(y == "rare"), atol=0.02)


def test_more_classes_than_trees_are_tried_for_and_one_group():
    many = rows_of(lambda x: np.zeros((len(x), 12)), 12)
    assert isinstance(fit_pooled(many, "auto", 0, 12).model, Line | Constant)
    one = fit_pooled(rows_of(line, num_groups=1), "auto", 0, 2)
    assert isinstance(one.model, Constant) and np.isfinite(one.differences.offset)


def test_the_spread_is_the_variance_of_offsets():
    wide = fit_pooled(rows_of(nothing, num_groups=200, size=40, spread=1.5), "none", 0, 2)
    narrow = fit_pooled(rows_of(nothing, num_groups=200, size=40, spread=0.3), "none", 0, 2)
    assert wide.differences.offset == pytest.approx(1.5**2, rel=0.25)
    assert narrow.differences.offset == pytest.approx(0.3**2, rel=0.5)


def test_what_is_said_of_a_group_has_not_seen_it():
    rows = rows_of(nothing, spread=2.0)
    inputs = np.concatenate([rows.inputs, rows.groups[:, None]], axis=1).astype(np.float32)
    rows = rows._replace(inputs=inputs)
    fit = fit_pooled(rows, "trees", 0, 2)
    assert isinstance(fit.model, Trees)
    at = np.arange(len(inputs)), rows.targets
    seen, unseen = (
        -log_softmax(one, axis=1)[at].mean()
        for one in (np.asarray(fit.model(inputs)), fit.cross_fitted)
    )
    assert seen < 0.8 * unseen


@pytest.fixture(scope="module")
def models():
    """A model for each kind of start."""
    rows = rows_of(line, size=20)
    return rows, {
        pooled: mamlax.FewShotClassifier(**TINY | QUICKLY | {"pooled": pooled}).fit(
            rows.inputs, np.array(["no", "yes"])[rows.targets], groups=rows.groups
        )
        for pooled in ("linear", "trees")
    }


@pytest.mark.parametrize("pooled", ["linear", "trees"])
def test_a_classifier_is_read_as_it_was_saved(models, tmp_path, pooled):
    rows, found = models
    path = tmp_path / "model.safetensors"
    model = found[pooled]
    adapted = model.adapt(rows.inputs[:4], np.array(["no", "yes"])[rows.targets[:4]])
    for one in (model, adapted):
        one.save(path)
        read = mamlax.load(path)
        assert isinstance(read, mamlax.FewShotClassifier) and read.pooled_ == pooled
        np.testing.assert_array_equal(
            read.predict_proba(rows.inputs), one.predict_proba(rows.inputs)
        )


def test_a_program_of_a_classifier_starts_from_its_line(models, tmp_path):
    rows, found = models
    model, path = found["linear"], tmp_path / "model.stablehlo"
    labels = np.array(["no", "yes"])[rows.targets[:5]]
    write_stablehlo(path, model)
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    encode = model.columns_.encode
    logits = program.call(
        encode(rows.inputs[:5]),
        model.targets_.encode(labels),
        np.ones(5, np.float32),
        encode(rows.inputs),
    )
    adapted = model.adapt(rows.inputs[:5], labels)
    expected = np.log(adapted.predict_proba(rows.inputs))
    np.testing.assert_allclose(log_softmax(np.asarray(logits), axis=1), expected, atol=1e-4)


def test_few_rows_move_the_odds_of_a_group(models):
    """With the same classes in all rows of the support, that class becomes more likely."""
    model, x = models[1]["linear"], np.zeros((4, 2), np.float32)
    before = model.predict_proba(x[:1])[0, 1]
    after = model.adapt(x, ["yes"] * 4).predict_proba(x[:1])[0, 1]
    assert after > before + 0.1


def test_without_groups_a_plain_network_is_learned():
    """No row is adapted to: its head must be learned, as no support makes one."""
    rows = rows_of(lambda x: 5 * line(x), spread=0.0)
    settings = TINY | QUICKLY | {"num_outer_steps": 200, "outer_learning_rate": 0.02}
    with pytest.warns(UserWarning, match="no groups"):
        model = mamlax.FewShotClassifier(**settings).fit(rows.inputs, rows.targets)
    assert np.mean(model.predict(rows.inputs) == rows.targets) > 0.9
