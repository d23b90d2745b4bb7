"""The files of a folder or of a zip or tar archive, alike: nothing is unpacked to disk."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .._errors import MamlaxError
from ._cache import cached_text_of, parent_of, place_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
ARCHIVE_SUFFIXES = (".zip", *TAR_SUFFIXES)


class File(NamedTuple):
    """A file in a folder or an archive.

    Attributes:
        name: its path, with a folder's own name in front; in an archive as it stands there.
        stamp: changes with the content.
        num_bytes: its size.
        root: the folder or archive.
        read: gives its content. Raises an OSError or a `BrokenFileError`.
        offset: where it lies in a compressed archive, which is quick to read in this order only.
    """

    name: str
    stamp: str
    num_bytes: int
    root: Path
    read: Callable[[], bytes]
    offset: int = 0


class BrokenFileError(MamlaxError):
    """One file is damaged; the others may be good."""


def is_image(name: str) -> bool:
    """Whether a file is called as an image is."""
    return name.lower().endswith(SUFFIXES)


def files_of(
    root: Path, opened: ExitStack, wanted: Callable[[str], bool] = is_image
) -> Iterator[File]:
    """The files of a root whose names are wanted; hidden ones (`.name`) and links are left out.

    Links to files and folders are followed in folders. Archives stay open until `opened` is closed.
    """
    if root.is_dir():
        return _files_of_folder(root, wanted)
    if not root.exists():
        raise MamlaxError(
            f"{root} does not exist: expected a folder or a zip or tar archive of images."
        )
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
    """What an exception says, or is called where it says nothing."""
    return str(error) or type(error).__name__


def _files_of_folder(root: Path, wanted: Callable[[str], bool]) -> Iterator[File]:
    # where from: two folders of one name may have files of the same sizes and dates
    place = place_of(root)
    for path in _paths_under(root, wanted):
        name = str(PurePosixPath(place.name, path.relative_to(root).as_posix()))
        try:
            status = path.stat()
        except OSError:  # reading it will say why
            yield File(name, f"{place} unreadable", 0, root, path.read_bytes)
            continue
        # ctime too: copying with dates kept (cp -p, rsync -t) puts new content under an old date
        stamp = f"{place} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        yield File(name, stamp, status.st_size, root, path.read_bytes)


def _paths_under(
    folder: Path, wanted: Callable[[str], bool], above: tuple[Path, ...] = ()
) -> Iterator[Path]:
    """Like `rglob`, but follows links to folders, and says what it may not look into."""
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


def _files_of_zip(
    root: Path, archive: zipfile.ZipFile, wanted: Callable[[str], bool]
) -> Iterator[File]:
    for entry in archive.infolist():
        path = _path_inside(root, entry.filename)
        if _is_wanted(path, wanted) and not entry.is_dir():
            stamp = f"{entry.CRC} {entry.file_size}"
            read = partial(_read_entry, root, archive, entry)
            yield File(str(path), stamp, entry.file_size, root, read)


def _read_entry(root: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(entry)
    except Exception as error:  # of zlib, bz2, lzma, …: damage may ask for any of them
        raise _unreadable(root, entry.filename, error) from error


def _files_of_tar(root: Path, opened: ExitStack, wanted: Callable[[str], bool]) -> Iterator[File]:
    status = root.stat()
    stamp = f"{place_of(root)} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    # a compressed archive is unpacked from end to end to be listed: once is enough
    listing = cached_text_of(f"tar {stamp}", parent_of(root), partial(_list_tar, root))
    content = opened.enter_context(_open_tar(root))
    for line in filter(None, listing.split("\0")):
        offset, size, name = line.split(" ", 2)
        path = PurePosixPath(name)
        if _is_wanted(path, wanted):
            read = partial(_read_span, root, content, int(offset), int(size), name)
            yield File(name, f"{stamp} {offset} {size}", int(size), root, read, int(offset))


def _list_tar(root: Path) -> str:
    """`offset size name` of every file, each followed by a zero byte."""
    try:
        with _open_tar(root) as content, tarfile.open(fileobj=content, mode="r:") as archive:
            members = [(member, _path_inside(root, member.name)) for member in archive]
            content.seek(archive.offset)
            if content.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise EOFError("it has no end mark")
            while content.read(1 << 20):  # to the checksum of what is compressed
                pass
    except MamlaxError:
        raise
    except Exception as error:  # of tarfile, zlib, …: damage raises whatever comes of it
        raise MamlaxError(
            f"{root} is not a whole tar archive ({reason(error)}). Fetch it again, or unpack it "
            "otherwise and name the folder."
        ) from error
    for member, path in members:
        if (member.issym() or member.islnk()) and is_image(path.name):
            raise MamlaxError(
                f"{root} has a link where an image should be ({member.name} → "
                f"{member.linkname}). Unpack it and name the folder, or pack it anew with "
                "`tar --dereference --hard-dereference`."
            )
    files = [
        f"{member.offset_data} {member.size} {path}\0"
        for member, path in members
        if member.isreg() and not member.issparse()
    ]
    return "".join(files)


def _open_tar(root: Path) -> io.BufferedIOBase:
    content = root.open("rb")
    start = content.read(2)
    content.seek(0)
    if start != b"\x1f\x8b":
        return content
    content.close()
    return gzip.open(root, "rb")


def _read_span(root: Path, content: io.BufferedIOBase, offset: int, size: int, name: str) -> bytes:
    try:
        content.seek(offset)
        span = content.read(size)
    except Exception as error:
        raise _unreadable(root, name, error) from error
    if len(span) < size:
        raise _unreadable(root, name, EOFError("it ends before the file does"))
    return span


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
