"""The pretrained baseline of a run, in the file of what the run has meta-learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax
from mamlax import MamlaxError
from mamlax.config import RECIPES
from mamlax.estimators._export import learner_of_run
from mamlax.estimators._inspection import description_of
from mamlax.estimators._pretrained import pretrained_by_step
from mamlax.experiments._experiment import experiment_in, initial_params, loop_of
from mamlax.records._evaluation import read_evaluation
from mamlax.training._run import restore_run

from .materials import drawings, image_classifier

X, Y = np.linspace(-4, 4, 5)[:, None], 2 * np.sin(np.linspace(-4, 4, 5) + 1)[:, None]
ASKED = np.linspace(-5, 5, 7)[:, None]


def recipe_of(**settings):
    small = {"hidden_sizes": (8,), "meta_batch_size": 4, "num_test_tasks": 4}
    steps = {"num_outer_steps": 4, "num_test_inner_steps": 2, "num_inner_steps": 2}
    return RECIPES["sinusoid"].changed(
        **small, **steps, validation_interval=None, log_interval=4, **settings
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "run"
    mamlax.train(recipe_of(num_baseline_steps=3), directory=directory)
    return directory


def by_hand(directory, num_steps):
    """Gradient descent on the weights that the baseline has."""
    experiment = experiment_in(directory)
    stage = experiment.stages["pretrained"]
    trained = restore_run(
        loop_of(experiment, stage), initial_params(experiment, stage), stage.directory
    )
    params = trained.best_state.meta_params
    rate = read_evaluation(directory).inner_learning_rates["pretrained"]
    found = []
    for _ in range(num_steps + 1):
        found.append(params(jnp.asarray(ASKED)))
        gradient = jax.grad(lambda params: jnp.mean((params(X) - Y) ** 2))(params)
        params = jax.tree.map(lambda x, g: x - rate * g, params, gradient)
    return np.array(found)


@pytest.mark.slow
def test_a_file_holds_the_pretrained_network_and_adapts_it_by_gradient_descent(directory, tmp_path):
    path = tmp_path / "model.safetensors"
    model = learner_of_run(directory, with_pretrained=True)
    model.save(path)
    expected = by_hand(directory, 2)
    assert np.abs(np.diff(expected, axis=0)).max() > 1e-4, "it adapts"
    for one in (model, mamlax.load(path)):
        found = pretrained_by_step(one.pretrained_, X, Y, ASKED, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert "the same network pretrained" in description_of(path)
    alone = learner_of_run(directory)
    assert alone.pretrained_ is None
    np.testing.assert_array_equal(
        alone.adapt(X, Y).predict(ASKED), model.adapt(X, Y).predict(ASKED)
    )
    # what is adapted holds it too
    model.adapt(X, Y[:, 0]).save(path)
    assert mamlax.load(path).pretrained_ is not None


@pytest.mark.slow
def test_where_no_step_size_helped_it_stays_as_it_is(directory, tmp_path):
    copy = tmp_path / "run"
    copy.mkdir()
    for one in directory.iterdir():
        (copy / one.name).symlink_to(one)
    evaluation = (directory / "evaluation.json").read_text()
    rate = read_evaluation(directory).inner_learning_rates["pretrained"]
    (copy / "evaluation.json").unlink()
    (copy / "evaluation.json").write_text(
        evaluation.replace(f'"pretrained": {rate}', '"pretrained": 0.0')
    )
    assert read_evaluation(copy).inner_learning_rates["pretrained"] == 0
    pretrained = learner_of_run(copy, with_pretrained=True).pretrained_
    found = pretrained_by_step(pretrained, X, Y, ASKED, 2)
    np.testing.assert_allclose(found, by_hand(directory, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_run_without_the_baseline_or_its_step_size_is_refused(directory, tmp_path):
    alone = tmp_path / "alone"
    mamlax.train(recipe_of(num_baseline_steps=0), directory=alone)
    with pytest.raises(MamlaxError, match=r"no pretrained baseline.*--num-baseline-steps 0"):
        learner_of_run(alone, with_pretrained=True)
    copy = tmp_path / "run"
    copy.mkdir()
    for one in directory.iterdir():
        if one.name != "evaluation.json":
            (copy / one.name).symlink_to(one)
    with pytest.raises(MamlaxError, match=r"chooses the step size.*mamlax evaluate"):
        learner_of_run(copy, with_pretrained=True)


def test_pictures_are_told_apart_by_the_pretrained_network_too(tmp_path):
    model = image_classifier()
    model.pretrained_ = image_classifier(2).learner_
    model.save(tmp_path / "model.safetensors")
    model = mamlax.load(tmp_path / "model.safetensors")
    images = drawings(2).reshape(4, 6, 6, 1)
    adapted = model.adapt(images, ["a", "a", "b", "b"])
    found = adapted.probabilities_by_step(images, pretrained=True)
    expected = image_classifier(2).adapt(images, ["a", "a", "b", "b"])
    np.testing.assert_allclose(found, expected.probabilities_by_step(images), rtol=1e-5)
    assert np.abs(found - adapted.probabilities_by_step(images)).max() > 1e-3
    images = drawings(3).reshape(6, 6, 6, 1)
    adapted = model.adapt(images, list("aabbcc"))
    with pytest.raises(MamlaxError, match="has 2 classes, and the support 3"):
        adapted.probabilities_by_step(images, pretrained=True)
    model.pretrained_ = None
    with pytest.raises(MamlaxError, match="--with-pretrained"):
        model.adapt(images, list("aabbcc")).probabilities_by_step(images, pretrained=True)
