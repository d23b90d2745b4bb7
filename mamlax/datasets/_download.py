"""Find data sets, and download missing ones from their publishers."""

import hashlib
import http.client
import os
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

from .._errors import MamlaxError
from .._files import cache_directory, replacing
from ._progress import Progress


class Download(NamedTuple):
    """A publisher's file.

    Attributes:
        url: address of the file.
        md5: md5 of its content.
        place: its path in the data directory, e.g. `omniglot/images_background.zip`.
    """

    url: str
    md5: str
    place: str

    def by_hand(self, path: Path) -> str:
        """Instructions for a machine without network."""
        return (
            f"On a machine without network, fetch {self.url} elsewhere, put it at {path}, or name "
            f"a folder that has {self.place} by data_dir or MAMLAX_DATA."
        )

    def fetch(self, path: Path) -> None:
        """Download to `path`: the whole file with the right md5, or nothing."""
        digest, received = hashlib.md5(usedforsecurity=False), 0
        try:
            with urllib.request.urlopen(self.url, timeout=30) as response:
                # stays on the screen, unlike the bar: nothing comes from the network unseen
                print(f"downloading {self.url} to {path}", file=sys.stderr)
                length = response.headers.get("Content-Length") or ""
                total = int(length) if length.isdecimal() else 0
                with (
                    replacing(path) as temporary,
                    temporary.open("wb") as file,
                    Progress(f"downloading {path.name}") as progress,
                ):
                    while chunk := response.read(1 << 16):
                        file.write(chunk)
                        digest.update(chunk)
                        received += len(chunk)
                        progress(received, total)
                    if digest.hexdigest() != self.md5:
                        raise MamlaxError(
                            f"{self.url} gave {received} bytes with md5 {digest.hexdigest()}, "
                            f"expected {self.md5}: the download is broken or the file has changed. "
                            f"Nothing was kept. {self.by_hand(path)}"
                        )
        except (OSError, http.client.HTTPException) as error:
            raise MamlaxError(
                f"{self.url} could not be downloaded to {path} ({error}). {self.by_hand(path)}"
            ) from error


def data_directory(data_dir: str | Path | None = None) -> Path:
    """The folder with one folder per data set: the argument, `MAMLAX_DATA`, or the user's cache."""
    chosen = data_dir or os.environ.get("MAMLAX_DATA")
    return Path(chosen).expanduser() if chosen else cache_directory() / "data"


def folder_of(directory: Path, name: str, *contents: str) -> Path:
    """`name/` in the data directory, or the directory itself if it is that folder.

    The right folder is the one that has some of `contents`, files or folders.
    """
    if os.path.isfile(directory):
        raise MamlaxError(
            f"{directory} is a file. Name the folder that has {name}/ in it by data_dir or "
            "MAMLAX_DATA."
        )
    folder = directory / name
    named_itself = not os.path.exists(folder) and first_existing(directory, *contents)
    return directory if named_itself else folder


def first_existing(folder: Path, *names: str) -> Path | None:
    """The first of these files or folders that exists."""
    # os.path: a folder that may not be looked into has nothing for us, and is no traceback
    return next(filter(os.path.exists, (folder / name for name in names)), None)


def found_or_fetched(folder: Path, download: Download, *names: str) -> Path:
    """The first of `names` that is in the folder, or else the publisher's file, downloaded."""
    if found := first_existing(folder, *names):
        return found
    archive = folder / Path(download.place).name
    # before the download, which makes folders: a mistyped name is to be seen
    absent = next((p for p in (folder.parent, folder) if not os.path.exists(p)), None)
    try:
        download.fetch(archive)
    except MamlaxError as error:
        place = f"{absent} does not exist" if absent else f"{folder} has no {archive.name}"
        raise MamlaxError(f"{place}, and {error}") from error
    return archive
