"""Meta-training begins from weights one has: those that fit, and it says which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import mamlax
from mamlax import MamlaxError, cli
from mamlax.experiments._experiment import experiment_in, initial_params
from mamlax.experiments._result import restored_result


def model(hidden=3):
    return mamlax.models.mlp(jax.random.key(0), 1, 1, hidden_sizes=(hidden,))


def write(path, arrays):
    safetensors.numpy.save_file(
        {name: np.asarray(x, np.float32) for name, x in arrays.items()}, path
    )
    return path


@pytest.mark.parametrize(
    "names",
    [
        ("weights.0", "biases.1"),
        ("['weights'][0]", "['biases'][1]"),
        ("model.weights.0", "model.biases.1"),
    ],
    ids=["same", "other_brackets", "within_another"],
)
def test_arrays_are_matched_by_the_words_of_their_names(names, tmp_path):
    arrays = dict(zip(names, (np.full((1, 3), 2.0), np.full(1, 5.0)), strict=True))
    before = model()
    loaded = mamlax.load_into(before, write(tmp_path / "w", {**arrays, "other": np.ones(4)}))
    assert loaded.matched == ("weights.0", "biases.1") and loaded.unused == ("other",)
    assert loaded.missing == ("weights.1", "biases.0") and not loaded.other_shapes
    assert (loaded.params.weights[0] == 2).all() and (loaded.params.biases[1] == 5).all()
    np.testing.assert_array_equal(loaded.params.weights[1], before.weights[1])
    assert (
        str(loaded)
        == "2 of 4 parameters were found; not there: weights.1, biases.0; not used: other."
    )


def test_a_name_that_could_be_two_arrays_is_none(tmp_path):
    path = write(
        tmp_path / "w",
        {"a.weights.0": np.ones((1, 3)), "b.weights.0": np.ones((1, 3)), "biases.0": np.ones(3)},
    )
    loaded = mamlax.load_into(model(), path)
    assert loaded.matched == ("biases.0",) and "weights.0" in loaded.missing


def test_an_array_that_several_parameters_would_take_is_taken_by_none(tmp_path):
    path = write(tmp_path / "w", {"weight": np.ones(2), "bias": np.ones(3)})
    params = {"encoder": {"weight": jnp.zeros(2)}, "decoder": {"weight": jnp.zeros(2)}}
    loaded = mamlax.load_into({**params, "bias": jnp.zeros(3)}, path)
    assert loaded.matched == ("bias",) and loaded.unused == ("weight",)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    path = write(tmp_path / "w", {"weights.0": np.full((1, 3), np.nan)})
    with pytest.raises(MamlaxError, match=r"weights\.0 has numbers that are not finite"):
        mamlax.load_into(model(), path)


def test_another_shape_is_said_and_left_alone(tmp_path):
    path = write(tmp_path / "w", {"weights.0": np.ones((3, 1)), "biases.0": np.ones(3)})
    before = model()
    loaded = mamlax.load_into(before, path)
    assert loaded.other_shapes == ("weights.0: [3, 1] there, [1, 3] here",)
    np.testing.assert_array_equal(loaded.params.weights[0], before.weights[0])


def test_types_stay_those_of_the_parameters(tmp_path):
    path = write(tmp_path / "w", {"weights.0": np.ones((1, 3))})
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), model())
    assert mamlax.load_into(half, path).params.weights[0].dtype == jnp.bfloat16


def test_what_cannot_be_read_or_does_not_fit_at_all_is_said(tmp_path):
    with pytest.raises(MamlaxError, match=r"absent does not exist.*safetensors file, or"):
        mamlax.load_into(model(), tmp_path / "absent")
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    with pytest.raises(MamlaxError, match="junk is no safetensors file, or is damaged"):
        mamlax.load_into(model(), junk)
    path = write(tmp_path / "w", {"conv\x1b[31m.weight": np.ones((3, 3))})
    with pytest.raises(MamlaxError, match=r"begin with: weights\.0 \[1, 3\].*There: conv") as error:
        mamlax.load_into(model(), path)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("num_seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_begins_from_a_file_or_from_another_run(tiny_sinusoid, tmp_path, num_seeds):
    """With next to no outer learning rate it also ends there."""
    one, other = model(4), model(4)
    one = jax.tree.map(lambda x: x + 0.25, one)
    leaves = {name: x for name, x in zip(NAMES, jax.tree.leaves(one), strict=True)}
    recipe = tiny_sinusoid.changed(outer_learning_rate=1e-9, num_inner_steps=1)
    said = []
    first = tmp_path / "first"
    mamlax.train(
        recipe.changed(init_from=str(write(tmp_path / "w", leaves))),
        directory=first,
        announce=said.append,
    )
    assert_close(mamlax.load_run(first).params, one)
    (tmp_path / "w").unlink()  # a run that has begun does not need it any more
    mamlax.train(recipe.changed(init_from=str(tmp_path / "w")), directory=first)
    assert any("beginning from" in line and "4 of 4 parameters" in line for line in said)
    second = tmp_path / "second"
    mamlax.train(recipe.changed(init_from=str(first)), directory=second, num_seeds=num_seeds)
    assert_close(mamlax.load_run(second).params, one)
    assert not np.allclose(one.weights[0], other.weights[0])


@pytest.mark.parametrize("num_seeds", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_begins_from_its_pretrained_baseline(tiny_sinusoid, tmp_path, num_seeds):
    """With next to no outer learning rate it also ends there, each seed for itself."""
    recipe = tiny_sinusoid.changed(
        outer_learning_rate=1e-9, num_baseline_steps=2, init_from="pretrained"
    )
    said = []
    evaluation = mamlax.train(recipe, directory=tmp_path, num_seeds=num_seeds, announce=said.append)
    assert list(evaluation.baselines) == ["pretrained", "random", "oracle"]
    assert any("beginning from pretrained: 4 of 4 parameters" in line for line in said)
    experiment = experiment_in(tmp_path)
    main, pretrained = (
        restored_result(experiment, experiment.stages[name]).params
        for name in ("main", "pretrained")
    )
    assert_close(main, pretrained)
    assert not np.allclose(
        main.weights[0], initial_params(experiment, experiment.stages["main"]).weights[0]
    )
    assert sum("will begin from pretrained" in line for line in said) == 1


@pytest.mark.slow
def test_a_run_that_was_interrupted_does_not_begin_again(tiny_sinusoid, tmp_path):
    """Only what has not begun begins from the baseline."""
    recipe = tiny_sinusoid.changed(num_baseline_steps=2, init_from="pretrained")
    whole = mamlax.train(recipe, directory=tmp_path / "whole")
    half = tmp_path / "half"

    class Stopped(Exception):
        pass

    def report(shown, line):
        if shown == "maml" and line["step"] == 4:  # that of step 2 is kept
            raise Stopped

    with pytest.raises(Stopped):
        mamlax.train(recipe, directory=half, report=report)
    said = []
    resumed = mamlax.train(recipe, directory=half, announce=said.append)
    assert not any("beginning from" in line for line in said)
    assert [point.mean for point in resumed.curve] == [point.mean for point in whole.curve]


def test_a_baseline_that_is_not_trained_is_no_beginning(tiny_sinusoid, tmp_path):
    for recipe in (
        tiny_sinusoid.changed(init_from="pretrained", num_baseline_steps=0),
        tiny_sinusoid.changed(init_from="random"),
    ):
        with pytest.raises(
            MamlaxError, match=r"is not trained. Give pretrained and num_baseline_steps"
        ):
            mamlax.train(recipe, directory=tmp_path / "run")
        assert not (tmp_path / "run" / "recipe.json").exists()


def test_a_source_that_is_missing_is_said_before_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    command = ["train", "sinusoid", "--init-from", "absent.safetensors", "--out", str(tmp_path)]
    assert cli.main(command) == 1
    assert "absent.safetensors does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is written that would be in the way later"


NAMES = ("weights.0", "weights.1", "biases.0", "biases.1")


def assert_close(found, expected):
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
