"""What is wrong with a table, by column, line and value, before anything is fitted to it."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._errors import MamlaxError
from ._tables import place_of

_NUMBERS_IN_TEXT = 0.8
"""From this share on, text is taken for numbers among which some cells are wrong."""
_FEW_KINDS, _MANY_KINDS = 10, 100


def check_targets(targets: Any, path: Path) -> None:
    """Refuse targets that are infinite, and cells of text among numbers.

    Args:
        targets: a frame of the columns predicted.
        path: of the table.

    Raises:
        MamlaxError: naming the column, the line and the value.
    """
    for name in targets.columns:
        check_cells(targets[name], path, "the target", "leave it empty: the row is then left out")


def check_features(inputs: Any, path: Path) -> None:
    """The same of what is predicted from; warn of columns of which little can be learned.

    Raises:
        MamlaxError: naming the column, the line and the value.
    """
    for name in inputs.columns:
        column = inputs[name]
        check_cells(column, path, "column", "leave it empty: it then counts as missing")
        there = column.dropna()
        kinds = 0 if _is_numeric(column) else there.nunique()
        if not len(there):
            _warn(f"column {name!r} is empty in every row: nothing is learned from it.")
        elif kinds > max(_FEW_KINDS, min(_MANY_KINDS, len(there) / 2)):
            _warn(
                f"column {name!r} holds text of {kinds} kinds, as {str(there.iloc[0])!r}: each of "
                f"the {min(kinds, _MANY_KINDS)} most frequent becomes a column of zeros and ones. "
                "Of a date make numbers first (the hour, the day of the year, days since "
                "something); leave free text and names out, with --features."
            )


def check_cells(column: Any, path: Path, what: str, remedy: str, *, always: bool = False) -> None:
    """Refuse infinities, and text among what is otherwise numbers.

    Args:
        column: of a frame.
        path: of the table.
        what: it is.
        remedy: what else than correcting a cell would do.
        always: whether it must hold numbers, however many cells of text it has.

    Raises:
        MamlaxError: naming the column, the line and the value.
    """
    if _is_numeric(column):
        wrong = np.isinf(column.to_numpy(dtype=float, na_value=np.nan))
    else:
        numbers: Any = pd.to_numeric(column, errors="coerce")
        there = column.notna().to_numpy()
        wrong = there & numbers.isna().to_numpy()
        few = there.sum() and 1 - wrong.sum() / there.sum() >= _NUMBERS_IN_TEXT
        if not always and (not few or numbers.nunique() <= _FEW_KINDS):
            return
    if wrong.any():
        first = int(np.argmax(wrong))
        others = f" (and {int(wrong.sum()) - 1} more like it)" if wrong.sum() > 1 else ""
        cell = column.iloc[first]
        raise MamlaxError(
            f"{what} {column.name!r} is {cell if _is_numeric(column) else repr(cell)} in "
            f"{place_of(path, column.index[first])}{others}, where numbers are expected. Correct "
            f"it, or {remedy}."
        )


def check_tasks(labels: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Refuse tasks across which nothing could be learned.

    Args:
        labels: `[rows]`.
        names: of their columns.
        path: of the table.

    Raises:
        MamlaxError: if there is one, or none has two rows.
    """
    _, counts = np.unique(labels, return_counts=True)
    flags = f"--task-column {' '.join(names)}"
    if len(counts) == 1:
        raise MamlaxError(
            f"all {len(labels)} rows of {path} are of one task ({flags}): there is nothing to "
            "learn across. Give the column that says which task a row belongs to; of one task, fit "
            "an ordinary model."
        )
    if counts.max() < 2:
        raise MamlaxError(
            f"no task in {path} has two rows ({flags}): there is nothing to adapt to and be judged "
            "on. Give the column that says which machine, patient or station a row belongs to."
        )


def _is_numeric(column: Any) -> bool:
    return getattr(column.dtype, "kind", "O") in "biuf"


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)
