"""A cache of decoded data, as memory-mapped arrays beside the data.

An array is two files: `DIGEST.npy`, in NumPy's format, and `DIGEST.txt`, which describes it and is
written last. The digest covers everything that the array depends on.
"""

import hashlib
import io
import json
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._files import cache_directory, replacing
from ..tasks._class_arrays import ClassArrays, bounds_of

# beyond, reading all of it is what a memory map is there to avoid; then its length alone is checked
_MOST_CHECKED_BYTES = 2 << 30


class Contents(NamedTuple):
    """The content of the rows: the classes in order, the files left out, and remarks."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Rows:
    """Rows of one shape, written in any order to a file of NumPy's format."""

    def __init__(self, file: io.BufferedIOBase, place: Path | None):
        self.file, self.place = file, place
        self.shape: tuple[int, ...] | None = None

    def allocate(self, count: int, shape: tuple[int, ...]) -> None:
        """Allocate this many rows of this shape. Raises an OSError if the disk is full."""
        self.shape, self.num_bytes = shape, int(np.prod(shape))
        needed = count * self.num_bytes
        # before hours of decoding, not after
        if self.place is not None and shutil.disk_usage(self.place).free < needed:
            raise OSError(f"{self.place} has no room for {needed:,} bytes")
        self._write_header(count)

    def __setitem__(self, row: int, pixels: np.ndarray) -> None:
        self.file.seek(self.start + row * self.num_bytes)
        self.file.write(np.ascontiguousarray(pixels).data)

    def keep(self, rows: list[int]) -> None:
        """Keep only these rows, in ascending order, without gaps."""
        for new, old in enumerate(rows):
            if new != old:
                self.file.seek(self.start + old * self.num_bytes)
                row = self.file.read(self.num_bytes)
                self.file.seek(self.start + new * self.num_bytes)
                self.file.write(row)
        self._write_header(len(rows))  # as long as before: NumPy leaves room for more rows
        self.file.truncate(self.start + len(rows) * self.num_bytes)

    def _write_header(self, count: int) -> None:
        assert self.shape is not None
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *self.shape)}
        self.file.seek(0)
        np.lib.format.write_array_header_1_0(self.file, header)
        self.start = self.file.tell()


def place_of(root: Path) -> Path:
    """The full path of a root, so that `.` has a name."""
    return Path(os.path.abspath(root))


def parent_of(root: Path) -> Path:
    """The folder that contains this root; the cache is stored there."""
    return place_of(root).parent


def cached_arrays(
    key: str, beside: Path, make: Callable[[Rows], Contents]
) -> tuple[ClassArrays, Contents]:
    """The arrays that `make` writes, memory-mapped, and its description; made only if not cached.

    They are stored in `MAMLAX_CACHE` if it is set; otherwise in `.mamlax/` beside the data; if that
    cannot be written, in the user's cache directory; and otherwise in memory.
    """
    places = [place / _digest(key) for place in _places(beside)]
    for path in places:
        if (found := _read_arrays(path)) is not None:
            return found
    for path in places:
        # where it is read-only or full, another may do
        with suppress(OSError):
            _write_arrays(path, make)
            if (found := _read_arrays(path)) is not None:
                return found
    buffer = io.BytesIO()
    rows = Rows(buffer, None)
    contents = make(rows)
    examples = np.frombuffer(buffer.getbuffer(), np.uint8, offset=rows.start)
    examples = examples.reshape(-1, *(rows.shape or ()))
    return _with_bounds(examples, contents), contents


def cached_text_of(key: str, beside: Path, make: Callable[[], str]) -> str:
    """The text that `make` returns; made only if not cached. Stored like `cached_arrays`."""
    places = [place / f"{_digest(key)}.txt" for place in _places(beside)]
    for path in places:
        with suppress(Exception):
            return _read_text(path)
    text = make()
    for path in places:
        with suppress(OSError):
            _write_text(path, text)
            break
    return text


def _places(beside: Path) -> list[Path]:
    if os.environ.get("MAMLAX_CACHE"):
        return [cache_directory() / "images"]
    return [beside / ".mamlax", cache_directory() / "images"]


def _digest(key: str) -> str:
    # names need not be Unicode
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:24]


def _read_arrays(path: Path) -> tuple[ClassArrays, Contents] | None:
    try:
        about = json.loads(_read_text(path.with_suffix(".txt")))
        array = path.with_suffix(".npy")
        num_bytes = array.stat().st_size
        if num_bytes != about["num_bytes"]:
            return None
        if num_bytes <= _MOST_CHECKED_BYTES and _checksum(array) != about["crc32"]:
            return None
        contents = Contents(*(tuple(about[name]) for name in Contents._fields))
        examples = np.load(array, mmap_mode="r", allow_pickle=False)
        return _with_bounds(examples, contents), contents
    except Exception:  # whatever is wrong with a cache, it is only a slow start
        return None


def _write_arrays(path: Path, make: Callable[[Rows], Contents]) -> None:
    array = path.with_suffix(".npy")
    with replacing(array) as temporary:
        with temporary.open("w+b") as file:
            contents = make(Rows(file, path.parent))
        about = {
            **contents._asdict(),
            "num_bytes": temporary.stat().st_size,
            "crc32": _checksum(temporary),
        }
    _write_text(path.with_suffix(".txt"), json.dumps(about))


def _with_bounds(examples: np.ndarray, contents: Contents) -> ClassArrays:
    starts, sizes = bounds_of(contents.sizes)
    return ClassArrays(examples, starts, sizes, contents.names)


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _read_text(path: Path) -> str:
    digest, content = path.read_bytes().split(b"\n", 1)
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("damaged")
    return content.decode(errors="surrogateescape")


def _write_text(path: Path, text: str) -> None:
    content = text.encode(errors="surrogateescape")
    with replacing(path) as temporary:
        temporary.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
