"""Programs here run once: compiling them quickly matters more than how fast they are."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_compilation(compiling):
    """Leave out XLA's optimizations."""
    with compiling(quickly=True):
        yield
