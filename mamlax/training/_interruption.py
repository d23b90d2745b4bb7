"""Ctrl-C as a question that a loop answers where it can stop without loss."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks to stop after the running block; a second one stops at once."""
    asked = False

    def ask(signal_number, frame):
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    # left alone where it is ignored (a job in the background) or not Python's to handle
    handled = signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None)
    if not handled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)
