"""Trainings that run at the same time, each in a thread of its own.

The outer steps of a table are so small that one of them keeps no more than one processor core busy.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

import jax

from .._cores import num_cores
from .._files import Json
from ..training._interruption import interruptible
from ..training._run import TrainingInterruptedError

T = TypeVar("T")
Report = Callable[[Json], None] | None


@contextmanager
def training_threads() -> Iterator[Callable[..., "Future[Any]"]]:
    """Start trainings, as many at the same time as there are processor cores.

    All begin when the first one has given a line of its log: it then has compiled what they share.
    The first Ctrl-C ends all of them after their blocks of outer steps.

    Yields:
        `start(train, *args, report, **options) -> Future`, which calls
        `train(*args, report=..., **options)`. Lines are reported one at a time.

    Raises:
        TrainingInterruptedError: after Ctrl-C or SIGTERM.
    """
    first_is_compiled, is_over, reporting = threading.Event(), threading.Event(), threading.Lock()
    is_first = True
    settings: Any = jax.config  # of this thread, which may have entered contexts
    x64, device = settings.jax_enable_x64, settings.jax_default_device

    with interruptible() as received, ThreadPoolExecutor(num_cores()) as threads:

        def told(report: Report) -> Callable[[Json], None]:
            def tell(line: Json) -> None:
                first_is_compiled.set()
                if is_over.is_set() or received():
                    raise _interrupted(received())
                with reporting:
                    if report is not None:
                        report(line)

            return tell

        def trained(waits: bool, train: Callable[..., T], *args: Any, **options: Any) -> T:
            if waits:
                first_is_compiled.wait()
            try:
                with jax.enable_x64(x64), jax.default_device(device):
                    return train(*args, **options)
            finally:
                first_is_compiled.set()  # or has failed

        def start(train: Callable[..., T], *args: Any, report: Report, **options: Any) -> Future[T]:
            nonlocal is_first
            waits, is_first = not is_first, False
            run = copy_context().run
            return threads.submit(run, trained, waits, train, *args, report=told(report), **options)

        try:
            yield start
        finally:
            is_over.set()
            threads.shutdown(wait=False, cancel_futures=True)
    if received():
        raise _interrupted(received())


def _interrupted(signal: Any) -> TrainingInterruptedError:
    words = "training was stopped before it had ended: there is no model."
    return TrainingInterruptedError(words, *([signal] if signal else []))
