"""Two small models, fitted once, and the table that they are fitted to."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import mamlax
from mamlax import cli
from mamlax.estimators import _pooled_choice, _simpler_models

from .materials import TINY, machines


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Trees of a few rows wait for one another's threads on a busy machine, for seconds."""
    with threadpool_limits(1, user_api="openmp"):
        yield


@pytest.fixture(scope="session", autouse=True)
def no_other_libraries():
    """Reports are the same wherever the tests run; tests of these opponents ask for them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_simpler_models, "is_installed", lambda library: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def few_trees(pytestconfig):
    """The code is the same for 20 trees as for 100, which take most of a fit to a few rows."""
    if pytestconfig.option.markexpr != "not slow":
        yield
        return
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_pooled_choice, "_BURSTS", (2,))
        yield


@pytest.fixture(scope="session")
def table():
    return machines()


@pytest.fixture
def few(table):
    """Two machines: too few to hold one out, which is quick."""
    return table[:24]


@pytest.fixture(scope="session")
def regressor(table):
    """Adapts by a regression on the support, of a network alone; has a report."""
    model = mamlax.FewShotRegressor(
        pooled="none", features="network", validation_fraction=0.0, refit=False, **TINY
    )
    return model.fit(table[["speed", "kind"]], table["wear"], groups=table["machine"])


@pytest.fixture(scope="session")
def classifier(table):
    """Adapts by steps of gradient descent."""
    model = mamlax.FewShotClassifier(
        algorithm="fomaml", num_inner_steps=2, validation_fraction=0.0, compare=False, **TINY
    )
    labels = np.where(table["wear"] > table["wear"].median(), "worn", "good")
    return model.fit(table[["speed", "kind"]], labels, groups=table["machine"])


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """`status, out, err = command("fit", ...)` in an empty folder; JAX is left as it is."""
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        capsys.readouterr()
        status = cli.main([str(one) for one in arguments])
        return status, *capsys.readouterr()

    return run
