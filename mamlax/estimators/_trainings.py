"""Several trainings side by side, one for each core, in threads."""

import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import jax

from .._cores import num_cores
from .._files import Json
from ..training._interruption import interruptible, wait_until
from ..training._run import TrainingInterruptedError
from ._fitting import MetaTrained, Plan, meta_train
from ._pooled import num_columns
from ._pooled_choice import PooledFit
from ._rows import Rows

Report = Callable[[Json], None]


class Trainings:
    """Those that were begun. Made by `trainings`."""

    def __init__(self, report: Report | None, pool: ThreadPoolExecutor | None):
        self._report, self._pool = report, pool
        self._telling, self._is_over = threading.Lock(), threading.Event()
        self._compiled: dict[int, threading.Event] = {}
        self._begun: list[Future[MetaTrained]] = []

    def start(
        self,
        stage: str,
        plan: Plan,
        train: Rows,
        validation: Rows | None,
        *,
        pooled: PooledFit,
        **options: Any,
    ) -> "Future[MetaTrained]":
        """Begin one, whose log lines have this `stage`; the rest is as of `meta_train`.

        Of those that compile the same, the first does, and the others wait for its first log line.
        """
        self._check()
        if self._pool is None:
            told = lambda line: self._tell(line, stage)  # noqa: E731
            done: Future[MetaTrained] = Future()
            done.set_result(
                meta_train(plan, train, validation, pooled=pooled, report=told, **options)
            )
            return done
        key = num_columns(pooled.model)
        waits, compiled = key in self._compiled, self._compiled.setdefault(key, threading.Event())
        device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]

        def tell(line: Json) -> None:
            compiled.set()
            self._tell(line, stage)

        def in_thread() -> MetaTrained:
            if waits:
                compiled.wait()
            try:
                if self._is_over.is_set():
                    raise TrainingInterruptedError("stopped.")
                with jax.default_device(device):  # what `with` sets is of one thread
                    return meta_train(
                        plan, train, validation, pooled=pooled, report=tell, **options
                    )
            finally:
                compiled.set()

        self._begun.append(self._pool.submit(contextvars.copy_context().run, in_thread))
        return self._begun[-1]

    def results(self, futures: "Sequence[Future[MetaTrained]]") -> list[MetaTrained]:
        """Wait for some.

        Raises:
            TrainingInterruptedError: after Ctrl-C or SIGTERM.
        """
        with interruptible() as interrupted:
            wait_until(
                lambda: (
                    interrupted() is not None
                    or any(_has_failed(one) for one in self._begun)
                    or all(one.done() for one in futures)
                )
            )
        if (received := interrupted()) is not None:
            raise TrainingInterruptedError("stopped.", received)
        self._check()
        return [one.result() for one in futures]

    def stop(self) -> None:
        """Stop all after their next log line."""
        self._is_over.set()

    def _check(self) -> None:
        """Raise what a training raised."""
        for one in self._begun:
            if _has_failed(one):
                one.result()

    def _tell(self, line: Json, stage: str) -> None:
        if self._is_over.is_set():
            raise TrainingInterruptedError("stopped.")
        if self._report is not None:
            with self._telling:
                self._report({**line, "stage": stage})


@contextmanager
def trainings(report: Report | None, *, side_by_side: bool) -> Iterator[Trainings]:
    """Train in threads, as many as there are cores. An error, Ctrl-C or SIGTERM stops all.

    Args:
        report: called with each log line, by one thread at a time.
        side_by_side: False: each is done when it is begun, in the thread of the caller. So it is
            where there is one core.
    """
    if not side_by_side or num_cores() == 1:
        yield Trainings(report, None)
        return
    pool = ThreadPoolExecutor(num_cores(), "mamlax")
    begun = Trainings(report, pool)
    try:
        yield begun
    except BaseException:
        begun.stop()
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def _has_failed(future: "Future[MetaTrained]") -> bool:
    return future.done() and future.exception() is not None
