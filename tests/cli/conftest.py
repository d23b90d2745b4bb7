"""The command line without its slow parts: JAX's configuration and training."""

from types import SimpleNamespace

import pytest

import mamlax


@pytest.fixture(autouse=True)
def jax_as_it_is(monkeypatch, tmp_path):
    """Keep JAX's configuration, and write runs to a temporary directory."""
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def train_does(monkeypatch):
    """`train_does(function)` replaces the training of `mamlax train`."""

    def replace_training(function):
        monkeypatch.setattr("mamlax.experiments._train.train", function)

    return replace_training


@pytest.fixture
def train_raises(train_does):
    """`train_raises(error)` makes `mamlax train` raise an error."""

    def replace_training(error):
        def train(*_, **__):
            raise error

        train_does(train)

    return replace_training


@pytest.fixture
def asked_for(train_does):
    """The recipe and the other flags of each call of `mamlax train`."""
    calls = []

    def train(recipe, **flags):
        calls.append(SimpleNamespace(recipe=recipe, **flags))
        raise mamlax.MamlaxError("enough")

    train_does(train)
    return calls
