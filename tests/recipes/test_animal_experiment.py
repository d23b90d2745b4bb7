"""Recipes of animals, from training to a film."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import mamlax
from mamlax import plots
from mamlax.recipes import RECIPES, _experiment, _film

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
    "num_conjugate_gradient_steps": 2,
    "log_interval": 1,
    "hidden_sizes": (4,),
    "fisher_fraction": 1.0,
}


def small(name, **settings):
    recipe = RECIPES[name]
    return replace(recipe, **{**QUICK, "problem": replace(recipe.problem, horizon=30), **settings})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cheetah") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_experiment, "_NUM_TUNING_TASKS", 2)
        recipe = small("half-cheetah-direction")
        # as if the paper's episodes were as short
        monkeypatch.setitem(RECIPES, recipe.name, recipe)
        return _experiment.train(recipe, directory=directory), directory


def test_the_paper_stands_beside_the_result(trained):
    evaluation, directory = trained
    assert evaluation["published"]["maml"] == [-50.7, 293.2, 313.5, 315.7]
    assert len(evaluation["curve"]) == 4
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [line["train/unstable_episodes"] for line in lines] == [0.0, 0.0]
    assert [line["train/environment_steps"] for line in lines] == [2 * 2 * 2 * 30] * 2


def test_every_figure_is_drawn(trained):
    _, directory = trained
    drawn = {path.name for path in plots.draw_run(directory)}
    assert drawn == {"learning_curve.png", "adaptation.png", "diagnostics.png", "running.png"}


def test_episodes_of_each_direction_before_and_after_each_step(trained):
    _, directory = trained
    with np.load(directory / "examples.npz") as arrays:
        examples = dict(arrays)
    assert sorted(examples["tasks"]) == [-1.0, 1.0]
    assert examples["maml/positions"].shape == (2, 4, 30, 9)
    # in one task, episodes begin the same and then differ
    positions = examples["maml/positions"][0]
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


def test_without_anything_to_draw_with_it_is_said_what_to_do(trained):
    _, directory = trained
    done = film_of(directory, MUJOCO_GL="chalk")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and "Traceback" not in said
    assert "MuJoCo cannot draw here" in said and "apt-get install libegl1" in said


def test_a_film_of_what_is_not_there(trained, tmp_path):
    _, directory = trained
    with pytest.raises(mamlax.MamlaxError, match="no episodes of 'pretrained' to show; it has"):
        _film.film(directory, name="pretrained")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.json").write_text((directory / "recipe.json").read_text())
    with pytest.raises(mamlax.MamlaxError, match="is not evaluated yet"):
        _film.film(unfinished)
    text = (directory / "recipe.json").read_text()
    (unfinished / "recipe.json").write_text(text.replace("half-cheetah-direction", "sinusoid"))
    with pytest.raises(mamlax.MamlaxError, match="no run of animals"):
        _film.film(unfinished)


class Broken:
    """An engine that breaks down at once."""

    def __init__(self, engine):
        self.engine, self.model, self.skeleton = engine, engine.model, engine.skeleton
        self.start = engine.start

    def step(self, physics, control, changes=None):
        physics = self.engine.step(physics, control, changes)
        return physics._replace(position=jnp.full_like(physics.position, jnp.nan))


def test_training_stops_where_the_simulation_breaks_down(tmp_path, monkeypatch):
    from mamlax.rl.envs import _animal

    whole = _animal.engine_of
    monkeypatch.setattr(_animal, "engine_of", lambda *args: Broken(whole(*args)))
    recipe = small("half-cheetah-direction", num_devices=1)
    with pytest.raises(
        mamlax.MamlaxError, match=r"was 1 at outer step 1.*infinite or NaN: look at"
    ):
        _experiment.train(recipe, directory=tmp_path / "run")


@pytest.mark.parametrize("name", [name for name in RECIPES if "cheetah" in name or "ant" in name])
def test_every_recipe_of_animals_trains(name, tmp_path, monkeypatch):
    if not hasattr(RECIPES[name].problem, "engine"):
        pytest.skip("no animal")
    monkeypatch.setattr(_experiment, "_NUM_TUNING_TASKS", 2)
    evaluation = _experiment.train(small(name), directory=tmp_path / "run")
    assert all(np.isfinite(point["mean"]) for point in evaluation["curve"])
    assert "published" not in evaluation  # of longer episodes
    assert plots.draw_run(tmp_path / "run")
