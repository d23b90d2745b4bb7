"""Strict JAX for every test: silent promotion of ranks and types is an error."""

import os

# two processor devices, so that sharding over tasks is tested on any machine; read when JAX starts
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

from contextlib import contextmanager

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep the user's caches and data out of the tests."""
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("MAMLAX_DATA", raising=False)


@pytest.fixture
def key():
    """A PRNG key."""
    return jax.random.key(0)


@pytest.fixture(scope="session")
def compiling():
    """`with compiling(quickly=True, once=folder):` how programs are compiled meanwhile."""
    return _compiling


@contextmanager
def _compiling(*, quickly=False, once=None):
    """Without XLA's optimizations; each program only once, kept in the folder `once`."""
    settings = {"jax_disable_most_optimizations": True} if quickly else {}
    if once is not None:
        settings["jax_compilation_cache_dir"] = str(once)
        settings["jax_persistent_cache_min_compile_time_secs"] = 0.0
    before = {name: jax.config.values[name] for name in settings}
    _configure(settings)
    try:
        yield
    finally:
        _configure(before)


def _configure(settings):
    if "jax_compilation_cache_dir" in settings:
        compilation_cache.reset_cache()  # it stays in the folder where it was first used
    for name, value in settings.items():
        jax.config.update(name, value)
