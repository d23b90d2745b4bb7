"""Small recipes."""

import json
from dataclasses import replace

import pytest

from mamlax.config import RECIPES
from mamlax.experiments import _result
from mamlax.experiments._experiment import experiment_of
from mamlax.experiments.problems._build import parts_of
from mamlax.records import read_metrics

NUM_TASKS = 50


@pytest.fixture(scope="package", autouse=True)
def few_tuning_tasks():
    """As many tasks to choose step sizes on as to evaluate on: one program does both."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_result, "NUM_TUNING_TASKS", NUM_TASKS)
        yield


def small_sinusoid(**settings):
    """The sinusoid recipe in a second: 30 outer steps of 4 tasks, a hidden layer of 8."""
    small = {
        "shots": 5,
        "hidden_sizes": (8,),
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
    }
    return RECIPES["sinusoid"].changed(**{**small, **settings})


def small_omniglot(**settings):
    """The 5-way 1-shot recipe with 3 ways, images of 6×6 and 4 channels."""
    small = {
        "ways": 3,
        "image_size": 6,
        "channels": 4,
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
    }
    return RECIPES["omniglot-5-way-1-shot"].changed(**{**small, **settings})


def alone(recipe, directory, **changes):
    """The experiment of a recipe without baselines or examples, which others test."""
    parts = replace(parts_of(recipe), baselines={}, examples=lambda *_: None, **changes)
    return experiment_of(recipe, parts, directory)


class Small:
    """Helpers of the tests."""

    sinusoid = staticmethod(small_sinusoid)
    omniglot = staticmethod(small_omniglot)
    alone = staticmethod(alone)

    @staticmethod
    def lines(directory):
        """The lines of metrics.jsonl without times."""
        lines = read_metrics(directory / "metrics.jsonl")
        return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]

    @staticmethod
    def json(path):
        """The content of a JSON file."""
        return json.loads(path.read_text())


@pytest.fixture(scope="session")
def small():
    return Small()
