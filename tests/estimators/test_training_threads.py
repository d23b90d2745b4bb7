"""Trainings at the same time: as one after another, one log, and an end to all of them."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from joblib import Parallel, cpu_count, delayed

import mamlax
from mamlax._cores import num_threads
from mamlax._errors import collected_warnings, warn
from mamlax.estimators import _training_threads
from mamlax.estimators._training_threads import Trainings, in_background, training_threads

from .materials import TINY


def steps(number, seconds=0.01):
    """A training that only reports."""

    def train(report):
        for step in range(number):
            time.sleep(seconds)
            report({"step": step})
        return number

    return train


def fails(report):
    report({"step": 0})
    raise ZeroDivisionError


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    monkeypatch.setattr(_training_threads, "num_threads", lambda: 2)


def test_others_begin_when_the_first_has_compiled_and_run_beside_it():
    has_compiled, began, meeting = threading.Event(), [], threading.Barrier(2, timeout=60)

    def first(report):
        time.sleep(0.3)
        has_compiled.set()
        report({})
        meeting.wait()

    def second(report):
        began.append(has_compiled.is_set())
        meeting.wait()

    with training_threads() as trainings:
        for one in [trainings.start(first), trainings.start(second)]:
            trainings.result(one)
    assert began == [True]


def test_lines_are_reported_in_the_thread_that_waits():
    lines = []

    def noted(name):
        return lambda line: lines.append((name, line["step"], threading.current_thread()))

    with training_threads() as trainings:
        for one in [trainings.start(steps(5), noted(name)) for name in "abc"]:
            assert trainings.result(one) == 5
    for name in "abc":
        assert [step for found, step, _ in lines if found == name] == list(range(5))
    assert {thread for *_, thread in lines} == {threading.current_thread()}


@pytest.mark.parametrize("place", range(2))
def test_where_one_fails_all_end(place):
    """Also where another is waited for, which alone would take a quarter of an hour."""
    trains, started = [steps(100_000), steps(100_000)], []
    trains.insert(place, fails)
    with pytest.raises(ZeroDivisionError), training_threads() as trainings:
        started.extend(map(trainings.start, trains))
        trainings.result(started[1 - place])
    assert all(one.done() for one in started)


def test_a_report_that_fails_ends_all():
    def report(line):
        raise ZeroDivisionError

    started = []
    with pytest.raises(ZeroDivisionError), training_threads() as trainings:
        started.extend(trainings.start(steps(100_000), report) for _ in range(3))
        trainings.result(started[2])
    assert all(one.done() for one in started)


def test_where_the_first_fails_at_once_nobody_waits_for_it():
    def at_once(report):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), training_threads() as trainings:
        trainings.start(at_once)
        trainings.result(trainings.start(steps(3)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_fit(number, table, monkeypatch, capsys):
    def interrupting(line):
        if line["stage"] == "round 1 of 5" and line["step"] == 1:
            os.kill(os.getpid(), number)

    model = mamlax.FewShotRegressor(
        **TINY | {"num_outer_steps": 10_000, "pooled": "linear", "verbose": interrupting}
    )
    model.meta_batch_size = 1
    monkeypatch.setattr("mamlax.estimators._fitting._NUM_VALIDATIONS", 10_000)
    with pytest.raises(mamlax.TrainingInterruptedError, match="there is no model") as stopped:
        model.fit(table[["speed"]], table["wear"], groups=table["machine"])
    assert stopped.value.signal == number
    assert "stopping after this block" in capsys.readouterr().err


def test_a_signal_that_only_a_training_has_seen_is_raised_as_one():
    received = []

    def interrupted(report):
        received.append(signal.SIGTERM)
        report({})

    with ThreadPoolExecutor(1) as threads:
        trainings = Trainings(threads, lambda: received[0] if received else None)
        training = trainings.start(interrupted)
        wait([training])
        with pytest.raises(mamlax.TrainingInterruptedError) as stopped:
            trainings.result(training)
    assert stopped.value.signal == signal.SIGTERM


def test_a_signal_after_the_last_line_is_heard():
    with pytest.raises(mamlax.TrainingInterruptedError), training_threads() as trainings:
        assert trainings.result(trainings.start(steps(2))) == 2
        os.kill(os.getpid(), signal.SIGINT)


def test_threads_have_the_settings_and_the_warnings_of_their_caller():
    def train(report):
        warn("a word", stacklevel=1)
        one = jnp.ones(())
        return one.dtype, jax.config.jax_default_matmul_precision, threading.current_thread()

    def results():
        with training_threads() as trainings:
            return [trainings.result(trainings.start(train)) for _ in range(2)]

    with (
        collected_warnings() as found,
        jax.enable_x64(True),
        jax.default_matmul_precision("highest"),
    ):
        for dtype, precision, thread in results():
            assert (dtype, precision) == (jnp.float64, "highest")
            assert thread is not threading.main_thread()
    assert found == ["a word"] * 2
    with collected_warnings():
        assert results()[0][:2] == (jnp.float32, None)


def test_what_is_done_in_the_background_has_the_settings_of_its_caller_and_gives_its_error():
    with jax.enable_x64(True):
        found = in_background(lambda: (jnp.zeros(1).dtype, threading.current_thread()))
        failed = in_background(lambda: 1 / 0)
    dtype, thread = found()
    assert dtype == jnp.float64 and thread is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        failed()


@pytest.mark.slow
def test_the_model_is_that_of_one_round_after_another(table, monkeypatch):
    def fitted(cores):
        monkeypatch.setattr(_training_threads, "num_threads", lambda: cores)
        model = mamlax.FewShotRegressor(pooled="linear", test_fraction=0.5, **TINY)
        return model.fit(table[["speed", "kind"]], table["wear"], groups=table["machine"])

    one, other = fitted(1), fitted(3)
    for a, b in zip(*(jax.tree.leaves(m.learner_.meta_params) for m in (one, other)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.report().as_json() == other.report().as_json()
    assert one.outer_step_ == other.outer_step_


@pytest.mark.slow
def test_workers_of_joblib_share_the_cores(monkeypatch):
    """Each may use its share, as scikit-learn's searches with `n_jobs` have it."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with Parallel(n_jobs=2) as workers:
        found = workers(delayed(num_threads)() for _ in range(2))
    assert found == [max(1, cpu_count() // 2)] * 2


def test_where_no_round_can_be_taken_all_is_learned_from(table):
    model = mamlax.FewShotRegressor(pooled="linear", **TINY, compare=False)
    model.validation_fraction = 0.0
    model.fit(table[["speed"]], table["wear"], groups=table["machine"])
    assert model.num_groups_["train"] == 14 and model.report_ is None
