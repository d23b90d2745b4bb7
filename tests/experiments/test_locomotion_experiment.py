"""Recipes of locomotion, from training to a film."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax
from mamlax import plots
from mamlax.config import RECIPES
from mamlax.experiments import _result
from mamlax.experiments._film import film
from mamlax.experiments._method import draws
from mamlax.experiments._metric import TEST_SEED
from mamlax.experiments._train import train
from mamlax.records import (
    LocomotionExamples,
    RunDescription,
    read_curves,
    read_examples,
    read_metrics,
)
from mamlax.records._description import open_run
from mamlax.rl import HalfCheetah

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium")
pytestmark = pytest.mark.slow

QUICK = {
    "meta_batch_size": 2,
    "num_outer_steps": 2,
    "num_baseline_steps": 0,
    "episodes_per_task": 2,
    "num_test_episodes": 2,
    "num_test_tasks": 2,
    "num_test_inner_steps": 3,
    "num_validation_inner_steps": 1,
    "log_interval": 1,
    "hidden_sizes": (4,),
    "horizon": 30,
}
OF_TRUST_REGION = {"num_conjugate_gradient_steps": 2, "fisher_fraction": 1.0}


def small(name, **settings):
    is_trust_region = RECIPES[name].algorithm.name == "maml-trpo"
    quick = {**QUICK, **(OF_TRUST_REGION if is_trust_region else {})}
    return RECIPES[name].changed(**{**quick, **settings})


@pytest.fixture(scope="module", autouse=True)
def few_tuning_tasks_of_bodies():
    """Each is several episodes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_result, "NUM_TUNING_TASKS", 2)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cheetah") / "run"
    recipe = small("half-cheetah-direction", num_test_tasks=4)  # of both directions
    with pytest.MonkeyPatch.context() as monkeypatch:
        # as if the paper's episodes were as short
        monkeypatch.setitem(RECIPES, recipe.name, recipe)
        return train(recipe, directory=directory), directory


def test_published_means_are_in_the_evaluation(trained):
    evaluation, directory = trained
    assert evaluation.published["main"] == [-50.7, 293.2, 313.5, 315.7]
    assert evaluation.algorithm == "maml-trpo" and len(evaluation.curve) == 4
    lines = read_metrics(directory / "metrics.jsonl")
    assert [line["train/unstable_episodes"] for line in lines] == [0.0, 0.0]
    assert [line["train/environment_steps"] for line in lines] == [2 * 2 * 2 * 30] * 2


def test_each_direction_is_reported_apart(trained):
    evaluation, directory = trained
    assert set(evaluation.kind_curves) == {"forward", "backward"}
    env = HalfCheetah()
    keys = jax.vmap(lambda key: jax.random.split(key)[0])(draws(TEST_SEED, 4).key)
    is_forward = np.asarray(jax.vmap(env.sample_task)(keys)) > 0
    assert 0 < is_forward.sum() < 4
    curves = read_curves(directory).metric["main"]
    for name, of_kind in (("forward", is_forward), ("backward", ~is_forward)):
        means = [point.mean for point in evaluation.kind_curves[name]]
        np.testing.assert_allclose(means, curves[of_kind].mean(axis=0), rtol=1e-5)


def test_every_figure_is_drawn(trained):
    _, directory = trained
    drawn = {path.name for path in plots.draw_run(directory)}
    assert drawn == {"learning_curve.png", "adaptation.png", "diagnostics.png", "locomotion.png"}


def test_episodes_of_each_direction_before_and_after_each_step(trained):
    examples = read_examples(trained[1])
    assert isinstance(examples, LocomotionExamples) and examples.goal == "direction"
    assert sorted(examples.tasks) == [-1.0, 1.0]
    assert examples.num_steps.tolist() == [0, 1, 2, 3]
    assert examples.shown_steps.tolist() == [0, 1, 3]
    assert examples.positions["main"].shape == (2, 4, 30, 9)
    # in one task, episodes begin the same and then differ
    positions = examples.positions["main"][0]
    np.testing.assert_array_equal(positions[0, 0], positions[1, 0])
    assert np.abs(positions[0, -1] - positions[1, -1]).max() > 1e-4


def film_of(directory, **environment):
    """`mamlax film`, in a process of its own: how to draw is decided when MuJoCo is imported."""
    return subprocess.run(
        [sys.executable, "-m", "mamlax", "film", str(directory)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_film_of_every_task(trained):
    _, directory = trained
    from PIL import Image

    done = film_of(directory)
    if done.returncode and "OpenGL" in done.stdout + done.stderr:
        pytest.skip("there is nothing to draw with")
    assert done.returncode == 0, done.stderr
    with Image.open(directory / "figures" / "film.gif") as film:
        assert film.n_frames == 6  # 0.3 s at 20 a second
        assert film.size == (4 * (240 + 2), 2 * (160 + 2 + 14))
        first = np.asarray(film.convert("RGB"), int)
        film.seek(5)
        assert np.abs(np.asarray(film.convert("RGB"), int) - first).max() > 50


def test_without_a_renderer_the_error_says_what_to_do(trained):
    _, directory = trained
    done = film_of(directory, MUJOCO_GL="chalk")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and "Traceback" not in said
    assert "MuJoCo cannot draw here" in said and "apt-get install libegl1" in said


def test_a_film_of_missing_episodes_is_refused(trained, tmp_path):
    _, directory = trained
    with pytest.raises(mamlax.MamlaxError, match=r"no episodes of 'pretrained'.* those of: main"):
        film(directory, name="pretrained")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.json").write_bytes((directory / "recipe.json").read_bytes())
    with pytest.raises(mamlax.MamlaxError, match="is not evaluated yet"):
        film(unfinished)


def test_only_locomotion_can_be_filmed(tmp_path):
    open_run(tmp_path, RunDescription(RECIPES["sinusoid"], 0, 1))
    (tmp_path / "evaluation.json").write_text("{}")
    with pytest.raises(mamlax.MamlaxError, match="a run of sinusoid: only bodies that move can"):
        film(tmp_path)


class Broken:
    """An engine that breaks down at once."""

    def __init__(self, engine):
        self.engine, self.model, self.skeleton = engine, engine.model, engine.skeleton
        self.start = engine.start

    def step(self, physics, control, changes=None):
        physics = self.engine.step(physics, control, changes)
        return physics._replace(position=jnp.full_like(physics.position, jnp.nan))


def test_training_stops_if_the_simulation_becomes_unstable(tmp_path, monkeypatch):
    whole = HalfCheetah._engine
    monkeypatch.setattr(HalfCheetah, "_engine", property(lambda env: Broken(whole.fget(env))))
    recipe = small("half-cheetah-direction", num_devices=1)
    with pytest.raises(mamlax.MamlaxError, match=r"was 1 at outer step 1.*infinite or NaN"):
        train(recipe, directory=tmp_path / "run")


BODIES = [name for name, recipe in RECIPES.items() if hasattr(recipe.problem, "engine")]


@pytest.mark.parametrize("name", BODIES)
def test_every_recipe_of_locomotion_trains(name, tmp_path):
    evaluation = train(small(name), directory=tmp_path / "run")
    assert all(np.isfinite(point.mean) for point in evaluation.curve)
    assert evaluation.published is None  # of longer episodes
    assert plots.draw_run(tmp_path / "run")
