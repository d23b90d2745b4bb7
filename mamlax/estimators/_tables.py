"""Tables from files: csv, csv.gz, tsv and parquet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._errors import MamlaxError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_table(path: str | Path) -> Any:
    """A pandas frame.

    Args:
        path: a `.csv` or `.tsv` (also `.gz`, `.zip`, `.bz2`, `.xz` of them) or `.parquet`.

    Raises:
        MamlaxError: if it is missing, empty, damaged or of another kind.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MamlaxError(
            "tables need pandas and scikit-learn: pip install 'mamlax[tabular]'."
        ) from error

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
            table = pd.read_csv(path, sep=separator, low_memory=False)
        else:
            raise MamlaxError(f"{path} is neither .csv, .tsv (also .gz) nor .parquet.")
    except MamlaxError:
        raise
    except Exception as error:  # readers raise whatever damage makes of their input
        raise MamlaxError(f"{path} cannot be read as a table ({error}).") from error
    if not len(table):
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


def labels_of(columns: Any) -> Any:
    """One label for each row, of one column or of several together."""
    if columns.shape[1] == 1:
        return columns.iloc[:, 0].to_numpy()
    codes = columns.groupby(list(columns.columns), sort=True, dropna=False).ngroup().to_numpy()
    first = columns.assign(_code=codes).drop_duplicates("_code").sort_values("_code")
    names = first.drop(columns="_code").astype(str).agg("-".join, axis=1).to_numpy()
    return names[codes]
