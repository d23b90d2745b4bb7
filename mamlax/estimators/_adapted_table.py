"""What the command adapt does with a model of tables: rows of a task become predictions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._errors import MamlaxError, warn
from ._conventions import Conventions
from ._few_shot import FewShotClassifier
from ._model_table import Model, features_of, inputs_of, with_targets
from ._names import names_of, text_of
from ._table_summary import assumptions
from ._tables import Table, read_table

INTERVALS_OF_NUMBERS = (
    "intervals are of numbers, and this model predicts classes: their probabilities say how sure "
    "it is."
)


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
    given, y, targets = with_targets(model, support, names, conventions)
    _check_one_task(model.task_names_ or [], given, query, conventions)
    if isinstance(model, FewShotClassifier):
        warn_of_one_class(y.tolist(), support.path)
    inputs, of_query = (inputs_of(model, one, names, conventions) for one in (given, query))
    for words in (assumptions(given, [*inputs, *targets]), assumptions(query, of_query)):
        if words:
            say(words)
    X, asked = features_of(model, inputs, len(given)), features_of(model, of_query, len(query))
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
