"""What the commands adapt and predict do with tables of many tasks at once."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .._errors import MamlaxError, warn
from ._adapted_many import AdaptedMany
from ._adapted_table import predicted_columns
from ._categories import category_of
from ._conventions import Conventions
from ._model_table import Model, features_of, inputs_of, with_targets
from ._names import task_names
from ._table_summary import assumptions
from ._tables import Table, listed, read_table


def predictions_of_tasks(
    model: Model,
    support_path: Path,
    query_path: Path,
    tasks: Sequence[str],
    *,
    conventions: Conventions,
    say: Callable[[str], None],
    coverage: float | None = None,
) -> tuple[AdaptedMany, int, pd.DataFrame]:
    """Adapt to each task of one table, and predict for the rows of another.

    Args:
        model: a fitted one.
        support_path: a table with the target.
        query_path: a table.
        tasks: columns of both that say which task a row belongs to.
        conventions: how text is read.
        say: called with what had to be assumed of a table, and with what is not predicted for.
        coverage: of intervals beside predictions of numbers; None: none.

    Returns:
        The adapted model; the rows that it is adapted to; the query with predictions beside it.

    Raises:
        MamlaxError: if a column is missing or makes no sense, or adapting to a task diverges.
    """
    names = model.target_names_ or ["target"]
    support, query = read_table(support_path), read_table(query_path)
    given, y, targets = with_targets(model, support, names, conventions)
    if not len(given):
        raise MamlaxError(f"no row of {support_path} has a target: there is nothing to adapt to.")
    labels, asked_of = (task_names(one, tasks, conventions) for one in (given, query))
    inputs = inputs_of(model, given, [*names, *tasks], conventions)
    if words := assumptions(given, [*inputs, *targets]):
        say(words)
    adapted = model.adapt_many(features_of(model, inputs, len(given)), y, labels)
    adapted.estimator.task_names_ = list(tasks)
    if unasked := sorted(set(labels) - set(asked_of)):
        say(
            f"{len(unasked)} of {len(adapted.groups)} tasks in {support_path} have no rows in "
            f"{query_path} ({listed(unasked, 4)}): nothing is predicted for them."
        )
    result = predictions_by_task(
        adapted, query, tasks, conventions=conventions, say=say, coverage=coverage
    )
    return adapted, len(given), result


def predictions_by_task(
    adapted: AdaptedMany,
    query: Table,
    tasks: Sequence[str],
    *,
    conventions: Conventions,
    say: Callable[[str], None],
    coverage: float | None = None,
) -> pd.DataFrame:
    """A table with predictions beside it, each row by what was adapted to its task.

    Rows of other tasks are predicted by the model as it is, and a warning says so.

    Args:
        adapted: to many tasks.
        query: a table.
        tasks: columns that say which task a row belongs to.
        conventions: how text is read.
        say: called with what had to be assumed of the table.
        coverage: of intervals beside predictions of numbers; None: none.
    """
    model = adapted.estimator
    names = model.target_names_ or ["target"]
    asked_of = task_names(query, tasks, conventions)
    inputs = inputs_of(model, query, [*names, *tasks], conventions)
    if words := assumptions(query, inputs):
        say(words)
    known = {category_of(one): one for one in adapted.groups.tolist()}
    is_known = np.isin(asked_of, list(known))
    if absent := sorted(set(asked_of[~is_known])):
        warn(
            f"{len(absent)} of {len(set(asked_of))} tasks in {query.path} were not adapted to "
            f"({listed(absent, 4)}): their {int((~is_known).sum())} rows are predicted by the "
            "model as it is.",
            stacklevel=2,
        )
    found: dict[str, np.ndarray] = {}
    for rows in (is_known, ~is_known):
        columns = [one._replace(values=one.values[rows]) for one in inputs]
        asked = features_of(model, columns, int(rows.sum()))
        if not len(asked):
            continue
        if rows is is_known:
            groups = [known[name] for name in asked_of[rows].tolist()]
            predicted = predicted_columns(adapted, asked, groups, coverage=coverage)
        else:
            predicted = predicted_columns(model, asked, coverage=coverage)
        for name, values in predicted.items():
            found.setdefault(name, np.empty(len(query), values.dtype))[rows] = values
    return query.columns.to_pandas().assign(**found)
