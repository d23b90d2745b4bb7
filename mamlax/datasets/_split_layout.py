"""Which class belongs to which split: by folders named after splits, or drawn with a seed."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from .._errors import MamlaxError
from ._seeded import seeded_order

_Item = TypeVar("_Item")
Classes = dict[str, list[_Item]]

_SPLITS = {
    "train": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
LAYOUT = "train/, validation/ (or val/) and test/, each with one folder per class"


class SplitClasses(NamedTuple):
    """Name → items of the classes of each split."""

    train: dict
    validation: dict
    test: dict

    def joined(self) -> dict:
        """All classes, those of a split side by side."""
        return {**self.train, **self.validation, **self.test}

    def counts(self) -> tuple[int, int, int]:
        """Classes in each split."""
        return len(self.train), len(self.validation), len(self.test)


def classes_by_path(
    source: str, items: Iterable[tuple[tuple[str, ...], _Item]]
) -> SplitClasses | Classes:
    """Classes by the folders that items lie in; in splits, where folders are named after them.

    Args:
        source: what to call all this in errors.
        items: (names of folders from the top, item). Folders that hold everything are passed over.
    """
    found = [*items]
    while all(len(folders) > 1 for folders, _ in found):
        tops = {folders[0] for folders, _ in found}
        if len(tops) > 1 or not tops.isdisjoint(_SPLITS):
            break
        found = [(folders[1:], item) for folders, item in found]
    if any(not folders for folders, _ in found):
        raise MamlaxError(
            f"{source} has images that lie in no folder. Put them into one folder per class."
        )
    tops = {folders[0] for folders, _ in found}
    named = sorted(top for top in tops if top in _SPLITS)
    if len(named) < 2 and len(named) < len(tops):  # one class may well be called "test"
        classes: Classes = {}
        for folders, item in sorted(found, key=lambda pair: pair[0]):
            classes.setdefault("/".join(folders), []).append(item)
        return classes
    _check_tops(source, tops, named)
    splits = SplitClasses({}, {}, {})
    for folders, item in sorted(found, key=lambda pair: pair[0]):
        top, name = folders[0], "/".join(folders[1:])
        if not name:
            raise MamlaxError(
                f"{source} has images in {top}/ itself. Put them into one folder per class."
            )
        getattr(splits, _SPLITS[top]).setdefault(name, []).append(item)
    check_disjoint(source, splits)
    return splits


def check_disjoint(source: str, splits: SplitClasses) -> None:
    """Refuse splits that share a class: held-out tasks would be of classes known from training."""
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        common = sorted(set(getattr(splits, one)) & set(getattr(splits, other)))
        if common:
            raise MamlaxError(
                f"{source} has class {common[0]!r} in {one} and in {other}"
                + (f", and so {len(common) - 1} more" if len(common) > 1 else "")
                + ". Meta-learning splits classes, not the images of a class: put each class into "
                "one split, or all of them into one folder to have them split at random."
            )


def drawn_splits(
    source: str, classes: Classes, fractions: Sequence[float], split_seed: int
) -> SplitClasses:
    """Classes split at random in these fractions, the same everywhere, always."""
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
    """Refuse what are no shares of three splits."""
    if (
        len(fractions) != 3
        or not all(part > 0 for part in fractions)
        or not math.isclose(sum(fractions), 1, abs_tol=1e-6)
    ):
        raise MamlaxError(
            "fractions must be three positive numbers that sum to 1, of classes for meta-training, "
            f"validation and meta-test, got {tuple(fractions)}. Write, say, (0.64, 0.16, 0.2)."
        )


def _check_tops(source: str, tops: set[str], named: list[str]) -> None:
    by_split: dict[str, list[str]] = {}
    for top in named:
        by_split.setdefault(_SPLITS[top], []).append(top)
    others = sorted(tops - set(named))
    twice = next((names for names in by_split.values() if len(names) > 1), None)
    missing = [split for split in SplitClasses._fields if split not in by_split]
    if others:
        problem = f"{others[0]}/ beside {' and '.join(f'{top}/' for top in named)}"
    elif twice:
        problem = f"both {twice[0]}/ and {twice[1]}/"
    elif missing:
        problem = f"only {' and '.join(f'{top}/' for top in named)}, no {missing[0]}/"
    else:
        return
    raise MamlaxError(
        f"{source} has {problem}: expected {LAYOUT}; or folders of classes alone, to have them "
        "split at random."
    )
