"""Omniglot: 1,623 handwritten characters, 20 drawings of each (Lake et al. 2015)."""

import hashlib
import os
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

from .._errors import MamlaxError
from .._files import cache_directory, replacing
from ._few_shot import ClassArrays
from ._images import image_classes

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
            there from the publisher, checked by md5.
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
    folder = data_directory(data_dir) / "omniglot"
    roots = [_find_or_download(folder, name) for name in _MD5]
    with _Progress("reading Omniglot") as progress:
        data = image_classes(*roots, size=size, color=False, invert=True, progress=progress)
    for name, num_characters in _NUM_CHARACTERS.items():
        sizes = [
            int(size)
            for size, character in zip(data.sizes, data.names, strict=True)
            if character.startswith(f"{name}/")
        ]
        if len(sizes) != num_characters or set(sizes) != {_NUM_DRAWINGS}:
            raise MamlaxError(
                f"{folder / name} is not the whole of Omniglot: found {len(sizes)} characters with "
                f"{sum(sizes)} drawings, expected {num_characters} with {_NUM_DRAWINGS} each. "
                f"Delete it and fetch {name}.zip again from {_URL}"
            )
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


def _find_or_download(folder: Path, name: str) -> Path:
    for found in (folder / name, folder / f"{name}.zip"):
        if found.exists():
            return found
    archive = folder / f"{name}.zip"
    _download(_URL + archive.name, archive, _MD5[name])
    return archive


def _download(url: str, path: Path, md5: str) -> None:
    offline = (
        f"On a machine without network, fetch {url} elsewhere, put it at {path}, or name a folder "
        f"that has {path.parent.name}/{path.name} by --data-dir or MAMLAX_DATA."
    )
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with (
            replacing(path) as temporary,
            urllib.request.urlopen(url, timeout=30) as response,
            temporary.open("wb") as file,
            _Progress(f"downloading {path.name}") as progress,
        ):
            total, received = int(response.headers.get("Content-Length") or 0), 0
            while chunk := response.read(1 << 16):
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                progress(received, total)
            if digest.hexdigest() != md5:
                raise MamlaxError(
                    f"{url} gave {received} bytes with md5 {digest.hexdigest()}, expected {md5}: "
                    f"the download is broken or the file has changed. Nothing was kept. {offline}"
                )
    except OSError as error:
        raise MamlaxError(f"{url} could not be downloaded ({error}). {offline}") from error
    if not zipfile.is_zipfile(path):
        raise MamlaxError(f"{path} is not a zip archive, though its checksum is right.")


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

            self.bar = Progress(console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task(self.description)
        self.bar.update(self.task, completed=done, total=total or None)

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.stop()
