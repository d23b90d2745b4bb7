"""Trainings side by side: one compiles first, an error or a signal stops all."""

import os
import signal
import threading
import time

import jax
import numpy as np
import pytest

from mamlax import TrainingInterruptedError
from mamlax.config import RidgeMaml
from mamlax.config._tables import TableTraining
from mamlax.estimators import _trainings
from mamlax.estimators._fitting import MetaTrained, Plan
from mamlax.estimators._pooled import Line
from mamlax.estimators._pooled_choice import PooledFit
from mamlax.estimators._rows import Rows
from mamlax.estimators._trainings import trainings

NONE = PooledFit(None, np.zeros((1, 0), np.float32))
LINE = PooledFit(Line(np.ones((1, 1), np.float32), np.ones(1, np.float32)), np.zeros((1, 1)))

TRAINING = TableTraining(
    hidden_sizes=(8,),
    num_outer_steps=1,
    meta_batch_size=1,
    outer_learning_rate=1.0,
    weight_decay=0.0,
    max_support=1,
    patience=1,
    pooled="none",
    features="network",
)
PLAN = Plan(RidgeMaml(), TRAINING, "squared-error", 1, 0, True, False, 12, 4)
ROWS = Rows(*np.zeros((2, 1, 1)), *np.zeros((3, 1), int))


@pytest.fixture
def trained(monkeypatch):
    """Makes training a function `of(name, tell)`; two of them run at the same time."""

    def as_training(of):
        def meta_train(plan, train, validation, *, report, **options):
            step = of(options["name"], report)
            return MetaTrained(None, 0 if step is None else step, ())

        monkeypatch.setattr(_trainings, "meta_train", meta_train)

    monkeypatch.setattr(_trainings, "num_cores", lambda: 2)
    return as_training


def started(those, name, pooled=NONE):
    return those.start(f"stage of {name}", PLAN, ROWS, None, pooled=pooled, name=name)


def endless(name, tell):
    while True:
        tell({"step": 1})
        time.sleep(0.001)


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
    with trainings(lines.append, side_by_side=True) as those:
        futures = [started(those, name) for name in ("first", "second")]
        assert [one.step for one in those.results(futures)] == [1, 2]
    assert [line["stage"] for line in lines] == ["stage of first", "stage of second"]


def test_what_compiles_other_programs_does_not_wait(trained):
    """Of another pooled model the network has more inputs."""
    both = threading.Barrier(2, timeout=30)
    trained(lambda name, tell: both.wait() * 0)
    with trainings(None, side_by_side=True) as those:
        those.results([started(those, "none"), started(those, "line", LINE)])


@pytest.mark.parametrize("cores, side_by_side", [(1, True), (2, False)])
def test_else_each_is_done_when_it_is_begun(trained, monkeypatch, cores, side_by_side):
    monkeypatch.setattr(_trainings, "num_cores", lambda: cores)
    threads, lines = [], []

    def train(name, tell):
        tell({"step": 1})
        threads.append(threading.current_thread())

    trained(train)
    with trainings(lines.append, side_by_side=side_by_side) as those:
        assert started(those, "a").done() and len(lines) == 1
    assert threads == [threading.current_thread()]


def test_the_others_go_on_where_the_first_has_no_line(trained):
    trained(lambda name, tell: len(name))
    with trainings(None, side_by_side=True) as those:
        futures = [started(those, name) for name in ("a", "bb")]
        assert [one.step for one in those.results(futures)] == [1, 2]


def test_trainings_are_on_the_device_of_who_began_them(trained):
    devices = []
    trained(lambda name, tell: devices.append(jax.numpy.ones(1).devices()))
    with jax.default_device(jax.devices()[-1]), trainings(None, side_by_side=True) as those:
        those.results([started(those, "a")])
    assert devices == [{jax.devices()[-1]}]


@pytest.mark.parametrize("asked", [0, 1])
def test_an_error_stops_the_others_whichever_is_waited_for(trained, asked):
    begun = threading.Event()

    def train(name, tell):
        tell({"step": 0})
        if name == "bad":
            begun.wait()
            raise FloatingPointError("diverged")
        begun.set()
        endless(name, tell)

    trained(train)
    futures = []
    with (
        pytest.raises(FloatingPointError, match="diverged"),
        trainings(None, side_by_side=True) as those,
    ):
        for name in ("endless", "bad"):
            futures.append(started(those, name))
        those.results([futures[asked]])
    assert isinstance(futures[0].exception(), TrainingInterruptedError)


def test_nothing_is_begun_after_an_error(trained):
    def train(name, tell):
        raise FloatingPointError("diverged")

    trained(train)
    with pytest.raises(FloatingPointError), trainings(None, side_by_side=True) as those:
        until(started(those, "bad").done)
        started(those, "next")
        pytest.fail("it was begun")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all(trained, number, capsys):
    told, futures = [], []

    def send():
        until(lambda: len(told) > 10)
        os.kill(os.getpid(), number)

    trained(endless)
    sender = threading.Thread(target=send)
    with (
        pytest.raises(TrainingInterruptedError) as stop,
        trainings(told.append, side_by_side=True) as those,
    ):
        futures += [started(those, name) for name in ("a", "b")]
        sender.start()
        those.results(futures)
    sender.join()
    assert stop.value.signal == number
    assert all(one.done() for one in futures)
    assert "stopping after this block" in capsys.readouterr().err


def test_ctrl_c_beside_the_waiting_stops_at_once(trained):
    """As in what is done in the main thread while others train."""
    futures = []
    trained(endless)
    with pytest.raises(KeyboardInterrupt), trainings(None, side_by_side=True) as those:
        futures.append(started(those, "a"))
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    assert isinstance(futures[0].exception(), TrainingInterruptedError)
