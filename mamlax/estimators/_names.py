"""What tasks, classes and what is held out together are called: text, never numbers made of it."""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from .._errors import MamlaxError, warn
from ._conventions import MISSING_WORDS, Conventions
from ._described import Cells, names_in
from ._tables import Table

_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
_WHOLE_AS_FLOAT = re.compile(r"(?:0|-?[1-9]\d{0,17})\.0")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def names_of(table: Table, name: str, conventions: Conventions) -> Cells:
    """The names in a column, as they are written.

    Where all are whole numbers with `.0`, as pandas writes 12 beside an empty cell, they are called
    12. Of names that differ in spelling alone, and of words that elsewhere mean that a value is
    missing, a warning tells.
    """
    cells = names_in(table.columns[name]).without(conventions.for_names)
    if cells.texts and all(map(_WHOLE_AS_FLOAT.fullmatch, cells.texts)):
        cells = cells._replace(texts=[text[:-2] for text in cells.texts])
    return cells


def warn_of_names(
    table: Table, name: str, cells: Cells, conventions: Conventions, what: str
) -> None:
    """Warn of names that differ in spelling alone, and of those that may mean that one is missing.

    Args:
        table: that has the column.
        name: of the column.
        cells: its names.
        conventions: how text is read.
        what: they are names of: `task`, say.
    """
    seen: dict[str | Decimal, str] = {}
    alike = []
    for text in cells.texts:
        first = seen.setdefault(_spelled_alike(text), text)
        if first != text:
            alike.append((first, text))
    if alike:
        first, second = alike[0]
        more = f", and {len(alike) - 1} more pairs" if len(alike) > 1 else ""
        warn(
            f"{first!r} and {second!r}{more} in the column {name!r} differ in spelling alone; they "
            f"are taken for different names of a {what}. Spell them alike where they mean one.",
            stacklevel=3,
        )
    doubtful = [t for t in cells.texts if t.strip() in MISSING_WORDS]
    if doubtful and conventions.missing is None:
        row = int(np.argmax(cells.codes == cells.texts.index(doubtful[0])))
        count = int(np.sum(cells.codes == cells.codes[row]))
        warn(
            f"{doubtful[0]!r} in {table.place_of(row)} is taken for the name of a {what} ({count} "
            f"rows of {name!r}). Where it means that the value is missing: --missing "
            f"{' '.join(doubtful)}.",
            stacklevel=3,
        )


def labels_of(
    table: Table, names: Sequence[str], flag: str, conventions: Conventions
) -> np.ndarray:
    """One label for each row, of one column or of several together.

    Names of whole numbers, written as such, are numbers here, to be sorted as these.

    Raises:
        MamlaxError: if one is missing in a row.
    """
    found = []
    for name in names:
        cells = all_named(table, name, flag, conventions)
        warn_of_names(table, name, cells, conventions, "task" if "task" in flag else "split")
        found.append(_sortable(cells.texts)[cells.codes])
    if len(found) == 1:
        return found[0]
    numbers = np.zeros(len(table), np.int64)
    for column in found:
        distinct, codes = np.unique(column, return_inverse=True)
        _, numbers = np.unique(numbers * len(distinct) + codes, return_inverse=True)
    return numbers


def task_names(table: Table, names: Sequence[str], conventions: Conventions) -> np.ndarray:
    """`[rows]` of text, the same in every table: of several columns as a line of a csv.

    Raises:
        MamlaxError: if a column is absent, or missing in a row.
    """
    table.check_has(names, "--task-column")
    columns = [all_named(table, name, "--task-column", conventions) for name in names]
    if len(columns) == 1:
        return text_of(columns[0])
    quoted = [one._replace(texts=[_quoted(text) for text in one.texts]) for one in columns]
    texts = zip(*(text_of(one).tolist() for one in quoted), strict=True)
    return np.array([", ".join(of_row) for of_row in texts], dtype=str)


def text_of(cells: Cells) -> np.ndarray:
    """`[rows]` of text; empty where a name is missing."""
    return np.array([*cells.texts, ""])[cells.codes]


def all_named(table: Table, name: str, flag: str, conventions: Conventions) -> Cells:
    """The names in a column.

    Raises:
        MamlaxError: if one is missing; says where, and the flag.
    """
    cells = names_of(table, name, conventions)
    if (missing := cells.codes < 0).any():
        raise MamlaxError(
            f"the column {name!r} ({flag}) is missing in {int(missing.sum())} rows (the first: "
            f"{table.place_of(int(missing.argmax()))}). Fill it in, or leave these rows out."
        )
    return cells


def _quoted(text: str) -> str:
    """As a cell of a csv."""
    doubled = text.replace('"', '""')
    return f'"{doubled}"' if {",", '"'} & set(text) else text


def _sortable(texts: list[str]) -> np.ndarray:
    """Names as what sorts as people sort them."""
    if all(map(_WHOLE.fullmatch, texts)):
        return np.array([int(text) for text in texts])
    if all(_NUMBER.fullmatch(text) and repr(float(text)) == text for text in texts):
        return np.array([float(text) for text in texts])
    return np.array(texts)


def _spelled_alike(text: str) -> str | Decimal:
    """The same for names that differ in case, blanks, kinds of letters or how a number is said."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return Decimal(plain).normalize() if _NUMBER.fullmatch(plain) else plain
