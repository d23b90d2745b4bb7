"""Files that are either whole or not there, and where the package keeps what it can make again."""

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object."""


def cache_directory() -> Path:
    """Where decoded images and compiled programs are kept: `MAMLAX_CACHE`, or the user's cache."""
    if chosen := os.environ.get("MAMLAX_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mamlax"


_MARK = ".new-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` only if nothing was raised.

    The file keeps the permissions that `path` has, or gets those of any new file. What processes
    that were killed while they wrote `path` have left beside it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(path)
    temporary = path.with_name(f".{path.name}{_MARK}{secrets.token_hex(4)}")
    # made as `open` makes files, so that the umask holds
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    lock = open_locked(temporary)  # says that a process is at work on it
    try:
        mode = stat.S_IMODE((path if path.exists() else temporary).stat().st_mode)
        temporary.chmod(mode | stat.S_IWUSR)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut may leave the new name without its content
        temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        if lock is not None:
            os.close(lock)
        temporary.unlink(missing_ok=True)


def is_left_over(path: Path) -> bool:
    """Whether `path` is what a process killed within `replacing` leaves beside a file."""
    return path.name.startswith(".") and path.suffix.startswith(_MARK)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def open_locked(path: Path) -> int | None:
    """A descriptor that locks a file or directory until it is closed, or the process ends.

    Returns:
        The descriptor; None where there are no locks: on Windows and some file systems.

    Raises:
        BlockingIOError: if another process has locked it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return descriptor


def remedy(error: BaseException) -> str:
    """What to do where a file could not be written, as the beginning of a sentence."""
    words = str(error)
    if any(os.strerror(number) in words for number in (errno.ENOSPC, errno.EDQUOT)):
        return "Make room"
    if any(os.strerror(number) in words for number in (errno.EACCES, errno.EPERM, errno.EROFS)):
        return "Give permission to write there"
    return "Mend this"


def _remove_left_overs(path: Path) -> None:
    """Remove unfinished versions of `path`; what a process is at work on is locked, and stays."""
    for other in path.parent.glob(f".*{_MARK}*"):
        if other.name.startswith(f".{path.name}{_MARK}"):
            with suppress(OSError):  # locked, or another process was faster
                lock = open_locked(other)
                if lock is not None:
                    other.unlink(missing_ok=True)
                    os.close(lock)
