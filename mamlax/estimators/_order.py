"""Rows in an order, as in time: what a new group is adapted to are then its first."""

import re
from typing import Any

import numpy as np
import pandas as pd

from .._errors import MamlaxError, warn

_LEAST_ROWS, _LEAST_GROUPS = 3, 5
_TIMES = {"date", "datetime", "time", "timestamp", "day", "week", "year"}


def positions_in(order_by: Any, num_rows: int, *, called: str = "order_by") -> np.ndarray:
    """The indices of all rows in their order; rows of one value stay as they stand.

    Args:
        order_by: `[rows]` of numbers or dates, also as text.
        num_rows: how many there are.
        called: what it is called in messages.

    Raises:
        MamlaxError: if there is not one for each row, some are missing, or they have no order.
    """
    values: Any = pd.Series(np.asarray(order_by).reshape(-1))
    if np.ndim(order_by) != 1 or len(values) != num_rows:
        raise MamlaxError(
            f"{called} must have one number or date for each of the {num_rows} rows, got shape "
            f"{list(np.shape(order_by))}."
        )
    if (missing := values.isna()).any():
        raise MamlaxError(
            f"{called} is missing in {int(missing.sum())} rows (the first: "
            f"{int(missing.to_numpy().argmax())}). Fill it in, or leave these rows out."
        )
    return np.argsort(_comparable(values, called), kind="stable")


def _comparable(values: Any, called: str) -> np.ndarray:
    """Numbers or times that are in the same order."""
    if values.dtype.kind in "biufmM":
        return values.to_numpy()
    numbers: Any = pd.to_numeric(values, errors="coerce")
    if not numbers.isna().any():
        return numbers.to_numpy()
    dates: Any = pd.to_datetime(values, format="ISO8601", utc=True, errors="coerce")
    if not dates.isna().any():
        return dates.dt.tz_localize(None).to_numpy()
    unread = min((one.isna().to_numpy() for one in (numbers, dates)), key=np.count_nonzero)
    row = int(unread.argmax())
    raise MamlaxError(
        f"{called} must be numbers or dates, as 2024-01-31, got {values.iloc[row]!r} in row {row}. "
        "Make numbers of it, that grow with time, or leave such rows out."
    )


def warn_of_time(table: Any, groups: np.ndarray) -> None:
    """Warn of a column by which rows of a group may stand in an order.

    One whose name says so and that changes within groups; or whose numbers grow from row to row in
    all of them.

    Args:
        table: a frame of pandas, or an array `[rows, columns]`.
        groups: `[rows]`, the number of each row's group.
    """
    names = list(table.columns) if isinstance(table, pd.DataFrame) else range(table.shape[1])
    order = np.argsort(groups, kind="stable")
    is_same = np.diff(groups[order]) == 0
    is_known = np.bincount(groups).astype(int) >= _LEAST_ROWS
    for index, name in enumerate(names):
        column = table.iloc[:, index] if isinstance(table, pd.DataFrame) else table[:, index]
        if _is_called_time(name) or getattr(column.dtype, "kind", "") == "M":
            codes = pd.factorize(column)[0][order]
            looks = np.mean(np.diff(codes)[is_same] != 0) > 0.5 if is_same.any() else False
        elif is_known.sum() >= _LEAST_GROUPS and _has_numbers(column):
            steps = np.diff(np.asarray(column, np.float64)[order])
            looks = np.all(steps[is_same & is_known[groups[order][1:]]] > 0)
        else:
            looks = False
        if looks:
            warn(
                f"column {name!r} looks like time, and no order was named: support rows are drawn "
                "at random. Where in use they come first, errors are larger than the report says. "
                "Then give the column as order_by (on the command line --order-column).",
                stacklevel=3,
            )
            return


def _is_called_time(name: Any) -> bool:
    return isinstance(name, str) and bool(_TIMES & set(re.split(r"[^a-z]+", name.lower())))


def _has_numbers(column: Any) -> bool:
    kind = getattr(column.dtype, "numpy_dtype", column.dtype)
    return isinstance(kind, np.dtype) and kind.kind in "iuf"
