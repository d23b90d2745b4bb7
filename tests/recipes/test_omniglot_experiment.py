"""Small image experiments on an imitation of Omniglot, one for each kind of network."""

import json

import jax
import numpy as np
import pytest

import mamlax
from mamlax import plots
from mamlax.recipes import _experiment

KINDS = {
    "conv4": ({}, True),
    "conv4 by support": ({"norm": "support"}, False),
    "fully connected": ({"network": "fully-connected"}, True),
}


@pytest.fixture(scope="module", params=KINDS)
def experiment(request, small, fake_omniglot, tmp_path_factory):
    """The recipe, whether it is transductive, its evaluation and its directory."""
    problem, transductive = KINDS[request.param]
    directory = tmp_path_factory.mktemp("runs") / "run"
    recipe = small.omniglot(problem, num_devices=1)
    return recipe, transductive, _experiment.train(recipe, directory=directory), directory


def test_what_an_evaluation_holds(experiment):
    recipe, transductive, evaluation, directory = experiment
    assert evaluation == json.loads((directory / "evaluation.json").read_text())
    assert evaluation["metric"] == "accuracy" and evaluation["transductive"] is transductive
    assert set(evaluation["baselines"]) == {"pretrained", "random"}
    for curve in (evaluation["curve"], *evaluation["baselines"].values()):
        assert len(curve) == recipe.num_test_inner_steps + 1
        assert all(0 <= point["mean"] <= 1 for point in curve)


def test_transductive_means_that_query_examples_see_one_another(experiment):
    recipe, transductive, *_ = experiment
    parts = recipe.problem.build()
    params = parts.init_params(jax.random.key(0))
    params = params.with_head_of(parts.init_params(jax.random.key(1)))
    # a first head of zeros would hide any difference
    params = jax.tree.map(lambda x: x + 0.1 * np.cos(np.arange(x.size)).reshape(x.shape), params)
    query = parts.sample_test(jax.random.key(2)).query
    other = query._replace(inputs=query.inputs.at[1:].set(0.3))
    first, changed = (params(batch.inputs, batch.reference)[0] for batch in (query, other))
    assert np.allclose(first, changed, atol=1e-5) != transductive


def test_the_best_validation_is_evaluated(experiment):
    _, _, evaluation, directory = experiment
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    best = max(line["validation/accuracy"] for line in lines)
    first = next(line["step"] for line in lines if line["validation/accuracy"] == best)
    assert evaluation["outer_step"] == first


def test_examples_are_one_episode_with_predictions(experiment):
    recipe, _, _, directory = experiment
    with np.load(directory / "examples.npz", allow_pickle=False) as arrays:
        examples = dict(arrays)
    assert examples["kind"] == "episode" and examples["ways"] == 3
    assert examples["support_images"].shape == examples["query_images"].shape == (3, 6, 6)
    assert examples["probabilities"].shape == (3, 3, 3)
    np.testing.assert_allclose(examples["probabilities"].sum(-1), 1, rtol=1e-5)
    assert not np.allclose(examples["probabilities"][0], examples["probabilities"][2])


def test_evaluating_again_gives_the_same_numbers_and_figures(experiment):
    _, _, evaluation, directory = experiment
    assert _experiment.evaluate(directory) == evaluation
    names = [path.name for path in plots.draw_run(directory)]
    assert names == ["learning_curve.png", "adaptation.png", "episode.png"]


def test_a_small_network_learns_to_tell_patterns_apart(small, fake_omniglot, tmp_path):
    recipe = small.omniglot(
        {"network": "fully-connected", "rotations": False},
        num_outer_steps=60,
        num_baseline_steps=0,
        log_interval=60,
        checkpoint_interval=60,
        validation_interval=60,
        meta_batch_size=8,
        num_test_tasks=100,
        num_devices=1,
    )
    evaluation = _experiment.train(recipe, directory=tmp_path)
    assert evaluation["curve"][0]["mean"] < 0.5, "it knew the classes before it saw them"
    assert evaluation["curve"][-1]["mean"] > 0.75


@pytest.mark.parametrize(
    "problem, words",
    [
        ({"ways": 5}, ["ways=5", "4 classes"]),
        ({"shots": 4}, ["shots=4", "8 examples", "has 6"]),
        ({"num_query": 6}, ["num_query=6", "7 examples"]),
    ],
)
def test_more_than_the_data_have_is_refused(small, fake_omniglot, tmp_path, problem, words):
    with pytest.raises(mamlax.MamlaxError) as error:
        _experiment.train(small.omniglot(problem), directory=tmp_path / "run")
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "problem, word", [({"norm": "bach"}, "norm"), ({"network": "resnet"}, "network")]
)
def test_unknown_choices_are_refused(small, fake_omniglot, tmp_path, problem, word):
    """From Python, where no command line has checked them."""
    with pytest.raises(ValueError, match=word):
        _experiment.train(small.omniglot(problem), directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
