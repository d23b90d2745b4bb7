"""What the commands fit, adapt, inspect and export do; the command line prints it."""

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from .._errors import MamlaxError
from .._files import replacing
from ._columns import category_of
from ._few_shot import FewShotClassifier, FewShotRegressor
from ._images import FewShotImageClassifier
from ._learner_file import Loaded, load
from ._tables import columns_of, labels_of, read_table

_MOST_CLASSES = 50


def fit(
    path: Path,
    *,
    task_columns: Sequence[str],
    target_columns: Sequence[str],
    features: Sequence[str],
    split_columns: Sequence[str],
    kind: Literal["auto", "values", "classes"],
    out: Path,
    report: Callable[[dict[str, Any]], None],
    **settings: Any,
) -> FewShotRegressor | FewShotClassifier:
    """Fit a table and save what was learned.

    Args:
        path: the table.
        task_columns: which task a row belongs to, one column or several together.
        target_columns: what is predicted; text, booleans or one column of categories: a class.
        features: what it is predicted from; empty: all other columns.
        split_columns: what tasks must share to be held out together; empty: nothing.
        kind: whether targets are values or classes; auto: classes where they are text.
        out: the file to write.
        report: called with each log line.
        **settings: of the estimator.

    Raises:
        MamlaxError: if a column is missing or makes no sense.
    """
    if not os.access(out.parent if out.parent.exists() else ".", os.W_OK) or out.is_dir():
        raise MamlaxError(f"{out} cannot be written. Give another --out.")
    table = read_table(path)
    tasks = columns_of(table, task_columns, "--task-column", path)
    targets = columns_of(table, target_columns, "--target-column", path)
    together = columns_of(table, split_columns, "--split-column", path)
    used = {*task_columns, *target_columns, *split_columns}
    names = list(features) or [str(name) for name in table.columns if name not in used]
    inputs = columns_of(table, names, "--features", path)
    if overlap := used & set(features) - set(task_columns) - set(split_columns):
        raise MamlaxError(f"{sorted(overlap)[0]!r} is the target and a feature at once.")
    if not names:
        raise MamlaxError(f"{path} has no column left to predict from.")
    there = targets.notna().all(axis=1).to_numpy()
    if not there.any():
        raise MamlaxError(f"{target_columns[0]!r} is missing in every row of {path}.")
    numbers = all(dtype.kind in "iuf" for dtype in targets.dtypes)
    is_class = kind == "classes" or (kind == "auto" and not numbers)
    if (is_class and targets.shape[1] > 1) or (not is_class and not numbers):
        raise MamlaxError(
            "values to predict must be numbers, and classes are one column; got "
            + ", ".join(f"{name} ({dtype})" for name, dtype in targets.dtypes.items())
        )
    if dropped := int((~there).sum()):
        warnings.warn(
            f"{dropped} of {len(there)} rows have no target; they are left out.", stacklevel=2
        )
    y = targets.loc[there].to_numpy()
    if is_class:
        y = np.array([category_of(label) for label in y[:, 0].tolist()])
        if (found := len(np.unique(y))) > _MOST_CLASSES:
            raise MamlaxError(
                f"the target {target_columns[0]!r} holds text of {found} kinds, too many to be "
                "classes. Numbers are needed for a regression: clean the column."
            )
    elif y.shape[1] == 1:
        y = y[:, 0]
    make: Any = FewShotClassifier if is_class else FewShotRegressor
    model = make(verbose=report, **settings)
    model.fit(
        inputs.loc[there],
        y,
        groups=labels_of(tasks.loc[there], "--task-column"),
        split_by=labels_of(together.loc[there], "--split-column") if split_columns else None,
    )
    model.target_names_ = list(target_columns)
    model.save(out)
    return model


def adapt(path: Path, support: Path, query: Path, out: Path) -> tuple[Loaded, int]:
    """Adapt a saved model, predict and write the predictions.

    Args:
        path: the model.
        support: a table with the target; for an image model a folder of labelled images.
        query: a table; for an image model a folder of images.
        out: the csv to write.

    Returns:
        The adapted model, and how many predictions were written.
    """
    model = load(path)
    if isinstance(model, FewShotImageClassifier):
        return _adapt_to_images(model, support, query, out)
    names = getattr(model, "target_names_", None) or ["target"]
    text = [column.name for column in model.columns_.columns if column.categories]
    text += names if isinstance(model, FewShotClassifier) else []
    table = read_table(support, text=text, may_be_empty=True)
    asked = read_table(query, text=text)
    targets = columns_of(table, names, "the target", support)
    there = targets.notna().all(axis=1)
    if dropped := int((~there).sum()):
        warnings.warn(
            f"{dropped} rows of {support} have no target; they are left out.", stacklevel=2
        )
    y = targets.loc[there].to_numpy()
    y = y[:, 0] if y.shape[1] == 1 else y
    if isinstance(model, FewShotClassifier):
        known = set(model.classes_.tolist())
        y = np.array([label if label in known else _as_fitted(label) for label in y.tolist()])
    given, inputs = table, asked
    if not model.columns_.named:  # of a run: all columns but the target, in their order
        given, inputs = (
            one.drop(columns=list(names), errors="ignore").to_numpy() for one in (table, asked)
        )
    adapted = model.adapt(given[there.to_numpy()], y)
    predicted = np.asarray(adapted.predict(inputs)).reshape(len(asked), -1)
    result = asked.copy()
    for i, name in enumerate(names):
        result[f"predicted {name}"] = predicted[:, i]
    if isinstance(adapted, FewShotClassifier):
        chances = adapted.predict_proba(inputs)
        for i, label in enumerate(adapted.classes_):
            result[f"probability {label}"] = chances[:, i]
    _write_csv(result, out)
    return adapted, len(result)


def _as_fitted(label: str) -> str:
    """A class that is a number, as `fit` calls it: pandas writes 0 as 0.0 beside an empty cell."""
    try:
        return category_of(float(label))
    except ValueError:
        return label


def _adapt_to_images(
    model: FewShotImageClassifier, support: Path, query: Path, out: Path
) -> tuple[Loaded, int]:
    given, asked = model.read(support), model.read(query)
    if "" in given.labels:
        raise MamlaxError(
            f"{support} has images that lie in no folder: put the images of each class in a folder "
            "of its own, named as the class."
        )
    adapted = model.adapt(given.images, given.labels)
    chances = adapted.predict_proba(asked.images)
    assert adapted.classes_ is not None
    columns = {"image": asked.names, "predicted": adapted.classes_[chances.argmax(1)]}
    for i, label in enumerate(adapted.classes_):
        columns[f"probability {label}"] = chances[:, i]
    _write_csv(pd.DataFrame(columns), out)
    return adapted, len(asked.names)


def _write_csv(table: Any, out: Path) -> None:
    with replacing(out) as temporary:
        table.to_csv(temporary, index=False)
