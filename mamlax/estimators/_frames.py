"""Frames of any library (pandas, Polars, Arrow) as frames of pandas; arrays stay as they are."""

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from narwhals.exceptions import DuplicateError

from .._errors import MamlaxError

_INDEX = "__index_level_"
"""What the names of columns begin with in which pandas keeps an index without a name in Arrow."""


def as_pandas(table: Any) -> Any:
    """A frame as one of pandas, whatever library it is of; all else, arrays say, as it is.

    Args:
        table: a frame of pandas, Polars, Arrow or of what narwhals or the Arrow PyCapsule interface
            knows; or what scikit-learn takes for an array.

    Raises:
        MamlaxError: if it has columns with names, but is no such frame: by position they could be
            mistaken for one another.
    """
    if isinstance(table, pd.DataFrame):
        return table
    try:
        known = nw.from_native(table, pass_through=True, allow_series=True)
    except DuplicateError as error:
        raise MamlaxError(f"two columns have the same name ({error}). Rename one.") from error
    if isinstance(known, nw.LazyFrame):
        raise MamlaxError(
            f"a table that is not computed yet ({_kind(table)}) cannot be read. Collect it first: "
            "table.collect()."
        )
    if isinstance(known, nw.Series):
        return table
    if not isinstance(known, nw.DataFrame):
        found = _by_protocol(table)
        if found is None:
            _refuse_names(table)
            return table
        known = nw.from_native(found, eager_only=True)
    columns = [name for name in known.columns if not name.startswith(_INDEX)]
    return pd.DataFrame({name: _column(known[name]) for name in columns}, index=range(len(known)))


def _column(series: nw.Series[Any]) -> pd.Series:
    """A column with a type that pandas has for what is in it."""
    kind = series.dtype
    if kind.is_decimal():
        series, kind = series.cast(nw.Float64), nw.Float64()
    if kind.is_numeric():
        return pd.Series(np.asarray(series.to_numpy(), np.float64))
    values = pd.Series(series.to_list(), dtype=object)
    if kind == nw.Boolean:
        return values.astype("boolean")
    return values.astype("category") if kind in (nw.Categorical, nw.Enum) else values


def _by_protocol(table: Any) -> Any:
    """A table of Arrow from what speaks a protocol for tables; None if it does not."""
    has_capsule = hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__")
    if not has_capsule and not hasattr(table, "__dataframe__"):
        return None
    import pyarrow as pa

    if has_capsule:
        try:
            return pa.table(table)
        except (TypeError, ValueError):  # a column is no table
            return None
    from pyarrow.interchange import from_dataframe

    try:
        return from_dataframe(table)
    except Exception as error:  # a kind of column that the protocol lacks, say
        raise MamlaxError(
            f"{_kind(table)} cannot be read by the dataframe protocol ({error}). Make a frame of "
            "pandas or Polars of it."
        ) from error


def _refuse_names(table: Any) -> None:
    """Refuse what has named columns, but is no frame; a sparse matrix is refused elsewhere."""
    if hasattr(table, "toarray"):
        return
    first = table[0] if isinstance(table, list | tuple) and len(table) else None
    has_fields = getattr(getattr(table, "dtype", None), "names", None)
    has_columns = hasattr(table, "columns") and not hasattr(table, "__array__")
    is_mapping = isinstance(table, Mapping) and not hasattr(table, "shape")  # not a sparse matrix
    if is_mapping or isinstance(first, Mapping) or has_fields or has_columns:
        raise MamlaxError(
            f"a table with names must be a frame (pandas, Polars, Arrow), got {_kind(table)}. Make "
            "one of it, as by pandas.DataFrame(table)."
        )


def _kind(table: Any) -> str:
    return f"{type(table).__module__}.{type(table).__qualname__}".removeprefix("builtins.")
