"""Tables from files: csv, csv.gz, tsv and parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .._errors import MamlaxError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_OTHERS = ";\t|,"
_SPREADSHEETS = {".xlsx", ".xls", ".ods", ".numbers"}
SUFFIXES = (*_SEPARATORS, ".parquet")
"""Of a table; of text also compressed."""


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
    if path.is_dir():
        raise MamlaxError(f"{path} is a folder, where a table is expected: a csv, tsv or parquet.")
    if not path.is_file():
        raise MamlaxError(f"{path} does not exist. A table is a csv, tsv or parquet.")
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
            more = " Save the spreadsheet as CSV UTF-8." if _SPREADSHEETS & set(kinds) else ""
            raise MamlaxError(f"{path} is neither .csv, .tsv (also .gz) nor .parquet.{more}")
    except MamlaxError:
        raise
    except UnicodeDecodeError as error:
        raise MamlaxError(
            f"{path} is not UTF-8 text ({error.reason}). Save it as CSV UTF-8 from the "
            f"spreadsheet, or convert it, as by iconv -f latin1 -t utf-8 {path} > utf8.csv."
        ) from error
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
        there, hint = ", ".join(map(str, table.columns)), ""
        separators = [one for one in _OTHERS if one in there]
        if table.shape[1] == 1 and separators:
            hint = (
                f" Are its columns separated by {separators[0]!r}? A .csv has commas, a .tsv tabs: "
                "save it as one of these."
            )
        raise MamlaxError(f"{path} has no column {absent[0]!r} ({flag}). It has: {there}.{hint}")
    return table[list(names)]


def labels_of(columns: Any, flag: str, path: Path) -> Any:
    """One label for each row, of one column or of several together.

    Raises:
        MamlaxError: if one is missing in a row.
    """
    for name in columns.columns:
        missing = columns[name].isna().to_numpy()
        if missing.any():
            first = place_of(path, columns.index[int(missing.argmax())])
            raise MamlaxError(
                f"the column {name!r} ({flag}) is missing in {int(missing.sum())} rows (the first: "
                f"{first}). Fill it in, or leave these rows out."
            )
    if columns.shape[1] == 1:
        return columns.iloc[:, 0].to_numpy()
    return columns.groupby(list(columns.columns), sort=True).ngroup().to_numpy()


def place_of(path: Path, row: int) -> str:
    """Where a row is in a file: of text the line, its header being line 1."""
    if ".parquet" in path.suffixes:
        return f"row {row + 1} of {path}"
    return f"line {row + 2} of {path}"
