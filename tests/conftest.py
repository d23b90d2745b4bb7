"""Strict JAX for every test: silent promotion of ranks and types is an error."""

import os

# two processor devices, so that sharding over tasks is tested on any machine; read when JAX starts
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

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
