"""What orbax and TensorStore print by themselves, where this package says it in its own words."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_orbax_messages() -> Iterator[None]:
    """Without orbax's log: errors are raised or warned of by who calls it."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def expect_late_readers() -> None:
    """Leave out, until the process ends, what arrays that are read beside a damaged one report.

    Where one array of a checkpoint is damaged, orbax gives up and closes its event loop. Each other
    array that was being read then reports to a closed loop, from a thread that nobody waits for; or
    its own error is logged once its future is collected.
    """
    logging.getLogger("asyncio").addFilter(_is_of_interest)
    if not isinstance(sys.unraisablehook, _WithoutLateReaders):
        sys.unraisablehook = _WithoutLateReaders(sys.unraisablehook)


class _WithoutLateReaders:
    """An `unraisablehook` without reports to closed event loops."""

    def __init__(self, usual: Callable[[Any], object]):
        self.usual = usual

    def __call__(self, unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            self.usual(unraisable)


def _is_of_interest(record: logging.LogRecord) -> bool:
    return record.exc_info is None or "tensorstore_spec" not in str(record.exc_info[1])
