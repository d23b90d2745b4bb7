"""The columns of a table as numbers that a network is given, learned from the rows fitted.

A column of numbers is standardized, and has a second one that says where values are missing; a
column of categories becomes one of zeros and ones for each category; one of dates becomes a trend,
and numbers of where in the year, in the week and in the day they lie.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._errors import MamlaxError, warn
from .._files import Json
from ._categories import category_of, factorized
from ._dates import WIDTHS, days_of, encoded, parts_of, without_clocks
from ._moments import are_lost, exponent_of
from ._numerals import numerals

_FAR = 1_000
"""Standard deviations: of no value among a million that a column was fitted to."""
_MAX_CATEGORIES = 100


class Column(NamedTuple):
    """One column.

    Attributes:
        name: of the column; its number where the table has no names.
        categories: the most frequent first; empty for numbers.
        mean: of the numbers.
        scale: their standard deviation.
        has_missing: whether values were missing.
        limit: standard deviations beyond which a value counts as that far.
        parts: of dates those that it becomes (time, year, week, day); their mean and scale are in
            days since 1970. Empty for others.
    """

    name: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0
    has_missing: bool = False
    limit: float = 10.0
    parts: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Numbers that it becomes."""
        if self.parts:
            return sum(WIDTHS[part] for part in self.parts) + self.has_missing
        return len(self.categories) or 1 + self.has_missing

    @property
    def kind(self) -> str:
        """What it holds, in a word."""
        if self.parts:
            return "dates"
        return "categories" if self.categories else "numbers"

    @property
    def furthest(self) -> float:
        """Deviations beyond which a value is warned of; of dates, where the trend ends."""
        return self.limit if self.parts else _FAR

    @property
    def about(self) -> str:
        """Its mean and deviation, in words."""
        if not self.parts:
            return f"mean {self.mean:.4g}, deviation {self.scale:.4g}"
        day = np.datetime64(0, "D") + np.timedelta64(round(self.mean), "D")
        return f"mean {day}, deviation {self.scale:.4g} days"

    @property
    def doubt(self) -> str:
        """What to ask of values far off."""
        return "Is the year right?" if self.parts else "Is it in another unit?"

    def as_json(self) -> Json:
        """Its attributes, by name."""
        return self._asdict()

    def encode(self, values: np.ndarray) -> np.ndarray:
        """`[rows, width]`."""
        if self.categories:
            codes, found = factorized(values)
            index = {one: i for i, one in enumerate(self.categories)}
            place = np.array([*(index.get(one, -1) for one in found), -1])
            return (place[codes][:, None] == np.arange(len(self.categories))).astype(np.float32)
        scaled = np.clip(self._standardized(values), -self.limit, self.limit)
        missing = np.isnan(scaled)
        if self.parts:
            found = encoded(days_of(values, self.name), self.parts, scaled)
            return np.column_stack([found, missing])[:, : self.width].astype(np.float32)
        scaled = np.where(missing, 0.0, scaled).astype(np.float32)
        return np.stack([scaled, missing][: self.width], axis=1).astype(np.float32)

    def _standardized(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            take = days_of if self.parts else _as_numbers
            return (take(values, self.name) - self.mean) / self.scale

    def far(self, values: np.ndarray) -> np.ndarray:
        """The rows of numbers or dates so far from those fitted that they are of another kind."""
        if self.categories:
            return np.zeros(0, int)
        return np.flatnonzero(np.abs(self._standardized(values)) > self.furthest)

    def unknown(self, values: np.ndarray) -> list[str]:
        """Categories that were not there when it was fitted; of many, none is known to be new."""
        if not 0 < len(self.categories) < _MAX_CATEGORIES:
            return []
        return sorted(set(factorized(values)[1]) - set(self.categories))


class Columns(NamedTuple):
    """All columns of a table.

    Attributes:
        columns: in the order of the table fitted.
        named: whether a table must have these names (in any order; others are left aside).
    """

    columns: tuple[Column, ...]
    named: bool

    @staticmethod
    def fit(table: Any) -> "Columns":
        """Learn them from a table: a pandas frame, or an array `[rows, columns]`.

        Warns of columns that are likely to hold something else than they seem to.

        Raises:
            MamlaxError: if a column holds what is neither numbers nor categories, or infinities.
        """
        names = names_of(table)
        shown = names or [str(i) for i in range(table.shape[1])]
        columns = []
        for name, series in zip(shown, _series(table), strict=True):
            values = _values(series)
            columns.append(_fitted(name, values))
            is_meant = hasattr(series.dtype, "categories")
            _warn_of(columns[-1], values, is_meant)
        return Columns(tuple(columns), names is not None)

    def encode(self, table: Any) -> np.ndarray:
        """`[rows, width]` of float32. Categories that are new count as missing, with a warning.

        Raises:
            MamlaxError: if a column is absent, or holds what it did not hold when fitted.
        """
        series = _series(table)
        if self.named and (names := names_of(table)) is not None:
            self.check_names(table)
            by_name = dict(zip(names, series, strict=True))
            series = [by_name[column.name] for column in self.columns]
        elif table.shape[1] != len(self.columns):
            raise MamlaxError(
                f"the table has {table.shape[1]} columns, but {len(self.columns)} were fitted: "
                f"{_listed([column.name for column in self.columns])}."
            )
        return self.encode_values([_values(one) for one in series], len(table))

    def encode_values(self, columns: Sequence[np.ndarray], num_rows: int) -> np.ndarray:
        """The same of arrays of numbers or of objects, one for each column.

        Args:
            columns: `[rows]` each.
            num_rows: how many rows there are.
        """
        encoded, start = np.zeros((num_rows, self.width), np.float32), 0
        for column, values in zip(self.columns, columns, strict=True):
            if new := column.unknown(values):
                warn(
                    f"column {column.name!r} has categories that were not there when the model "
                    f"was fitted: {_listed(new)}. They count as missing.",
                    stacklevel=3,
                )
            if len(far := column.far(values)):
                warn(
                    f"column {column.name!r} is {values[far[0]]} in row {far[0]}"
                    f"{more_like_it(len(far))}, which is more than {column.furthest:,g} standard "
                    "deviations away from "
                    f"what the model was fitted to ({column.about}). It counts as "
                    f"{column.limit:g} of them. {column.doubt}",
                    stacklevel=3,
                )
            encoded[:, start : start + column.width] = column.encode(values)
            start += column.width
        return encoded

    def check_names(self, table: Any) -> None:
        """Refuse a frame that lacks columns.

        Raises:
            MamlaxError: naming them, and what there is.
        """
        names = names_of(table) or []
        absent = [column.name for column in self.columns if column.name not in names]
        if self.named and absent:
            raise MamlaxError(
                f"the table lacks {_listed(absent)}; it has {_listed(names)}. Columns are matched "
                "by name, in any order."
            )

    @property
    def width(self) -> int:
        """Numbers that a row becomes."""
        return sum(column.width for column in self.columns)

    def as_json(self) -> Json:
        """For `from_json`."""
        columns = [column.as_json() for column in self.columns]
        return {"columns": columns, "named": self.named}

    @staticmethod
    def from_json(value: Json) -> "Columns":
        """What `as_json` gave."""
        columns = [
            Column(
                **one
                | {"categories": tuple(one["categories"]), "parts": tuple(one.get("parts", ()))}
            )
            for one in value["columns"]
        ]
        if any(part not in WIDTHS for one in columns for part in one.parts):
            raise ValueError(f"a column of dates that becomes other than {', '.join(WIDTHS)}")
        wrong = [one.name for one in columns if not (np.isfinite(one.mean) and one.scale > 0)]
        if wrong:
            raise ValueError(f"the mean or scale of column {wrong[0]!r} makes no sense")
        return Columns(tuple(columns), value["named"])


def is_frame(table: Any) -> bool:
    """Whether it is a pandas frame."""
    return hasattr(table, "iloc") and hasattr(table, "columns")


def names_of(table: Any) -> list[str] | None:
    """The names of a frame's columns; None for an array.

    Raises:
        MamlaxError: if two columns have the same.
    """
    if not is_frame(table):
        return None
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise MamlaxError(f"two columns are called {twice!r}. Rename one.")
    return names


def _fitted(name: str, values: np.ndarray) -> Column:
    if _is_text(values):
        codes, found = factorized(values)
        counts = np.bincount(codes[codes >= 0], minlength=len(found))
        frequent = np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES]
        return Column(name, tuple(found[i] for i in frequent) or ("",))
    is_date = values.dtype.kind == "M"
    numbers = days_of(values, name) if is_date else _as_numbers(values, name)
    there = numbers[~np.isnan(numbers)]
    parts = parts_of(there) if is_date else ()
    one = Column(name, has_missing=len(there) < len(numbers), parts=parts)
    if not len(there):
        return one
    if there.min() == there.max():
        return one._replace(mean=float(there[0]))
    exponent = exponent_of(there)
    there = np.ldexp(there, -exponent)
    mean, scale = (float(np.ldexp(one, exponent)) for one in (there.mean(), there.std()))
    usable = scale > 1e-12 * abs(mean)
    return one._replace(mean=mean, scale=scale if usable else 1.0)


def _warn_of(column: Column, values: np.ndarray, are_categories_meant: bool) -> None:
    """Warn of a column that is likely to hold something else than it seems to."""
    if column.name.startswith("Unnamed: "):
        warn(
            f"column {column.name!r} has no name: it is likely an index that was exported with the "
            "table, and numbers rows. Leave it out.",
            stacklevel=4,
        )
    if column.categories and not are_categories_meant:
        if column.categories != ("",) and None not in numerals(column.categories).values:
            warn(
                f"column {column.name!r} holds numbers as text, such as {column.categories[0]!r}: "
                f"they are taken for {len(column.categories)} categories. Make numbers of it; or "
                'astype("category"), where categories are meant.',
                stacklevel=4,
            )
    elif column.kind == "numbers" and are_lost(
        values := _as_numbers(values, column.name), column.encode(values)[:, 0]
    ):
        row = int(np.nanargmax(np.abs(values - column.mean)))
        warn(
            f"column {column.name!r} is {values[row]} in row {row}, so far from the others that "
            "they can hardly be told apart. Correct it, or take the logarithm of the column.",
            stacklevel=4,
        )


def _series(table: Any) -> list[Any]:
    """The columns of a frame, or of an array, whose objects and dates are named by their place."""
    if is_frame(table):
        return [series for _, series in table.items()]  # several times as fast as by `iloc`
    if table.dtype.kind in "OmM":
        return [pd.Series(one, name=str(place)) for place, one in enumerate(table.T)]
    return list(table.T)


def _values(series: Any) -> np.ndarray:
    """A column as an array of numbers, of dates, or of objects."""
    if isinstance(series, np.ndarray):
        return series
    kind = getattr(series.dtype, "kind", "O")
    if (found := without_clocks(series)) is not None:
        return found
    if hasattr(series.dtype, "categories"):  # categories, whatever they are called
        return series.astype(object).map(category_of, na_action="ignore").to_numpy(dtype=object)
    if kind in "biuf":  # pandas' own numbers too, whose missing values are no NaN
        return series.to_numpy(dtype=float, na_value=np.nan)
    return series.to_numpy(dtype=object, na_value=None)


def _is_text(values: np.ndarray) -> bool:
    if values.dtype.kind in "US":
        return True
    return values.dtype == object and any(isinstance(value, str) for value in values)


def _as_numbers(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind == "M":
        raise MamlaxError(
            f"column {name!r} held numbers when it was fitted, got dates. Give what it held."
        )
    try:
        numbers = np.asarray(values, np.float64)
        if values.dtype.kind not in "biuf" and not all(map(_is_number, _texts_of(values))):
            raise ValueError("text that is no number")
    except (TypeError, ValueError) as error:
        text = next((one for one in _texts_of(values) if not _is_number(one)), None)
        if text is None:  # the words of scikit-learn, whose users know them
            raise TypeError(
                f"column {name!r}: argument must be a string or a number ({error})."
            ) from error
        raise MamlaxError(
            f"column {name!r} held numbers when it was fitted, got {text!r}. Clean it, or leave "
            "the value out (it then counts as missing)."
        ) from error
    if np.isinf(numbers).any():
        raise ValueError(
            f"column {name!r} contains infinity (row {int(np.argmax(np.isinf(numbers)))}). Clean "
            "it, or leave the value out (it then counts as missing)."
        )
    return numbers


def number_of(value: Any) -> float:
    """The value as a number. Text as only Python reads it, such as `2024_01`, is none.

    Raises:
        ValueError, TypeError, OverflowError: if it is none.
    """
    if isinstance(value, str) and "_" in value:
        raise ValueError(f"could not convert string to float: {value!r}")
    return float(value)


def _texts_of(values: np.ndarray) -> list[str]:
    return [one for one in values.tolist() if isinstance(one, str)]


def _is_number(text: str) -> bool:
    try:
        number_of(text)
    except ValueError:
        return False
    return True


def more_like_it(count: int) -> str:
    """How many values beside the one that a message shows."""
    return f" (and {count - 1} more like it)" if count > 1 else ""


def _listed(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
