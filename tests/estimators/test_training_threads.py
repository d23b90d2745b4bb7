"""Trainings at the same time: as one after another, one log, and an end to all of them."""

import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax
from mamlax._errors import collected_warnings, warn
from mamlax.estimators import _training_threads
from mamlax.estimators._training_threads import training_threads

from .materials import TINY


def steps(number, report, seconds=0.01):
    """A training that only reports."""
    for step in range(number):
        time.sleep(seconds)
        report({"step": step})
    return number


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(_training_threads, "num_cores", lambda: 2)


def test_others_begin_when_the_first_has_compiled(two_cores):
    lines = []

    def noted(name):
        return lambda line: lines.append((name, line["step"]))

    with training_threads() as start:
        found = [start(steps, 5, report=noted(name)) for name in "abc"]
        assert [one.result() for one in found] == [5, 5, 5]
    assert lines[0] == ("a", 0) and len(lines) == 15
    assert len(set(lines[1:5])) == 4 and {name for name, _ in lines[1:5]} == {"a", "b"}


def test_lines_are_reported_one_at_a_time(two_cores):
    inside, most = [], []

    def report(line):
        inside.append(line)
        most.append(len(inside))
        time.sleep(0.005)
        inside.pop()

    with training_threads() as start:
        for one in [start(steps, 5, report=report, seconds=0) for _ in range(4)]:
            one.result()
    assert set(most) == {1} and len(most) == 20


def test_where_one_fails_all_end(two_cores):
    lines = []

    def fails(report):
        report({"step": 0})
        time.sleep(0.05)
        raise ZeroDivisionError

    began, others = time.monotonic(), []
    with pytest.raises(ZeroDivisionError), training_threads() as start:
        first = start(fails, report=None)
        others = [start(steps, 10_000, report=lines.append) for _ in range(3)]
        first.result()
    assert time.monotonic() - began < 10 and 0 < len(lines) < 1_000
    assert others[2].cancelled()


def test_where_the_first_fails_at_once_nobody_waits_for_it(two_cores):
    def fails(report):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), training_threads() as start:
        first, other = start(fails, report=None), start(steps, 3, report=None)
        assert other.result() == 3
        first.result()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all(number, two_cores, capsys):
    def report(line):
        if line["step"] == 3:
            os.kill(os.getpid(), number)

    with (
        pytest.raises(mamlax.TrainingInterruptedError, match="there is no model") as stopped,
        training_threads() as start,
    ):
        for one in [start(steps, 10_000, report=report) for _ in range(3)]:
            one.result()
    assert stopped.value.signal == number and "stopping after this block" in capsys.readouterr().err


def test_a_signal_after_the_last_line_is_heard(two_cores):
    with pytest.raises(mamlax.TrainingInterruptedError), training_threads() as start:
        assert start(steps, 2, report=None).result() == 2
        os.kill(os.getpid(), signal.SIGINT)


def test_threads_have_the_settings_and_the_warnings_of_their_caller(two_cores):
    device = jax.devices()[-1]

    def train(report):
        warn("a word", stacklevel=1)
        one = jnp.ones(())
        return one.dtype, one.device, threading.current_thread() is threading.main_thread()

    with (
        collected_warnings() as found,
        jax.enable_x64(True),
        jax.default_device(device),
        training_threads() as start,
    ):
        result = [start(train, report=None) for _ in range(2)]
        assert [one.result() for one in result] == [(jnp.float64, device, False)] * 2
    assert found == ["a word"] * 2
    with pytest.warns(UserWarning, match="a word"), training_threads() as start:
        assert start(train, report=None).result()[0] == jnp.float32


def test_the_model_is_that_of_one_round_after_another(table, monkeypatch):
    def fitted(cores):
        monkeypatch.setattr(_training_threads, "num_cores", lambda: cores)
        model = mamlax.FewShotRegressor(pooled="linear", **TINY)
        return model.fit(table[["speed", "kind"]], table["wear"], groups=table["machine"])

    one, other = fitted(1), fitted(3)
    for a, b in zip(*(jax.tree.leaves(m.learner_.meta_params) for m in (one, other)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.report().as_json() == other.report().as_json()
    assert one.outer_step_ == other.outer_step_
