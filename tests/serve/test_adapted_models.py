"""Adapted models that a service keeps, and lets go."""

import pytest

from mamlax.config._serving import Serving
from mamlax.serve._adapted_models import AdaptedModels
from mamlax.serve._refusals import RefusedError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_one_that_nobody_uses_is_let_go():
    clock = Clock()
    kept = AdaptedModels(Serving(seconds_kept=60.0), clock)
    used, unused = kept.add("a", 1), kept.add("a", 2)
    for clock.now in (30.0, 59.0, 100.0):
        assert kept.of("a", used) == 1
    with pytest.raises(RefusedError, match=r"for 1 minutes is let go.*Adapt again"):
        kept.of("a", unused)
    assert len(kept) == 1
    clock.now = 200.0
    with pytest.raises(RefusedError):
        kept.of("a", used)
    assert len(kept) == 0


def test_of_too_many_the_least_recently_used_go():
    kept = AdaptedModels(Serving(most_adapted=2))
    first, second = kept.add("a", 1), kept.add("a", 2)
    kept.of("a", first)
    third = kept.add("a", 3)
    assert kept.of("a", first) == 1 and kept.of("a", third) == 3
    with pytest.raises(RefusedError):
        kept.of("a", second)


def test_of_too_large_ones_the_least_recently_used_go():
    kept = AdaptedModels(Serving(most_bytes_kept=100))
    first, second = kept.add("a", 1, 60), kept.add("a", 2, 30)
    kept.of("a", first)
    third = kept.add("a", 3, 30)
    assert kept.of("a", first) == 1 and kept.of("a", third) == 3
    with pytest.raises(RefusedError):
        kept.of("a", second)


def test_an_id_is_of_its_own_model():
    kept = AdaptedModels(Serving())
    key = kept.add("a", 1)
    with pytest.raises(RefusedError, match="'b' has no adapted model"):
        kept.of("b", key)
