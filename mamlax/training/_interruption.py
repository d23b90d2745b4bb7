"""Ctrl-C and SIGTERM as a question that a loop answers where it can stop without loss."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[Callable[[], signal.Signals | None]]:
    """A signal asks to stop after the running block; a second one stops at once.

    SIGINT is Ctrl-C. SIGTERM is how schedulers (SLURM, Kubernetes, `docker stop`) ask.

    Yields:
        What says which signal has asked, if any.
    """
    asked: signal.Signals | None = None

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked is None:
            asked = signal.Signals(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            # left alone where it is ignored (a job in the background) or handled by the program
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                previous[number] = handler
                signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
