"""Trainings that run at the same time, each in a thread of its own.

The outer steps of a table are so small that one of them keeps no more than one processor core busy.
"""

import functools
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from signal import Signals
from typing import Any, TypeVar

import jax

from .._cores import num_threads
from .._files import Json
from ..training._interruption import interruptible
from ..training._run import TrainingInterruptedError

T = TypeVar("T")
_SETTINGS: dict[str, Callable[[Any], Any]] = {
    "jax_enable_x64": jax.enable_x64,
    "jax_default_device": jax.default_device,
    "jax_default_matmul_precision": jax.default_matmul_precision,
    "jax_default_prng_impl": jax.default_prng_impl,
    "jax_threefry_partitionable": jax.threefry_partitionable,
    "jax_debug_nans": jax.debug_nans,
}
"""What a context may have set for the caller's thread alone."""


@contextmanager
def training_threads() -> Iterator["Trainings"]:
    """Threads for trainings: `num_threads`, or one on an accelerator.

    Where one of them fails, or after Ctrl-C or SIGTERM, all end after their blocks of outer steps.
    """
    number = num_threads() if jax.default_backend() == "cpu" else 1
    with interruptible() as received, ThreadPoolExecutor(number) as threads:
        trainings = Trainings(threads, received)
        try:
            yield trainings
            trainings.poll()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            trainings.is_over.set()


class Trainings:
    """Trainings under way. Their lines are reported in the thread that starts them and waits.

    Args:
        threads: to run them.
        received: says which signal has come.
    """

    def __init__(self, threads: ThreadPoolExecutor, received: Callable[[], Signals | None]):
        self.is_over = threading.Event()
        self._threads, self._received = threads, received
        self._started: list[Future[Any]] = []
        self._first_is_compiled = threading.Event()
        self._lines: queue.SimpleQueue[tuple[Callable[[Json], None], Json]] = queue.SimpleQueue()

    def start(
        self,
        train: Callable[[Callable[[Json], None]], T],
        report: Callable[[Json], None] | None = None,
    ) -> "Future[T]":
        """Start a training, or put it behind those that are started.

        All others begin when the first has given a line: it then has compiled what they share.

        Args:
            train: `train(report)`, which calls `report` with each line of its log.
            report: what to call with these.

        Raises:
            Exception: what `result` raises.
        """
        self.poll()
        is_first, train = not self._started, _as_here(train)

        def tell(line: Json) -> None:
            self._first_is_compiled.set()
            if self.is_over.is_set() or self._received():
                raise _StoppedError
            if report is not None:
                self._lines.put((report, line))

        def trained() -> T:
            if not is_first:
                self._first_is_compiled.wait()
            try:
                return train(tell)
            finally:
                self._first_is_compiled.set()  # or has failed

        future = self._threads.submit(trained)
        self._started.append(future)
        return future

    def result(self, training: "Future[T]") -> T:
        """Wait for the result of a training.

        Raises:
            TrainingInterruptedError: after Ctrl-C or SIGTERM.
            Exception: what any of the trainings raised.
        """
        is_done = False
        while not is_done:
            is_done = training.done()  # before its last lines are taken
            self.poll()
            if not is_done:
                wait([training], timeout=0.05)  # so that signals are handled
        return training.result()

    def poll(self) -> None:
        """Report the lines that have come. Raise what `result` raises."""
        errors = [one.exception() for one in self._started if one.done()]
        if signal := self._received():  # asked after the errors that it may have led to
            raise TrainingInterruptedError(
                "training was stopped before it had ended: there is no model.", signal
            )
        for error in filter(None, errors):
            raise error
        while not self._lines.empty():
            report, line = self._lines.get()
            report(line)


def in_background(function: Callable[[], T]) -> Callable[[], T]:
    """Call it in a thread of its own, and return what waits for its result."""
    thread = ThreadPoolExecutor(1)
    future = thread.submit(_as_here(function))
    thread.shutdown(wait=False)
    return future.result


def _as_here(function: Callable[..., T]) -> Callable[..., T]:
    """What calls it in another thread with the settings and the context of this one."""
    settings = {name: getattr(jax.config, name) for name in _SETTINGS}

    def with_settings(*args: Any) -> T:
        with ExitStack() as stack:
            for name, value in settings.items():
                stack.enter_context(_SETTINGS[name](value))
            return function(*args)

    return functools.partial(copy_context().run, with_settings)


class _StoppedError(Exception):
    """Another training has failed, or a signal has come."""
