"""An algorithm may be given as its settings, wherever its name may be."""

import numpy as np
import pytest
from sklearn.base import clone

import mamlax
from mamlax.config import (
    Cavia,
    Fomaml,
    Imaml,
    Maml,
    Promp,
    ProtoMaml,
    RidgeMaml,
    UnicornMaml,
)
from mamlax.estimators import _estimator

from .materials import TINY, changed, header_of, labelled

NAMES = ["speed", "kind"]
SETTINGS = {**TINY, "compare": False, "validation_fraction": 0.0}
FOMAML = Fomaml(inner_learning_rate=0.1, num_inner_steps=2)  # the step size that tables have
CAVIA = Cavia(inner_learning_rate=0.5, num_inner_steps=2, context_size=3)


def fitted(table, **settings):
    model = mamlax.FewShotRegressor(**{**SETTINGS, **settings})
    return model.fit(table[NAMES], table["wear"], groups=table["machine"])


def predictions(model, table):
    """Before and after adapting to five rows."""
    adapted = model.adapt(table[NAMES][:5], table["wear"][:5])
    return np.stack([one.predict(table[NAMES]) for one in (model, adapted)])


@pytest.fixture(scope="module")
def by_settings(table):
    return fitted(table, algorithm=FOMAML)


@pytest.fixture(scope="module")
def cavia(table):
    return fitted(table, algorithm=CAVIA)


@pytest.mark.slow
def test_by_settings_it_learns_what_it_learns_by_name(by_settings, table):
    by_name = fitted(table, algorithm="fomaml", num_inner_steps=2)
    assert by_name.learner_.settings == by_settings.learner_.settings
    expected = predictions(by_name, table)
    np.testing.assert_array_equal(predictions(by_settings, table), expected)
    assert np.abs(expected[1] - expected[0]).max() > 1e-3, "adapting changes nothing here"


@pytest.mark.slow
def test_settings_are_taken_as_they_stand(cavia):
    """What they leave out is the default of the class, not that of tables."""
    assert cavia.learner_.settings.algorithm is CAVIA
    assert cavia.learner_.settings.network["context_size"] == 3
    assert cavia.learner_.meta_params.context.shape == (3,)


@pytest.mark.slow
def test_arguments_of_the_estimator_stand_above_the_settings(by_settings, table):
    given = Fomaml(inner_learning_rate=0.5, num_inner_steps=1)
    model = fitted(table, algorithm=given, num_inner_steps=2, inner_learning_rate=0.1)
    assert model.learner_.settings == by_settings.learner_.settings
    assert model.algorithm is given, "what was given stays as it is, for scikit-learn"


@pytest.mark.parametrize("name", ["by_settings", "cavia"])
def test_saved_and_loaded_it_has_the_same_settings(name, table, tmp_path, request):
    model = request.getfixturevalue(name)
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = mamlax.load(path)
    assert loaded.algorithm == model.algorithm and loaded.get_params() == model.get_params()
    assert loaded.learner_.settings == model.learner_.settings
    np.testing.assert_array_equal(predictions(loaded, table), predictions(model, table))
    header = header_of(path)
    assert header["parameters"]["algorithm"] == header["learner"]["algorithm"]
    assert header["learner"]["algorithm"]["name"] == model.algorithm.name


def test_a_clone_has_equal_settings_and_learns_the_same(by_settings, table):
    copy = clone(by_settings)
    assert copy.algorithm == FOMAML and copy.get_params() == by_settings.get_params()
    copy.fit(table[NAMES], table["wear"], groups=table["machine"])
    np.testing.assert_array_equal(predictions(copy, table), predictions(by_settings, table))


def test_settings_are_a_parameter_as_any_other():
    model = mamlax.FewShotRegressor(algorithm="maml")
    assert model.set_params(algorithm=CAVIA).get_params()["algorithm"] is CAVIA
    assert "Cavia(" in repr(model)
    assert model.set_params(algorithm="auto").get_params()["algorithm"] == "auto"


@pytest.mark.slow
def test_a_classifier_takes_settings_too(classifier, table):
    labels = labelled(table)["wear"]
    model = mamlax.FewShotClassifier(algorithm=FOMAML, **SETTINGS)
    model.fit(table[NAMES], labels, groups=table["machine"])
    assert classifier.algorithm == "fomaml"
    found, expected = (
        one.adapt(table[NAMES][:9], labels[:9]).predict_proba(table[NAMES])
        for one in (model, classifier)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "make, algorithm, words",
    [
        (mamlax.FewShotRegressor, ProtoMaml(), r"one of ridge-maml.*got ProtoMaml\("),
        (mamlax.FewShotRegressor, UnicornMaml(), r"one of ridge-maml.*got UnicornMaml\("),
        (mamlax.FewShotClassifier, RidgeMaml(), r"one of logistic-maml.*got RidgeMaml\("),
        (mamlax.FewShotRegressor, Promp(), r"got Promp\("),
        (mamlax.FewShotRegressor, Maml, r"such as mamlax.config.Maml\(inner.*got <class"),
        (mamlax.FewShotRegressor, 3, "got 3"),
        (mamlax.FewShotRegressor, None, "got None"),
    ],
    ids=str,
)
def test_settings_of_what_this_estimator_has_no_use_for_are_refused(make, algorithm, words, few):
    y = few["wear"] if make is mamlax.FewShotRegressor else few["kind"]
    with pytest.raises(mamlax.MamlaxError, match=rf"^algorithm must be auto, .*{words}"):
        make(algorithm=algorithm, **SETTINGS).fit(few[NAMES], y, groups=few["machine"])


def test_an_argument_out_of_the_bounds_of_the_settings_is_refused(few):
    with pytest.raises(mamlax.MamlaxError, match="2 or more for imaml"):
        fitted(few, algorithm=Imaml(), num_inner_steps=1)
    with pytest.raises(mamlax.MamlaxError, match="inner_learning_rate must be a positive number"):
        fitted(few, algorithm=FOMAML, inner_learning_rate=0.0)


CHANGES = {
    "an unknown algorithm": (lambda one: one.update(name="sgd"), "'sgd'"),
    "no name": (lambda one: one.pop("name"), "algorithm None"),
    "a setting out of its bounds": (lambda one: one.update(context_size=0), "context_size must be"),
    "a setting of another type": (lambda one: one.update(num_inner_steps="2"), "num_inner_steps"),
    "an unknown setting": (lambda one: one.update(temperature=1), "temperature"),
}


@pytest.mark.parametrize("place", ["parameters", "learner"])
@pytest.mark.parametrize("what", CHANGES)
def test_settings_in_a_header_changed_by_hand_are_refused(what, place, cavia, tmp_path):
    change, words = CHANGES[what]
    cavia.save(tmp_path / "model.safetensors")
    path = changed(
        tmp_path / "model.safetensors",
        tmp_path / "changed.safetensors",
        header=lambda header: change(header[place]["algorithm"]),
    )
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.load(path)
    assert str(path) in str(error.value) and words in str(error.value)


@pytest.mark.parametrize(
    "algorithm, has_groups, steps, rate",
    [
        ("auto", True, 500, 6e-3),
        ("ridge-maml", True, 500, 6e-3),
        ("maml", True, 2_000, 2e-3),
        ("auto", False, 2_000, 2e-3),
    ],
)
def test_default_steps_and_rate_suit_the_algorithm(algorithm, has_groups, steps, rate, monkeypatch):
    plans = []

    def learn_in_rounds(rows, splits, plan, **_):
        plans.append(plan)
        raise InterruptedError

    monkeypatch.setattr(_estimator, "learn_in_rounds", learn_in_rounds)
    monkeypatch.setattr(_estimator, "warn_of_no_groups", lambda: None)
    groups = np.repeat(np.arange(4), 3) if has_groups else None
    x = np.arange(12.0)[:, None]
    for given in ({}, {"num_outer_steps": 7}, {"outer_learning_rate": 0.5}):
        with pytest.raises(InterruptedError):
            mamlax.FewShotRegressor(algorithm=algorithm, **given).fit(x, x[:, 0] % 5, groups=groups)
    found = [(one.training.num_outer_steps, one.training.outer_learning_rate) for one in plans]
    assert found == [(steps, rate), (7, rate), (steps, 0.5)]
