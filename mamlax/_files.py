"""Atomic writes, file locks and the cache directory."""

import errno
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from ._errors import MamlaxError

Json: TypeAlias = dict[str, Any]
"""A JSON object."""


def cache_directory() -> Path:
    """The directory of decoded images and compiled programs: `MAMLAX_CACHE` or the usual one."""
    if chosen := os.environ.get("MAMLAX_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mamlax"


def bytes_of(path: Path) -> bytes:
    """What is in a regular file.

    Raises:
        OSError: if it cannot be read; a pipe or a device, which may have no end, is not.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError("it is no regular file: a pipe or a device, perhaps")
    return path.read_bytes()


def most_unpacked(num_bytes: int) -> int:
    """What a packed file of so many bytes may become: 256 MB, or a hundred times its size."""
    return max(_MOST_UNPACKED, _MOST_GROWTH * num_bytes)


_MOST_UNPACKED, _MOST_GROWTH = 256 << 20, 100
_TEMPORARY = ".new-"
_JUST_MADE = 60.0
"""Seconds within which a file may not be locked yet by the process that made it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` if no exception is raised.

    The file keeps the permissions of `path`, or gets those of a new file. Temporary files of
    processes that were killed while writing `path` are removed.
    """
    path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
    if path.exists() and not path.is_file():
        raise MamlaxError(f"{path} is not a regular file, and cannot be written over.")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    temporary = path.with_name(f".{path.name}{_TEMPORARY}{secrets.token_hex(4)}")
    # created as `open` creates files, so that the umask applies
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    lock = None
    try:
        lock = open_locked(temporary)  # tells other processes that the file is in use
        mode = stat.S_IMODE((path if path.exists() else temporary).stat().st_mode)
        temporary.chmod(mode | stat.S_IWUSR)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # without it a power cut may leave the renamed file empty
        temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        if lock is not None:
            os.close(lock)
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether `path` is a temporary file of `replacing`, left if its process was killed."""
    return path.name.startswith(".") and path.suffix.startswith(_TEMPORARY)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def open_locked(path: Path) -> int | None:
    """Lock a file or directory until the descriptor is closed or the process ends.

    Returns:
        The descriptor; None if locks are not supported: on Windows and some file systems.

    Raises:
        BlockingIOError: if another process holds the lock.
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
    """What to do if a file could not be written, as the start of a sentence."""
    message = str(error)
    if any(os.strerror(number) in message for number in (errno.ENOSPC, errno.EDQUOT)):
        return "Free some disk space"
    if any(os.strerror(number) in message for number in (errno.EACCES, errno.EPERM, errno.EROFS)):
        return "Give permission to write there"
    return "Fix this"


def _remove_stale(path: Path) -> None:
    """Remove temporary files of `path` that no process has locked, nor has just made."""
    for other in path.parent.glob(f".*{_TEMPORARY}*"):
        if other.name.startswith(f".{path.name}{_TEMPORARY}"):
            with suppress(OSError):  # locked, or already removed by another process
                if time.time() - other.stat().st_mtime < _JUST_MADE:
                    continue
                lock = open_locked(other)
                if lock is not None:
                    other.unlink(missing_ok=True)
                    os.close(lock)
