"""Omniglot: 1,623 handwritten characters, 20 drawings of each (Lake et al. 2015)."""

import hashlib
import http.client
import os
import sys
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError
from .._files import cache_directory, replacing
from ._few_shot import ClassArrays
from ._images import check_size, image_classes

_URL = "https://github.com/brendenlake/omniglot/raw/master/python/"
_MD5 = {
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
_NUM_CHARACTERS = {"images_background": 964, "images_evaluation": 659}
_NUM_DRAWINGS = 20


class Splits(NamedTuple):
    """Classes for meta-training, for choosing a checkpoint, and held out for the result."""

    train: ClassArrays
    validation: ClassArrays
    test: ClassArrays


def omniglot(data_dir: str | Path | None = None, *, size: int = 28, split_seed: int = 1) -> Splits:
    """Omniglot as `[images, size, size, 1]` bytes, strokes bright, split by character.

    Background and evaluation characters are pooled and 1,100 drawn at random for meta-training,
    100 for validation, the remaining 423 for meta-test, as in Finn et al. (2017). The draw sorts
    the characters by a hash of seed and name, so that it is the same everywhere, always.

    Args:
        data_dir: a folder holding `omniglot/`, in which the publisher's `images_background.zip`
            and `images_evaluation.zip` lie, or their unpacked folders. Default: the environment
            variable `MAMLAX_DATA`, else the user's cache directory. What is missing is downloaded
            there from the publisher, checked by md5; a line on stderr says so.
        size: height and width, in pixels.
        split_seed: which random split.

    Returns:
        `Splits(train, validation, test)` of 1,100, 100 and 423 classes.

    Raises:
        MamlaxError: if the data is damaged, incomplete, or cannot be downloaded.

    References:
        Lake, Salakhutdinov & Tenenbaum, Human-level concept learning through probabilistic
        program induction, Science 2015.
    """
    check_size(size)
    folder = _folder_of(data_directory(data_dir))
    roots = {name: _find_or_download(folder, name) for name in _MD5}
    data = _joined([_read_part(root, folder, name, size) for name, root in roots.items()])
    order = sorted(
        range(len(data.names)),
        key=lambda i: hashlib.sha256(f"{split_seed}/{data.names[i]}".encode()).digest(),
    )
    return Splits(
        data.select(order[:1100]), data.select(order[1100:1200]), data.select(order[1200:])
    )


def data_directory(data_dir: str | Path | None = None) -> Path:
    """The folder with one folder per data set: the argument, `MAMLAX_DATA`, or the user's cache."""
    chosen = data_dir or os.environ.get("MAMLAX_DATA")
    return Path(chosen).expanduser() if chosen else cache_directory() / "data"


def _folder_of(directory: Path) -> Path:
    """`omniglot/` in the data directory, or that itself where it was named by mistake."""
    if os.path.isfile(directory):
        raise MamlaxError(
            f"{directory} is a file. Name the folder that has omniglot/ in it by --data-dir or "
            "MAMLAX_DATA."
        )
    folder = directory / "omniglot"
    named_itself = not os.path.exists(folder) and any(_find(directory, name) for name in _MD5)
    return directory if named_itself else folder


def _find(folder: Path, name: str) -> Path | None:
    # os.path: a folder that may not be looked into has nothing for us, and is no traceback
    return next(filter(os.path.exists, (folder / name, folder / f"{name}.zip")), None)


def _find_or_download(folder: Path, name: str) -> Path:
    if found := _find(folder, name):
        return found
    archive = folder / f"{name}.zip"
    # before the download, which makes folders: a mistyped name is to be seen
    absent = next((p for p in (folder.parent, folder) if not os.path.exists(p)), None)
    try:
        _download(_URL + archive.name, archive, _MD5[name])
    except MamlaxError as error:
        place = f"{absent} does not exist" if absent else f"{folder} has no {name}.zip"
        raise MamlaxError(f"{place}, and {error}") from error
    return archive


def _download(url: str, path: Path, md5: str) -> None:
    digest, received = hashlib.md5(usedforsecurity=False), 0
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            # stays on the screen, unlike the bar: nothing comes from the network unseen
            print(f"downloading {url} to {path}", file=sys.stderr)
            length = response.headers.get("Content-Length") or ""
            total = int(length) if length.isdecimal() else 0
            with (
                replacing(path) as temporary,
                temporary.open("wb") as file,
                _Progress(f"downloading {path.name}") as progress,
            ):
                while chunk := response.read(1 << 16):
                    file.write(chunk)
                    digest.update(chunk)
                    received += len(chunk)
                    progress(received, total)
                if digest.hexdigest() != md5:
                    raise MamlaxError(
                        f"{url} gave {received} bytes with md5 {digest.hexdigest()}, expected "
                        f"{md5}: the download is broken or the file has changed. Nothing was kept. "
                        f"{_by_hand(url, path)}"
                    )
    except (OSError, http.client.HTTPException) as error:
        raise MamlaxError(
            f"{url} could not be downloaded to {path} ({error}). {_by_hand(url, path)}"
        ) from error


def _by_hand(url: str, path: Path) -> str:
    return (
        f"On a machine without network, fetch {url} elsewhere, put it at {path}, or name a folder "
        f"that has omniglot/{path.name} by --data-dir or MAMLAX_DATA."
    )


def _read_part(root: Path, folder: Path, name: str, size: int) -> ClassArrays:
    """The characters of `images_background` or `images_evaluation`, all of them or none."""
    url = f"{_URL}{name}.zip"
    advice = (
        f"Delete {root}: what is missing is downloaded from {url}. "
        f"{_by_hand(url, folder / f'{name}.zip')}"
    )
    try:
        with _Progress(f"reading {root.name}") as progress:
            data = image_classes(root, size=size, color=False, invert=True, progress=progress)
    except MamlaxError as error:
        raise MamlaxError(f"{error} {advice}") from error
    sizes = dict(zip(data.names, data.sizes.tolist(), strict=True))
    # the split is drawn by name, so a folder more or less in between would be another split
    strays = [character for character in sizes if not _is_character(character, name)]
    for stray in strays:
        del sizes[stray]
    num_characters = _NUM_CHARACTERS[name]
    if strays or len(sizes) != num_characters or set(sizes.values()) != {_NUM_DRAWINGS}:
        others = f" and images in {strays[0]}, where none should be" if strays else ""
        raise MamlaxError(
            f"{root} is not the whole of Omniglot, or more: found {len(sizes)} characters with "
            f"{sum(sizes.values())} drawings{others}, expected {num_characters} with "
            f"{_NUM_DRAWINGS} each in {name}/ALPHABET/CHARACTER/. {advice}"
        )
    return data


def _is_character(name: str, part: str) -> bool:
    return name.startswith(f"{part}/") and name.count("/") == 2


def _joined(parts: list[ClassArrays]) -> ClassArrays:
    return ClassArrays.of(
        {
            name: np.asarray(part.examples)[start : start + size]
            for part in parts
            for name, start, size in zip(part.names, part.starts, part.sizes, strict=True)
        }
    )


class _Progress:
    """A progress bar that appears with the first call and goes when done."""

    def __init__(self, description: str):
        self.description, self.bar = description, None

    def __enter__(self):
        return self

    def __call__(self, done: int, total: int) -> None:
        if self.bar is None:
            from rich.console import Console
            from rich.progress import Progress

            console = Console(stderr=True)
            seen = console.is_terminal or console.is_jupyter  # else a log gets empty lines
            self.bar = Progress(console=console, transient=True, disable=not seen)
            self.bar.start()
            self.task = self.bar.add_task(self.description)
        self.bar.update(self.task, completed=done, total=total or None)

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.stop()
