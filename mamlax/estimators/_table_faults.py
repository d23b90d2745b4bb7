"""What in a table could mislead, before anything is fitted to it."""

from collections.abc import Iterable, Sequence

import numpy as np

from .._errors import MamlaxError, warn
from ._dates import HOW
from ._described import Described
from ._tables import Table

_FEW_KINDS, _MANY_KINDS = 10, 100
_INDEX_NAMES = ("index", "level_0")
_FEW_ROWS = 10


def index_columns(table: Table) -> list[str]:
    """Columns that are an index, exported with the table: without a name, or called as pandas calls
    them and numbering the rows.
    """
    return [
        name
        for name in table.names
        if name.startswith("Unnamed: ") or (name in _INDEX_NAMES and _numbers_rows(table, name))
    ]


def warn_of_features(table: Table, features: Iterable[Described], *, are_chosen: bool) -> None:
    """Warn of columns of which little can be learned.

    Args:
        table: that has them.
        features: what is predicted from.
        are_chosen: whether they were named, and not taken because they are there.
    """
    for one in features:
        there = ~one.is_missing
        kinds = 0 if isinstance(one.values, np.ndarray) else len(one.values.categories)
        if not there.any():
            _warn(f"column {one.name!r} is empty in every row: nothing is learned from it.")
        elif not isinstance(one.values, np.ndarray):
            if kinds > max(_FEW_KINDS, min(_MANY_KINDS, there.sum() / 2)):
                _warn(
                    f"column {one.name!r} holds text of {kinds} kinds, as "
                    f"{one.values[int(there.argmax())]!r}: each of the "
                    f"{min(kinds, _MANY_KINDS)} most frequent becomes a column of zeros and ones. "
                    f"Write dates as {HOW}; leave free text and names out, with --features."
                )
        elif (
            one.is_numbers and not are_chosen and len(table) > _FEW_ROWS and _counts_up(one.values)
        ):
            _warn(
                f"column {one.name!r} numbers the rows ({one.values[0]:g}, {one.values[1]:g}, "
                "...): rows to come will have other numbers. Leave it out, with --features."
            )


def check_tasks(labels: np.ndarray, names: Sequence[str], table: Table) -> None:
    """Refuse tasks across which nothing could be learned.

    Args:
        labels: `[rows]`.
        names: of their columns.
        table: that has them.

    Raises:
        MamlaxError: if there is one, or none has two rows.
    """
    _, counts = np.unique(labels, return_counts=True)
    flags = f"--task-column {' '.join(names)}"
    if len(counts) == 1:
        raise MamlaxError(
            f"all {len(labels)} rows of {table.path} are of one task ({flags}): there is nothing "
            "to learn across. Give the column that says which task a row belongs to; of one task, "
            "fit an ordinary model."
        )
    if counts.max() < 2:
        raise MamlaxError(
            f"no task in {table.path} has two rows ({flags}): there is nothing to adapt to and be "
            "judged on. Give the column that says which machine, patient or station a row belongs "
            "to."
        )


def _numbers_rows(table: Table, name: str) -> bool:
    try:
        return _counts_up(table.columns[name].cast("float64").to_numpy())
    except ValueError:  # no numbers
        return False


def _counts_up(values: np.ndarray) -> bool:
    return bool(values[0] in (0, 1) and np.array_equal(values, values[0] + np.arange(len(values))))


def _warn(text: str) -> None:
    warn(text, stacklevel=3)
