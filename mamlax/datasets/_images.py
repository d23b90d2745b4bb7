"""Read folders (or archives) of images as arrays sorted by class, decoded once and cached."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from .._errors import MamlaxError
from ..tasks._class_arrays import ClassArrays
from ._batches import decoded
from ._cache import Contents, Rows, cached_arrays, parent_of
from ._decoding import ImageSettings
from ._image_kinds import SUFFIXES
from ._listing import BrokenFileError, File, Sorted, files_of, sorted_out
from ._summary import Notes, in_groups, say_what_was_read


def image_classes(
    *roots: str | Path,
    size: int | None,
    color: bool = True,
    invert: bool = False,
    skip_broken: bool = False,
    gray_bits: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ClassArrays:
    """Read images into `[images, height, width, channels]` bytes, one class per folder of images.

    Images are rotated upright as their camera recorded (EXIF), and resized with a Lanczos filter to
    a square, whatever their aspect ratio, as is usual for mini-ImageNet. Transparent pixels become
    white. Gray values of more than eight bits are scaled to eight. Hidden files and folders
    (`.name`) are ignored, links to folders are followed, and archives are read without unpacking. A
    line on stderr says how many files there were, how many were read, and which were left out and
    why.

    Decoded images are stored as a memory map, under a digest of names, sizes and dates, so that a
    changed folder is read again. The map is in `MAMLAX_CACHE` if that is set, otherwise in
    `.mamlax/` beside the first root, otherwise in the user's cache directory. If none of these can
    be written, images are decoded each time.

    Args:
        roots: folders, zip or tar archives (`.tar`, `.tar.gz`, `.tgz`). The name of a class is the
            path of its folder, beginning with the root folder's name:
            `images_background/Greek/character01`. In an archive, it is the path in the archive.
            Folders with the same name in several roots are one class.
        size: height and width to resize to, in pixels. None: images are not resized; all must have
            one size.
        color: read three color channels; False: one channel of brightness.
        invert: invert to 255 − value, so that drawings in ink have bright strokes on black.
        skip_broken: leave out images that cannot be read.
        gray_bits: number of bits of gray values, for files of 16 bits or more that do not say it.
            None: as many as the brightest pixel of all images needs (8, 10, 12, 14, 16, ...).
        progress: called from time to time with (images read, total number of images).

    Raises:
        MamlaxError: if a root is missing, damaged or has no images, an image cannot be read, two
            images have the same name, or images differ in size and `size` is None.
    """
    check_size(size)
    check_bits(gray_bits)
    settings = ImageSettings(size, color, invert, skip_broken, gray_bits)
    with offering_to_skip():
        data, found, contents = _read(roots, settings, progress)
    say_what_was_read(map(Path, roots), found, contents)
    return data


def classes_of(
    roots: Iterable[str | Path],
    *,
    size: int,
    color: bool = True,
    invert: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ClassArrays:
    """`image_classes` for known data sets: nothing is skipped, and nothing is printed."""
    check_size(size)
    return _read(roots, ImageSettings(size, color, invert), progress)[0]


def _read(
    roots: Iterable[str | Path],
    settings: ImageSettings,
    progress: Callable[[int, int], None] | None,
) -> tuple[ClassArrays, Sorted, Contents]:
    paths = [Path(root) for root in roots]
    with ExitStack() as opened:
        found = sorted_out(file for root in paths for file in files_of(root, opened))
        if not found.images:
            raise no_images(*paths, left_out=found.left_out)
        classes: dict[str, list[File]] = {}
        for file in found.images:
            classes.setdefault(str(PurePosixPath(file.name).parent), []).append(file)
        data, contents = read_classes(classes, settings, parent_of(paths[0]), progress)
    return data, found, contents


@contextmanager
def offering_to_skip() -> Iterator[None]:
    """Add to the error about a broken image how to continue without it."""
    try:
        yield
    except BrokenFileError as error:
        raise MamlaxError(f"{error} To go on without broken images: skip_broken=True.") from error


def check_size(size: int | None) -> None:
    """Raise for sizes that no image can have."""
    if size is not None and size < 1:
        raise MamlaxError(f"the size of images must be positive, got {size} pixels.")


def check_bits(gray_bits: int | None) -> None:
    """Raise for numbers of bits that gray values cannot have."""
    if gray_bits is not None and not 8 <= gray_bits <= 32:
        raise MamlaxError(f"gray_bits must be 8 to 32, got {gray_bits}.")


def no_images(*roots: Path, left_out: Mapping[str, str] = MappingProxyType({})) -> MamlaxError:
    """The error that says what was expected in a folder, and what is there."""
    there = f" (there are {in_groups(left_out)})" if left_out else ""
    return MamlaxError(
        f"no images found in {', '.join(map(str, roots)) or 'no folder'}{there}: expected one "
        f"folder per class, of files that end in {', '.join(SUFFIXES)}."
    )


def read_classes(
    classes: dict[str, list[File]],
    settings: ImageSettings,
    beside: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ClassArrays, Contents]:
    """The images of each class, in the given order, from the cache if they are cached."""
    stamps = [(name, [(f.name, f.stamp) for f in files]) for name, files in classes.items()]
    # repr: names need not be Unicode, and may hold any separator
    key = repr((5, *settings, stamps))
    return cached_arrays(key, beside, lambda rows: _decode_all(rows, classes, settings, progress))


def _decode_all(
    rows: Rows,
    classes: dict[str, list[File]],
    settings: ImageSettings,
    progress: Callable[[int, int], None] | None,
) -> Contents:
    files = [file for members in classes.values() for file in members]
    first: File | None = None
    broken: set[int] = set()
    notes = Notes()
    # stable: folders and zips in order of their rows, compressed archives from start to end
    order = sorted(range(len(files)), key=lambda row: files[row].offset)
    for done, (row, image) in enumerate(decoded(files, order, settings), start=1):
        if progress is not None and (done % 100 == 1 or done == len(files)):
            progress(done, len(files))
        if image is None:
            broken.add(row)
            continue
        if first is None:
            first = files[row]
            rows.allocate(len(files), image.pixels.shape)
        elif image.pixels.shape != rows.shape:
            raise _mixed(first, rows.shape or (), files[row], image.pixels.shape)
        rows[row] = image.pixels
        notes.add(row, files[row].name, image)
    for levels, again in notes.to_scale_again():
        for row, image in decoded(files, again, settings, levels):
            if image is not None:
                rows[row] = image.pixels
    sizes = _sizes_without(broken, classes)
    if broken:
        rows.keep([row for row in range(len(files)) if row not in broken])
    left_out = tuple(files[row].name for row in sorted(broken))
    return Contents(tuple(classes), sizes, left_out, notes.in_words(settings.gray_bits))


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
