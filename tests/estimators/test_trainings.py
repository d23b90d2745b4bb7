"""Trainings side by side: one compiles first, an error or a signal stops all."""

import os
import signal
import threading
import time

import pytest

from mamlax import TrainingInterruptedError
from mamlax.estimators import _trainings
from mamlax.estimators._fitting import MetaTrained
from mamlax.estimators._trainings import trainings


@pytest.fixture
def trained(monkeypatch):
    """Makes training a function `of(name, tell)`; two of them run at the same time."""

    def as_training(of):
        monkeypatch.setattr(
            _trainings, "meta_train", lambda name, *_, report, **__: _made(of(name, report))
        )

    monkeypatch.setattr(_trainings, "num_cores", lambda: 2)
    return as_training


def _made(step):
    return MetaTrained(None, 0 if step is None else step, ())


def started(start, name):
    return start(f"stage of {name}", name, None, None)


def until(reached):
    ends = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_two_run_at_the_same_time_once_the_first_has_compiled(trained):
    lines, both, entered = [], threading.Barrier(2, timeout=30), []

    def train(name, tell):
        entered.append(name)
        if name == "first":
            time.sleep(0.05)
            assert entered == ["first"]
        tell({"step": 1})
        both.wait()
        return 1 if name == "first" else 2

    trained(train)
    with trainings(10, lines.append) as start:
        futures = [started(start, name) for name in ("first", "second")]
        assert [one.result().step for one in futures] == [1, 2]
    assert [line["stage"] for line in lines] == ["stage of first", "stage of second"]


def test_one_at_a_time_where_there_are_many_rows(trained):
    running = []

    def train(name, tell):
        running.append(name)
        assert len(running) == 1
        tell({"step": 1})
        time.sleep(0.02)
        running.remove(name)

    trained(train)
    with trainings(1_000_000, None) as start:
        for one in [started(start, str(number)) for number in range(3)]:
            one.result()


def test_the_others_go_on_where_the_first_has_no_line(trained):
    trained(lambda name, tell: len(name))
    with trainings(10, None) as start:
        assert [started(start, name).result().step for name in ("a", "bb")] == [1, 2]


def test_an_error_stops_the_others(trained):
    stopped = []

    def train(name, tell):
        tell({"step": 0})
        if name == "bad":
            raise FloatingPointError("diverged")
        try:
            while True:
                tell({"step": 1})
                time.sleep(0.001)
        except BaseException as error:
            stopped.append(type(error))
            raise

    trained(train)
    futures = []
    with pytest.raises(FloatingPointError, match="diverged"), trainings(10, None) as start:
        futures += [started(start, name) for name in ("endless", "bad", "never")]
        futures[1].result()
    endless, _, never = futures
    assert TrainingInterruptedError in stopped and endless.done()
    assert never.cancelled() or never.exception() is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all(trained, number, capsys):
    told = []

    def train(name, tell):
        while True:
            tell({"step": len(told)})
            time.sleep(0.001)

    trained(train)
    futures = []
    with pytest.raises(TrainingInterruptedError) as stop, trainings(10, told.append) as start:
        futures += [started(start, name) for name in ("a", "b")]
        until(lambda: len(told) > 10)
        os.kill(os.getpid(), number)
        futures[0].result()
    assert stop.value.signal == number
    assert all(one.done() for one in futures)
    assert "stopping after this block" in capsys.readouterr().err


def test_a_signal_after_the_last_line_stops_what_comes_next(trained):
    trained(lambda name, tell: len(name))
    with pytest.raises(TrainingInterruptedError), trainings(10, None) as start:
        assert started(start, "a").result().step == 1
        os.kill(os.getpid(), signal.SIGINT)
