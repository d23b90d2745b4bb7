"""Small image experiments on an imitation of Omniglot, one for each kind of network."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax
from mamlax import plots
from mamlax.experiments._evaluate import evaluate, evaluate_results
from mamlax.experiments._experiment import experiment_in, experiment_of
from mamlax.experiments._result import result_of
from mamlax.experiments._train import train, train_stage
from mamlax.experiments.problems._build import parts_of
from mamlax.records import FewShotExamples, read_evaluation, read_examples


@pytest.fixture(scope="module")
def fully_connected(small, fake_omniglot, tmp_path_factory):
    """Long enough to learn something: its evaluation and directory."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    recipe = small.omniglot(
        network="fully-connected",
        num_outer_steps=80,
        num_baseline_steps=40,
        log_interval=40,
        checkpoint_interval=40,
        validation_interval=40,
        meta_batch_size=8,
    )
    return train(recipe, directory=directory), directory


@pytest.fixture(scope="module")
def convolutional(small, fake_omniglot, tmp_path_factory):
    """Convolutions normalized by the support set; no pretraining, and no examples to draw."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    recipe = small.omniglot(norm="support", num_baseline_steps=0, first_order=True)
    parts = replace(parts_of(recipe), examples=lambda *_: None)
    experiment = experiment_of(recipe, parts, directory)
    results = {
        name: result_of(experiment, stage, train_stage(experiment, stage))
        for name, stage in experiment.stages.items()
    }
    return evaluate_results(experiment, results, 50, 1), directory


@pytest.fixture(params=["fully_connected", "convolutional"])
def experiment(request):
    return request.getfixturevalue(request.param)


@pytest.mark.slow
def test_what_an_evaluation_holds(experiment):
    evaluation, directory = experiment
    assert evaluation == read_evaluation(directory)
    assert evaluation.metric == "accuracy" and evaluation.recipe == "omniglot-5-way-1-shot"
    for curve in (evaluation.curve, *evaluation.baselines.values()):
        assert [point.num_inner_steps for point in curve] == [0, 1]
        assert all(0 <= point.mean <= 1 for point in curve)


@pytest.mark.slow
def test_normalization_decides_whether_an_evaluation_is_transductive(
    fully_connected, convolutional
):
    assert fully_connected[0].transductive is True
    assert fully_connected[0].non_transductive_curve is not None
    assert convolutional[0].transductive is False
    assert convolutional[0].non_transductive_curve is None


@pytest.mark.slow
def test_the_non_transductive_metric_uses_moments_of_the_support(fully_connected, imitation):
    """The same parameters, adapted by hand in the same tasks; a query sees no other query."""
    evaluation, directory = fully_connected
    params = mamlax.load_run(directory).params
    assert params.norm == "batch"
    tasks = mamlax.FewShot(imitation().test, ways=3, shots=1, rotations=True, reference=True)

    def loss_and_accuracy(params, batch):
        logits = params(batch.inputs, batch.reference)
        right = jnp.argmax(logits, axis=-1) == batch.targets
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.targets[:, None], axis=1)
        return jnp.mean(losses), jnp.mean(right)

    @jax.jit
    def curves(params, keys):
        def curve(key):
            task = tasks.sample(key)
            gradient, _ = jax.grad(loss_and_accuracy, has_aux=True)(params, task.support)
            adapted = jax.tree.map(lambda p, g: p - 2.0 * g, params, gradient)
            return jnp.stack([loss_and_accuracy(p, task.query)[1] for p in (params, adapted)])

        return jax.vmap(curve)(keys)

    keys = jax.random.split(jax.random.key(2), 50)
    experiment = experiment_in(directory)
    main, parts, by_task = experiment.stages["main"], experiment.parts, {}
    for curve, norm, metric_fn in (
        (evaluation.curve, "batch", parts.metric_fn),
        (evaluation.non_transductive_curve, "support", parts.non_transductive_fn),
    ):
        by_hand = np.asarray(curves(replace(params, norm=norm), keys))
        of_tasks = experiment.curves_of(main.make_learner, metric_fn, 1, 50)
        found = of_tasks(params, 2.0, main.test_tasks, 2)
        by_task[norm] = by_hand
        # rounding may decide between two equally likely classes
        assert (abs(found - by_hand) < 1e-3).mean() > 0.97
        for point, mean in zip(curve, found.mean(0), strict=True):
            assert point.mean == pytest.approx(mean, abs=1e-6)
        error = 1.96 * found[:, 1].std(ddof=1) / np.sqrt(50)
        assert curve[1].ci95 == pytest.approx(error, rel=1e-3)
    assert (by_task["batch"] != by_task["support"]).mean() > 0.06, "they are not told apart"


@pytest.mark.parametrize("norm", ["batch", "support", "group", "layer", "none"])
def test_a_transductive_metric_is_also_computed_non_transductively(norm, small, fake_omniglot):
    parts = parts_of(small.omniglot(network="fully-connected", norm=norm))
    assert (parts.non_transductive_fn is not None) == parts.transductive == (norm == "batch")
    assert parts.normalizes == (norm != "none")


@pytest.mark.slow
def test_baselines_are_those_trained_and_the_random_start(fully_connected, convolutional):
    assert set(fully_connected[0].baselines) == {"pretrained", "random"}
    assert set(convolutional[0].baselines) == {"random"}


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["batch", "support", "layer", "none"])
def test_transductive_means_that_query_examples_see_one_another(norm, small, fake_omniglot):
    parts = parts_of(small.omniglot(network="fully-connected", norm=norm))

    @jax.jit
    def first_logits(key):
        params = parts.init_params(key)
        params = jax.tree.map(lambda x: x + jnp.cos(jnp.arange(x.size)).reshape(x.shape), params)
        query = parts.test_tasks.sample(key).query
        other = query._replace(inputs=query.inputs.at[1:].set(0.3))
        return [params(batch.inputs, batch.reference)[0] for batch in (query, other)]

    one, other = first_logits(jax.random.key(2))
    assert np.allclose(one, other, rtol=1e-3) != parts.transductive
    assert parts.transductive == (norm == "batch")


@pytest.mark.slow
def test_other_features_of_the_same_weights_are_evaluated(small, fake_omniglot, tmp_path):
    """And a run that was trained with the setting gives the same, as training does not heed it."""
    changes = {"mirrored_features": True, "centered_features": True}
    recipe = small.omniglot(algorithm="proto-maml", num_baseline_steps=0)
    plain = train(recipe, directory=tmp_path / "plain")
    asked = train(recipe.changed(**changes), directory=tmp_path / "asked")
    found = evaluate(tmp_path / "plain", out=tmp_path / "other", **changes)
    assert found.curve == asked.curve and found.held_out == changes
    assert found.curve != plain.curve
    assert found.non_transductive_curve == asked.non_transductive_curve
    loaded = mamlax.load_run(tmp_path / "asked").params
    assert loaded.mirrored_features and loaded.centered_features


@pytest.mark.slow
def test_the_best_validation_is_evaluated(experiment, small):
    evaluation, directory = experiment
    lines = small.lines(directory)
    best = max(line["validation/accuracy"] for line in lines)
    first = next(line["step"] for line in lines if line["validation/accuracy"] == best)
    assert evaluation.outer_step == first


@pytest.mark.slow
def test_examples_are_one_task_with_predictions(fully_connected):
    examples = read_examples(fully_connected[1])
    assert isinstance(examples, FewShotExamples) and examples.ways == 3
    assert examples.algorithm == "maml" and examples.num_steps.tolist() == [0, 1]
    assert examples.support_images.shape == examples.query_images.shape == (3, 6, 6)
    assert examples.probabilities.shape == (2, 3, 3)
    np.testing.assert_allclose(examples.probabilities.sum(-1), 1, rtol=1e-5)
    assert not np.allclose(examples.probabilities[0], examples.probabilities[1])


@pytest.mark.slow
def test_evaluating_again_gives_the_same_numbers_and_figures(fully_connected):
    evaluation, directory = fully_connected
    assert evaluate(directory) == evaluation
    names = [path.name for path in plots.draw_run(directory)]
    assert names == ["learning_curve.png", "adaptation.png", "few_shot.png"]


@pytest.mark.slow
def test_a_small_network_learns_to_tell_patterns_apart(fully_connected):
    """Three ways: a third is chance, of 150 predictions 47 % are above it 3.6 standard errors."""
    curve = fully_connected[0].curve
    assert curve[0].mean < 0.47, "it knew the classes before it saw them"
    assert curve[-1].mean > 0.55


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"ways": 5}, ["ways=5", "4 classes"]),
        ({"shots": 4}, ["shots=4", "8 examples", "has 6"]),
        ({"num_query": 6}, ["num_query=6", "7 examples"]),
    ],
)
def test_more_classes_or_images_than_the_data_have_are_refused(
    small, fake_omniglot, tmp_path, settings, words
):
    with pytest.raises(mamlax.MamlaxError) as error:
        train(small.omniglot(**settings), directory=tmp_path / "run")
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "run").exists()
