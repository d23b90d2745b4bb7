"""Files of runs of mamlax 0.1.0 are read, or refused with a message.

The files in old/ were written by its code. All settings except those of the problem are in one
group, including those of every algorithm; None stands for defaults.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mamlax import MamlaxError
from mamlax.config import RECIPES, Anil, Cavia, Imaml, Maml, MamlTrpo, Promp, ProtoMaml
from mamlax.records import Evaluation, read_curves, read_evaluation, read_run
from mamlax.records._description import open_run

OLD = Path(__file__).parent / "old"
EXPECTED = {
    "sinusoid": RECIPES["sinusoid"].changed(
        shots=7,
        hidden_sizes=(30, 20),
        algorithm=Maml(inner_optimizer="momentum", first_order=True, inner_batch_size=3),
        num_outer_steps=5000,
        num_baseline_steps=500,
    ),
    "imaml": RECIPES["sinusoid"].changed(
        algorithm=Imaml(num_inner_steps=16, proximal_strength=3.0, damping=1.5),
        gradient_clip=1.0,
        num_outer_steps=20_000,
    ),
    "cavia": RECIPES["sinusoid-cavia"].changed(
        algorithm=Cavia(
            inner_learning_rate=1.0, num_inner_steps=3, inner_optimizer="adam", remat="steps"
        )
    ),
    "omniglot": RECIPES["omniglot-20-way-1-shot"].changed(
        ways=10,
        norm="layer",
        channels=32,
        flips=True,
        algorithm=Anil(inner_learning_rate=8.0, num_unrolled_steps=1),
        num_validation_inner_steps=2,
    ),
    "folder": RECIPES["images"].changed(
        images="my/pictures",
        image_size=None,  # not 84 as in today's recipe
        color=False,
        algorithm=ProtoMaml(inner_learning_rate=0.05, num_inner_steps=5),
    ),
    "navigation": RECIPES["navigation-2d"].changed(
        goals="circle",
        horizon=50,
        algorithm=MamlTrpo(
            inner_learning_rate=0.5,
            surrogate="likelihood-ratio",
            step_weights=(1.0,),
            fisher_fraction=0.25,
            num_conjugate_gradient_steps=3,
            max_kl=0.02,
        ),
        discount=0.95,
        hidden_sizes=(64,),
    ),
    "promp": RECIPES["navigation-2d"].changed(
        algorithm=Promp(
            inner_learning_rate=0.5,
            surrogate="dice",
            sampling_correction=True,
            outer_learning_rate=2e-3,
            num_gradient_steps=3,
        )
    ),
}


def put(directory, name, change=lambda value: None):
    """Write the file of an old run to a directory, with changes."""
    value = json.loads((OLD / f"{name}.json").read_text())
    change(value)
    directory.mkdir(exist_ok=True)
    (directory / "recipe.json").write_text(json.dumps(value, indent=2))
    return value


def test_a_file_of_each_is_read():
    assert {path.stem for path in OLD.glob("*.json")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_it_is_the_recipe_that_was_trained(name, tmp_path):
    written = put(tmp_path, name)
    run = read_run(tmp_path)
    expected = EXPECTED[name]
    if expected.training.task_batch_size == "auto":  # a number in those days
        expected = expected.changed(task_batch_size=1)
    assert run.recipe == expected
    assert (run.seed, run.num_seeds, run.mamlax) == (4, 1, "0.1.0")
    assert run.environment == written["environment"]


@pytest.mark.parametrize("name", EXPECTED)
def test_each_setting_that_was_written_is_kept_or_of_another_algorithm(name, tmp_path):
    """Checked without the groups: common settings are equal, or were None for a default."""
    flat = put(tmp_path, name)["settings"]
    flat |= flat.pop("problem")
    found = read_run(tmp_path).recipe.settings
    newer = found.keys() - {"algorithm"} - flat.keys()
    since = {
        "auto_reset",
        "centered_features",
        "gray_bits",
        "init_from",
        "inner_gradient_clip",
        "mirrored_features",
        "normalize_observations",
        "repeated_names",
        "split",
        "within_alphabet",
    }
    assert newer <= since
    assert found.get("split", "characters") == "characters"
    assert not any(found[setting] for setting in newer - {"split"})
    renamed = {"algorithm": flat.get("algorithm", found["algorithm"])}
    for setting, value in {**flat, **renamed}.items():
        if setting not in found or (setting == "context_size" and value == 5):
            continue  # five is the default for sinusoids
        new = found[setting]
        new = list(new) if isinstance(new, tuple) else new
        default = getattr(type(EXPECTED[name].algorithm)(), setting, None)
        assert new == value or (value is None and new == default), setting


@pytest.mark.parametrize(
    "old, new", [("trust-region", "maml-trpo"), ("promp", "promp"), ("adam", "policy-gradient")]
)
def test_old_names_of_outer_loops_are_converted(old, new, tmp_path):
    put(tmp_path, "navigation", lambda value: value["settings"].update(outer_algorithm=old))
    assert read_run(tmp_path).recipe.algorithm.name == new


def test_a_number_of_context_parameters_that_was_asked_for_is_kept(tmp_path):
    put(tmp_path, "cavia", lambda value: value["settings"]["problem"].update(context_size=8))
    assert read_run(tmp_path).recipe.algorithm.context_size == 8


@pytest.mark.parametrize("name", EXPECTED)
def test_training_is_resumed_by_the_same_settings_alone(name, tmp_path):
    put(tmp_path, name)
    run = read_run(tmp_path)
    open_run(tmp_path, run)
    with pytest.raises(MamlaxError, match=r"inner_learning_rate: .* there, 0\.125 now"):
        open_run(tmp_path, replace(run, recipe=run.recipe.changed(inner_learning_rate=0.125)))


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("where", ["settings", "problem"])
def test_a_setting_that_does_not_exist_is_refused_with_a_sentence(name, where, tmp_path):
    def change(value):
        settings = value["settings"]
        (settings if where == "settings" else settings["problem"])["curvature"] = 2

    put(tmp_path, name, change)
    with pytest.raises(MamlaxError) as error:
        read_run(tmp_path)
    said = str(error.value)
    assert said.startswith(f"{tmp_path / 'recipe.json'} has settings that mamlax ")
    assert "does not have: curvature." in said and "Train again" in said


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"algorithm": "mamml"}, "names the algorithm 'mamml'"),
        ({"algorithm": None}, "names the algorithm 'None'"),
        ({"algorithm": ["maml"]}, "names the algorithm"),
        ({"log_interval": 0}, "log_interval must be a whole number, 1 or more, got 0."),
        ({"num_outer_steps": "many"}, "is damaged: Expected `int`, got `str` - at `$.num_outer_"),
        ({"checkpoint_interval": 7}, "is damaged: checkpoint_interval=7 must be a multiple of"),
        ({"algorithm": "imaml", "num_inner_steps": 1}, "num_inner_steps must be a whole number, 2"),
        ({"problem": None}, "is damaged: Expected `object`"),
        ({"problem": [1]}, "is damaged: Expected `object`"),
    ],
)
def test_a_damaged_old_run_is_refused_with_the_reason(settings, words, tmp_path):
    put(tmp_path, "sinusoid", lambda value: value["settings"].update(settings))
    with pytest.raises(MamlaxError) as error:
        read_run(tmp_path)
    assert str(tmp_path / "recipe.json") in str(error.value) and words in str(error.value)


POINTS = [
    {"num_inner_steps": 0, "mean": 4.5, "ci95": 0.25},
    {"num_inner_steps": 1, "mean": None, "ci95": None},
]
EVALUATION = {
    "recipe": "sinusoid",
    "algorithm": "maml",
    "metric": "mse",
    "num_tasks": 3,
    "num_seeds": 1,
    "transductive": False,
    "outer_step": 30,
    "curve": POINTS,
    "baselines": {"random": POINTS},
    "inner_learning_rates": {"maml": 0.01, "random": 0.1},
}


@pytest.mark.parametrize("published", [None, {"maml": [-40.4, -11.7], "oracle": [-2.3]}])
def test_an_evaluation_calls_the_main_stage_by_its_name_of_today(published, tmp_path):
    value = EVALUATION | ({} if published is None else {"published": published})
    (tmp_path / "evaluation.json").write_text(json.dumps(value))
    evaluation = read_evaluation(tmp_path)
    assert isinstance(evaluation, Evaluation)
    assert evaluation.inner_learning_rates == {"main": 0.01, "random": 0.1}
    assert [point.mean for point in evaluation.curve] == [4.5, None]
    if published is None:
        assert evaluation.published is None
    else:
        assert evaluation.published == {"main": [-40.4, -11.7], "oracle": [-2.3]}


def test_curves_call_the_main_stage_by_its_name_of_today(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.savez(tmp_path / "curves.npz", random=values, maml=2 * values, fingerprints=np.ones(3))
    curves = read_curves(tmp_path)
    assert list(curves.metric) == ["main", "random"]
    np.testing.assert_array_equal(curves.metric["main"], 2 * values)


def test_examples_are_to_be_written_again(tmp_path):
    """Arrays had other names; examples can be made again from the checkpoints."""
    from mamlax.records import read_examples

    wave = {"0/truth": np.ones(5), "0/maml": np.ones((2, 5)), "grid": np.ones(5)}
    np.savez(tmp_path / "examples.npz", kind=np.array("sinusoid"), **wave)
    with pytest.raises(MamlaxError, match=f"another version.* mamlax evaluate {tmp_path}$"):
        read_examples(tmp_path)
