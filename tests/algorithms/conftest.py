"""These tests compile many tiny programs once each, so compile time is what counts."""

import jax
import pytest


@pytest.fixture(autouse=True)
def compile_quickly():
    """Ask XLA for little optimization, which halves the time of these tests."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
