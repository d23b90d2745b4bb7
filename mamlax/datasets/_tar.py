"""List the members of a tar archive once, then read them by their offsets."""

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .._errors import MamlaxError
from ._cache import cached_text_of
from ._image_kinds import NUM_FIRST_BYTES, is_image

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
# a few megabytes of gzip may stand for gigabytes: of one header, or of millions of entries
_MOST_HEADER_BYTES = 1 << 20
_MOST_LISTED_BYTES = 1 << 28


class Member(NamedTuple):
    """A file or link in the archive.

    Attributes:
        name: its path in the archive.
        offset: offset of its content in the unpacked archive.
        size: size in bytes.
        first_bytes: its first bytes, if its name is not that of an image.
        link_to: the name it links to. None: it is a file.
    """

    name: str
    offset: int
    size: int
    first_bytes: bytes
    link_to: str | None


def listed(root: Path, stamp: str, beside: Path) -> list[Member]:
    """The members of an archive, from the cache if it was listed before.

    Args:
        root: the archive.
        stamp: a stamp that changes with its content.
        beside: the folder for the stored listing.

    Raises:
        MamlaxError: if it has more entries than any data set.
        Exception: of any type, if it is damaged.
    """
    # a compressed archive is unpacked from end to end to be listed: once is enough
    text = cached_text_of(f"tar 2 {stamp}", beside, lambda: _list_tar(root))
    return [_member_of(line) for line in text.split("\0\0") if line]


def open_tar(root: Path) -> io.BufferedIOBase:
    """The archive, decompressed while it is read."""
    content = root.open("rb")
    start = content.read(2)
    content.seek(0)
    if start != b"\x1f\x8b":
        return content
    content.close()
    return gzip.open(root, "rb")


def read_span(content: io.BufferedIOBase, offset: int, size: int, most: int) -> bytes:
    """Up to `most` bytes of the `size` bytes at an offset."""
    content.seek(offset)
    span = content.read(min(size, most))
    if len(span) < min(size, most):
        raise EOFError("it ends before the file does")
    return span


def _list_tar(root: Path) -> str:
    lines, length = [], 0
    with open_tar(root) as content:
        bounded = _Bounded(content)
        for member in _members(bounded):
            if not ((member.isreg() and not member.issparse()) or member.issym() or member.islnk()):
                continue
            first = b""
            if member.isreg() and not is_image(member.name):
                first = read_span(content, member.offset_data, member.size, NUM_FIRST_BYTES)
            link = "" if member.isreg() else f"\0{member.linkname}"
            if "\0" in member.name:
                raise ValueError("an entry's name has a zero byte in it")
            line = f"{member.offset_data} {member.size} {first.hex() or '-'} {member.name}{link}"
            lines.append(line)
            if (length := length + len(line)) > _MOST_LISTED_BYTES:
                raise MamlaxError(
                    f"{root} has more than {len(lines) - 1:,} entries. Unpack it, and name the "
                    "folder."
                )
        while content.read(1 << 20):  # to the checksum of what is compressed
            pass
    return "\0\0".join(lines)


def _member_of(line: str) -> Member:
    about, _, link = line.partition("\0")
    offset, size, first, name = about.split(" ", 3)
    first_bytes = b"" if first == "-" else bytes.fromhex(first)
    return Member(name, int(offset), int(size), first_bytes, link or None)


def _members(content: "_Bounded") -> Iterator[tarfile.TarInfo]:
    archive: Any = tarfile.TarFile(fileobj=content)  # pyright: ignore[reportArgumentType]
    with archive:
        while (member := archive.next()) is not None:
            archive.members = []  # else all of them stay in memory
            yield member
        content.seek(archive.offset)
        if content.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("it has no end mark")


class _Bounded:
    """A file as tarfile reads it, no header of which may take more than its place."""

    def __init__(self, content: io.BufferedIOBase):
        self.seek, self.tell, self._content = content.seek, content.tell, content

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_HEADER_BYTES:
            raise ValueError(f"a header of {size:,} bytes, at most {_MOST_HEADER_BYTES:,} are read")
        return self._content.read(size)
