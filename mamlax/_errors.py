"""The base class of errors that a user can fix, and warnings; cheap to import."""

import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_UNPRINTABLE = {"Cc", "Cf", "Cs"}
"""Unicode categories: control characters, which may move the cursor; formats; half characters."""


class MamlaxError(Exception):
    """An error whose message says what to do; the command line prints it without a traceback."""

    def __str__(self) -> str:
        return printable(super().__str__())


def warn(text: str, *, stacklevel: int) -> None:
    """`warnings.warn`, with control characters escaped: all warnings are given by this."""
    if (collected := _COLLECTED.get()) is not None:
        collected.append(printable(text))
        return
    warnings.warn(printable(text), stacklevel=stacklevel + 1)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the texts of warnings that are given within, in this thread alone.

    `warnings.catch_warnings` would collect those of all threads.
    """
    token = _COLLECTED.set(found := [])
    try:
        yield found
    finally:
        _COLLECTED.reset(token)


_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected warnings", default=None)


def printable(text: str) -> str:
    """Escape control characters, which names read from a file may contain.

    Example:
        >>> print(printable("a file called \\x1b[2J"))
        a file called \\x1b[2J
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character not in "\n\t" and unicodedata.category(character) in _UNPRINTABLE
        else character
        for character in text
    )
