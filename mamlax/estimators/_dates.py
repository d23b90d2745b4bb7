"""Dates as numbers: a trend, and where in the year, in the week and in the day they lie.

The clock counts as it is written, and zones are left away: eight in the morning is eight in the
morning, in a frame, in a file and in JSON. Days are counted from 1970, which began on a Thursday.
"""

import datetime
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._errors import MamlaxError

WIDTHS = {"time": 1, "year": 2, "week": 7, "day": 2}
"""Numbers that each part of a date becomes, in their order."""
_YEAR, _THURSDAY = 365.2425, 3
_CYCLES = {"year": _YEAR, "week": 7.0, "day": 1.0}
_ISO = re.compile(
    r"\s*(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)\s*(?:Z|[+-]\d\d:?\d\d)?)?\s*"
)
_MISSING = np.datetime64("NaT", "us")
HOW = "2024-01-31, or 2024-01-31T08:00"


def parts_of(days: np.ndarray) -> tuple[str, ...]:
    """Of which parts something can be learned: of cycles, where dates reach over half of one and
    do not always lie at the same place of it.

    Args:
        days: `[rows]` since 1970, none missing.
    """
    found = ["time"]
    reach = np.ptp(days) if len(days) else 0.0
    for part, length in _CYCLES.items():
        places = np.floor(days) % 7 if part == "week" else np.round(days % length, 6)
        # leap years move the same day of all years by a day or two
        spread = 2.0 if part == "year" else 0.0
        if reach >= length / 2 and _spread(places, length) > spread:
            found.append(part)
    return tuple(found)


def _spread(places: np.ndarray, length: float) -> float:
    """How much of a cycle places reach over: all of it but the longest gap."""
    there = np.unique(places)
    gaps = np.diff(there, append=there[0] + length)
    return length - float(gaps.max())


def encoded(days: np.ndarray, parts: Sequence[str], trend: np.ndarray) -> np.ndarray:
    """`[rows, numbers]` of the parts; zeros where a date is missing.

    Args:
        days: `[rows]` since 1970, not a number where missing.
        parts: which.
        trend: `[rows]`, the days standardized.
    """
    angles = {name: 2 * np.pi * days / _CYCLES[name] for name in ("year", "day")}
    columns = {
        "time": lambda: [trend],
        "year": lambda: [np.sin(angles["year"]), np.cos(angles["year"])],
        "week": lambda: list((np.floor(days) + _THURSDAY) % 7 == np.arange(7)[:, None]),
        "day": lambda: [np.sin(angles["day"]), np.cos(angles["day"])],
    }
    found = np.stack([one for part in parts for one in columns[part]()], axis=1)
    return np.where(np.isnan(days)[:, None], 0.0, found)


def days_of(values: np.ndarray, name: str) -> np.ndarray:
    """Days since 1970 `[rows]`, not a number where missing.

    Args:
        values: `[rows]` of dates, or of text that they are written in.
        name: of the column.

    Raises:
        MamlaxError: if they are none.
    """
    if values.dtype.kind != "M":
        is_missing = np.asarray(pd.isna(values))
        there = values[~is_missing].tolist()
        wrong = next((one for one in there if not isinstance(one, str)), None)
        found = None if wrong is not None else dates_in(there)
        if found is None:
            if wrong is None:
                wrong = next(one for one in there if dates_in([one]) is None)
            raise MamlaxError(
                f"column {name!r} held dates when it was fitted, got {wrong!r}. Write them as "
                f"{HOW}, or leave the value out (it then counts as missing)."
            )
        values = np.full(len(is_missing), _MISSING)
        values[~is_missing] = found
    return (values - np.datetime64(0, "us")) / np.timedelta64(1, "D")


def dates_in(texts: Sequence[str]) -> np.ndarray | None:
    """Dates `[texts]` that are all written as 2024-01-31, with a time after it or without; None
    where one is not.
    """
    found = []
    for text in texts:
        if (match := _ISO.fullmatch(text)) is None:
            return None
        day, time = match.groups()
        found.append(f"{day}T{(time or '00:00').replace(',', '.')}")
    try:
        return np.array(found, "datetime64[us]")
    except ValueError:  # the 31st of February
        return None


def without_clocks(series: pd.Series) -> np.ndarray | None:
    """A column of dates, as NumPy has them; of durations, in days; or of times, in hours. None
    where it is none of these.

    Raises:
        MamlaxError: if something else is among them.
    """
    kind = getattr(series.dtype, "kind", "O")
    is_known = isinstance(series.dtype, np.dtype | pd.DatetimeTZDtype)
    if kind == "M" and is_known:
        zoned: Any = series
        plain = zoned.dt.tz_localize(None) if zoned.dt.tz is not None else zoned
        return plain.to_numpy(dtype="datetime64[us]")
    if kind == "m" and is_known:
        return series.to_numpy(dtype="timedelta64[us]") / np.timedelta64(1, "D")
    if kind not in "OmM" or isinstance(series.dtype, pd.CategoricalDtype):
        return None
    first = next(iter(series.dropna()), None)
    for kinds, convert, missing in _OBJECTS:
        if isinstance(first, kinds):
            try:
                found = [missing if pd.isna(one) else convert(one) for one in series.tolist()]
            except (AttributeError, TypeError, ValueError) as error:
                raise MamlaxError(
                    f"column {series.name!r} begins with {first!r}, a {type(first).__name__}, and "
                    f"holds something else as well ({error}). Correct it, or leave it out."
                ) from error
            return np.array(found)
    return None


def _date(value: Any) -> np.datetime64:
    if isinstance(value, pd.Period):
        value = value.to_timestamp()
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=None)
    if not issubclass(type(value), datetime.date | np.datetime64):
        raise TypeError(f"{value!r} is a {type(value).__name__}")
    return np.datetime64(value, "us")


_OBJECTS: tuple[tuple[Any, Any, Any], ...] = (
    (datetime.date | pd.Period | np.datetime64, _date, _MISSING),
    (datetime.timedelta | np.timedelta64, lambda one: one / np.timedelta64(1, "D"), np.nan),
    (
        datetime.time,
        lambda one: one.hour + one.minute / 60 + one.second / 3600 + one.microsecond / 3.6e9,
        np.nan,
    ),
)
