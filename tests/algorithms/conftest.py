"""These tests compile many tiny programs once each, so compile time is what counts."""

import pytest


@pytest.fixture(autouse=True)
def compile_quickly(compiling):
    """Ask XLA for little optimization, which halves the time of these tests."""
    with compiling(quickly=True):
        yield
