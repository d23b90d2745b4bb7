"""Text with separators: which one, its cells as they are written, and the line of a row."""

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pyarrow as pa
import pyarrow.csv as arrow_csv

from .._errors import MamlaxError
from .._files import most_unpacked
from ._numerals import numerals

SEPARATORS = {".csv": ",", ".tsv": "\t"}
_WORDS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_BEGINNING, _LINES_COMPARED = 1 << 18, 100
_MOST_BYTES = 4 << 30


class Separators(NamedTuple):
    """What separates cells; others that cut all of the first lines into as many cells."""

    chosen: str
    others: tuple[str, ...] = ()


def read_cells(path: Path) -> tuple[pa.Table, Separators]:
    """All cells of a file as they are written, as text, and what separates them.

    Args:
        path: a `.csv` or `.tsv`, also `.gz`, `.bz2`, `.xz` or `.zip` of one.

    Raises:
        MamlaxError: if it is no UTF-8 text, is too large, or a line has more or fewer cells than
            the header.
    """
    separators, num_columns = _layout(path)
    separator = separators.chosen
    names = [f"f{i}" for i in range(num_columns)]
    try:
        with _opened(path) as file:
            cells = arrow_csv.read_csv(
                file,
                arrow_csv.ReadOptions(autogenerate_column_names=True),
                arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
                arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise _not_utf8(path) from error
        _refuse_ragged(path, separator)
        raise
    header = [column[0].as_py() for column in cells.columns]
    return cells.slice(1).rename_columns(_named(header)), separators


def line_of(path: Path, separator: str, row: int) -> int:
    """The line that a row begins in, from 1; cells may hold line breaks, and lines be empty."""
    for number, (line, _) in enumerate(_records(path, separator)):
        if number == row + 1:
            return line
    raise IndexError(f"row {row} of {path}")


def words_of(separator: str) -> str:
    """`commas`, say."""
    return _WORDS[separator]


def _layout(path: Path) -> tuple[Separators, int]:
    """What separates cells, and how many there are in the header.

    The suffix says what separates, unless something else cuts the first lines into more cells, as
    many in each; of several that do, that by which the most of the cells are numbers.
    """
    own = next(SEPARATORS[kind] for kind in map(str.lower, path.suffixes) if kind in SEPARATORS)
    with _opened(path) as file:
        beginning = io.BufferedReader(file, _BEGINNING).read(_BEGINNING)
    text = beginning.decode("utf-8-sig", errors="replace")
    if len(beginning) == _BEGINNING:
        text = text[: text.rfind("\n") + 1] or text
    lines, errors = {}, {}
    for one in (own, *(_WORDS.keys() - {own})):
        try:
            lines[one] = [cells for _, cells in _cut(path, io.StringIO(text, newline=""), one)]
        except MamlaxError as error:
            errors[one] = error
        lines[one] = lines.get(one) or [[]]
    regular = [
        one for one, found in lines.items() if len(found[0]) > 1 and len({*map(len, found)}) == 1
    ]
    chosen = regular[0] if regular else own
    if len(regular) > 1:
        chosen = max(regular, key=lambda one: (_share_of_numbers(lines[one]), len(lines[one][0])))
    if chosen in errors:
        raise errors[chosen]
    others = tuple(one for one in regular if one != chosen)
    return Separators(chosen, others), len(lines[chosen][0])


def _share_of_numbers(lines: list[list[str]]) -> float:
    """Of the cells below the header; less than none where a name in it cannot be shown."""
    header, *rows = lines[:_LINES_COMPARED]
    if not all(name.isprintable() for name in header):
        return -1.0
    cells = [cell for row in rows for cell in row]
    return sum(value is not None for value in numerals(cells).values) / max(len(cells), 1)


def _named(header: list[str]) -> list[str]:
    """The names of columns; those without one are called as pandas calls them."""
    names = [name or f"Unnamed: {i}" for i, name in enumerate(header)]
    odd = [i for i, name in enumerate(names) if not name.isprintable()]
    if odd:
        raise MamlaxError(
            f"column {odd[0] + 1} is called {names[odd[0]]!r}, which holds characters that cannot "
            "be shown. Rename it."
        )
    return names


def _refuse_ragged(path: Path, separator: str) -> None:
    """Name the first line that has another number of cells than the header."""
    expected = 0
    for line, cells in _records(path, separator):
        expected = expected or len(cells)
        if len(cells) != expected:
            raise MamlaxError(
                f"line {line} of {path} has {len(cells)} cell{'s' * (len(cells) != 1)}, but the "
                f"header {expected}, separated by {words_of(separator)}. Look for a quote that is "
                "not closed, a separator within a cell that has no quotes around it, or a column "
                "without a name."
            )


def _records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The line that each record begins in, and its cells; empty lines are none."""
    with _opened(path) as file:
        text = io.TextIOWrapper(io.BufferedReader(file), "utf-8-sig", "replace", newline="")
        yield from _cut(path, text, separator)


def _cut(path: Path, text: io.TextIOBase, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The same of text."""
    reader, begins = csv.reader(text, delimiter=separator), 1
    try:
        for cells in reader:
            if cells:
                yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise MamlaxError(
            f"a cell that begins in line {begins} of {path} has more than "
            f"{csv.field_size_limit():,} characters. Look for a quote that is not closed; "
            "leave out columns of long text, or write the table as parquet."
        ) from error


class _Bounded(io.RawIOBase):
    """A file of text that is read up to a size, and may hold no NUL."""

    def __init__(self, path: Path, file: io.BufferedIOBase, most: int):
        self._path, self._file, self._most, self._count = path, file, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._file.read(len(buffer))
        self._count += len(content)
        if self._count > self._most:
            raise MamlaxError(
                f"{self._path} holds more than {self._most >> 20:,} MB of text"
                + (
                    ": too much for a table. Write it as parquet, or take fewer rows and columns."
                    if self._most == _MOST_BYTES
                    else f", though it has {self._path.stat().st_size >> 20:,} MB itself: it is "
                    "damaged, or made to fill the memory. If it is meant, unpack it first."
                )
            )
        if self._count == len(content) and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise MamlaxError(
                f"{self._path} is UTF-16 text. Save it as CSV UTF-8 from the spreadsheet."
            )
        if b"\0" in content:
            raise MamlaxError(
                f"{self._path} holds NUL bytes: it is damaged, or no text. Export it again, as CSV "
                "UTF-8."
            )
        buffer[: len(content)] = content
        return len(content)


@contextmanager
def _opened(path: Path) -> Iterator[_Bounded]:
    """A file's text, unpacked."""
    suffix = path.suffix.lower()
    size, most = path.stat().st_size, _MOST_BYTES
    if suffix in _UNPACKED:
        most = min(most, most_unpacked(size))
    with _UNPACKED.get(suffix, open)(path, "rb") as file:
        yield _Bounded(path, file, most)


@contextmanager
def _only_member(path: Path, _: str) -> Iterator[zipfile.ZipExtFile]:
    with zipfile.ZipFile(path) as archive:
        if len(names := archive.namelist()) != 1:
            raise MamlaxError(f"{path} holds {len(names)} files, where one table is expected.")
        with archive.open(names[0]) as file:
            yield cast(zipfile.ZipExtFile, file)


_UNPACKED: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zip": _only_member,
}


def _not_utf8(path: Path) -> MamlaxError:
    return MamlaxError(
        f"{path} is not UTF-8 text. Save it as CSV UTF-8 from the spreadsheet, or convert it, as "
        f"by iconv -f latin1 -t utf-8 {path} > utf8.csv."
    )
