"""Folders (or archives) of images to class-indexed arrays, decoded once and cached."""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from .._cores import num_cores
from .._errors import MamlaxError
from ..tasks._class_arrays import ClassArrays
from ._cache import Contents, Rows, cached_arrays, parent_of
from ._decoding import content_of, decode
from ._listing import SUFFIXES, BrokenFileError, File, by_name, files_of

_FILES_AT_ONCE = 64


def image_classes(
    *roots: str | Path,
    size: int | None,
    color: bool = True,
    invert: bool = False,
    skip_broken: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ClassArrays:
    """Read images into `[images, height, width, channels]` bytes, one class per folder of images.

    Images are resized with Lanczos' filter, to a square whatever their aspect ratio, as is usual
    for mini-ImageNet; what is transparent becomes white. Hidden files and folders (`.name`) are
    left out, links to folders are followed, archives are read as they are.

    What was decoded is kept as a memory map, under a digest of names, sizes and dates, so that a
    changed folder is read again: in `MAMLAX_CACHE` where that is set, else in `.mamlax/` beside the
    first root, else in the user's cache directory. Where nothing can be written, images are decoded
    each time.

    Args:
        roots: folders, zip or tar archives (`.tar`, `.tar.gz`, `.tgz`). A class is named by its
            folder's path, a root folder's own name in front: `images_background/Greek/character01`.
            In an archive, paths are as they stand. Folders of one name in several roots are one
            class.
        size: height and width to resize to, in pixels. None: as they are, all of one size.
        color: three channels, or one of brightness.
        invert: 255 − value: strokes bright on black, for drawings in ink.
        skip_broken: leave out images that cannot be read; a line on stderr names them.
        progress: called with (images read, images in all) now and then.

    Raises:
        MamlaxError: if a root is missing, damaged or has no images, an image cannot be read, two
            images have one name, or images differ in size where `size` is None.
    """
    with offering_to_skip():
        return classes_of(
            roots,
            size=size,
            color=color,
            invert=invert,
            skip_broken=skip_broken,
            progress=progress,
        )


def classes_of(
    roots: Iterable[str | Path],
    *,
    size: int | None,
    color: bool = True,
    invert: bool = False,
    skip_broken: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ClassArrays:
    """`image_classes`, for callers without `skip_broken`: no error mentions it."""
    check_size(size)
    paths = [Path(root) for root in roots]
    settings = ImageSettings(size, color, invert, skip_broken)
    with ExitStack() as opened:
        files = by_name(file for root in paths for file in files_of(root, opened))
        if not files:
            raise no_images(*paths)
        classes: dict[str, list[File]] = {}
        for file in files:
            classes.setdefault(str(PurePosixPath(file.name).parent), []).append(file)
        return read_classes(classes, settings, parent_of(paths[0]), progress)


class ImageSettings(NamedTuple):
    """How images become arrays; see `image_classes`."""

    size: int | None
    color: bool = True
    invert: bool = False
    skip_broken: bool = False


@contextmanager
def offering_to_skip() -> Iterator[None]:
    """Add to the error of a broken image how to go on without it."""
    try:
        yield
    except BrokenFileError as error:
        raise MamlaxError(f"{error} To go on without broken images: skip_broken=True.") from error


def check_size(size: int | None) -> None:
    """Refuse sizes that no image can have."""
    if size is not None and size < 1:
        raise MamlaxError(f"the size of images must be positive, got {size} pixels.")


def no_images(*roots: Path) -> MamlaxError:
    """The error that says what was expected of a folder."""
    return MamlaxError(
        f"no images found in {', '.join(map(str, roots)) or 'no folder'}: expected one folder per "
        f"class, of files that end in {', '.join(SUFFIXES)}."
    )


def read_classes(
    classes: dict[str, list[File]],
    settings: ImageSettings,
    beside: Path,
    progress: Callable[[int, int], None] | None = None,
) -> ClassArrays:
    """The images of each class, in the order given, from the cache where they are in one."""
    stamps = [(name, [(f.name, f.stamp) for f in files]) for name, files in classes.items()]
    # repr: names need not be Unicode, and may hold any separator
    key = repr((3, *settings, stamps))
    data, left_out = cached_arrays(
        key, beside, lambda rows: _decode_all(rows, classes, settings, progress)
    )
    if left_out:
        shown = ", ".join(left_out[:5]) + (", …" if len(left_out) > 5 else "")
        print(f"left out {len(left_out)} broken image(s): {shown}", file=sys.stderr)
    return data


def _decode_all(
    rows: Rows,
    classes: dict[str, list[File]],
    settings: ImageSettings,
    progress: Callable[[int, int], None] | None,
) -> Contents:
    files = [file for members in classes.values() for file in members]
    first: File | None = None
    broken: set[int] = set()
    # stable: folders and zips in order of their rows, compressed archives from start to end
    order = sorted(range(len(files)), key=lambda row: files[row].offset)
    for done, (row, pixels) in enumerate(_decoded(files, order, settings), start=1):
        if progress is not None and (done % 100 == 1 or done == len(files)):
            progress(done, len(files))
        if pixels is None:
            broken.add(row)
        elif first is None:
            first = files[row]
            rows.allocate(len(files), pixels.shape)
            rows[row] = pixels
        elif pixels.shape == rows.shape:
            rows[row] = pixels
        else:
            raise _mixed(first, rows.shape or (), files[row], pixels.shape)
    sizes = _sizes_without(broken, classes)
    if broken:
        rows.keep([row for row in range(len(files)) if row not in broken])
    return Contents(tuple(classes), sizes, tuple(files[row].name for row in sorted(broken)))


def _decoded(
    files: list[File], order: list[int], settings: ImageSettings
) -> Iterator[tuple[int, np.ndarray | None]]:
    """Rows and their pixels; None for a broken image to skip. Read in order, decoded at once."""
    size, color, invert, skip_broken = settings

    def content(row: int) -> bytes | None:
        try:
            return content_of(files[row])
        except BrokenFileError:
            if not skip_broken:
                raise
            return None

    def pixels(row: int, content: bytes | None) -> np.ndarray | None:
        try:
            return None if content is None else decode(files[row], content, size, color, invert)
        except BrokenFileError:
            if not skip_broken:
                raise
            return None

    rest = iter(order)
    with ThreadPoolExecutor(min(num_cores(), 16)) as pool:
        while rows := list(islice(rest, _FILES_AT_ONCE)):
            contents = [content(row) for row in rows]
            yield from zip(rows, pool.map(pixels, rows, contents), strict=True)


def _sizes_without(broken: set[int], classes: dict[str, list[File]]) -> tuple[int, ...]:
    sizes, row = [], 0
    for name, files in classes.items():
        left = sum(index not in broken for index in range(row, row + len(files)))
        row += len(files)
        if not left:
            raise MamlaxError(
                f"class {name!r} has {len(files)} image(s), and none can be read. "
                "Mend or remove its folder."
            )
        sizes.append(left)
    return tuple(sizes)


def _mixed(one: File, one_shape: tuple, other: File, other_shape: tuple) -> MamlaxError:
    def described(file, shape):
        return f"{file.name} has {shape[1]}×{shape[0]} pixels"

    return MamlaxError(
        f"images must have one size: {described(one, one_shape)}, {described(other, other_shape)}. "
        "Give a size to resize all of them to: size=84."
    )
