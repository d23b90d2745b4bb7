"""Folders (or zips) of images to class-indexed arrays, decoded once and cached."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .._errors import MamlaxError
from .._files import cache_directory, replacing
from ._few_shot import ClassArrays

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# named, because some that Pillow knows are programs to run (EPS, by Ghostscript)
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
# more than the largest picture that Pillow decodes; a few bytes of a zip may claim any size
_MOST_BYTES = 1 << 30


def image_classes(
    *roots: str | Path,
    size: int,
    color: bool = True,
    invert: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ClassArrays:
    """Read images into `[images, size, size, channels]` bytes, one class per folder with images.

    Images are resized with Lanczos' filter; what is transparent becomes white. Hidden files and
    folders (`.name`) are left out, links to folders are followed. The decoded arrays are cached
    (`MAMLAX_CACHE`, or the user's cache directory) under a digest of names, sizes and dates, so
    that a changed folder is read again; where nothing can be written, images are decoded each time.

    Args:
        roots: folders or zip archives. A class is named by its folder's path, a root folder's own
            name in front: `images_background/Greek/character01`. In an archive, paths are as they
            stand. Folders of one name in several roots are one class.
        size: height and width to resize to, in pixels.
        color: three channels, or one of brightness.
        invert: 255 − value: strokes bright on black, for drawings in ink.
        progress: called with (images read, images in all) now and then.

    Raises:
        MamlaxError: if a root is missing, damaged or has no images, an image cannot be read, or
            two images have one name.
    """
    check_size(size)
    with ExitStack() as opened:
        files = _by_name(file for root in roots for file in _files_of(Path(root), opened))
        if not files:
            raise MamlaxError(
                f"no images found in {', '.join(map(str, roots)) or 'no folder'}: expected one "
                f"folder per class, of files that end in {', '.join(_SUFFIXES)}."
            )
        # repr: names need not be Unicode, and may hold any separator
        key = repr((2, size, color, invert, [(file.name, file.stamp) for file in files]))
        digest = hashlib.sha256(key.encode()).hexdigest()[:24]
        cached = cache_directory() / "images" / f"{digest}.npz"
        data = _read_cached(cached)
        if data is None:
            data = _decode_all(files, size, color, invert, progress)
            _write_cached(cached, data)
    return data


def check_size(size: int) -> None:
    """Refuse sizes that no image can have."""
    if size < 1:
        raise MamlaxError(f"the size of images must be positive, got {size} pixels.")


class _File(NamedTuple):
    name: str
    stamp: str  # changes with the content
    num_bytes: int
    root: Path
    read: Callable[[], bytes]


def _by_name(files: Iterable[_File]) -> list[_File]:
    found: dict[str, _File] = {}
    for file in files:
        if file.name in found:
            raise MamlaxError(
                f"two images have the name {file.name}: one in {found[file.name].root}, one in "
                f"{file.root}. Rename one, or its folder."
            )
        found[file.name] = file
    return [found[name] for name in sorted(found)]


def _files_of(root: Path, opened: ExitStack) -> Iterator[_File]:
    if root.is_dir():
        return _files_of_folder(root)
    if not root.exists():
        raise MamlaxError(f"{root} does not exist: expected a folder or a zip archive of images.")
    try:
        archive = opened.enter_context(zipfile.ZipFile(root))
    except Exception as error:  # a damaged directory of files raises whatever comes of it
        raise MamlaxError(
            f"{root} is not a whole zip archive ({_reason(error)}). If it should be one, fetch it "
            "again; else name a folder or a zip archive of images."
        ) from error
    return _files_of_zip(root, archive)


def _files_of_folder(root: Path) -> Iterator[_File]:
    # where from: two folders of one name may have files of the same sizes and dates
    place = Path(os.path.abspath(root))
    for path in _images_under(root):
        try:
            status = path.stat()
        except OSError as error:
            raise MamlaxError(f"the image {path} cannot be read ({_reason(error)}).") from error
        name = PurePosixPath(place.name, path.relative_to(root).as_posix())
        # ctime too: copying with dates kept (cp -p, rsync -t) puts new content under an old date
        stamp = f"{place} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        yield _File(str(name), stamp, status.st_size, root, path.read_bytes)


def _images_under(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Like `rglob`, but follows links to folders, and says what it may not look into."""
    try:
        real = folder.resolve()
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise MamlaxError(f"{folder} cannot be listed ({_reason(error)}).") from error
    if real in above:
        return  # a link to a folder that it lies in
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _images_under(path, (*above, real))
        elif _is_image(path.name):
            yield path


def _files_of_zip(root: Path, archive: zipfile.ZipFile) -> Iterator[_File]:
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))  # as old Windows programs write
        if path.is_absolute() or ".." in path.parts:
            raise MamlaxError(
                f"{root} has an entry that would leave its folder ({entry.filename!r}). "
                "Delete the archive; it is not what it should be."
            )
        hidden = any(part.startswith(".") for part in path.parts)
        if _is_image(path.name) and not hidden and not entry.is_dir():
            stamp = f"{entry.CRC} {entry.file_size}"
            read = partial(_read_entry, root, archive, entry)
            yield _File(str(path), stamp, entry.file_size, root, read)


def _read_entry(root: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(entry)
    except Exception as error:  # of zlib, bz2, lzma, …: damage may ask for any of them
        raise MamlaxError(
            f"{root} cannot be read at {entry.filename} ({_reason(error)}). Fetch it again, or "
            "unpack it otherwise and name the folder."
        ) from error


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES)


def _read_cached(path: Path) -> ClassArrays | None:
    try:
        # opened here: np.load leaves a damaged file open
        with path.open("rb") as file, np.load(file) as arrays:
            return ClassArrays(
                arrays["examples"],
                arrays["starts"],
                arrays["sizes"],
                tuple(str(name) for name in arrays["names"]),
            )
    except Exception:  # whatever is wrong with a cache, it is only a slow start
        return None


def _write_cached(path: Path, data: ClassArrays) -> None:
    # where it is read-only or full, the next start is slow too, and nothing else
    with suppress(OSError), replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            examples=data.examples,
            starts=data.starts,
            sizes=data.sizes,
            names=np.array(data.names),
        )


def _decode_all(
    files: list[_File],
    size: int,
    color: bool,
    invert: bool,
    progress: Callable[[int, int], None] | None,
) -> ClassArrays:
    classes: dict[str, list[_File]] = {}
    for file in files:
        classes.setdefault(str(PurePosixPath(file.name).parent), []).append(file)
    # one array from the start: with lists of images, twice the data would be in memory
    examples = np.empty((len(files), size, size, 3 if color else 1), np.uint8)
    for index, file in enumerate(file for members in classes.values() for file in members):
        examples[index] = _decode(file, size, color, invert)
        if progress is not None and (index % 100 == 0 or index == len(files) - 1):
            progress(index + 1, len(files))
    sizes = np.array([len(members) for members in classes.values()], np.int32)
    starts = (np.cumsum(sizes) - sizes).astype(np.int32)
    return ClassArrays(examples, starts, sizes, tuple(classes))


def _decode(file: _File, size: int, color: bool, invert: bool) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    if file.num_bytes > _MOST_BYTES:
        raise _unreadable(
            file, f"it has {file.num_bytes:,} bytes, at most {_MOST_BYTES:,} are read"
        )
    try:
        content = file.read()
    except OSError as error:
        raise _unreadable(file, _reason(error)) from error
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            image = _in_bytes(image, color)
            pixels = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    except UnidentifiedImageError as error:
        raise _unreadable(file, f"it is none of {', '.join(_FORMATS)}") from error
    except Exception as error:  # decoders raise whatever damage makes of their input
        raise _unreadable(file, _reason(error)) from error
    pixels = pixels if color else pixels[:, :, None]
    return 255 - pixels if invert else pixels


def _unreadable(file: _File, reason: str) -> MamlaxError:
    return MamlaxError(
        f"the image {file.name} cannot be read ({reason}). Mend or remove it in {file.root}."
    )


def _in_bytes(image: "Image", color: bool) -> "Image":
    """`convert` to three channels or one, where it would lose the picture."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits: all above 255 would become white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        # black strokes on nothing would become black on black
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB" if color else "L")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
