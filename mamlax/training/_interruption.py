"""Ctrl-C and SIGTERM set a flag. A loop checks it where it can stop without losing work."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[Callable[[], signal.Signals | None]]:
    """Remember a signal, so that a loop can stop after its block. A second signal stops at once.

    The first signal prints a line on stderr, because a block may take minutes.

    SIGINT is Ctrl-C. SIGTERM is sent by schedulers (SLURM, Kubernetes, `docker stop`).

    Yields:
        A function that returns the signal received, or None.
    """
    received: signal.Signals | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal received
        if received is None:
            received = signal.Signals(number)
            again = "press Ctrl-C again" if number == signal.SIGINT else "send SIGTERM again"
            # where it interrupts another print, or the stream is closed
            with suppress(RuntimeError, OSError, ValueError):
                print(
                    f"stopping after this block of outer steps; {again} to stop at once",
                    file=sys.stderr,
                    flush=True,
                )
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            # keep a handler of the program; a background job ignores SIGINT and keeps doing so
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                previous[number] = handler
                signal.signal(number, handle)
    try:
        yield lambda: received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def wait_until(is_ready: Callable[[], bool]) -> None:
    """Wait in such a way that signals are handled meanwhile.

    Python handles signals only between two of its instructions, not while a library waits.
    """
    began = time.perf_counter()
    while not is_ready():
        time.sleep(min(0.1, (time.perf_counter() - began) / 100))  # a percent late at most
