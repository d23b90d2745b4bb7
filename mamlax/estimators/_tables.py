"""Tables from files: text with separators, parquet and feather."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from .._errors import MamlaxError
from ._delimited import SEPARATORS, line_of, read_cells

_FEATHER = (".feather", ".arrow")
_SPREADSHEETS = {".xlsx", ".xls", ".ods", ".numbers"}
_MOST_VALUES = 1 << 30
SUFFIXES = (*SEPARATORS, ".parquet", *_FEATHER)
"""Of a table; of text also compressed."""
_KINDS = "csv, tsv, parquet or feather"


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes:
        path: of the file.
        columns: as Arrow holds them; of text with separators, cells of text as they are written.
        separator: of cells in text; None: columns have types.
        rows: `[rows]`, which rows of the file these are.
        other_separators: of text, those that would have cut it into columns as well.
    """

    path: Path
    columns: pa.Table
    separator: str | None
    rows: np.ndarray
    other_separators: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return self.columns.column_names

    def where(self, mask: np.ndarray) -> "Table":
        """Some rows, by a mask `[rows]`."""
        return replace(self, columns=self.columns.filter(pa.array(mask)), rows=self.rows[mask])

    def place_of(self, row: int) -> str:
        """Where a row is in the file: of text the line, its header being the first."""
        number = int(self.rows[row])
        if self.separator is None:
            return f"row {number + 1} of {self.path}"
        return f"line {line_of(self.path, self.separator, number)} of {self.path}"

    def check_has(self, names: Iterable[str], flag: str) -> None:
        """Refuse names of columns that are not there.

        Raises:
            MamlaxError: if one is missing; lists what there is.
        """
        absent = [name for name in names if name not in self.names]
        if absent:
            raise MamlaxError(
                f"{self.path} has no column {absent[0]!r} ({flag}). It has: "
                f"{', '.join(map(shown, self.names))}."
            )


def read_table(path: str | Path, *, may_be_empty: bool = False) -> Table:
    """A table.

    Args:
        path: a `.csv` or `.tsv` (also `.gz`, `.zip`, `.bz2`, `.xz` of them), `.parquet`, `.feather`
            or `.arrow`.
        may_be_empty: whether a table without rows will do.

    Raises:
        MamlaxError: if it is missing, empty, damaged, too large or of another kind.
    """
    path = Path(path)
    kinds = [suffix.lower() for suffix in path.suffixes]
    if path.is_dir():
        raise MamlaxError(f"{path} is a folder, where a table is expected: a {_KINDS}.")
    if not path.exists():
        raise MamlaxError(f"{path} does not exist. A table is a {_KINDS}.")
    if not path.is_file():
        raise MamlaxError(f"{path} is no ordinary file (a pipe or a device). Write it to one.")
    if not path.stat().st_size:
        raise MamlaxError(f"{path} is empty (0 bytes).")
    separator, others = None, ()
    try:
        if ".parquet" in kinds:
            columns = _parquet(path)
        elif any(kind in _FEATHER for kind in kinds):
            columns = _feather(path)
        elif any(kind in SEPARATORS for kind in kinds):
            columns, (separator, others) = read_cells(path)
        else:
            more = " Save the spreadsheet as CSV UTF-8." if _SPREADSHEETS & set(kinds) else ""
            raise MamlaxError(
                f"{path} is neither .csv, .tsv (also .gz), .parquet nor .feather.{more}"
            )
    except (MamlaxError, MemoryError):
        raise
    except PermissionError as error:
        raise MamlaxError(f"{path} may not be read by you ({error.strerror}).") from error
    except Exception as error:  # readers raise whatever damage makes of their input
        raise MamlaxError(f"{path} cannot be read as a table ({error}).") from error
    columns = columns.drop_columns(
        [name for name in columns.column_names if name.startswith("__index_level_")]
    )
    names = Counter(columns.column_names)
    if twice := [name for name, number in names.items() if number > 1]:
        raise MamlaxError(f"two columns of {path} are called {min(twice)!r}. Rename one.")
    if not len(columns) and not may_be_empty:
        raise MamlaxError(f"{path} has no rows.")
    return Table(path, columns, separator, np.arange(len(columns)), others)


def shown(name: str) -> str:
    """A name in a list of several; in quotes where its end could not be seen."""
    return name if name.isprintable() and name == name.strip() and name else repr(name)


def listed(names: Sequence[str], most: int = 8) -> str:
    """Some names."""
    return ", ".join(map(shown, names[:most])) + ", ..." * (len(names) > most)


def _parquet(path: Path) -> pa.Table:
    with pyarrow.parquet.ParquetFile(path) as file:
        found: Any = file.metadata
        _check_size(path, found.num_rows * found.num_columns)
        return _gathered(path, file.schema_arrow, file.iter_batches())


def _feather(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
        return _gathered(path, file.schema, batches)


def _gathered(path: Path, schema: Any, batches: Iterable[Any]) -> pa.Table:
    """Batches as a table, of a bounded size."""
    found, size = [], 0
    for batch in batches:
        found.append(batch)
        size += batch.nbytes
        _check_size(path, size / 8)
    return pa.Table.from_batches(found, schema)


def _check_size(path: Path, values: float) -> None:
    if values > _MOST_VALUES:
        raise MamlaxError(
            f"{path} holds more than {_MOST_VALUES:,} values: too much for a table here. Take "
            "fewer rows and columns."
        )
