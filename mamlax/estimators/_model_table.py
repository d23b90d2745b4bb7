"""Rows of a table in a file, as a fitted model takes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .._errors import MamlaxError, warn
from ._categories import category_of
from ._conventions import Conventions
from ._described import (
    Described,
    Role,
    categories_of,
    dates_of,
    described,
    has_decimal_commas,
    has_others,
)
from ._few_shot import FewShotClassifier, FewShotRegressor
from ._names import names_of, text_of
from ._tables import Table

Model = FewShotRegressor | FewShotClassifier
_TARGET = Role("the target", "leave it empty: the row is then left out", True)
_FEATURE = Role("column", "leave it empty: it then counts as missing", True)


def with_targets(
    model: Model, table: Table, names: Sequence[str], conventions: Conventions
) -> tuple[Table, np.ndarray, list[Described]]:
    """The rows that have a target; their targets as the model takes them; the columns of these.

    Args:
        model: a fitted one.
        table: that has them.
        names: of the targets.
        conventions: how text is read.

    Raises:
        MamlaxError: if a target is absent or makes no sense.
    """
    table.check_has(names, "the target")
    y, targets = _targets_of(model, table, names, conventions)
    there = ~np.any([one.is_missing for one in targets], axis=0)
    if dropped := int((~there).sum()):
        warn(
            f"{dropped} rows of {table.path} have no target; they are left out. The first is "
            f"{table.place_of(int(np.argmin(there)))}.",
            stacklevel=2,
        )
    return table.where(there), y[there], targets


def inputs_of(
    model: Model, table: Table, beside: Sequence[str], conventions: Conventions
) -> list[Described]:
    """What is predicted from: of each column what the model takes it for.

    Args:
        model: a fitted one.
        table: that has them.
        beside: columns that are for something else.
        conventions: how text is read.

    Raises:
        MamlaxError: if a column is missing or makes no sense.
    """
    columns, names = model.columns_.columns, [name for name in table.names if name not in beside]
    if model.columns_.named:
        model.columns_.check_names(pd.DataFrame(columns=table.names))
        names = [column.name for column in columns]
    elif len(names) != len(columns):
        raise MamlaxError(
            f"{table.path} has {len(names)} columns beside the target, and the model takes "
            f"{len(columns)}, by their order."
        )
    of_numbers = [n for n, one in zip(names, columns, strict=True) if one.kind == "numbers"]
    with_commas = [name for name in of_numbers if has_decimal_commas(table, name, conventions)]
    return [
        categories_of(table, name, conventions, column.categories)
        if column.categories
        else dates_of(table, name, conventions)
        if column.parts
        else described(
            table,
            name,
            conventions,
            _FEATURE,
            among_commas=has_others(name, with_commas),
        )
        for name, column in zip(names, columns, strict=True)
    ]


def features_of(model: Model, inputs: Sequence[Described], num_rows: int) -> Any:
    """Columns as the model takes them; by their order an array."""
    found = {one.name: one.values for one in inputs}
    if model.columns_.named:
        return pd.DataFrame(found, index=range(num_rows))
    kind = None if all(one.is_numbers for one in inputs) else object
    return np.stack([np.asarray(one, kind) for one in found.values()], axis=1)


def _targets_of(
    model: Model, table: Table, names: Sequence[str], conventions: Conventions
) -> tuple[np.ndarray, list[Described]]:
    """Targets as the model takes them, and their columns."""
    if not isinstance(model, FewShotClassifier):
        of_numbers = {one.name for one in model.columns_.columns if one.kind == "numbers"}
        beside = [one for one in table.names if one in {*names, *of_numbers}]
        with_commas = [one for one in beside if has_decimal_commas(table, one, conventions)]
        found = [
            described(
                table,
                name,
                conventions,
                _TARGET,
                among_commas=has_others(name, with_commas),
            )
            for name in names
        ]
        y = np.stack([np.asarray(one.values) for one in found], axis=1)
        return (y[:, 0] if len(names) == 1 else y), found
    known = {str(label): label for label in model.classes_.tolist()}
    cells = names_of(table, names[0], conventions)
    if any(text not in known for text in cells.texts):
        cells = cells._replace(texts=[_as_fitted(text, known) for text in cells.texts])
    # a word that is no class, and elsewhere means that a value is missing, means it here too
    cells = cells.without(conventions.for_values, known)
    values = pd.Series(text_of(cells), dtype=object).where(cells.codes >= 0, None)
    column = Described(names[0], pd.Categorical(values))
    if model.classes_.dtype.kind in "US":
        return text_of(cells), [column]
    labels = [known.get(text, text) for text in text_of(cells).tolist()]
    return np.array(labels, dtype=object), [column]


def _as_fitted(text: str, known: dict[str, Any]) -> str:
    """A class as `fit` called it: a number or truth that was written otherwise."""
    if text in known:
        return text
    try:
        number = category_of(float(text))
    except ValueError:
        number = text.capitalize()
    return number if number in known else text
