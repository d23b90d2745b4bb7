"""`.npz` files of known arrays; errors name the file and a remedy."""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .._errors import MamlaxError
from .._files import bytes_of, most_unpacked, replacing

_DAMAGE = (ValueError, KeyError, EOFError, RuntimeError, struct.error, zlib.error)
"""What NumPy and zipfile raise if a file is damaged."""


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an `.npz`, atomically."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


@contextmanager
def arrays_in(path: Path, remedy: str) -> Iterator[dict[str, np.ndarray]]:
    """The arrays of an `.npz`; errors raised in the context are reported as damage of the file.

    Args:
        path: the file.
        remedy: a sentence on what to do if it is damaged.

    Raises:
        MamlaxError: if the file cannot be read, or is damaged.
    """
    try:
        content = bytes_of(path)
    except OSError as error:
        raise MamlaxError(f"{path} could not be read ({error}).") from error
    try:
        yield unpacked(io.BytesIO(content), len(content))
    except (*_DAMAGE, zipfile.BadZipFile) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error).removesuffix(".")
        raise MamlaxError(
            f"{path} is damaged, or was written by another version of mamlax: {why}. {remedy}"
        ) from error


def unpacked(file: io.BufferedIOBase, num_bytes: int) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` of so many bytes, none of which is a pickle.

    Raises:
        ValueError: if it would become too large by what it says of itself, before any array is
            read; damage raises whatever comes of it.
    """
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no archive of arrays, or cut off")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > most_unpacked(num_bytes):
            raise ValueError(
                f"it holds {total >> 20:,} MB, though it has {num_bytes >> 20:,} MB itself: it is "
                "damaged, or made to fill the memory; if it is meant, save it uncompressed"
            )
        for member in members:
            if _stated_bytes(archive, member) > member.file_size:
                raise ValueError(f"{member.filename} is cut off, or states a wrong size")
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def _stated_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """What an array would take by its header."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"an array has NumPy's format {version}, which is none of numbers")
        shape, _, kind = _HEADERS[version](file)
    return math.prod(shape) * kind.itemsize


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def check_shape(name: str, array: np.ndarray, axes: str, sizes: dict[str, int]) -> None:
    """Check that an array holds numbers and has a shape.

    Args:
        name: the array's name.
        array: the array.
        axes: the name of each axis, e.g. `"tasks steps"`; a number is a size, and `...` at the end
            stands for any further axes.
        sizes: the sizes of axes known so far; those of new axes are added to it.

    Raises:
        ValueError: saying what is wrong.
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {array.dtype}, not numbers")
    names, shape = axes.split(), array.shape
    if names[-1] == "...":
        names, shape = names[:-1], shape[: len(names) - 1]
    fits = len(shape) == len(names) and all(
        size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size))
        for axis, size in zip(names, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} has the shape {array.shape}, which is not [{axes}]")
