"""Which class belongs to which split: by folders named after splits, or at random with a seed."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from .._errors import MamlaxError
from ._class_names import check_names, folded
from ._seeded import seeded_order

_Item = TypeVar("_Item")
Classes = dict[str, list[_Item]]

_WORDS = {
    "train": ("train", "training", "trn", "base"),
    "validation": ("validation", "val", "valid", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "novel", "holdout"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
# the others may well be the folder that holds everything
_ALONE = ("train", "training", "validation", "val", "valid", "test", "testing")
# by itself, or with `set` and the like: seg_train, TrainImages, train2017, 1_train, testset
_SPLIT_WORD = re.compile(
    rf"(?<![^\W\d_])({'|'.join(sorted(_SPLITS, key=len, reverse=True))})"
    r"(?:[\W\d_]*(?:set|data|images|imgs|split))?(?![^\W\d_])"
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NO_LETTERS = re.compile(r"[\W\d_]+")
LAYOUT = "train/, validation/ (or val/) and test/, each with one folder per class"


class SplitClasses(NamedTuple):
    """Name → items of the classes of each split."""

    train: dict
    validation: dict
    test: dict

    def joined(self) -> dict:
        """All classes, split after split."""
        return {**self.train, **self.validation, **self.test}

    def counts(self) -> tuple[int, int, int]:
        """Classes in each split."""
        return len(self.train), len(self.validation), len(self.test)


def classes_by_path(
    source: str,
    items: Iterable[tuple[tuple[str, ...], _Item]],
    *,
    repeated_names: bool = False,
) -> SplitClasses | Classes:
    """Classes by the folders of items; in splits, if folders are named after splits.

    Args:
        source: name of the data in errors.
        items: (names of folders from the top, item). Folders that contain everything are ignored.
        repeated_names: whether folders with the same name in different folders are different
            classes.
    """
    found = [*items]
    while all(len(folders) > 1 for folders, _ in found):
        tops = {folders[0] for folders, _ in found}
        if len(tops) > 1 or folded(*tops) in _ALONE:
            break
        found = [(folders[1:], item) for folders, item in found]
    if any(not folders for folders, _ in found):
        raise MamlaxError(
            f"{source} has images that lie in no folder. Put them into one folder per class."
        )
    tops = {folders[0] for folders, _ in found}
    named = splits_by_folder(tops)
    if not named:
        classes: Classes = {}
        for folders, item in sorted(found, key=lambda pair: pair[0]):
            classes.setdefault("/".join(folders), []).append(item)
        _check_deeper(source, classes)
        check_names(source, classes, repeated_names=repeated_names)
        return classes
    _check_tops(source, tops, named)
    splits = SplitClasses({}, {}, {})
    for folders, item in sorted(found, key=lambda pair: pair[0]):
        top, *below = folders
        while len(below) > 1 and folded(below[0]) == folded(top):  # seg_train/seg_train/CLASS
            below = below[1:]
        if not below or below == [top]:
            raise MamlaxError(
                f"{source} has images in {top}/ itself. Put them into one folder per class."
            )
        getattr(splits, named[top]).setdefault("/".join(below), []).append(item)
    check_disjoint(source, splits)
    check_names(source, splits.joined(), repeated_names=repeated_names)
    return splits


def splits_by_folder(names: Iterable[str]) -> dict[str, str]:
    """Folder → split, for folders that are named after splits; empty if none is.

    `train` and `test` always are. So are folders that differ only in such a word: `seg_train` and
    `seg_test`, `TrainSet` and `TestSet`. A single such folder among classes is a class.

    Example:
        >>> splits_by_folder(["Train", "Test", "notes"])
        {'Test': 'test', 'Train': 'train'}
        >>> splits_by_folder(["bullet train", "test tube", "cow"])
        {}
    """
    names, groups = sorted(names), defaultdict(dict)
    for name in names:
        plain = folded(_CAMEL.sub(" ", name))
        if found := _SPLIT_WORD.search(plain):
            rest = _NO_LETTERS.sub("", plain[: found.start()] + plain[found.end() :])
            groups[rest][name] = _SPLITS[found[1]]
    named = max(groups.values(), key=lambda group: (len({*group.values()}), len(group)), default={})
    is_layout = len({*named.values()}) > 1 or all(folded(name) in _SPLITS for name in names)
    if len(named) < len(names):  # beside other folders, base and holdout may well be classes
        is_layout = is_layout and all(_split_word(name) in _ALONE for name in named)
    return dict(sorted(named.items())) if is_layout else {}


def _split_word(name: str) -> str | None:
    """The word in a folder's name that names a split."""
    found = _SPLIT_WORD.search(folded(_CAMEL.sub(" ", name)))
    return found and found[1]


def check_disjoint(source: str, splits: SplitClasses) -> None:
    """Raise if splits share a class: held-out tasks would have classes known from training."""
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        known = {folded(name): name for name in getattr(splits, one)}
        common = [(known[key], n) for n in getattr(splits, other) if (key := folded(n)) in known]
        if common:
            there, here = common[0]
            spelled = "" if there == here else f" (spelled {here!a})"
            raise MamlaxError(
                f"{source} has class {there!r} in {one} and in {other}{spelled}"
                + (f", and so {len(common) - 1} more" if len(common) > 1 else "")
                + ". Meta-learning splits classes, not the images of a class: put each class into "
                "one split, or all of them into one folder to have them split at random."
            )


def drawn_splits(
    source: str, classes: Classes, fractions: Sequence[float], split_seed: int
) -> SplitClasses:
    """Classes split at random in these fractions; the split is the same on every machine."""
    check_fractions(fractions)
    if len(classes) < 3:
        raise MamlaxError(
            f"{source} has {len(classes)} class(es), expected three or more, to split into "
            f"meta-training, validation and meta-test. Or lay them out as {LAYOUT}."
        )
    names = sorted(classes)
    order = [names[i] for i in seeded_order(names, split_seed)]
    num_validation, num_test = (max(1, round(part * len(names))) for part in fractions[1:])
    num_train = len(names) - num_validation - num_test
    if num_train < 1:
        raise MamlaxError(
            f"fractions={tuple(fractions)} of {len(names)} classes leave none for meta-training. "
            "Give meta-training more, or name a folder of more classes."
        )
    parts = order[:num_train], order[num_train:-num_test], order[-num_test:]
    return SplitClasses(*({name: classes[name] for name in part} for part in parts))


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise if these are not the shares of three splits."""
    if (
        len(fractions) != 3
        or not all(part > 0 for part in fractions)
        or not math.isclose(sum(fractions), 1, abs_tol=1e-6)
    ):
        raise MamlaxError(
            "fractions must be three positive numbers that sum to 1, of classes for meta-training, "
            f"validation and meta-test, got {tuple(fractions)}. Write, say, (0.64, 0.16, 0.2)."
        )


def _check_deeper(source: str, names: Iterable[str]) -> None:
    """Raise for folders named after splits below the top: `cat/train`, `cat/test`."""
    inside: dict[str, set[str]] = defaultdict(set)
    for name in names:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            inside["/".join(parts[:depth])].add(parts[depth])
    for folder, children in inside.items():
        if len(named := splits_by_folder(children)) > 1:
            shown = " and ".join(f"{child}/" for child in named)
            raise MamlaxError(
                f"{source} has {shown} in {folder}/, which would be taken for classes: expected "
                f"{LAYOUT}; or folders of classes alone, to have them split at random."
            )


def _check_tops(source: str, tops: set[str], named: dict[str, str]) -> None:
    by_split: dict[str, list[str]] = {}
    for top, split in named.items():
        by_split.setdefault(split, []).append(top)
    others = sorted(tops - named.keys())
    twice = next((names for names in by_split.values() if len(names) > 1), None)
    missing = [split for split in SplitClasses._fields if split not in by_split]
    shown = " and ".join(f"{top}/" for top in named)
    if others:
        problem = f"{others[0]}/ beside {shown}"
    elif twice:
        problem = f"both {twice[0]}/ and {twice[1]}/"
    elif missing:
        problem = f"only {shown}, no {missing[0]}/"
    else:
        return
    raise MamlaxError(
        f"{source} has {problem}: expected {LAYOUT}; or folders of classes alone, to have them "
        "split at random."
    )
