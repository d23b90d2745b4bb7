"""The code of docs/developer/new-algorithm.md, which adds an algorithm in three places, works."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax.cli import main
from mamlax.config import ALGORITHMS, _algorithms
from mamlax.config._settings import Positive

GUIDE = Path(__file__).parents[2] / "docs" / "developer" / "new-algorithm.md"


@pytest.fixture
def places():
    """The three blocks of the guide."""
    blocks = re.findall(r"```\{\.python \.place\}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    return blocks


@pytest.fixture
def added(places, monkeypatch):
    """The algorithm, in its first two places: its function and its settings."""
    module = ModuleType("mamlax.algorithms._proximal_maml")
    module.__package__ = "mamlax.algorithms"
    exec(compile(places[0], "_proximal_maml.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = {**vars(_algorithms), "dataclass": dataclass, "ClassVar": ClassVar}
    exec(compile(places[1], "_algorithms.py", "exec"), names | {"Positive": Positive}, names)
    monkeypatch.setattr("mamlax.cli._flags._docs", lambda kind: {})  # there is no file to read
    monkeypatch.setitem(ALGORITHMS, "proximal-maml", names["ProximalMaml"])
    return module.proximal_maml, names["ProximalMaml"]


def test_its_inner_steps_pull_back_to_the_start(added):
    def loss_fn(params, batch):
        return jnp.mean((params - batch) ** 2)

    proximal_maml, _ = added
    options = {"inner_optimizer": optax.sgd(0.1), "num_inner_steps": 2}
    learner = proximal_maml(loss_fn, strength=3.0, **options)
    phi = theta = 1.0
    for _ in range(2):
        phi -= 0.1 * (2 * (phi - 5.0) + 3.0 * (phi - theta))
    adapted = learner.adapt(jnp.asarray(theta), jnp.full(4, 5.0)).params
    np.testing.assert_allclose(adapted, phi, rtol=1e-6)
    tasks = mamlax.Task(jnp.ones((2, 4)), jnp.zeros((2, 4)))
    report = mamlax.check_meta_gradient(learner, jnp.asarray(0.3), tasks)
    assert report.passed, report


@pytest.mark.slow
def test_the_command_line_and_the_conformance_matrix_know_it(added, places, tmp_path, monkeypatch):
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    flags = "--hidden-sizes 4 --num-outer-steps 2 --num-baseline-steps 0 --log-interval 1"
    flags += " --validation-interval 2 --num-validation-tasks 2 --num-test-tasks 2 --strength 0.1"
    command = ["train", "sinusoid", "proximal-maml", *flags.split(), "--out", str(tmp_path / "run")]
    assert main(command) == 0
    assert mamlax.records.read_run(tmp_path / "run").recipe.algorithm.strength == 0.1
    loaded = mamlax.load_run(tmp_path / "run")
    task = loaded.parts.test_tasks.sample(jax.random.key(0))
    assert jnp.isfinite(loaded.learner.adapt(loaded.params, task.support).params(jnp.ones((1, 1))))

    from tests.algorithms import test_conformance

    row = eval(f"{{{places[2]}}}", {**vars(test_conformance), "proximal_maml": added[0]})
    kind = test_conformance.KINDS["tuple"]

    def loss_fn(params, batch):
        return jnp.mean((kind.predict(params, batch.inputs) - batch.targets) ** 2)

    learner = row["proximal_maml"].make(loss_fn, kind)
    tasks = mamlax.sample_tasks(test_conformance.sample_task, jax.random.key(0), 2)
    report = mamlax.check_meta_gradient(learner, kind.init(0), tasks)
    assert report.passed, report
