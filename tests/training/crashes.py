"""Copies of a directory at each moment at which the process that writes it could be killed."""

import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHANGES = {
    *("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink"),
    *("os.chmod", "os.truncate"),
}
_watched: list[tuple[str, Path, dict[str, Path], threading.RLock]] = []
_hooked = False


@contextmanager
def moments(directory: Path, copies: Path) -> Iterator[list[Path]]:
    """Copies of `directory` before each change of a file in it, as a kill would leave it.

    Python calls its audit hooks for every file that it opens, renames or removes, in any thread.
    Equal copies are kept once. Changes by TensorStore itself are not seen; it makes
    them in temporary directories, from threads of its own that go on while a copy is made.

    Yields:
        The copies, complete when the context ends.
    """
    global _hooked
    if not _hooked:
        sys.addaudithook(_see)  # it cannot be removed
        _hooked = True
    found: dict[str, Path] = {}
    kept: list[Path] = []
    _watched.append((str(directory), copies, found, threading.RLock()))
    try:
        yield kept
    finally:
        _watched.clear()
        kept.extend(found.values())


def _see(event: str, arguments: tuple) -> None:
    if not _watched:
        return
    directory, copies, found, lock = _watched[0]
    if event == "open":
        _, _, flags = arguments
        is_change = bool(flags and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    else:
        is_change = event in CHANGES
    # shutil.rmtree gives names relative to an open directory
    names = [str(value) for value in arguments if isinstance(value, str | os.PathLike)]
    if is_change and any(name.startswith(directory) or not os.path.isabs(name) for name in names):
        with lock:
            _copy(Path(directory), copies, found)


def _copy(directory: Path, copies: Path, found: dict[str, Path]) -> None:
    if not directory.exists():
        return
    folders, files = _content(directory)
    digest = hashlib.sha256(repr((folders, sorted(files.items()))).encode()).hexdigest()
    if digest in found:
        return
    found[digest] = place = copies / f"{len(found):03d}"
    for name in ["", *folders]:
        (place / name).mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)


def _content(directory: Path) -> tuple[list[str], dict[str, bytes]]:
    """Folders in `directory`, and the bytes of its files; TensorStore's may vanish meanwhile."""
    folders, files = [], {}
    for parent, names, leaves in os.walk(directory):
        here = Path(parent)
        folders += [str((here / name).relative_to(directory)) for name in names]
        for leaf in leaves:
            with suppress(FileNotFoundError):
                files[str((here / leaf).relative_to(directory))] = (here / leaf).read_bytes()
    return sorted(folders), files
