"""Omniglot: 1,623 handwritten characters, 20 drawings of each (Lake et al. 2015)."""

from pathlib import Path
from typing import Literal

import numpy as np

from .._errors import MamlaxError
from ..tasks._class_arrays import ClassArrays, Splits
from ._download import (
    Download,
    data_directory,
    first_existing,
    folder_of,
    found_or_fetched,
)
from ._images import check_size, classes_of
from ._progress import Progress
from ._seeded import seeded_order

_URL = "https://github.com/brendenlake/omniglot/raw/master/python/"
_MD5 = {
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
_NAMES = (*_MD5, *(f"{name}.zip" for name in _MD5))
_NUM_CHARACTERS = {"images_background": 964, "images_evaluation": 659}
_NUM_DRAWINGS, _NUM_VALIDATION = 20, 100


def omniglot(
    data_dir: str | Path | None = None,
    *,
    size: int = 28,
    split: Literal["characters", "alphabets"] = "characters",
    split_seed: int = 1,
) -> Splits:
    """Omniglot as `[images, size, size, 1]` bytes, with bright strokes on black.

    A class is a character, named PART/ALPHABET/CHARACTER. There are two splits. By characters, as
    in Finn et al. (2017): the background and evaluation characters are pooled, and 1,100 are drawn
    at random for meta-training, 100 for validation, and the remaining 423 for meta-test. By
    alphabets, as the publisher intended (Lake et al. 2015): the 20 alphabets of the evaluation set
    are for meta-test; of the 30 others, the first drawn are for validation, until they have 100
    characters. A random draw sorts names by a hash of seed and name, so it is the same on every
    machine.

    Args:
        data_dir: a folder with `omniglot/`, which contains the publisher's `images_background.zip`
            and `images_evaluation.zip`, or their unpacked folders. Default: the environment
            variable `MAMLAX_DATA`, or else the user's cache directory. Missing files are downloaded
            there from the publisher and checked by md5; a line on stderr says so.
        size: height and width, in pixels.
        split: split by characters, or by alphabets.
        split_seed: seed of the random split.

    Returns:
        `Splits(train, validation, test)` of 1,100, 100 and 423 classes. By alphabets: 964 classes
        less those for validation, the classes for validation, and 659.

    Raises:
        MamlaxError: if the data are damaged, incomplete, or cannot be downloaded.

    References:
        Lake, Salakhutdinov & Tenenbaum, Human-level concept learning through probabilistic
        program induction, Science 2015.
    """
    check_size(size)
    folder = _folder(data_dir)
    roots = {
        name: found_or_fetched(folder, _download_of(name), name, f"{name}.zip") for name in _MD5
    }
    data = _joined([_read_part(root, folder, name, size) for name, root in roots.items()])
    if split == "alphabets":
        return _by_alphabet(data, split_seed)
    order = seeded_order(data.names, split_seed)
    ends = 1100, 1100 + _NUM_VALIDATION
    return Splits(
        data.select(order[: ends[0]]),
        data.select(order[ends[0] : ends[1]]),
        data.select(order[ends[1] :]),
    )


def found_omniglot(data_dir: str | Path | None = None) -> Path | None:
    """Where some of it is, without a download."""
    return first_existing(_folder(data_dir), *_NAMES)


def _folder(data_dir: str | Path | None) -> Path:
    return folder_of(data_directory(data_dir), "omniglot", *_NAMES)


def _by_alphabet(data: ClassArrays, split_seed: int) -> Splits:
    """The split by alphabets; the alphabets of the evaluation set are for meta-test."""
    of_each: dict[str, list[int]] = {}
    for i, name in enumerate(data.names):
        of_each.setdefault(name.rpartition("/")[0], []).append(i)
    background = [name for name in of_each if name.startswith("images_background/")]
    validation: list[int] = []
    for i in seeded_order(background, split_seed):
        if len(validation) < _NUM_VALIDATION:
            validation += of_each.pop(background[i])
    train, test = (
        [i for name, those in of_each.items() if name.startswith(f"{part}/") for i in those]
        for part in _NUM_CHARACTERS
    )
    return Splits(data.select(train), data.select(validation), data.select(test))


def _download_of(name: str) -> Download:
    return Download(f"{_URL}{name}.zip", _MD5[name], f"omniglot/{name}.zip")


def _read_part(root: Path, folder: Path, name: str, size: int) -> ClassArrays:
    """The characters of `images_background` or `images_evaluation`, all of them or none."""
    download = _download_of(name)
    advice = (
        f"Delete {root}: what is missing is downloaded from {download.url}. "
        f"{download.by_hand(folder / f'{name}.zip')}"
    )
    try:
        with Progress(f"reading {root.name}") as progress:
            data = classes_of([root], size=size, color=False, invert=True, progress=progress)
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
