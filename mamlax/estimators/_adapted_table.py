"""What the command adapt does with a model of tables: rows of a task become predictions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._errors import MamlaxError, warn
from ._columns import category_of
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
from ._names import names_of, text_of
from ._table_summary import assumptions
from ._tables import Table, read_table

Model = FewShotRegressor | FewShotClassifier
INTERVALS_OF_NUMBERS = (
    "intervals are of numbers, and this model predicts classes: their probabilities say how sure "
    "it is."
)
_TARGET = Role("the target", "leave it empty: the row is then left out", True)
_FEATURE = Role("column", "leave it empty: it then counts as missing", True)


def predictions_of(
    model: Model,
    support_path: Path,
    query_path: Path,
    *,
    conventions: Conventions,
    say: Callable[[str], None],
    coverage: float | None = None,
) -> tuple[Model, pd.DataFrame]:
    """Adapt to the rows of one table, and predict for those of another.

    Args:
        model: a fitted one.
        support_path: a table with the target.
        query_path: a table.
        conventions: how text is read.
        say: called with what had to be assumed of a table.
        coverage: of intervals beside predictions of numbers; None: none.

    Returns:
        The adapted model; the query with predictions beside it.

    Raises:
        MamlaxError: if a column is missing or makes no sense, or there are rows of several tasks.
    """
    names = model.target_names_ or ["target"]
    support, query = read_table(support_path, may_be_empty=True), read_table(query_path)
    support.check_has(names, "the target")
    y, targets = _targets_of(model, support, names, conventions)
    there = ~np.any([one.is_missing for one in targets], axis=0)
    if dropped := int((~there).sum()):
        warn(
            f"{dropped} rows of {support.path} have no target; they are left out. The first is "
            f"{support.place_of(int(np.argmin(there)))}.",
            stacklevel=2,
        )
    y, given = y[there], support.where(there)
    _check_one_task(model.task_names_ or [], given, query, conventions)
    if isinstance(model, FewShotClassifier):
        warn_of_one_class(y.tolist(), support.path)
    inputs, of_query = (_inputs_of(model, one, names, conventions) for one in (given, query))
    for words in (assumptions(given, [*inputs, *targets]), assumptions(query, of_query)):
        if words:
            say(words)
    X, asked = ({one.name: one.values for one in columns} for columns in (inputs, of_query))
    if model.columns_.named:
        X = pd.DataFrame(X, index=range(len(given)))
        asked = pd.DataFrame(asked, index=range(len(query)))
    else:  # of a run: all columns but the target, in their order
        X, asked = (np.stack(list(one.values()), axis=1) for one in (X, asked))
    adapted: Any = model.adapt(X, y)
    predicted = np.asarray(adapted.predict(asked)).reshape(len(query), -1)
    result = query.columns.to_pandas()
    for i, name in enumerate(names):
        result[f"predicted {name}"] = predicted[:, i]
    if coverage is not None:
        _add_intervals(result, adapted, asked, names, coverage)
    if isinstance(adapted, FewShotClassifier):
        chances = adapted.predict_proba(asked)
        for i, label in enumerate(adapted.classes_):
            result[f"probability {label}"] = chances[:, i]
    return adapted, result


def _add_intervals(
    result: pd.DataFrame, adapted: Model, asked: Any, names: Sequence[str], coverage: float
) -> None:
    """Two columns beside each prediction."""
    if isinstance(adapted, FewShotClassifier):
        raise MamlaxError(INTERVALS_OF_NUMBERS)
    ends = zip(("lower", "upper"), adapted.predict_interval(asked, coverage), strict=True)
    for end, values in ends:
        for i, name in enumerate(names):
            result[f"{end} {name}"] = values.reshape(len(result), -1)[:, i]


def warn_of_one_class(labels: Sequence[Any], support: Path) -> None:
    """Warn where nothing is said of the other classes."""
    if len(labels) and len(set(labels)) == 1:
        warn(
            f"all examples of {support} are of one class ({labels[0]!r}): they tell nothing of the "
            "others. Add examples of another class.",
            stacklevel=3,
        )


def _targets_of(
    model: Model, table: Table, names: Sequence[str], conventions: Conventions
) -> tuple[np.ndarray, list[Described]]:
    """Targets as the model takes them, and their columns."""
    if not isinstance(model, FewShotClassifier):
        of_numbers = {one.name for one in model.columns_.columns if not one.categories}
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


def _inputs_of(
    model: Model, table: Table, targets: Sequence[str], conventions: Conventions
) -> list[Described]:
    """What is predicted from: of each column what the model takes it for."""
    columns, names = model.columns_.columns, [name for name in table.names if name not in targets]
    if model.columns_.named:
        model.columns_.check_names(pd.DataFrame(columns=table.names))
        names = [column.name for column in columns]
    elif len(names) != len(columns):
        raise MamlaxError(
            f"{table.path} has {len(names)} columns beside the target, and the model takes "
            f"{len(columns)}, by their order."
        )
    of_numbers = [n for n, column in zip(names, columns, strict=True) if not column.categories]
    with_commas = [name for name in of_numbers if has_decimal_commas(table, name, conventions)]
    return [
        categories_of(table, name, conventions, column.categories)
        if column.categories
        else described(
            table,
            name,
            conventions,
            _FEATURE,
            among_commas=has_others(name, with_commas),
        )
        for name, column in zip(names, columns, strict=True)
    ]


def _check_one_task(
    names: Sequence[str], support: Table, query: Table, conventions: Conventions
) -> None:
    """Refuse rows of several tasks, where columns say so."""
    found = []
    for table in (support, query):
        there = [name for name in names if name in table.names]
        texts = [text_of(names_of(table, name, conventions)).tolist() for name in there]
        found.append((set(zip(*texts, strict=True)), there))
    (tasks, there), (asked, of_query) = found
    if len(tasks) > 1:
        some = "; ".join(", ".join(task) for task in sorted(tasks)[:4])
        raise MamlaxError(
            f"{support.path} has rows of {len(tasks)} tasks ({', '.join(there)}: {some}"
            f"{'; ...' * (len(tasks) > 4)}), and a model adapts to one at a time. Make a file for "
            "each task and adapt to each, or in Python call adapt_many."
        )
    if tasks and asked - tasks and there == of_query:
        raise MamlaxError(
            f"{query.path} asks about another task ({', '.join(there)}: "
            f"{', '.join(sorted(asked - tasks)[0])}) than the one of {support.path} "
            f"({', '.join(next(iter(tasks)))}). Give support and query of the same task."
        )
