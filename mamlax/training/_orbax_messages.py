"""Silence what orbax and TensorStore print about errors that this package reports itself."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_orbax_messages() -> Iterator[None]:
    """Silence orbax's log: the caller reports errors."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def ignoring_follow_up_errors(found_damage: Callable[[], bool]) -> Iterator[None]:
    """Silence errors that follow from a damaged array, while checkpoints are read.

    If one array of a checkpoint is damaged, orbax stops and closes its event loop. Each other array
    that was being read then reports to the closed loop, from a thread that nothing waits for; or
    its own error is logged when its future is garbage-collected. This may come late, so after
    damage they stay silenced until the process ends.

    Args:
        found_damage: asked at the end: whether an array was damaged.
    """
    logger, usual = logging.getLogger("asyncio"), sys.unraisablehook
    hook = usual if isinstance(usual, _IgnoreClosedLoops) else _IgnoreClosedLoops(usual)
    logger.addFilter(_is_not_of_tensorstore)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        if hook is not usual and not found_damage():
            logger.removeFilter(_is_not_of_tensorstore)
            if sys.unraisablehook is hook:
                sys.unraisablehook = usual


class _IgnoreClosedLoops:
    """An `unraisablehook` that ignores errors of closed event loops."""

    def __init__(self, hook: Callable[[Any], object]):
        self.hook = hook

    def __call__(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            self.hook(unraisable)


def _is_not_of_tensorstore(record: logging.LogRecord) -> bool:
    return record.exc_info is None or "tensorstore_spec" not in str(record.exc_info[1])
