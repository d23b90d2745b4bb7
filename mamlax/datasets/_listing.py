"""List the files of a folder, a zip or a tar archive. Nothing is unpacked to disk."""

import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .._errors import MamlaxError
from ._cache import parent_of, place_of
from ._image_kinds import NUM_FIRST_BYTES, is_image, why_no_image
from ._tar import TAR_SUFFIXES, listed, open_tar, read_span

ARCHIVE_SUFFIXES = (".zip", *TAR_SUFFIXES)


class File(NamedTuple):
    """A file in a folder or an archive.

    Attributes:
        name: its path, beginning with the folder's name; in an archive, the path in the archive.
        stamp: a stamp that changes with the content.
        num_bytes: its size.
        root: the folder or archive.
        read: returns its content, up to so many bytes. Raises an OSError or a `BrokenFileError`.
        offset: its place in a compressed archive, which is fast to read only in this order.
        first_bytes: its first bytes, if they were seen when listing it.
    """

    name: str
    stamp: str
    num_bytes: int
    root: Path
    read: Callable[[int], bytes]
    offset: int = 0
    first_bytes: bytes | None = None


class BrokenFileError(MamlaxError):
    """One file is damaged. The others may be intact."""


class Sorted(NamedTuple):
    """Files, divided into images and others.

    Attributes:
        images: the images to read.
        left_out: name → reason, for the other files.
    """

    images: list[File]
    left_out: dict[str, str]


def sorted_out(files: Iterable[File]) -> Sorted:
    """Images and other files, each sorted by name."""
    images, left_out = [], {}
    for file in sorted(files, key=lambda file: file.name):
        if (why := _why_left_out(file)) is None:
            images.append(file)
        else:
            left_out[file.name] = why
    return Sorted(by_name(images), left_out)


def _why_left_out(file: File) -> str | None:
    if (why := why_no_image(file.name, file.first_bytes or b"")) is None or file.first_bytes:
        return why
    try:
        return why_no_image(file.name, file.read(NUM_FIRST_BYTES))
    except (OSError, BrokenFileError):
        return why


def files_of(
    root: Path, opened: ExitStack, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[File]:
    """The files of a root whose names are wanted. Hidden files (`.name`) are left out.

    In folders, links to files and folders are followed. Archives stay open until `opened` is
    closed.
    """
    if root.is_dir():
        return _files_of_folder(root, wanted)
    if not root.exists():
        raise MamlaxError(
            f"{root} does not exist: expected a folder or a zip or tar archive of images."
        )
    check_regular(root)
    if root.name.lower().endswith(TAR_SUFFIXES):
        return _files_of_tar(root, opened, wanted)
    try:
        archive = opened.enter_context(zipfile.ZipFile(root))
    except Exception as error:  # a damaged directory of files raises whatever comes of it
        raise MamlaxError(
            f"{root} is not a whole zip archive ({reason(error)}). If it should be one, fetch it "
            "again; else name a folder or a zip or tar archive of images."
        ) from error
    return _files_of_zip(root, archive, wanted)


def by_name(files: Iterable[File]) -> list[File]:
    """Files sorted by name, which must differ."""
    found: dict[str, File] = {}
    for file in files:
        if file.name in found:
            raise MamlaxError(
                f"two images have the name {file.name}: one in {found[file.name].root}, one in "
                f"{file.root}. Rename one, or its folder."
            )
        found[file.name] = file
    return [found[name] for name in sorted(found)]


def reason(error: Exception) -> str:
    """The message of an exception, or its name if it has no message."""
    return str(error) or type(error).__name__


def check_regular(path: Path) -> None:
    """Raise for a pipe, a device and similar files, which may be endless."""
    if not path.is_file():
        raise MamlaxError(
            f"{path} is no regular file (a pipe or a device, perhaps). Name a file or a folder."
        )


def _files_of_folder(root: Path, wanted: Callable[[str], bool]) -> Iterator[File]:
    # where from: two folders of one name may have files of the same sizes and dates
    place = place_of(root)
    for path in _paths_under(root, wanted):
        name = str(PurePosixPath(place.name, path.relative_to(root).as_posix()))
        read = partial(_read_regular, path)
        try:
            status = path.stat()
        except OSError:  # reading it will say why
            yield File(name, f"{place} unreadable", 0, root, read)
            continue
        # ctime too: copying with dates kept (cp -p, rsync -t) puts new content under an old date
        stamp = f"{place} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        yield File(name, stamp, status.st_size, root, read)


def _paths_under(
    folder: Path, wanted: Callable[[str], bool], above: tuple[Path, ...] = ()
) -> Iterator[Path]:
    """Like `rglob`, but follows links to folders, and says which folders it may not read."""
    try:
        real = folder.resolve()
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise MamlaxError(f"{folder} cannot be listed ({reason(error)}).") from error
    if real in above:
        return  # a link to a folder that it lies in
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _paths_under(path, wanted, (*above, real))
        elif wanted(path.name):
            yield path


def _read_regular(path: Path, most: int) -> bytes:
    """Up to so many bytes of a file. A pipe or a device is not read, nor waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no regular file")
    with open(path, "rb", opener=_open_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it is no regular file")
        return file.read(most)


def _open_without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # which Windows does not know


def _files_of_zip(
    root: Path, archive: zipfile.ZipFile, wanted: Callable[[str], bool]
) -> Iterator[File]:
    for entry in archive.infolist():
        path = _path_inside(root, entry.filename)
        if _is_wanted(path, wanted) and not entry.is_dir():
            stamp = f"{entry.CRC} {entry.file_size}"
            read = partial(_read_entry, root, archive, entry)
            yield File(str(path), stamp, entry.file_size, root, read)


def _read_entry(root: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    try:
        with archive.open(entry) as file:
            return file.read(most)
    except Exception as error:  # of zlib, bz2, lzma, …: damage may ask for any of them
        raise _unreadable(root, entry.filename, error) from error


def _files_of_tar(root: Path, opened: ExitStack, wanted: Callable[[str], bool]) -> Iterator[File]:
    status = root.stat()
    stamp = f"{place_of(root)} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    try:
        listing = listed(root, stamp, parent_of(root))
    except MamlaxError:
        raise
    except Exception as error:  # of tarfile, zlib, …: damage raises whatever comes of it
        raise MamlaxError(
            f"{root} is not a whole tar archive ({reason(error)}). Fetch it again, or unpack it "
            "otherwise and name the folder."
        ) from error
    content = opened.enter_context(open_tar(root))
    for member in listing:
        path = _path_inside(root, member.name)
        if not _is_wanted(path, wanted):
            continue
        if member.link_to is not None:
            if is_image(path.name):
                raise MamlaxError(
                    f"{root} has a link where an image should be ({member.name} → "
                    f"{member.link_to}). Unpack it and name the folder, or pack it anew with "
                    "`tar --dereference --hard-dereference`."
                )
            continue

        def read(most: int, member=member) -> bytes:
            try:
                return read_span(content, member.offset, member.size, most)
            except Exception as error:
                raise _unreadable(root, member.name, error) from error

        stamped = f"{stamp} {member.offset} {member.size}"
        yield File(
            str(path), stamped, member.size, root, read, member.offset, member.first_bytes or b"-"
        )


def _path_inside(root: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))  # as old Windows programs write
    if path.is_absolute() or ".." in path.parts:
        raise MamlaxError(
            f"{root} has an entry that would leave its folder ({name!r}). "
            "Delete the archive; it is not what it should be."
        )
    return path


def _is_wanted(path: PurePosixPath, wanted: Callable[[str], bool]) -> bool:
    return wanted(path.name) and not any(part.startswith(".") for part in path.parts)


def _unreadable(root: Path, name: str, error: Exception) -> BrokenFileError:
    return BrokenFileError(
        f"{root} cannot be read at {name} ({reason(error)}). Fetch it again, or unpack it "
        "otherwise and name the folder."
    )
