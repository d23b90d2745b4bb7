"""Files that mamlax 0.1.0 wrote, of format 2 and before, are read: they predict what they did.

Those in `old/` were written by its last commit before format 3, and the numbers here are what it
predicted then. Their headers hold an algorithm's options flat, beside all that it has no use for.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax.config import Cavia, MamlPlusPlus, RidgeMaml
from mamlax.estimators._inspection import description_of

from .materials import changed, header_of

OLD = Path(__file__).parent / "old"
SUPPORT = pd.DataFrame(
    {"speed": [90.0, 100.0, np.nan, 110.0], "kind": ["dry", "wet", "wet", "dry"]}
)
QUERY = pd.DataFrame({"speed": [85.0, np.nan, 105.0, 120.0], "kind": ["wet", "dry", "dry", "wet"]})
WEAR, WORDS = [11.0, 16.0, 15.0, 13.0], ["good", "worn", "worn", "good"]
PLACES = np.arange(6 * 6 * 6)
IMAGES = (PLACES**3 % 251).astype(np.uint8).reshape(6, 6, 6, 1)

BEFORE_ADAPTING = [11.1626195, 9.2164990, 9.9057688, 14.1407172]
ADAPTED = [13.5562795, 11.9878154, 12.0793647, 16.4850370]
CHANCES_BEFORE_ADAPTING = [0.7221047, 0.0803698, 0.2071540, 0.9663879]
CHANCES_ADAPTED = [0.7160112, 0.0459826, 0.1457847, 0.9814406]
CHANCES_OF_IMAGES = [
    [0.330115, 0.327447, 0.342438],
    [0.329693, 0.334514, 0.335793],
    [0.328760, 0.334978, 0.336262],
]


@pytest.fixture
def regressor():
    return mamlax.load(OLD / "regressor.safetensors")


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_an_adapted_regressor_of_before_stays_adapted(regressor):
    assert isinstance(regressor, mamlax.FewShotRegressor)
    assert (regressor.num_support_, regressor.num_inner_steps_) == (4, 0)
    assert regressor.target_names_ == ["wear"] and regressor.task_names_ == ["machine"]
    assert_close(regressor.predict(QUERY), ADAPTED)


def test_a_regressor_of_before_adapts_by_the_settings_that_it_had(regressor):
    algorithm = regressor.learner_.settings.algorithm
    assert algorithm == RidgeMaml(
        inner_learning_rate=algorithm.inner_learning_rate,
        num_inner_steps=0,
        ridge=5.0,
        head_prior=True,
    )
    assert_close(regressor.adapt(SUPPORT, WEAR).predict(QUERY), ADAPTED)
    with pytest.warns(UserWarning, match="no rows"):
        assert_close(regressor.adapt([], []).predict(QUERY), BEFORE_ADAPTING)


def test_a_classifier_of_before_predicts_and_adapts_as_it_did():
    classifier = mamlax.load(OLD / "classifier.safetensors")
    assert isinstance(classifier, mamlax.FewShotClassifier)
    assert classifier.classes_.tolist() == ["good", "worn"]
    assert isinstance(classifier.learner_.settings.algorithm, Cavia)
    assert_close(classifier.predict_proba(QUERY)[:, 1], CHANCES_BEFORE_ADAPTING)
    assert_close(classifier.adapt(SUPPORT, WORDS).predict_proba(QUERY)[:, 1], CHANCES_ADAPTED)


def test_an_adapted_classifier_of_images_of_before_classifies_as_it_did():
    """By learned step sizes, and shifts of their own for each inner step."""
    classifier = mamlax.load(OLD / "images.safetensors")
    assert isinstance(classifier, mamlax.FewShotImageClassifier)
    assert isinstance(classifier.learner_.settings.algorithm, MamlPlusPlus)
    assert classifier.classes_.tolist() == ["a", "b", "c"]
    assert_close(classifier.predict_proba(IMAGES[3:]), CHANCES_OF_IMAGES)
    again = classifier.adapt(IMAGES[:3], ["a", "b", "c"])
    assert_close(again.predict_proba(IMAGES[3:]), CHANCES_OF_IMAGES)


def test_saved_again_it_is_a_file_of_today(regressor, tmp_path):
    regressor.save(tmp_path / "model.safetensors")
    header = header_of(tmp_path / "model.safetensors")
    assert header_of(OLD / "regressor.safetensors")["format"] == 2
    assert header["format"] == 3 and header["learner"]["algorithm"]["name"] == "ridge-maml"
    loaded = mamlax.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded.predict(QUERY), regressor.predict(QUERY))
    assert loaded.learner_.settings == regressor.learner_.settings


def test_a_file_of_format_1_is_read(tmp_path):
    """It has neither digest nor names of tasks."""

    def older(header):
        header.update(format=1)
        del header["sha256"], header["task_names"]

    path = changed(OLD / "regressor.safetensors", tmp_path / "older", header=older, is_signed=False)
    assert_close(mamlax.load(path).predict(QUERY), ADAPTED)


@pytest.mark.parametrize("name", ["regressor", "classifier", "images"])
def test_a_file_of_before_is_described(name):
    algorithm = {"regressor": "ridge-maml", "classifier": "cavia", "images": "maml-plus-plus"}
    text = description_of(OLD / f"{name}.safetensors")
    assert "written by mamlax 0.1.0" in text and f"algorithm     {algorithm[name]}, " in text


CHANGES = {
    "an unknown algorithm": (lambda h: h["learner"]["recipe"].update(algorithm="sgd"), "'sgd'"),
    "no algorithm": (lambda h: h["learner"]["recipe"].pop("algorithm"), "algorithm"),
    "no recipe": (lambda h: h["learner"].pop("recipe"), "recipe"),
    "an option out of its bounds": (lambda h: h["learner"]["recipe"].update(ridge=-1.0), "ridge"),
    "an option of another type": (lambda h: h["learner"]["recipe"].update(ridge="a"), "ridge"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_header_of_before_changed_by_hand_is_refused(what, tmp_path):
    change, words = CHANGES[what]
    path = changed(OLD / "regressor.safetensors", tmp_path / "changed.safetensors", header=change)
    with pytest.raises(mamlax.MamlaxError) as error:
        mamlax.load(path)
    assert str(path) in str(error.value) and words in str(error.value)


@pytest.mark.parametrize("name", ["regressor", "classifier", "images"])
def test_arrays_of_before_changed_by_hand_are_noticed(name, tmp_path):
    def zero(arrays):
        first = next(iter(arrays))
        arrays[first] = np.zeros_like(arrays[first])

    path = changed(OLD / f"{name}.safetensors", tmp_path / "changed", arrays=zero, is_signed=False)
    with pytest.raises(mamlax.MamlaxError, match="has not the sha256"):
        mamlax.load(path)
