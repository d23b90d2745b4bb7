"""What the command fit does: a table in a file becomes a model in another."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from .._errors import MamlaxError, warn
from .._files import Json
from ..training._run import TrainingInterruptedError
from ._conventions import Conventions
from ._described import (
    Described,
    Role,
    categories_of,
    described,
    has_decimal_commas,
    has_others,
)
from ._few_shot import FewShotClassifier, FewShotRegressor
from ._names import labels_of, names_of, text_of, warn_of_names
from ._order_column import order_of
from ._splits import splits_of
from ._table_faults import check_tasks, index_columns, warn_of_features
from ._table_summary import choices, summary
from ._tables import Table, read_table

Kind = Literal["auto", "values", "classes"]
_MOST_CLASSES = 50
_TARGET = Role("the target", "leave it empty: the row is then left out")
_FEATURE = Role(
    "column",
    "leave it empty: it then counts as missing, as words of --missing do; --categories takes a "
    "column for names",
)


class Chosen(NamedTuple):
    """Which columns of a table are for what.

    Attributes:
        tasks: which task a row belongs to, one column or several together.
        targets: what is predicted.
        features: what it is predicted from; empty: all other columns.
        splits: what tasks must share to be held out together; empty: nothing.
        categories: features that hold names, though they may look like numbers.
        order: by which rows of a task come one after another; None: in no order.
    """

    tasks: Sequence[str]
    targets: Sequence[str]
    features: Sequence[str] = ()
    splits: Sequence[str] = ()
    categories: Sequence[str] = ()
    order: str | None = None


def fit(
    path: Path,
    columns: Chosen,
    *,
    kind: Kind,
    conventions: Conventions,
    out: Path,
    say: Callable[[str], None],
    report: Callable[[Json], None],
    **settings: Any,
) -> FewShotRegressor | FewShotClassifier:
    """Fit a table and save what was learned.

    Args:
        path: the table.
        columns: what is predicted, from what, and what tells tasks apart.
        kind: whether targets are values or classes; auto: classes where they are text, or true and
            false.
        conventions: how text is read.
        out: the file to write.
        say: called with a sentence on what was made of the table.
        report: called with each log line.
        **settings: of the estimator.

    Raises:
        MamlaxError: if a column is missing or makes no sense.
    """
    _check_out(out, path)
    for one in (out, figure_of(out)):
        if one.is_file():  # while one can still stop
            say(f"{one} is there already: it will be replaced.")
    if both := {*columns.targets} & {*columns.tasks, *columns.splits}:
        raise MamlaxError(
            f"{sorted(both)[0]!r} is the target, and is to tell tasks apart: a new task would need "
            "its target known. Give another column to --task-column or --split-column."
        )
    table = read_table(path)
    left_out, features = _features_of(table, columns)
    with_commas = [
        name
        for name in {*columns.targets, *features} - {*columns.categories}
        if has_decimal_commas(table, name, conventions)
    ]
    y, is_class, targets = _targets_of(table, columns.targets, kind, conventions, with_commas)
    there = ~np.any([one.is_missing for one in targets], axis=0)
    if not there.any():
        raise MamlaxError(f"{columns.targets[0]!r} is missing in every row of {path}.")
    if dropped := int((~there).sum()):
        warn(
            f"{dropped} of {len(there)} rows have no target; they are left out. The first is "
            f"{table.place_of(int(np.argmin(there)))}.",
            stacklevel=2,
        )
    y, table = y[there], table.where(there)
    inputs = [
        categories_of(table, name, conventions)
        if name in columns.categories
        else described(
            table, name, conventions, _FEATURE, among_commas=has_others(name, with_commas)
        )
        for name in features
    ]
    say(summary(table, targets, inputs, [*columns.tasks, *columns.splits], left_out))
    warn_of_features(table, inputs, are_chosen=bool(columns.features))
    groups = labels_of(table, columns.tasks, "--task-column", conventions)
    split_by = None
    if columns.splits:
        split_by = labels_of(table, columns.splits, "--split-column", conventions)
    check_tasks(groups, columns.tasks, table)
    make: Any = FewShotClassifier if is_class else FewShotRegressor
    model = make(verbose=report, **settings)
    rounds = splits_of(groups, split_by, len(y), model, model._seed(), called="--split-column")
    say(choices(y, columns.targets, features, columns.tasks, columns.splits, rounds, is_class))
    X = pd.DataFrame({one.name: one.values for one in inputs})
    order_by = None if columns.order is None else order_of(table, columns.order, conventions)
    with _no_model_after_a_stop():
        model.fit(X, y, groups=groups, split_by=split_by, order_by=order_by)
    model.target_names_, model.task_names_ = list(columns.targets), list(columns.tasks)
    model.split_names_ = list(columns.splits) or None
    model.reading_ = conventions
    model.save(out)
    return model


def figure_of(out: Path) -> Path:
    """Where the figure of a model's report is drawn: beside the model."""
    return out.with_name(f"{out.name.removesuffix('.safetensors')}.png")


def _check_out(out: Path, path: Path) -> None:
    if out.is_dir():
        raise MamlaxError(f"{out} is a folder. Give --out the name of a file.")
    folder = next(one for one in out.absolute().parents if one.exists())
    if not os.access(folder, os.W_OK):
        raise MamlaxError(
            f"{out} cannot be written: you may not write to {folder}. Give another --out."
        )
    if out.resolve() == path.resolve():
        raise MamlaxError(f"{out} is the table itself. Give another --out.")


def _features_of(table: Table, columns: Chosen) -> tuple[list[str], list[str]]:
    """Columns left out because they are an index; columns to predict from."""
    table.check_has(columns.tasks, "--task-column")
    table.check_has(columns.targets, "--target-column")
    table.check_has(columns.splits, "--split-column")
    table.check_has(columns.features, "--features")
    table.check_has(columns.categories, "--categories")
    used = {*columns.tasks, *columns.targets, *columns.splits}
    if columns.order is not None:
        table.check_has([columns.order], "--order-column")
    index = [name for name in index_columns(table) if name not in used]
    left_out = [name for name in index if name not in columns.features]
    names = list(columns.features)
    if not names:
        names = [name for name in table.names if name not in used and name not in left_out]
    if overlap := set(columns.targets) & set(names):
        raise MamlaxError(f"{min(overlap)!r} is the target and a feature at once.")
    if no_features := [name for name in columns.categories if name not in names]:
        raise MamlaxError(f"{no_features[0]!r} (--categories) is none of the features.")
    if not names:
        raise MamlaxError(f"{table.path} has no column left to predict from.")
    return left_out, names


def _targets_of(
    table: Table, names: Sequence[str], kind: Kind, conventions: Conventions, with_commas: list[str]
) -> tuple[np.ndarray, bool, list[Described]]:
    """Targets as an array `[rows]` or `[rows, outputs]`, whether they are classes, and columns."""
    found = []
    if kind != "classes":
        found = [
            described(table, name, conventions, _TARGET, among_commas=has_others(name, with_commas))
            for name in names
        ]
        if all(one.is_numbers for one in found) and not (
            kind == "auto" and any(one.is_truth for one in found)
        ):
            y = np.stack([np.asarray(one.values) for one in found], axis=1)
            return (y[:, 0] if len(found) == 1 else y), False, found
    if kind == "values" or len(names) > 1 or any(one.is_dates for one in found):
        held = [f"{one.name} ({_held(one)})" for one in found] or list(names)
        raise MamlaxError(
            "values to predict must be numbers, and classes are one column; got "
            f"{', '.join(held)}. --kind classes takes one column of text or numbers for classes."
        )
    cells = names_of(table, names[0], conventions)
    if (count := len(cells.texts)) > _MOST_CLASSES:
        raise MamlaxError(
            f"the target {names[0]!r} holds {count} different values (as {cells.texts[0]!r}), too "
            f"many to be classes (at most {_MOST_CLASSES}). Numbers are predicted by --kind "
            "values; of text, clean the column first."
        )
    warn_of_names(table, names[0], cells, conventions, "class")
    values = pd.Categorical.from_codes(cells.codes, cells.texts)  # pyright: ignore[reportArgumentType]
    return text_of(cells), True, [Described(names[0], values, "", cells.words)]


def _held(column: Described) -> str:
    """What a column holds, in words."""
    if column.is_dates:
        return "dates"
    if isinstance(column.values, np.ndarray):
        return "true and false" if column.is_truth else "numbers"
    return f"text, as {column.values.categories[0]!r}"


@contextmanager
def _no_model_after_a_stop() -> Iterator[None]:
    """Say that a fit that was stopped leaves nothing to resume from."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise TrainingInterruptedError(
            "stopped. No model was written: mamlax fit does not resume, repeat it from the start.",
            getattr(stop, "signal", SIGINT),
        ) from stop
