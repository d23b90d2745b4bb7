"""Tables from files: csv, csv.gz, tsv and parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .._errors import MamlaxError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_table(path: str | Path, *, text: Sequence[str] = (), may_be_empty: bool = False) -> Any:
    """A pandas frame.

    Args:
        path: a `.csv` or `.tsv` (also `.gz`, `.zip`, `.bz2`, `.xz` of them) or `.parquet`.
        text: columns that hold text, though it may look like numbers (01, 02).
        may_be_empty: whether a table without rows will do.

    Raises:
        MamlaxError: if it is missing, empty, damaged or of another kind.
    """
    path = Path(path)
    kinds = [suffix.lower() for suffix in path.suffixes]
    if not path.is_file():
        raise MamlaxError(f"{path} does not exist, or is no file. A table is a csv or parquet.")
    if not path.stat().st_size:
        raise MamlaxError(f"{path} is empty (0 bytes).")
    separator = next((_SEPARATORS[kind] for kind in kinds if kind in _SEPARATORS), None)
    try:
        if ".parquet" in kinds:
            table = pd.read_parquet(path)
        elif separator is not None:
            kinds_of: Any = dict.fromkeys(text, str)
            table = pd.read_csv(path, sep=separator, low_memory=False, dtype=kinds_of)
        else:
            raise MamlaxError(f"{path} is neither .csv, .tsv (also .gz) nor .parquet.")
    except MamlaxError:
        raise
    except Exception as error:  # readers raise whatever damage makes of their input
        raise MamlaxError(f"{path} cannot be read as a table ({error}).") from error
    if not len(table) and not may_be_empty:
        raise MamlaxError(f"{path} has no rows.")
    return table


def columns_of(table: Any, names: Sequence[str], flag: str, path: Path) -> Any:
    """Some columns.

    Raises:
        MamlaxError: if one is missing; lists what there is.
    """
    absent = [name for name in names if name not in table.columns]
    if absent:
        there = ", ".join(map(str, table.columns))
        raise MamlaxError(f"{path} has no column {absent[0]!r} ({flag}). It has: {there}.")
    return table[list(names)]


def labels_of(columns: Any, flag: str) -> Any:
    """One label for each row, of one column or of several together.

    Raises:
        MamlaxError: if one is missing.
    """
    for name in columns.columns:
        missing = columns[name].isna()
        if missing.any():
            raise MamlaxError(
                f"the column {name!r} ({flag}) is missing in {int(missing.sum())} rows (the first: "
                f"{int(missing.to_numpy().argmax())}). Fill it in, or leave these rows out."
            )
    if columns.shape[1] == 1:
        return columns.iloc[:, 0].to_numpy()
    return columns.groupby(list(columns.columns), sort=True).ngroup().to_numpy()
