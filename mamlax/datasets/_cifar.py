"""CIFAR-100's two few-shot splits, CIFAR-FS and FC100, from the publisher's own archive."""

from pathlib import Path

from .._errors import MamlaxError
from ..tasks._class_arrays import Splits
from ._cifar_archive import FOLDER, Labels, cifar_folder, read_splits
from ._download import first_existing
from ._listing import reason

_LISTS = ("train.txt", "val.txt", "test.txt")
_NUM_LISTED = (64, 16, 20)
# Oreshkin et al. 2018, by the names in the archive's coarse_label_names
_CLASSES_EACH = 5
_SUPERCLASSES = (
    (
        "fish",
        "flowers",
        "food_containers",
        "fruit_and_vegetables",
        "household_electrical_devices",
        "household_furniture",
        "large_man-made_outdoor_things",
        "large_natural_outdoor_scenes",
        "reptiles",
        "trees",
        "vehicles_1",
        "vehicles_2",
    ),
    (
        "large_carnivores",
        "large_omnivores_and_herbivores",
        "non-insect_invertebrates",
        "small_mammals",
    ),
    ("aquatic_mammals", "insects", "medium_mammals", "people"),
)


def cifar_fs(data_dir: str | Path | None = None) -> Splits:
    """CIFAR-FS as `[images, 32, 32, 3]` bytes: CIFAR-100 in the split of Bertinetto et al. (2019).

    The split is three lists of class names, `train.txt`, `val.txt` and `test.txt`. Its authors
    publish the lists with their data; they are not ours to distribute.

    Args:
        data_dir: a folder with `cifar-100/`, which contains `cifar-100-python.tar.gz` or the folder
            `cifar-100-python`, and the lists in `splits/bertinetto/` or beside them. Default: the
            environment variable `MAMLAX_DATA`, or else the user's cache directory. A missing
            archive is downloaded there from the publisher and checked by md5; a line on stderr says
            so.

    Returns:
        `Splits(train, validation, test)` of 64, 16 and 20 classes with 600 images each.

    Raises:
        MamlaxError: if the archive is damaged or cannot be downloaded, or a list is missing or
            contains a name that is not a class of CIFAR-100.

    References:
        Bertinetto, Henriques, Torr & Vedaldi, Meta-learning with differentiable closed-form
        solvers, ICLR 2019; Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    folder = cifar_folder(data_dir)
    listed = _read_lists(folder)  # before a download for nothing

    def split(labels: Labels) -> list[int]:
        _check_lists(folder, listed, labels)
        return [labels.fine_names.index(name) for part in listed for name in part]

    train, validation, test = map(len, listed)
    return read_splits(folder, f"cifar-fs {listed}", split, (train, validation, test))


def fc100(data_dir: str | Path | None = None) -> Splits:
    """FC100 as `[images, 32, 32, 3]` bytes: CIFAR-100 split by superclass (Oreshkin et al. 2018).

    There are 20 superclasses of five classes each: 12 for meta-training, 4 for validation and 4 for
    meta-test. So the held-out classes do not resemble the classes of training.

    Args:
        data_dir: as for `cifar_fs`, but no lists are needed.

    Returns:
        `Splits(train, validation, test)` of 60, 20 and 20 classes with 600 images each.

    Raises:
        MamlaxError: if the archive is damaged or cannot be downloaded.

    References:
        Oreshkin, Rodríguez López & Lacoste, TADAM: Task dependent adaptive metric for improved
        few-shot learning, NeurIPS 2018.
    """

    def split(labels: Labels) -> list[int]:
        return [fine for part in _SUPERCLASSES for name in part for fine in labels.within(name)]

    train, validation, test = (len(part) * _CLASSES_EACH for part in _SUPERCLASSES)
    return read_splits(cifar_folder(data_dir), "fc100", split, (train, validation, test))


def _list_folders(folder: Path) -> list[Path]:
    """The folders where the lists may be: their own folder, or beside the archive."""
    bases = folder, folder / FOLDER
    return [place for base in bases for place in (base / "splits" / "bertinetto", base)]


def _read_lists(folder: Path) -> list[list[str]]:
    lists = []
    for name in _LISTS:
        path = next(
            (found for f in _list_folders(folder) if (found := first_existing(f, name))), None
        )
        if path is None:
            raise MamlaxError(
                f"CIFAR-FS needs the list of classes {name}, and it is not in {folder}. Put it at "
                f"{folder / 'splits' / 'bertinetto' / name}. It is published with CIFAR-FS, in "
                "splits/bertinetto/ of the archive that https://github.com/bertinetto/r2d2 names, "
                "and not ours to ship."
            )
        try:
            lists.append(path.read_text("utf-8-sig").split())
        except (OSError, UnicodeDecodeError) as error:
            raise MamlaxError(
                f"{path} is no list of classes ({reason(error)}). Fetch it again from the archive "
                "that https://github.com/bertinetto/r2d2 names."
            ) from error
    return lists


def _check_lists(folder: Path, listed: list[list[str]], labels: Labels) -> None:
    seen: dict[str, str] = {}
    for name, classes, expected in zip(_LISTS, listed, _NUM_LISTED, strict=True):
        for class_name in classes:
            if class_name not in labels.fine_names:
                problem = f"{class_name!r}, which is no class of CIFAR-100"
            elif class_name in seen:
                problem = f"{class_name!r}, which {seen[class_name]} has named already"
            else:
                seen[class_name] = name
                continue
            raise MamlaxError(
                f"the list {name} of CIFAR-FS in {folder} names {problem}. Expected one name in "
                "each line. Fetch the lists again, of CIFAR-FS, from the archive that "
                "https://github.com/bertinetto/r2d2 names."
            )
        if len(classes) != expected:
            raise MamlaxError(
                f"the list {name} of CIFAR-FS in {folder} names {len(classes)} classes, expected "
                f"{expected}. Fetch it again from the archive that "
                "https://github.com/bertinetto/r2d2 names."
            )
