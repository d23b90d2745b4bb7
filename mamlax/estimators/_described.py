"""What a column holds, numbers, dates or categories, and what had to be assumed to say so."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute

from .._errors import MamlaxError
from ._categories import factorized
from ._columns import more_like_it
from ._conventions import Conventions
from ._dates import HOW, dates_in, without_clocks
from ._numerals import SIGNS, Numerals, may_have_thousands, numerals
from ._tables import Table

_compute: Any = pyarrow.compute  # whose functions are made when it is imported
_NUMBERS_IN_TEXT, _FEW_KINDS = 0.5, 10
"""From this share on, and with more different numbers than these, text is taken for numbers among
which some cells are wrong."""
_TRUTHS = {"True": 1.0, "TRUE": 1.0, "true": 1.0, "False": 0.0, "FALSE": 0.0, "false": 0.0}
_SAMPLE = 1_000


class Cells(NamedTuple):
    """The cells of a column as text.

    Attributes:
        texts: those that are there, each once, in the order of their first row.
        codes: `[rows]`, which of them; −1 where the value is missing.
        words: those met that mean that a value is missing.
    """

    texts: list[str]
    codes: np.ndarray
    words: tuple[str, ...] = ()

    def without(self, words: Collection[str], known: Collection[str] = ()) -> "Cells":
        """The same where empty cells and some words, unless they are known, count as missing."""
        is_word = [text.strip() in words and text not in known for text in self.texts]
        is_empty = [not text.strip() for text in self.texts]
        if not any(is_word) and not any(is_empty):
            return self
        kept = [not (word or empty) for word, empty in zip(is_word, is_empty, strict=True)]
        place = np.array([*np.where(kept, np.cumsum(kept) - 1, -1), -1])
        found = tuple(t for t, word in zip(self.texts, is_word, strict=True) if word)
        texts = [text for text, keep in zip(self.texts, kept, strict=True) if keep]
        return Cells(texts, place[self.codes], found)


class Described(NamedTuple):
    """What a column holds.

    Attributes:
        name: of the column.
        values: `[rows]` of numbers, not a number where they are missing; of dates; or categories.
        assumed: in words, what was taken for granted of how it is written.
        words: those met that mean that a value is missing.
        is_truth: whether it holds nothing but true and false, which are the numbers 1 and 0.
    """

    name: str
    values: np.ndarray | pd.Categorical
    assumed: str = ""
    words: tuple[str, ...] = ()
    is_truth: bool = False

    @property
    def is_numbers(self) -> bool:
        """Whether it holds numbers."""
        return isinstance(self.values, np.ndarray) and not self.is_dates

    @property
    def is_dates(self) -> bool:
        """Whether it holds dates."""
        return isinstance(self.values, np.ndarray) and self.values.dtype.kind == "M"

    @property
    def is_missing(self) -> np.ndarray:
        """`[rows]`."""
        return np.asarray(pd.isna(self.values))


class Role(NamedTuple):
    """What a column is for, as messages say it.

    Attributes:
        what: `the target`, say.
        remedy: what else than correcting a cell would do.
        must_be_numbers: whether it may hold nothing else.
    """

    what: str
    remedy: str
    must_be_numbers: bool = False


def described(
    table: Table, name: str, conventions: Conventions, role: Role, *, among_commas: bool = False
) -> Described:
    """Say what a column holds.

    Args:
        table: that has it.
        name: of the column.
        conventions: how text is read.
        role: what it is for.
        among_commas: whether other columns of the table have decimal commas.

    Raises:
        MamlaxError: if it holds infinities, text among numbers, or numbers that could be meant in
            two ways; with the line.
    """
    column = table.columns[name]
    if not is_text(column):
        return _typed(table, name, conventions, role)
    is_plain = conventions.decimal_mark != "comma" and not among_commas
    if is_plain and (found := _plain(column, conventions.for_values)) is not None:
        _check_finite(table, name, role, found)
        zeros = _compute.any(_compute.match_substring_regex(column, r"^\s*0[0-9]")).as_py()
        words = ()
        if np.isnan(found).any():
            words = cells_of(column).without(conventions.for_values).words
        return Described(name, found, "codes with leading zeros as numbers" * bool(zeros), words)
    cells = cells_of(column).without(conventions.for_values)
    if cells.texts and all(text.strip() in _TRUTHS for text in cells.texts):
        of_each = [_TRUTHS[text.strip()] for text in cells.texts]
        return Described(name, _spread(of_each, cells.codes), "", cells.words, True)
    if cells.texts and not role.must_be_numbers and (found := dates_in(cells.texts)) is not None:
        return Described(name, _at(found, cells.codes), "as dates", cells.words)
    read = _read(table, name, cells, conventions, role, among_commas)
    if read is None:
        categories = pd.Categorical.from_codes(cells.codes, cells.texts)  # pyright: ignore[reportArgumentType]
        return Described(name, categories, "", cells.words)
    found = _spread([float("nan") if v is None else v for v in read.values], cells.codes)
    _check_finite(table, name, role, found)
    signs = f"{SIGNS[read.sign]} signs left away" if read.sign else ""
    return Described(
        name, found, ", ".join(filter(None, [read.notation.words, signs])), cells.words
    )


def categories_of(
    table: Table, name: str, conventions: Conventions, known: Collection[str] = ()
) -> Described:
    """A column as categories, whatever it holds.

    Args:
        table: that has it.
        name: of the column.
        conventions: how text is read.
        known: words that are categories, though they mean elsewhere that a value is missing.
    """
    column = table.columns[name]
    words = conventions.for_values if is_text(column) else conventions.for_names
    cells = names_in(column).without(words, known)
    values = pd.Categorical.from_codes(cells.codes, cells.texts)  # pyright: ignore[reportArgumentType]
    return Described(name, values, "", cells.words)


def dates_of(table: Table, name: str, conventions: Conventions) -> Described:
    """A column as dates.

    Raises:
        MamlaxError: if it holds something else; with the line.
    """
    if not is_text(table.columns[name]):
        found = _typed(table, name, conventions, Role("column", ""))
        if found.is_numbers and found.is_missing.all():
            return found._replace(values=np.full(len(table), np.datetime64("NaT", "us")))
        if not found.is_dates:
            raise MamlaxError(
                f"column {name!r} held dates when it was fitted, and holds "
                f"{table.columns[name].type} in {table.path}."
            )
        return found
    cells = cells_of(table.columns[name]).without(conventions.for_values)
    found = dates_in(cells.texts)
    if found is None:
        wrong = next(i for i, text in enumerate(cells.texts) if dates_in([text]) is None)
        row = int(np.argmax(cells.codes == wrong))
        raise MamlaxError(
            f"column {name!r} is {cells.texts[wrong]!r} in {table.place_of(row)}, where dates are "
            f"expected, as {HOW}. Correct it, or leave it empty: it then counts as missing."
        )
    return Described(name, _at(found, cells.codes), "", cells.words)


def has_decimal_commas(table: Table, name: str, conventions: Conventions) -> bool:
    """Whether a column of text can be nothing but numbers with decimal commas."""
    column = table.columns[name]
    if not is_text(column) or _plain(column, conventions.for_values) is not None:
        return False
    cells = cells_of(column).without(conventions.for_values)
    found = numerals(_sample(cells.texts))
    has_all = bool(found.values) and None not in found.values
    return has_all and found.doubtful is None and found.notation.mark == ","


def has_others(name: str, names: Sequence[str]) -> bool:
    """Whether there are names beside this one: other columns with decimal commas."""
    return any(one != name for one in names)


def is_text(column: Any) -> bool:
    """Whether it holds text, and not what is text in name: categories."""
    kind = column.type
    return any(
        test(kind)
        for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    )


def cells_of(column: Any) -> Cells:
    """A column of text as cells."""
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    codes = _compute.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return Cells(encoded.dictionary.to_pylist(), codes.astype(np.int64))


def names_in(column: Any) -> Cells:
    """A column of any type as names; whole numbers alike, whether they are floats or not."""
    if is_text(column):
        return cells_of(column)
    codes, names = factorized(column.to_pandas())
    return Cells(names, codes)


def _typed(table: Table, name: str, conventions: Conventions, role: Role) -> Described:
    """A column that says what it holds; words for missing values are only those chosen."""
    column, kind = table.columns[name], table.columns[name].type
    if pa.types.is_temporal(kind):
        found = without_clocks(column.to_pandas())
        return Described(name, np.full(len(table), np.nan) if found is None else found)
    if pa.types.is_null(kind):
        return Described(name, np.full(len(table), np.nan))
    is_truth = pa.types.is_boolean(kind)
    if (
        is_truth
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        if is_truth:
            column = column.cast(pa.uint8())
        found = np.asarray(column.cast(pa.float64(), safe=False).to_numpy())
        _check_finite(table, name, role, found)
        return Described(name, found, is_truth=is_truth)
    if not pa.types.is_dictionary(kind):
        raise MamlaxError(
            f"{role.what} {name!r} of {table.path} holds {kind}, which is neither numbers nor "
            "text. Make columns of what matters in it."
        )
    return categories_of(table, name, conventions)


def _plain(column: Any, words: Collection[str]) -> np.ndarray | None:
    """Numbers as programs write them; None where it holds others, or "nan" that is no such word."""
    trimmed = _compute.utf8_trim_whitespace(column)
    is_missing = _compute.is_in(trimmed, pa.array(["", *words]))
    try:
        found = _compute.if_else(is_missing, None, trimmed).cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    if _compute.any(_compute.is_nan(found)).as_py():
        return None
    return np.asarray(found.to_numpy(), np.float64)


def _read(
    table: Table, name: str, cells: Cells, conventions: Conventions, role: Role, among_commas: bool
) -> Numerals | None:
    """Cells as numbers; None where they are categories."""
    mark = conventions.decimal_mark
    if not role.must_be_numbers:
        in_sample = numerals(_sample(cells.texts), mark).values
        if all(value is None for value in in_sample):
            return None
    found = numerals(cells.texts, mark)
    if found.doubtful is not None and among_commas:
        found = numerals(cells.texts, "comma")
    doubtful = found.doubtful
    if among_commas and doubtful is None and not found.notation.words:
        doubtful = may_have_thousands(cells.texts)
    is_wrong = np.array([value is None for value in found.values], bool)
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.texts))
    share = 1 - counts[is_wrong].sum() / max(counts.sum(), 1)
    kinds = len({value for value in found.values if value is not None})
    is_mostly = share >= _NUMBERS_IN_TEXT and kinds > _FEW_KINDS
    if is_wrong.any() and not (role.must_be_numbers or is_mostly):
        return None
    if is_wrong.any():
        wrong = np.append(is_wrong, False)[cells.codes]
        row = int(np.argmax(wrong))
        others = more_like_it(int(wrong.sum()))
        how = f" with {found.notation.words}" if found.notation.words else ""
        how = f"{how} and {SIGNS[found.sign]} signs" if found.sign else how
        raise MamlaxError(
            f"{role.what} {name!r} is {cells.texts[cells.codes[row]]!r} in {table.place_of(row)}"
            f"{others}, where numbers{how} are expected. Correct it, or {role.remedy}."
        )
    if doubtful is not None:
        row = int(np.argmax(cells.codes == cells.texts.index(doubtful)))
        raise MamlaxError(
            f"{role.what} {name!r} is {doubtful!r} in {table.place_of(row)}: whether decimals "
            "begin there or thousands end cannot be told. Say what decimals begin with: "
            "--decimal-mark point, or --decimal-mark comma."
        )
    return found


def _check_finite(table: Table, name: str, role: Role, values: np.ndarray) -> None:
    wrong = np.isinf(values)
    if wrong.any():
        row = int(np.argmax(wrong))
        others = more_like_it(int(wrong.sum()))
        raise MamlaxError(
            f"{role.what} {name!r} is {values[row]} in {table.place_of(row)}{others}, where "
            f"numbers are expected. Correct it, or {role.remedy}."
        )


def _spread(of_each: list[float], codes: np.ndarray) -> np.ndarray:
    """A number for each row, of those for each of the cells."""
    return np.array([*of_each, float("nan")])[codes]


def _at(dates: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """A date for each row, of those for each of the cells."""
    return np.append(dates, np.datetime64("NaT", "us"))[codes]


def _sample(texts: list[str]) -> list[str]:
    return texts[:: max(1, len(texts) // _SAMPLE)]
