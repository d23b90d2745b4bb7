"""How many threads are started."""

import pytest

from mamlax import _cores


@pytest.mark.parametrize(
    ("limit", "number"),
    [(None, 3), ("", 3), ("many", 3), ("8", 3), ("2", 2), (" 2,4", 2), ("1", 1), ("0", 1)],
)
def test_no_more_threads_than_cores_or_than_openmp_may_have(limit, number, monkeypatch):
    monkeypatch.setattr(_cores, "num_cores", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if limit is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert _cores.num_threads() == number
