"""Folders (or zips) of images to class-indexed arrays, decoded once and cached."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np

from .._errors import MamlaxError
from .._files import cache_directory, replacing
from ._few_shot import ClassArrays

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def image_classes(
    *roots: str | Path,
    size: int,
    color: bool = True,
    invert: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ClassArrays:
    """Read images into `[images, size, size, channels]` bytes, one class per folder with images.

    Images are resized with Lanczos' filter. The decoded arrays are cached (`MAMLAX_CACHE`, or the
    user's cache directory) under a digest of names, sizes and dates, so that a changed folder is
    read again.

    Args:
        roots: folders or zip archives. A class is named by its folder's path, the root's own name
            in front: `images_background/Greek/character01`.
        size: height and width to resize to, in pixels.
        color: three channels, or one of brightness.
        invert: 255 − value: strokes bright on black, for drawings in ink.
        progress: called with (images read, images in all) now and then.

    Raises:
        MamlaxError: if a root is missing, damaged or has no images, or an image cannot be read.
    """
    files = {}
    for root in roots:
        files.update(_files_of(Path(root)))
    if not files:
        raise MamlaxError(f"no images found in {', '.join(map(str, roots))}.")
    stamps = "".join(f"{name} {files[name][0]}\n" for name in sorted(files))
    digest = hashlib.sha256(f"{size} {color} {invert} 1\n{stamps}".encode()).hexdigest()[:24]
    cached = cache_directory() / "images" / f"{digest}.npz"
    if cached.exists():
        try:
            with np.load(cached) as arrays:
                return ClassArrays(
                    arrays["examples"],
                    arrays["starts"],
                    arrays["sizes"],
                    tuple(str(name) for name in arrays["names"]),
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # a damaged cache is only a slow start
    classes: dict[str, list[np.ndarray]] = {}
    for count, name in enumerate(sorted(files)):
        image = _decode(name, files[name][1], size, color, invert)
        classes.setdefault(str(PurePosixPath(name).parent), []).append(image)
        if progress is not None and (count % 100 == 0 or count == len(files) - 1):
            progress(count + 1, len(files))
    data = ClassArrays.of({name: np.stack(images) for name, images in classes.items()})
    with replacing(cached) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            examples=data.examples,
            starts=data.starts,
            sizes=data.sizes,
            names=np.array(data.names),
        )
    return data


_Reader = Callable[[], bytes]


def _files_of(root: Path) -> dict[str, tuple[str, _Reader]]:
    """Image name → (stamp that changes with its content, function that reads it)."""
    if root.is_dir():
        return dict(
            _folder_entry(root, path) for path in sorted(root.rglob("*")) if _is_image(path.name)
        )
    if not root.exists():
        raise MamlaxError(f"{root} does not exist.")
    try:
        archive = zipfile.ZipFile(root)
    except zipfile.BadZipFile as error:
        raise MamlaxError(
            f"{root} is not a whole zip archive ({error}). Delete it and fetch it again."
        ) from error
    entries = {}
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename:
            raise MamlaxError(
                f"{root} has an entry that would leave its folder ({entry.filename!r}). "
                "Delete the archive; it is not what it should be."
            )
        if _is_image(path.name):
            entries[entry.filename] = (
                f"{entry.CRC} {entry.file_size}",
                _zip_reader(archive, entry),
            )
    return entries


def _folder_entry(root: Path, path: Path) -> tuple[str, tuple[str, _Reader]]:
    status = os.stat(path)
    name = (PurePosixPath(root.name) / path.relative_to(root).as_posix()).as_posix()
    return name, (f"{status.st_size} {status.st_mtime_ns}", path.read_bytes)


def _zip_reader(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Reader:
    def read() -> bytes:
        try:
            return archive.read(entry)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise MamlaxError(
                f"{archive.filename} is damaged at {entry.filename} ({error}). "
                "Delete it and fetch it again."
            ) from error

    return read


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def _decode(name: str, read: _Reader, size: int, color: bool, invert: bool) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(read())) as image:
            image = image.convert("RGB" if color else "L")
            pixels = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise MamlaxError(f"the image {name} cannot be read ({error}).") from error
    pixels = pixels if color else pixels[:, :, None]
    return 255 - pixels if invert else pixels
