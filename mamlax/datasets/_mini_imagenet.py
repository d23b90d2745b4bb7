"""mini-ImageNet: 100 classes of ImageNet, 600 photographs of each (Vinyals et al. 2016)."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from .._errors import MamlaxError
from ..tasks._class_arrays import Splits, in_splits
from ._cache import parent_of
from ._decoding import ImageSettings, content_of
from ._download import data_directory
from ._image_kinds import is_image
from ._images import check_size, no_images, offering_to_skip, read_classes
from ._listing import ARCHIVE_SUFFIXES, File, Sorted, by_name, files_of
from ._progress import Progress
from ._split_layout import LAYOUT, SplitClasses, check_disjoint, classes_by_path
from ._summary import say_what_was_read

_NUM_CLASSES = (64, 16, 20)
_NUM_IMAGES = 600
_LISTS = {
    "train.csv": "train",
    "val.csv": "validation",
    "validation.csv": "validation",
    "test.csv": "test",
}


def mini_imagenet(
    data_dir: str | Path | None = None, *, size: int = 84, skip_broken: bool = False
) -> Splits:
    """mini-ImageNet as `[images, size, size, 3]` bytes, in the split of Ravi & Larochelle (2017).

    It is never downloaded, because ImageNet's photographs are only for those who accept its terms.
    Provide a folder or an archive (`.zip`, `.tar`, `.tar.gz`, `.tgz`), or a folder of archives,
    with either

    - `train/CLASS/*.jpg`, `val/CLASS/*.jpg` (or `validation`), `test/CLASS/*.jpg`; or
    - all photographs in `images/`, and beside it the published lists `train.csv`, `val.csv` and
      `test.csv`, with lines `filename,label`.

    Photographs are resized with a Lanczos filter to a square, whatever their aspect ratio, and
    stored as memory maps, as by `image_classes`.

    Args:
        data_dir: a folder with `mini-imagenet/` or `mini-imagenet.tar` (or other spellings such as
            `miniimagenet`), or that folder or archive itself. Default: the environment variable
            `MAMLAX_DATA`, or else the user's cache directory.
        size: height and width, in pixels.
        skip_broken: leave out photographs that cannot be read. A line on stderr names them.

    Returns:
        `Splits(train, validation, test)` of 64, 16 and 20 classes.

    Raises:
        MamlaxError: if the data are missing, damaged or incomplete, or lists name missing files.

    References:
        Vinyals et al., Matching networks for one shot learning, NeurIPS 2016;
        Ravi & Larochelle, Optimization as a model for few-shot learning, ICLR 2017.
    """
    check_size(size)
    root = _root(data_directory(data_dir))
    with ExitStack() as opened, offering_to_skip():
        splits = _splits_of(root, [*_files_of(root, opened)])
        _check_whole(root, splits)
        settings = ImageSettings(size, skip_broken=skip_broken)
        with Progress(f"reading {root.name}") as progress:
            data, contents = read_classes(splits.joined(), settings, parent_of(root), progress)
        if contents.left_out:
            images = [file for files in splits.joined().values() for file in files]
            say_what_was_read([root], Sorted(images, {}), contents)
    return in_splits(data, splits.counts())


def found_mini_imagenet(data_dir: str | Path | None = None) -> Path | None:
    """Where it is, if it is there."""
    directory = data_directory(data_dir)
    try:
        if directory.is_file():
            return directory
        entries = sorted(directory.iterdir()) if directory.is_dir() else []
        found = [path for path in entries if _is_called_so(path)]
        # unpacked is quicker
        for path in sorted(found, key=lambda path: not path.is_dir()):
            return path
        if any(path.name in _LISTS or path.name == "train" for path in entries):
            return directory
    except OSError as error:
        raise MamlaxError(f"{directory} cannot be looked into ({error}).") from error
    return None


def _root(directory: Path) -> Path:
    if found := found_mini_imagenet(directory):
        return found
    raise MamlaxError(
        f"no mini-ImageNet in {directory}, and it is never downloaded: ImageNet's photographs are "
        f"given to those who accept its terms (https://image-net.org). Put it at "
        f"{directory / 'mini-imagenet'} (a folder, or .tar, .tar.gz, .zip), or name the folder "
        f"that holds it by data_dir or MAMLAX_DATA. Expected: {_expected()}."
    )


def _is_called_so(path: Path) -> bool:
    name = path.name.lower()
    suffix = next((suffix for suffix in ARCHIVE_SUFFIXES if name.endswith(suffix)), "")
    name = name.removesuffix(suffix).replace("-", "").replace("_", "")
    return name == "miniimagenet" and (bool(suffix) or path.is_dir())


def _expected() -> str:
    return (
        f"{LAYOUT}; or images/ with the lists train.csv, val.csv and test.csv; of "
        f"{', '.join(map(str, _NUM_CLASSES))} classes with {_NUM_IMAGES} photographs each"
    )


def _files_of(root: Path, opened: ExitStack) -> Iterator[tuple[tuple[str, ...], File]]:
    """Photographs and lists with their folders. Archives count as if unpacked in the folder."""

    def is_wanted(name: str) -> bool:
        return is_image(name) or name in _LISTS

    roots = [root]
    if root.is_dir():
        roots += sorted(p for p in root.iterdir() if p.name.lower().endswith(ARCHIVE_SUFFIXES))
    for one in roots:
        for file in by_name(files_of(one, opened, is_wanted)):
            folders = PurePosixPath(file.name).parent.parts
            yield (folders[1:] if one.is_dir() else folders), file


def _splits_of(root: Path, found: Sequence[tuple[tuple[str, ...], File]]) -> SplitClasses:
    images = [(folders, file) for folders, file in found if is_image(file.name)]
    if not images:
        raise no_images(root)
    lists: dict[str, File] = {}
    for _, file in found:
        name = PurePosixPath(file.name).name
        if name in _LISTS:
            if _LISTS[name] in lists:
                raise MamlaxError(
                    f"{root} has two lists of {_LISTS[name]} classes: {lists[_LISTS[name]].name} "
                    f"and {file.name}. Remove one."
                )
            lists[_LISTS[name]] = file
    if lists:
        return _splits_by_list(root, lists, [file for _, file in images])
    splits = classes_by_path(str(root), images)
    if not isinstance(splits, SplitClasses):
        raise MamlaxError(
            f"{root} has folders of classes, but nothing says which split they belong to. "
            f"Expected: {_expected()}."
        )
    return splits


def _splits_by_list(root: Path, lists: dict[str, File], images: list[File]) -> SplitClasses:
    for split, name in (("train", "train.csv"), ("validation", "val.csv"), ("test", "test.csv")):
        if split not in lists:
            others = " and ".join(PurePosixPath(file.name).name for file in lists.values())
            raise MamlaxError(
                f"{root} has {others}, but no {name}. The three lists are published with Ravi & "
                "Larochelle's code (https://github.com/twitter-research/meta-learning-lstm): put "
                "it beside the others."
            )
    by_base: dict[str, File] = {}
    for file in images:
        base = PurePosixPath(file.name).name
        if base in by_base:
            raise MamlaxError(
                f"two photographs are called {base}: {by_base[base].name} and {file.name}, so that "
                "the lists do not say which is meant. Remove one."
            )
        by_base[base] = file
    listed: dict[str, str] = {}
    splits = SplitClasses({}, {}, {})
    for split in SplitClasses._fields:
        absent = []
        for name, label in _lines_of(lists[split]):
            if name in listed:
                raise MamlaxError(
                    f"{lists[split].name} names {name}, which {listed[name]} has named already. "
                    "Fetch the lists again."
                )
            listed[name] = lists[split].name
            if name in by_base:
                getattr(splits, split).setdefault(label, []).append(by_base[name])
            else:
                absent.append(name)
        if absent:
            shown = ", ".join(absent[:3]) + (", …" if len(absent) > 3 else "")
            raise MamlaxError(
                f"{lists[split].name} names {len(absent)} file(s) that are not in {root}: {shown}. "
                "Fetch the photographs again, or the list that belongs to them."
            )
    check_disjoint(str(root), splits)
    return splits


def _lines_of(file: File) -> Iterator[tuple[str, str]]:
    """`(file name, label)` of each line of a list."""
    try:
        text = content_of(file).decode("utf-8-sig")
        lines = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        header = [*(lines.fieldnames or [])]
        if {"filename", "label"} <= set(header):
            for line in lines:
                name, label = line["filename"], line["label"]
                if not name or not label:
                    raise MamlaxError(
                        f"{file.name} has in line {lines.line_num} no file name or no label: "
                        f"expected filename,label. Fetch the list again."
                    )
                yield PurePosixPath(name.strip().replace("\\", "/")).name, label.strip()
            return
    except (UnicodeDecodeError, csv.Error) as error:
        raise MamlaxError(
            f"{file.name} is no list of photographs ({error}): expected lines filename,label. "
            "Fetch it again."
        ) from error
    raise MamlaxError(
        f"{file.name} begins with {','.join(header)!r}, expected the line filename,label. "
        "Fetch the list again."
    )


def _check_whole(root: Path, splits: SplitClasses) -> None:
    for split, expected in zip(SplitClasses._fields, _NUM_CLASSES, strict=True):
        classes = getattr(splits, split)
        wrong = {name: len(files) for name, files in classes.items() if len(files) != _NUM_IMAGES}
        if len(classes) == expected and not wrong:
            continue
        others = ""
        if wrong:
            name, count = next(iter(wrong.items()))
            others = f", {len(wrong)} of them not with {_NUM_IMAGES} photographs ({name}: {count})"
        raise MamlaxError(
            f"{root} is not the whole of mini-ImageNet, or more: found {len(classes)} {split} "
            f"classes{others}, expected {expected} with {_NUM_IMAGES} each. Complete it, or take "
            "it as it is by image_splits, as a data set of your own."
        )
