"""One line that says what was read of a folder, what was left out and why, and further remarks."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from .._errors import printable
from ._cache import Contents
from ._decoding import Decoded
from ._gray_levels import Levels, joined
from ._listing import Sorted

_NAMED = 3


class Notes:
    """Remarks on how images were read, collected image by image."""

    def __init__(self):
        self._names: dict[str, list[str]] = defaultdict(list)
        self._levels: dict[int, Levels] = {}

    def add(self, row: int, name: str, image: Decoded) -> None:
        """Add the remarks on an image that was read."""
        for note in image.notes:
            self._names[note].append(name)
        if image.levels is not None:
            self._levels[row] = image.levels

    def to_scale_again(self) -> Iterator[tuple[Levels, list[int]]]:
        """Rows that were scaled by smaller levels than others, and the levels to use instead."""
        for levels, found in self._groups():
            if rows := [row for row, one in found.items() if one != levels]:
                yield levels, rows

    def in_words(self, asked: int | None) -> tuple[str, ...]:
        """A clause for each; `asked`: the bits that were asked for."""
        notes = [f"{len(names)} {note} ({_some(names)})" for note, names in self._names.items()]
        for levels, found in self._groups():
            if not levels.bits:
                low = "-1" if levels.is_signed else "0"
                notes.append(f"{len(found)} hold floats, which are taken to go from {low} to 1")
            elif asked is None and levels != Levels(8):
                sign = ", one of them for the sign" if levels.is_signed else ""
                notes.append(
                    f"{len(found)} gray ones are taken to have {levels.bits} bits{sign}, as many "
                    "as their brightest pixel takes (gray_bits or --gray-bits sets it)"
                )
        return tuple(notes)

    def _groups(self) -> Iterator[tuple[Levels, dict[int, Levels]]]:
        """Rows of floats up to 1, and all other rows: groups with a common scale, and the scale."""
        for are_bits in (False, True):
            found = {row: one for row, one in self._levels.items() if bool(one.bits) is are_bits}
            if found:
                yield joined(found.values()), found


def say_what_was_read(roots: Iterable[Path], found: Sorted, contents: Contents) -> None:
    """Print the line on stderr."""
    print(line_of(roots, found, contents), file=sys.stderr)


def line_of(roots: Iterable[Path], found: Sorted, contents: Contents) -> str:
    """`birds: 42 files, 40 read as images of 7 classes, 2 left out: ...`"""
    left_out = {**found.left_out, **dict.fromkeys(contents.left_out, "broken")}
    num_files = len(found.images) + len(found.left_out)
    num_read = len(found.images) - len(contents.left_out)
    classes = f" of {_count(len(contents.names), 'class')}" if contents.names else ""
    line = f"{', '.join(map(str, roots))}: {_count(num_files, 'file')}, {num_read} read{classes}"
    if left_out:
        line += f", {len(left_out)} left out: {in_groups(left_out)}"
    read = {one for file in found.images for one in PurePosixPath(file.name).parents}
    unread = sorted({PurePosixPath(name).parent for name in found.left_out} - read)
    if unread and contents.names:
        line += f"; nothing was read of {_some([f'{folder}/' for folder in unread])}"
    line = "; ".join([line, *contents.notes])
    return " ".join(printable(line).split("\n"))


def in_groups(left_out: Mapping[str, str]) -> str:
    """Names, grouped by the reason why they were left out."""
    names = defaultdict(list)
    for name, why in left_out.items():
        names[why].append(name)
    return "; ".join(f"{len(those)} {why} ({_some(those)})" for why, those in names.items())


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural if number != 1 else ''}"
