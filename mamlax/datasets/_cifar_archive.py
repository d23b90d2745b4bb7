"""CIFAR-100's python archive: found or downloaded, and read without running code in it."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from .._errors import MamlaxError
from ..tasks._class_arrays import Splits, in_splits
from ._cache import Contents, Rows, cached_arrays, parent_of
from ._decoding import content_of
from ._download import (
    Download,
    data_directory,
    first_existing,
    folder_of,
    found_or_fetched,
)
from ._listing import File, by_name, files_of, reason
from ._plain_pickle import load_plain

_DOWNLOAD = Download(
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    "eb9058c3a382ffc7106e4002c42a8d85",
    "cifar-100/cifar-100-python.tar.gz",
)
FOLDER = "cifar-100-python"
_NAMES = (FOLDER, f"{FOLDER}.tar.gz")
_FILES = ("train", "test", "meta")
_NUM_CLASSES, _NUM_SUPERCLASSES, _NUM_IMAGES, _SIDE = 100, 20, 600, 32


class Labels(NamedTuple):
    """The classes of the archive: their names, and the superclass of each."""

    fine_names: list[str]
    coarse_names: list[str]
    superclass_of: np.ndarray

    def within(self, superclass: str) -> list[int]:
        """The classes of a superclass."""
        if superclass not in self.coarse_names:
            raise MamlaxError(
                f"the archive has no superclass {superclass!r}, only {self.coarse_names}: it is "
                "not CIFAR-100's. Delete it, to have that downloaded."
            )
        index = self.coarse_names.index(superclass)
        return np.flatnonzero(self.superclass_of == index).tolist()


def cifar_folder(data_dir: str | Path | None) -> Path:
    """`cifar-100/` in the data directory, or the directory itself if it is that folder."""
    directory = data_directory(data_dir)
    if directory.name == FOLDER and directory.is_dir():
        return directory.parent
    return folder_of(directory, "cifar-100", *_NAMES)


def found_cifar(data_dir: str | Path | None = None) -> Path | None:
    """Where it is, without a download."""
    return first_existing(cifar_folder(data_dir), *_NAMES)


def read_splits(
    folder: Path,
    key: str,
    split: Callable[[Labels], list[int]],
    counts: tuple[int, int, int],
) -> Splits:
    """CIFAR-100's classes in three splits, from the cache if they are cached.

    Args:
        folder: `cifar_folder(...)`.
        key: key of the cache; it contains everything that `split` depends on.
        split: returns the indices of the classes to take, in the order of the splits.
        counts: numbers of classes for meta-training, validation and meta-test.
    """
    root = found_or_fetched(folder, _DOWNLOAD, *_NAMES)
    with ExitStack() as opened:
        try:
            found = by_name(files_of(root, opened, lambda name: name in _FILES))
        except MamlaxError as error:
            raise MamlaxError(f"{error} {_advice(root)}") from error
        files = {PurePosixPath(file.name).name: file for file in found}
        for name in _FILES:
            if name not in files:
                raise _incomplete(root, f"no file {name!r}")
        stamps = sorted((name, file.stamp) for name, file in files.items())

        def make(rows: Rows) -> Contents:
            images, fine, labels = _read_archive(root, files)
            order = split(labels)
            rows.allocate(len(order) * _NUM_IMAGES, (_SIDE, _SIDE, 3))
            for place, label in enumerate(order):
                # stored as [channels, height, width]
                chosen = images[fine == label].reshape(-1, 3, _SIDE, _SIDE)
                rows[place * _NUM_IMAGES] = chosen.transpose(0, 2, 3, 1)
            names = tuple(labels.fine_names[label] for label in order)
            return Contents(names, (_NUM_IMAGES,) * len(names))

        data, _ = cached_arrays(repr((1, key, stamps)), parent_of(root), make)
    return in_splits(data, counts)


def _read_archive(root: Path, files: dict[str, File]) -> tuple[np.ndarray, np.ndarray, Labels]:
    """Images `[images, 3072]`, their classes, and the classes' names. Raises if incomplete."""
    try:
        parts = {name: load_plain(content_of(files[name]), files[name].name) for name in files}
        images = np.concatenate([parts[name]["data"] for name in ("train", "test")])
        fine, coarse = (
            np.concatenate([np.asarray(parts[name][kind], np.int64) for name in ("train", "test")])
            for kind in ("fine_labels", "coarse_labels")
        )
        fine_names, coarse_names = (
            [_as_text(name) for name in parts["meta"][kind]]
            for kind in ("fine_label_names", "coarse_label_names")
        )
    except MamlaxError as error:
        raise MamlaxError(f"{error} {_advice(root)}") from error
    except Exception as error:  # whatever is not as in CIFAR-100
        raise _incomplete(root, f"{type(error).__name__}: {reason(error)}") from error
    expected_images = (_NUM_CLASSES * _NUM_IMAGES, 3 * _SIDE**2)
    if images.shape != expected_images or len(fine) != len(images) or len(coarse) != len(images):
        raise _incomplete(root, f"images of shape {list(images.shape)}, {len(fine)} labels")
    if sorted(set(fine.tolist())) != [*range(_NUM_CLASSES)] or len(fine_names) != _NUM_CLASSES:
        raise _incomplete(root, f"{len(set(fine.tolist()))} classes, {len(fine_names)} names")
    sizes = np.bincount(fine)
    if set(sizes.tolist()) != {_NUM_IMAGES}:
        name, size = fine_names[int(np.argmin(sizes))], int(sizes.min())
        raise _incomplete(root, f"{size} images of class {name!r}")
    superclass_of = np.zeros(_NUM_CLASSES, np.int64)
    superclass_of[fine] = coarse
    sizes = np.bincount(superclass_of, minlength=_NUM_SUPERCLASSES).tolist()
    each = _NUM_CLASSES // _NUM_SUPERCLASSES
    if (superclass_of[fine] != coarse).any() or sizes != [each] * len(coarse_names):
        raise _incomplete(root, f"{len(coarse_names)} superclasses of {sizes} classes")
    return images, fine, Labels(fine_names, coarse_names, superclass_of)


def _as_text(name: bytes | str) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else name


def _incomplete(root: Path, found: str) -> MamlaxError:
    return MamlaxError(
        f"{root} is not the whole of CIFAR-100: found {found}, expected files train, test and meta "
        f"of {_NUM_CLASSES} classes with {_NUM_IMAGES} images each. {_advice(root)}"
    )


def _advice(root: Path) -> str:
    place = root.parent / PurePosixPath(_DOWNLOAD.place).name
    return (
        f"Delete {root}: what is missing is downloaded from {_DOWNLOAD.url}. "
        f"{_DOWNLOAD.by_hand(place)}"
    )
