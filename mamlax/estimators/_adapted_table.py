"""What the command adapt does with a model of tables: rows of a task become predictions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .._errors import MamlaxError, warn
from ._calibration import INTERVALS_OF_NUMBERS
from ._conventions import Conventions
from ._few_shot import FewShotClassifier
from ._model_table import Model, features_of, inputs_of, with_targets
from ._names import names_of, text_of
from ._table_summary import assumptions
from ._tables import Table, read_table


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
    inputs = inputs_of(model, given, names, conventions)
    if words := assumptions(given, [*inputs, *targets]):
        say(words)
    adapted: Any = model.adapt(features_of(model, inputs, len(given)), y)
    result = predictions_for_table(
        adapted, query, conventions=conventions, say=say, coverage=coverage
    )
    return adapted, result


def predictions_for_table(
    adapted: Model,
    query: Table,
    *,
    conventions: Conventions,
    say: Callable[[str], None],
    coverage: float | None = None,
) -> pd.DataFrame:
    """A table with predictions beside it, by a model that is adapted to the task of its rows."""
    inputs = inputs_of(adapted, query, adapted.target_names_ or ["target"], conventions)
    if words := assumptions(query, inputs):
        say(words)
    asked = features_of(adapted, inputs, len(query))
    return query.columns.to_pandas().assign(**predicted_columns(adapted, asked, coverage=coverage))


def predicted_columns(
    adapted: Any, *asked: Any, coverage: float | None = None
) -> dict[str, np.ndarray]:
    """Columns of predictions `[rows]`, by their names; of classes the most likely, and all chances.

    Args:
        adapted: an estimator; or one adapted to many tasks.
        *asked: the rows; for many tasks also the task of each.
        coverage: of intervals beside values; None: none.
    """
    model: Model = getattr(adapted, "estimator", adapted)
    names = model.target_names_ or ["target"]
    if isinstance(model, FewShotClassifier):
        if coverage is not None:
            raise MamlaxError(INTERVALS_OF_NUMBERS)
        chances = adapted.predict_proba(*asked)
        found = {f"predicted {names[0]}": model.classes_[chances.argmax(1)]}
        return found | {
            f"probability {label}": values
            for label, values in zip(model.classes_, chances.T, strict=True)
        }
    arrays = {"predicted": adapted.predict(*asked)}
    if coverage is not None:
        arrays["lower"], arrays["upper"] = adapted.predict_interval(*asked, coverage)
    return {
        f"{what} {name}": values.reshape(len(values), -1)[:, i]
        for what, values in arrays.items()
        for i, name in enumerate(names)
    }


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
            f"{'; ...' * (len(tasks) > 4)}). To adapt to each of them: --task-column "
            f"{' '.join(there)}. To adapt to one, give a file of it."
        )
    if tasks and asked - tasks and there == of_query:
        raise MamlaxError(
            f"{query.path} asks about another task ({', '.join(there)}: "
            f"{', '.join(sorted(asked - tasks)[0])}) than the one of {support.path} "
            f"({', '.join(next(iter(tasks)))}). Give support and query of the same task."
        )
