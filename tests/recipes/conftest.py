"""Recipes made small."""

from dataclasses import replace

import pytest

from mamlax.recipes import RECIPES, _experiment

NUM_TASKS = 50


@pytest.fixture(scope="package", autouse=True)
def kept_programs(compiled_once, tmp_path_factory):
    """Experiments are repeated: compile each of their programs only once."""
    with compiled_once(tmp_path_factory.mktemp("compiled")):
        yield


@pytest.fixture(scope="package", autouse=True)
def few_tuning_tasks():
    """As many tasks to choose step sizes on as to evaluate on: one program does both."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_experiment, "_NUM_TUNING_TASKS", NUM_TASKS)
        yield


def small_sinusoid(problem=None, **settings):
    """The sinusoid recipe in a second: 30 outer steps of 4 tasks, a hidden layer of 8."""
    recipe = RECIPES["sinusoid"]
    settings = {
        "problem": replace(recipe.problem, **{"shots": 5, "hidden_sizes": (8,), **(problem or {})}),
        "inner_learning_rate": 0.02,
        "outer_learning_rate": 0.05,
        "gradient_clip": 0.5,
        "meta_batch_size": 4,
        "num_outer_steps": 30,
        "num_baseline_steps": 20,
        "log_interval": 10,
        "checkpoint_interval": 10,
        "num_test_tasks": NUM_TASKS,
        "num_test_inner_steps": 2,
        "num_validation_tasks": NUM_TASKS,
        "validation_interval": None,
        "num_validation_inner_steps": None,
        **settings,
    }
    return replace(recipe, **settings)


def small_omniglot(problem=None, **settings):
    """The 5-way 1-shot recipe with 3 ways, images of 6×6 and 4 channels."""
    recipe = RECIPES["omniglot-5-way-1-shot"]
    small = {"ways": 3, "image_size": 6, "channels": 4, **(problem or {})}
    settings = {
        "problem": replace(recipe.problem, **small),
        "meta_batch_size": 2,
        "num_outer_steps": 4,
        "num_baseline_steps": 2,
        "log_interval": 2,
        "checkpoint_interval": 4,
        "validation_interval": 2,
        "num_test_tasks": NUM_TASKS,
        "num_test_inner_steps": 1,
        "num_validation_tasks": NUM_TASKS,
        "num_validation_inner_steps": None,
        "num_devices": 1,
        **settings,
    }
    return replace(recipe, **settings)


class Small:
    """What tests here are made of."""

    sinusoid = staticmethod(small_sinusoid)
    omniglot = staticmethod(small_omniglot)


@pytest.fixture(scope="session")
def small():
    return Small()
