"""Several trainings side by side, one for each core, in threads."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from signal import Signals
from typing import Any, Protocol

from .._cores import num_cores
from .._files import Json
from ..training._interruption import interruptible
from ..training._run import TrainingInterruptedError
from ._fitting import MetaTrained, Plan, meta_train
from ._rows import Rows

_MANY_ROWS = 20_000
"""Of which trees take all cores, and which would be held once for each training."""


class Start(Protocol):
    """Begins a training, whose log lines have this `stage`; the rest is as of `meta_train`."""

    def __call__(
        self, stage: str, plan: Plan, train: Rows, validation: Rows | None, **options: Any
    ) -> "Future[MetaTrained]": ...


@contextmanager
def trainings(num_rows: int, report: Callable[[Json], None] | None) -> Iterator[Start]:
    """Train in threads, as many as there are cores; one after another where there are many rows.

    The first compiles what the others use as well, so they wait for its first log line. An error,
    Ctrl-C or SIGTERM stops all of them after their next log line.

    Args:
        num_rows: of the table.
        report: called with each log line, by one thread at a time.

    Yields:
        What starts a training.

    Raises:
        TrainingInterruptedError: after Ctrl-C or SIGTERM.
    """
    compiled, is_over, telling = threading.Event(), threading.Event(), threading.Lock()
    has_first = False
    workers = num_cores() if num_rows < _MANY_ROWS else 1
    with interruptible() as interrupted, ThreadPoolExecutor(workers, "mamlax") as pool:

        def train(waits: bool, stage: str, *args: Any, **options: Any) -> MetaTrained:
            def tell(line: Json) -> None:
                compiled.set()
                received = interrupted()
                if is_over.is_set() or received is not None:
                    raise _stopped(received)
                if report is not None:
                    with telling:
                        report({**line, "stage": stage})

            if waits:
                compiled.wait()
            try:
                return meta_train(*args, report=tell, **options)
            finally:
                compiled.set()

        def start(stage: str, *args: Any, **options: Any) -> "Future[MetaTrained]":
            nonlocal has_first
            waits, has_first = has_first, True
            return pool.submit(train, waits, stage, *args, **options)

        try:
            yield start
        except BaseException:
            is_over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if (received := interrupted()) is not None:  # during the last step
        raise _stopped(received)


def _stopped(received: Signals | None) -> TrainingInterruptedError:
    return TrainingInterruptedError("stopped.", *([] if received is None else [received]))
