"""The command line, without what takes long: JAX's settings, and training."""

from types import SimpleNamespace

import pytest

import mamlax


@pytest.fixture(autouse=True)
def jax_as_it_is(monkeypatch, tmp_path):
    """Leave JAX's settings alone, and runs out of the working directory."""
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def train_does(monkeypatch):
    """`train_does(function)`: what `mamlax train` does with its recipe and its other flags."""

    def replace_training(function):
        monkeypatch.setattr("mamlax.experiments._train.train", function)

    return replace_training


@pytest.fixture
def train_raises(train_does):
    """`train_raises(error)`: what comes of `mamlax train`."""

    def replace_training(error):
        def train(*_, **__):
            raise error

        train_does(train)

    return replace_training


@pytest.fixture
def asked_for(train_does):
    """What `mamlax train` was asked to train, each time: its recipe, and its other flags."""
    calls = []

    def train(recipe, **flags):
        calls.append(SimpleNamespace(recipe=recipe, **flags))
        raise mamlax.MamlaxError("enough")

    train_does(train)
    return calls
