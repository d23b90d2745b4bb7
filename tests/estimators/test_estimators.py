"""Estimators of tables: fitted by groups, adapted to others, one or many, at once or in turn."""

import pickle
import warnings
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import mamlax
from mamlax.config import ALGORITHMS
from mamlax.estimators._learner import ArrayLearner
from mamlax.estimators._targets import warn_of_constant_targets

SMALL = dict(
    num_outer_steps=200,
    hidden_sizes=(16, 16),
    meta_batch_size=8,
    max_support=16,
    compare=False,
    random_state=0,
)
TINY = SMALL | dict(num_outer_steps=20)
FOR_CLASSES = ("proto-maml", "unicorn-maml", "logistic-maml")
TO_REGRESS = [name for name in ALGORITHMS if name not in FOR_CLASSES]
TO_CLASSIFY = [name for name in ALGORITHMS if name != "ridge-maml"]


class Table(NamedTuple):
    """Rows of a table, and the group of each."""

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray

    def of(self, group, start=0, end=None):
        """Some rows of one group, and their targets."""
        rows = np.flatnonzero(self.groups == group)[start:end]
        return self.x[rows], self.y[rows]


def lines(num_groups=40, rows=20, seed=0):
    """Straight lines, of another offset and slope in each group; the second column says nothing."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), rows)
    x = rng.normal(size=(len(groups), 2))
    offsets, slopes = 5 + 3 * rng.normal(size=num_groups), 1 + rng.normal(size=num_groups)
    noise = 0.1 * rng.normal(size=len(groups))
    return Table(x, offsets[groups] + slopes[groups] * x[:, 0] + noise, groups)


def labelled(table):
    """The same with two classes: above and below a height."""
    return table._replace(y=np.where(table.y > 5, "high", "low"))


TRAIN, HELD_OUT = lines(), lines(num_groups=50, rows=96, seed=1)


@pytest.fixture(scope="module")
def model():
    return mamlax.FewShotRegressor(**SMALL).fit(TRAIN.x, TRAIN.y, groups=TRAIN.groups)


@pytest.fixture(scope="module")
def classifier():
    table = labelled(TRAIN)
    model = mamlax.FewShotClassifier(**SMALL)
    return model.fit(table.x, table.y, groups=table.groups)


def errors(model, num_support, table=HELD_OUT):
    """Squared error in each group of its last 32 rows, adapted to the first ones."""
    support, query = (
        np.concatenate([np.flatnonzero(table.groups == g)[part] for g in np.unique(table.groups)])
        for part in (slice(num_support), slice(-32, None))
    )
    if num_support:
        many = model.adapt_many(table.x[support], table.y[support], table.groups[support])
        predicted = many.predict(table.x[query], table.groups[query])
    else:
        predicted = model.predict(table.x[query])
    return ((predicted - table.y[query]) ** 2).reshape(-1, 32).mean(1)


def test_adapting_helps_on_groups_never_seen(model):
    before, after = errors(model, 0), errors(model, 10)
    assert np.median(after) < 0.25 * np.median(before)
    assert np.mean(after < before) > 0.8
    assert after.mean() < 0.5 * np.var(HELD_OUT.y)


def test_more_support_does_not_make_it_worse(model):
    """Also more rows than it ever adapted to in training: 16."""
    found = [errors(model, n).mean() for n in (0, 1, 2, 4, 8, 16, 32, 64)]
    for n, error in enumerate(found[1:], 1):
        assert error <= 1.1 * min(found[:n]) + 0.01 * np.var(HELD_OUT.y), found


def test_adapting_leaves_the_estimator_as_it_is(model):
    x, before = HELD_OUT.x[:30], model.predict(HELD_OUT.x[:30])
    adapted = model.adapt(*HELD_OUT.of(3, 0, 5))
    assert adapted is not model and type(adapted) is type(model)
    assert (adapted.num_support_, model.num_support_) == (5, 0)
    assert np.abs(adapted.predict(x) - before).max() > 0.1
    np.testing.assert_array_equal(model.predict(x), before)


def test_adapting_again_starts_from_the_initialization(model):
    x, other = HELD_OUT.x[:30], HELD_OUT.of(4, 0, 7)
    again = model.adapt(*HELD_OUT.of(3, 0, 5)).adapt(*other)
    np.testing.assert_array_equal(again.predict(x), model.adapt(*other).predict(x))


@pytest.mark.slow
def test_fitting_again_leaves_what_was_adapted(model):
    mine = pickle.loads(pickle.dumps(model))
    x, y = HELD_OUT.of(3, 0, 5)
    one, many = mine.adapt(x, y), mine.adapt_many(x, y, np.zeros(5, int))
    before = one.predict(x), many.predict(x, np.zeros(5, int))
    mine.set_params(num_outer_steps=20, refit=False).fit(
        3 * TRAIN.x + 1, 7 * TRAIN.y, groups=TRAIN.groups
    )
    np.testing.assert_array_equal(one.predict(x), before[0])
    np.testing.assert_array_equal(many.predict(x, np.zeros(5, int)), before[1])


@pytest.mark.parametrize("x", [[], np.zeros((0, 2))], ids=["list", "array"])
def test_an_empty_support_is_the_initialization_and_says_so(model, classifier, x):
    for estimator in (model, classifier):
        with pytest.warns(UserWarning, match="support has no rows.*initialization"):
            adapted = estimator.adapt(x, [])
        assert adapted.num_support_ == 0
        found = adapted.predict(HELD_OUT.x[:20])
        np.testing.assert_array_equal(found, estimator.predict(HELD_OUT.x[:20]))


def test_an_empty_support_undoes_adapting(model):
    adapted = model.adapt(*HELD_OUT.of(3, 0, 5))
    with pytest.warns(UserWarning, match="no rows"):
        back = adapted.adapt([], [])
    np.testing.assert_array_equal(back.predict(HELD_OUT.x[:9]), model.predict(HELD_OUT.x[:9]))


@pytest.mark.parametrize("size", [1, 5, 9])
@pytest.mark.slow
def test_padding_to_a_compiled_size_changes_nothing(model, size):
    """By the library's learner, on rows of exactly that number."""
    x, y = HELD_OUT.of(7, 0, size)
    learner = model.learner_
    inputs, queries = (model.columns_.encode(one) for one in (x, HELD_OUT.x[:11]))
    batch = mamlax.Batch(learner.with_pooled(inputs), model.targets_.encode(y))
    adaptation = learner.settings.learner().adapt(
        learner.meta_params, batch, num_inner_steps=model.num_inner_steps_
    )
    outputs = adaptation.params(learner.with_pooled(queries))
    expected = model.targets_.decode(np.asarray(outputs))
    found = model.adapt(x, y).predict(HELD_OUT.x[:11])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_rows_are_predicted_one_by_one_as_together(model):
    adapted, x = model.adapt(*HELD_OUT.of(7, 0, 5)), HELD_OUT.x[:19]
    alone = np.concatenate([adapted.predict(row[None]) for row in x])
    np.testing.assert_allclose(alone, adapted.predict(x), rtol=1e-5, atol=1e-5)


def test_order_of_the_support_does_not_matter(model):
    x, y = HELD_OUT.of(7, 0, 12)
    one, other = (model.adapt(x[::way], y[::way]).predict(x) for way in (1, -1))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_weights_of_the_support_are_rows_repeated(model):
    x, y = HELD_OUT.of(7, 0, 4)
    weights = np.array([3.0, 0.0, 1.0, 2.0])
    weighted = model.adapt(x, y, sample_weight=weights)
    repeated = model.adapt(np.repeat(x, weights.astype(int), 0), np.repeat(y, weights.astype(int)))
    np.testing.assert_allclose(weighted.predict(x), repeated.predict(x), rtol=1e-4, atol=1e-4)
    many = model.adapt_many(x, y, np.zeros(4, int), sample_weight=weights)
    found = many.predict(x, np.zeros(4, int))
    np.testing.assert_allclose(found, weighted.predict(x), rtol=1e-4, atol=1e-4)
    assert np.abs(weighted.predict(x) - model.adapt(x, y).predict(x)).max() > 1e-2


def test_the_target_of_a_row_of_no_weight_is_not_read(model, classifier):
    x, y = HELD_OUT.of(7, 0, 4)
    spoiled, weights = np.append(y[:3], 1e30), np.array([1.0, 1.0, 1.0, 0.0])
    expected = model.adapt(x[:3], y[:3]).predict(x)
    found = model.adapt(x, spoiled, sample_weight=weights).predict(x)
    np.testing.assert_array_equal(found, expected)
    many = model.adapt_many(x, spoiled, np.zeros(4, int), sample_weight=weights)
    np.testing.assert_allclose(many.predict(x, np.zeros(4, int)), expected, rtol=1e-5, atol=1e-5)
    labels = [*classifier.classes_[[0, 1, 0]], "unheard of"]
    classifier.adapt(x, labels, sample_weight=weights)
    with pytest.raises(mamlax.MamlaxError, match="unheard of"):
        classifier.adapt(x, labels)


def test_a_class_of_rows_without_weight_is_none():
    x, groups = np.random.default_rng(0).normal(size=(80, 1)), np.repeat(np.arange(8), 10)
    y = np.where(np.arange(80) % 2, "a", "b")
    y[0] = "mistyped"
    weights = np.ones(80)
    weights[0] = 0
    found = mamlax.FewShotClassifier(num_outer_steps=1, compare=False, refit=False).fit(
        x, y, groups=groups, sample_weight=weights
    )
    assert found.classes_.tolist() == ["a", "b"]


def test_targets_of_a_frame_are_found_by_name():
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=(200, 1)), np.repeat(np.arange(10), 20)
    y = pd.DataFrame({"up": x[:, 0], "down": -x[:, 0] + 5})
    found = mamlax.FewShotRegressor(
        num_outer_steps=1, compare=False, refit=False, pooled="linear", random_state=0
    ).fit(x, y, groups=groups)
    assert found.target_names_ == ["up", "down"]
    turned = y[["down", "up"]]
    expected = found.adapt(x[:5], y[:5])
    for adapted in (found.adapt(x[:5], turned[:5]), found.adapt(x[:5], y[:5].to_numpy())):
        np.testing.assert_array_equal(adapted.predict(x), expected.predict(x))
    assert expected.score(x, turned) == expected.score(x, y)
    with pytest.raises(mamlax.MamlaxError, match="'up' is missing"):
        found.adapt(x[:5], turned[:5].rename(columns={"up": "upwards"}))
    found.fit(x, y.to_numpy(), groups=groups)
    assert found.target_names_ is None


def ragged(sizes):
    """Supports of these sizes, their rows mixed, under names of text."""
    rows = np.concatenate(
        [np.flatnonzero(HELD_OUT.groups == group)[:size] for group, size in enumerate(sizes)]
    )
    rows = np.random.default_rng(0).permutation(rows)
    return rows, np.array([f"group {group}" for group in HELD_OUT.groups[rows]])


@pytest.mark.parametrize("which", ["regressor", "classifier"])
def test_adapting_to_many_is_adapting_to_each(model, classifier, which):
    table = HELD_OUT if which == "regressor" else labelled(HELD_OUT)
    estimator = model if which == "regressor" else classifier
    rows, names = ragged([1, 33, 8, 9, 2, 16, 17, 5] if which == "regressor" else [1, 9, 5])
    many = estimator.adapt_many(table.x[rows], table.y[rows], names)
    assert sorted(many.groups) == sorted(set(names))
    query = np.arange(0, len(table.y), 7)[:90]
    of_query = np.random.default_rng(1).choice(many.groups, len(query))
    found = many.predict(table.x[query], of_query)
    for name in many.groups:
        there, support = of_query == name, rows[names == name]
        alone = estimator.adapt(table.x[support], table.y[support])
        expected = alone.predict(table.x[query[there]])
        if which == "regressor":
            np.testing.assert_allclose(found[there], expected, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(found[there], expected)


def test_many_tasks_have_names_of_any_kind(model):
    """In any order, as `fit` takes them."""
    x, y = HELD_OUT.x[:6], HELD_OUT.y[:6]
    for names in ([3, 3, 1, 1, 2, 2], list("ccaabb"), pd.Series(list("cacabb"), dtype="category")):
        many = model.adapt_many(x, y, names)
        assert len(many.groups) == 3
        assert many.predict(x, names).shape == (6,)


def test_groups_that_diverge_are_named_and_the_others_can_be_had(model, monkeypatch):
    """As `adapt` raises for one."""
    x, y, groups = HELD_OUT.x[:288], HELD_OUT.y[:288], HELD_OUT.groups[:288]
    adapt_many = ArrayLearner.adapt_many

    def diverging(learner, inputs, *more):
        found = adapt_many(learner, inputs, *more)
        own = jax.tree.map(np.array, found.own)
        for leaf in jax.tree.leaves(own):
            leaf[1] = np.nan
        return found._replace(own=own)

    monkeypatch.setattr(ArrayLearner, "adapt_many", diverging)
    with pytest.raises(mamlax.MamlaxError, match=r"adapting to 1 of 3 groups.*: 1\. Look"):
        model.adapt_many(x, y, groups)


def test_many_tasks_refuse_what_they_cannot_predict(model):
    many = model.adapt_many(HELD_OUT.x[:6], HELD_OUT.y[:6], [1, 1, 2, 2, 5, 5])
    for absent in (0, 3, 9):
        with pytest.raises(mamlax.MamlaxError, match=f"group {absent} was not adapted to"):
            many.predict(HELD_OUT.x[:2], [1, absent])


@pytest.mark.parametrize("groups", [[1, 2], [1] * 11, 1, [[1]] * 10], ids=str)
def test_groups_that_are_not_one_for_each_row_are_refused(model, groups):
    """Not filled up with numbers of nothing."""
    many = model.adapt_many(HELD_OUT.x[:6], HELD_OUT.y[:6], [1, 1, 2, 2, 5, 5])
    with pytest.raises((TypeError, ValueError, mamlax.MamlaxError)):
        many.predict(HELD_OUT.x[:10], groups)


@pytest.mark.parametrize(
    "label, words", [(None, "missing"), (float("nan"), "missing"), ("1", "kinds")], ids=str
)
def test_groups_that_make_no_tasks_are_refused(model, label, words):
    """As `fit` refuses them."""
    with pytest.raises(mamlax.MamlaxError, match=words):
        model.adapt_many(HELD_OUT.x[:3], HELD_OUT.y[:3], np.array([1, label, 2], object))


def test_threads_adapt_and_predict_as_one_after_another_does(model):
    """Sizes that are not compiled yet, and several threads that want them at once."""
    tasks = [(HELD_OUT.of(i % 50, 0, 1 + 7 * i % 60), HELD_OUT.of(i % 50, 60)) for i in range(64)]

    def predictions(task):
        return model.adapt(*task[0]).predict(task[1][0])

    with ThreadPool(8) as pool:
        together = pool.map(predictions, tasks, chunksize=1)
    for found, task in zip(together, tasks, strict=True):
        np.testing.assert_array_equal(found, predictions(task))


@pytest.mark.parametrize("which", ["model", "classifier"])
def test_pickled_estimators_predict_the_same_adapted_or_not(request, which):
    estimator = request.getfixturevalue(which)
    table = HELD_OUT if which == "model" else labelled(HELD_OUT)
    for one in (estimator, estimator.adapt(*table.of(3, 0, 5))):
        again = pickle.loads(pickle.dumps(one))
        np.testing.assert_array_equal(again.predict(table.x), one.predict(table.x))
        other = [m.adapt(*table.of(4, 0, 9)).predict(table.x) for m in (one, again)]
        np.testing.assert_array_equal(*other)


def test_a_clone_has_the_settings_and_nothing_learned(model):
    copy = clone(model.adapt(*HELD_OUT.of(3, 0, 5)))
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(HELD_OUT.x)


@contextmanager
def compilations():
    """Counts the programs that are compiled."""
    names = []

    def listen(event, duration, **details):
        if event.endswith("backend_compile_duration"):
            names.append(details.get("fun_name", event))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
def test_fitting_again_repeats_to_the_bit_and_compiles_nothing(model):
    """Nor does another seed, or a table of a few rows less."""
    with compilations() as names:
        again = clone(model).fit(TRAIN.x, TRAIN.y, groups=TRAIN.groups)
        other = clone(model).set_params(random_state=1)
        other.fit(TRAIN.x[:-20], TRAIN.y[:-20], groups=TRAIN.groups[:-20])
    assert not names
    np.testing.assert_array_equal(again.predict(HELD_OUT.x), model.predict(HELD_OUT.x))
    jax.tree.map(
        np.testing.assert_array_equal, again.learner_.meta_params, model.learner_.meta_params
    )
    assert again.validation_curve_ == model.validation_curve_
    assert np.abs(other.predict(HELD_OUT.x) - model.predict(HELD_OUT.x)).max() > 1e-3


def test_compilations_are_counted():
    """What the test before relies on."""
    with compilations() as names:
        jax.jit(lambda x: x * 3 + 1)(np.ones(3))
    assert names


def test_adapting_compiles_once_for_each_power_of_two(model):
    for size in (8, 16, 32):
        model.adapt(*HELD_OUT.of(1, 0, size)).predict(HELD_OUT.x[:8])
    with compilations() as names:
        for size in range(1, 33):
            model.adapt(*HELD_OUT.of(1, 0, size)).predict(HELD_OUT.x[: size % 8 + 1])
    assert not names


def test_what_a_fit_says_of_itself(model):
    assert model.num_groups_ == {"train": 40, "validation": 0, "test": 0}
    assert 0 < model.outer_step_ <= SMALL["num_outer_steps"]
    assert model.num_inner_steps_ == int(np.argmin(model.validation_curve_))
    assert model.n_features_in_ == 2
    with pytest.raises(mamlax.MamlaxError, match=r"no report.*compare=True"):
        model.report()


@pytest.fixture(scope="module")
def mixed():
    """A model of two targets from numbers and categories with gaps."""
    table = frame_of(TRAIN)
    y = np.stack([TRAIN.y, 100 - 3 * TRAIN.y], axis=1)
    model = mamlax.FewShotRegressor(**SMALL | dict(num_outer_steps=20, refit=False))
    return model.fit(table, y, groups=TRAIN.groups)


def frame_of(table, seed=5):
    """The columns as text and numbers, one in ten of both missing."""
    rng = np.random.default_rng(seed)
    sign = np.where(table.x[:, 1] > 0, "plus", "minus").astype(object)
    frame = pd.DataFrame({"x": table.x[:, 0], "sign": sign})
    return frame.mask(rng.random(frame.shape) < 0.1)


@pytest.mark.slow
def test_several_targets_from_columns_with_gaps(mixed):
    table, group = frame_of(HELD_OUT), HELD_OUT.groups == 2
    x, y = table[group], np.stack([HELD_OUT.y, 100 - 3 * HELD_OUT.y], axis=1)[group]
    before, after = mixed.predict(x[10:]), mixed.adapt(x[:10], y[:10]).predict(x[10:])
    assert before.shape == after.shape == (86, 2)
    assert np.all(np.isfinite(before))
    for output in range(2):
        error = [np.mean((p - y[10:])[:, output] ** 2) for p in (before, after)]
        assert error[1] < error[0]


def test_columns_of_a_frame_may_be_in_another_order_beside_others(mixed):
    table = frame_of(HELD_OUT)[:30]
    other = table.assign(more="?")[["more", "sign", "x"]]
    np.testing.assert_array_equal(mixed.predict(other), mixed.predict(table))
    y = np.zeros((30, 2))
    one, two = (mixed.adapt(x[:9], y[:9]).predict(x) for x in (table, other))
    np.testing.assert_array_equal(one, two)


def test_an_array_for_a_frame_is_taken_by_position_with_a_warning(mixed):
    table = frame_of(HELD_OUT)[:30]
    with pytest.warns(UserWarning, match="feature names"):
        found = mixed.predict(table.to_numpy(object))
    np.testing.assert_array_equal(found, mixed.predict(table))


def test_other_columns_are_refused(mixed, model):
    with pytest.raises(mamlax.MamlaxError, match="lacks 'sign'; it has 'x'"):
        mixed.predict(frame_of(HELD_OUT)[["x"]])
    with pytest.raises(ValueError, match=r"3 features.*2 features"):
        model.predict(np.zeros((4, 3)))
    with pytest.raises(mamlax.MamlaxError, match="predicts 2 numbers"):
        mixed.adapt(frame_of(HELD_OUT)[:3], np.zeros(3))


def test_a_category_that_is_new_is_warned_of(mixed):
    table = frame_of(HELD_OUT)[:4].assign(sign="zero")
    with pytest.warns(UserWarning, match="'sign' has categories.*'zero'"):
        found = mixed.predict(table)
    np.testing.assert_array_equal(found, mixed.predict(table.assign(sign=None)))


def test_a_classifier_adapts(classifier):
    table, wrong = labelled(HELD_OUT), np.zeros((50, 2))
    for group in range(50):
        x, y = table.of(group)
        for i, fitted in enumerate((classifier, classifier.adapt(x[:10], y[:10]))):
            wrong[group, i] = np.mean(fitted.predict(x[10:]) != y[10:])
    assert wrong[:, 1].mean() < 0.7 * wrong[:, 0].mean()
    assert classifier.classes_.tolist() == ["high", "low"]


def test_probabilities_are_those_of_the_labels(classifier):
    x, y = labelled(HELD_OUT).of(4)
    adapted = classifier.adapt(x[:10], y[:10])
    found = adapted.predict_proba(x)
    assert found.shape == (96, 2)
    np.testing.assert_allclose(found.sum(1), np.ones(96), rtol=1e-12)
    np.testing.assert_array_equal(adapted.classes_[found.argmax(1)], adapted.predict(x))


def test_a_support_may_lack_classes_but_not_have_new_ones(classifier):
    x, _ = HELD_OUT.of(4, 0, 3)
    assert set(classifier.adapt(x, ["low"] * 3).predict(x)) <= {"low", "high"}
    with pytest.raises(mamlax.MamlaxError, match=r"'middle' is none of the 2 classes.*high.*low"):
        classifier.adapt(x, ["low", "middle", "high"])


BAD = {
    "one group": (dict(groups=np.zeros(800)), "one group"),
    "a group missing": (dict(groups=[None, *TRAIN.groups[1:]]), "groups is missing in 1 rows"),
    "groups too few": (dict(groups=TRAIN.groups[1:]), "one label for each of the 800"),
    "text": (dict(y=np.full(800, "a")), "could not convert string to float"),
    "targets missing": (dict(y=np.full(800, np.nan)), "NaN"),
    "no targets": (dict(y=None), "y"),
    "infinity": (dict(X=np.full((800, 2), np.inf)), "infinity"),
    "targets too few": (dict(y=TRAIN.y[1:]), "inconsistent"),
    "one axis": (dict(X=TRAIN.x[:, 0]), "2D"),
    "negative weights": (dict(sample_weight=-np.ones(800)), "sample_weight"),
    "weights of zero": (dict(sample_weight=np.zeros(800)), "zero"),
    "one part": (dict(split_by=np.zeros(800)), "split_by"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name):
    changes, words = BAD[name]
    given = {"X": TRAIN.x, "y": TRAIN.y, "groups": TRAIN.groups, **changes}
    with pytest.raises((ValueError, mamlax.MamlaxError), match=words):
        mamlax.FewShotRegressor(**TINY).fit(given.pop("X"), given.pop("y"), **given)


@pytest.mark.parametrize(
    "settings, words",
    [
        (dict(algorithm="mamba"), "auto, one of ridge-maml.*mamba"),
        (dict(algorithm="proto-maml"), "auto, one of ridge-maml.*proto-maml"),
        (dict(max_support=0), "max_support"),
        (dict(meta_batch_size=0), "meta_batch_size"),
        (dict(patience=0), "patience"),
        (dict(test_fraction=0.9), "less than 1"),
        (dict(num_inner_steps=-1), "num_inner_steps"),
        (dict(num_outer_steps=0), "num_outer_steps"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused_by_name(settings, words):
    model = mamlax.FewShotRegressor(**{**TINY, **settings})
    with pytest.raises((ValueError, mamlax.MamlaxError), match=words):
        model.fit(TRAIN.x, TRAIN.y, groups=TRAIN.groups)


def test_bad_supports_are_refused(model):
    x, y = HELD_OUT.of(1, 0, 4)
    for bad, words in (
        ((x, y[:3]), "inconsistent"),
        ((x[0], y[:1]), "2D"),
        ((np.full_like(x, np.inf), y), "infinity"),
        ((x, np.full(4, np.nan)), "NaN"),
        ((x, ["a"] * 4), "could not convert"),
    ):
        with pytest.raises(ValueError, match=words):
            model.adapt(*bad)


def test_nothing_is_predicted_or_adapted_before_fitting():
    model = mamlax.FewShotRegressor()
    for act in (
        lambda: model.predict(TRAIN.x),
        lambda: model.adapt(TRAIN.x, TRAIN.y),
        lambda: model.adapt_many(TRAIN.x, TRAIN.y, TRAIN.groups),
        model.report,
    ):
        with pytest.raises(NotFittedError):
            act()


def test_one_class_is_refused():
    with pytest.raises(ValueError, match=r"two classes or more.*one class"):
        mamlax.FewShotClassifier(**TINY).fit(TRAIN.x, np.full(800, "a"), groups=TRAIN.groups)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", TO_REGRESS)
def test_every_algorithm_learns_to_regress(algorithm):
    model = mamlax.FewShotRegressor(algorithm=algorithm, **SMALL | dict(num_outer_steps=1_000))
    model.fit(TRAIN.x, TRAIN.y, groups=TRAIN.groups)
    assert np.mean(errors(model, 10)) < 0.7 * np.mean(errors(model, 0))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", TO_CLASSIFY)
def test_every_algorithm_learns_to_classify(algorithm):
    train, table = labelled(TRAIN), labelled(HELD_OUT)
    model = mamlax.FewShotClassifier(algorithm=algorithm, **SMALL | dict(num_outer_steps=1_000))
    model.fit(train.x, train.y, groups=train.groups)
    rows = np.concatenate([np.flatnonzero(table.groups == group)[:10] for group in range(50)])
    many = model.adapt_many(table.x[rows], table.y[rows], table.groups[rows])
    wrong = many.predict(table.x, table.groups) != table.y
    assert np.mean(wrong) < 0.7 * np.mean(model.predict(table.x) != table.y)


@pytest.mark.slow
def test_groups_of_all_sizes_down_to_a_row_fit():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(1, 9, 30))
    x = rng.normal(size=(len(groups), 2))
    model = mamlax.FewShotRegressor(**TINY | dict(compare=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(x, rng.normal(size=30)[groups] + x[:, 0], groups=groups)
    assert np.all(np.isfinite(model.predict(x)))
    assert str(model.report())


def test_groups_of_one_row_each_are_refused():
    with pytest.raises(mamlax.MamlaxError, match="two rows"):
        mamlax.FewShotRegressor(**TINY).fit(TRAIN.x, TRAIN.y, groups=np.arange(800))


@pytest.mark.slow
def test_there_is_no_report_where_no_group_held_out_has_two_rows():
    groups = np.concatenate([np.arange(40), np.zeros(20, int), np.ones(20, int)])
    x = np.random.default_rng(0).normal(size=(80, 2))
    for seed in range(8):
        model = mamlax.FewShotRegressor(**TINY | dict(compare=True, random_state=seed))
        try:
            model.fit(x, x[:, 0], groups=groups)
        except mamlax.MamlaxError as error:
            assert "two rows" in str(error)  # both are held out
            continue
        assert np.all(np.isfinite(model.predict(x)))
        if model.report_ is None:
            with pytest.raises(mamlax.MamlaxError, match="no report"):
                model.report()
        else:
            assert str(model.report())


@pytest.mark.slow
def test_without_groups_it_is_a_network_of_all_rows():
    model = mamlax.FewShotRegressor(**SMALL | dict(num_outer_steps=500))
    y = np.sin(2 * TRAIN.x[:, 0])
    with pytest.warns(UserWarning, match="no groups"):
        model.fit(TRAIN.x, y)
    assert np.mean((model.predict(TRAIN.x) - y) ** 2) < 0.2 * np.var(y)
    assert model.num_groups_ == {"train": 1, "validation": 0, "test": 0}


@pytest.mark.parametrize("of_classes", [False, True])
def test_targets_that_never_change_within_a_group_are_named(of_classes):
    """There is nothing to adapt to but the target itself."""
    names = np.array(["ill", "well"]) if of_classes else np.array([0.0, 1.0])
    make = mamlax.FewShotClassifier if of_classes else mamlax.FewShotRegressor
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # before anything is trained
        with pytest.raises(UserWarning, match="never changes within a group"):
            make(**TINY).fit(TRAIN.x, names[TRAIN.groups % 2], groups=TRAIN.groups)


def test_few_groups_of_two_rows_say_nothing_of_targets_within_groups(recwarn):
    groups = np.r_[np.repeat(np.arange(4), 2), np.arange(4, 40)]
    warn_of_constant_targets(groups % 2, groups)
    assert not recwarn


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_weights_that_leave_training_groups_without_any_are_met(seed):
    """Groups without weight may be all that is learned from; then that is said."""
    weights = (TRAIN.groups < 2).astype(float)
    model = mamlax.FewShotRegressor(**TINY | dict(random_state=seed, test_fraction=0.75))
    try:
        model.fit(TRAIN.x, TRAIN.y, groups=TRAIN.groups, sample_weight=weights)
    except mamlax.MamlaxError as error:
        assert "two rows" in str(error) or "weight" in str(error)
    else:
        assert np.all(np.isfinite(model.predict(TRAIN.x)))
