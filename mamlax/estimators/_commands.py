"""What the commands fit, adapt, inspect and export do; the command line prints it."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from .._errors import MamlaxError
from .._files import Json, replacing
from ._columns import category_of
from ._few_shot import FewShotClassifier, FewShotRegressor
from ._images import FewShotImageClassifier
from ._load import Model, load
from ._policy import FewShotPolicy
from ._splits import split_groups
from ._table_faults import check_cells, check_features, check_targets, check_tasks
from ._tables import SUFFIXES, columns_of, labels_of, place_of, read_table

_MOST_CLASSES = 50
_FEW_VALUES = 10


def fit(
    path: Path,
    *,
    task_columns: Sequence[str],
    target_columns: Sequence[str],
    features: Sequence[str],
    split_columns: Sequence[str],
    kind: Literal["auto", "values", "classes"],
    out: Path,
    say: Callable[[str], None],
    report: Callable[[Json], None],
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
        say: called with a sentence on what was made of the table.
        report: called with each log line.
        **settings: of the estimator.

    Raises:
        MamlaxError: if a column is missing or makes no sense.
    """
    if not os.access(out.parent if out.parent.exists() else ".", os.W_OK) or out.is_dir():
        raise MamlaxError(f"{out} cannot be written. Give another --out.")
    if out.resolve() == path.resolve():
        raise MamlaxError(f"{out} is the table itself. Give another --out.")
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
    if kind != "classes":
        check_targets(targets, path)
    y, is_class = _targets_of(targets.loc[there], kind)
    if dropped := int((~there).sum()):
        warnings.warn(
            f"{dropped} of {len(there)} rows have no target; they are left out. The first is "
            f"{place_of(path, int(np.argmin(there)))}.",
            stacklevel=2,
        )
    check_features(inputs.loc[there], path)
    groups = labels_of(tasks.loc[there], "--task-column", path)
    split_by = None
    if split_columns:
        split_by = labels_of(together.loc[there], "--split-column", path)
    check_tasks(groups, task_columns, path)
    make: Any = FewShotClassifier if is_class else FewShotRegressor
    model = make(verbose=report, **settings)
    with _in_words_of_the_command_line():
        shares = model.validation_fraction, model.test_fraction
        counts = split_groups(groups, split_by, len(y), *shares, model._seed()).counts
        say(_choices(model, y, list(target_columns), names, task_columns, split_columns, counts))
        model.fit(inputs.loc[there], y, groups=groups, split_by=split_by)
    model.target_names_, model.task_names_ = list(target_columns), list(task_columns)
    model.save(out)
    return model


def _targets_of(targets: Any, kind: str) -> tuple[np.ndarray, bool]:
    """Targets as an array, and whether they are classes."""
    numbers = all(dtype.kind in "iuf" for dtype in targets.dtypes)
    is_class = kind == "classes" or (kind == "auto" and not numbers)
    if (is_class and targets.shape[1] > 1) or (not is_class and not numbers):
        raise MamlaxError(
            "values to predict must be numbers, and classes are one column; got "
            + ", ".join(f"{name} ({_held(targets[name])})" for name in targets.columns)
            + ". --kind classes takes one column of text or numbers for classes."
        )
    y = targets.to_numpy()
    if not is_class:
        return (y[:, 0] if y.shape[1] == 1 else y), False
    y = np.array([category_of(label) for label in y[:, 0].tolist()])
    name, found = targets.columns[0], len(np.unique(y))
    if found > _MOST_CLASSES:
        what = "numbers" if numbers else f"text, as {y[0]!r}"
        raise MamlaxError(
            f"the target {name!r} holds {found} different values ({what}), too many to be "
            f"classes (at most {_MOST_CLASSES}). Numbers are predicted by --kind values; of text, "
            "clean the column first."
        )
    return y, True


def _held(column: Any) -> str:
    """What a column holds, in words."""
    if column.dtype.kind in "iuf":
        return "numbers"
    return f"text, as {column.iloc[0]!r}"


def _choices(
    model: FewShotRegressor | FewShotClassifier,
    y: np.ndarray,
    targets: list[str],
    features: list[str],
    task_columns: Sequence[str],
    split_columns: Sequence[str],
    counts: dict[str, int],
) -> str:
    """What was made of the table, before anything is learned from it."""
    what, hint = f"regression of {' and '.join(targets)}", ""
    if isinstance(model, FewShotClassifier):
        labels = np.unique(y)
        shown = ", ".join(labels[:6]) + ", ..." * (len(labels) > 6)
        what = f"classification of {targets[0]} ({len(labels)} classes: {shown})"
    elif y.ndim == 1 and len(np.unique(y)) <= _FEW_VALUES:
        hint = (
            f" (--kind classes takes the {len(np.unique(y))} values of {targets[0]} for classes.)"
        )
    shown = ", ".join(features[:8]) + ", ..." * (len(features) > 8)
    total = sum(counts.values())
    held_out = f", held out by {' and '.join(split_columns)}" if split_columns else ""
    return (
        f"{what} on {len(features)} column{'s' * (len(features) != 1)} ({shown}), {len(y)} rows; "
        f"{total} tasks ({', '.join(task_columns)}{held_out}): {counts['train']} to learn from, "
        f"{counts['validation']} to choose steps and to stop by, {counts['test']} to judge "
        f"by.{hint}"
    )


@contextmanager
def _in_words_of_the_command_line() -> Iterator[None]:
    """Arguments of `fit` as its options are called."""
    try:
        yield
    except MamlaxError as error:
        raise MamlaxError(str(error).replace("split_by", "--split-column")) from error


def adapt(path: Path, support: Path, query: Path, out: Path) -> tuple[Model, int]:
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
    if isinstance(model, FewShotPolicy):
        raise MamlaxError(
            f"{path} is a policy: it adapts to episodes, from Python. "
            "mamlax.load(path).adapt(observations, actions, rewards, ends)."
        )
    if out.resolve() in {one.resolve() for one in (path, support, query)}:
        raise MamlaxError(f"{out} is read by this command. Give another --out for the predictions.")
    _check_kind(model, path, support, query)
    if isinstance(model, FewShotImageClassifier):
        return _adapt_to_images(model, support, query, out)
    names = model.target_names_ or ["target"]
    text = [column.name for column in model.columns_.columns if column.categories]
    text += names if isinstance(model, FewShotClassifier) else []
    table = read_table(support, text=text, may_be_empty=True)
    asked = read_table(query, text=text)
    targets = columns_of(table, names, "the target", support)
    there = targets.notna().all(axis=1)
    if dropped := int((~there).sum()):
        warnings.warn(
            f"{dropped} rows of {support} have no target; they are left out. The first is "
            f"{place_of(support, int(np.argmin(there.to_numpy())))}.",
            stacklevel=2,
        )
    _check_one_task(model.task_names_ or [], table[there], asked, support, query)
    for one, place in ((table[there], support), (asked, query)):
        _check_numbers(model, one, place)
    y = targets.loc[there].to_numpy()
    y = y[:, 0] if y.shape[1] == 1 else y
    if isinstance(model, FewShotClassifier):
        known = set(model.classes_.tolist())
        y = np.array([label if label in known else _as_fitted(label) for label in y.tolist()])
        _warn_of_one_class(y.tolist(), support)
    else:
        check_targets(targets.loc[there], support)
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


def _check_kind(model: Model, path: Path, *given: Path) -> None:
    """Say what the model takes where it is given the other."""
    of_images = isinstance(model, FewShotImageClassifier)
    for one in given:
        is_table = one.is_file() and any(suffix in SUFFIXES for suffix in one.suffixes)
        if of_images and is_table:
            raise MamlaxError(
                f"{path} is a model of images, and {one} is a table. Give --support a folder with "
                "a folder of images for each class in it, and --query a folder of images."
            )
        if not of_images and one.is_dir():
            raise MamlaxError(
                f"{path} is a model of tables, and {one} is a folder. Give --support a table (csv, "
                "tsv or parquet) of a few rows with the target, and --query a table to predict for."
            )


def _check_one_task(
    names: Sequence[str], support: Any, query: Any, support_path: Path, query_path: Path
) -> None:
    """Refuse rows of several tasks, where columns say so."""
    found = {}
    for table, path in ((support, support_path), (query, query_path)):
        there = [name for name in names if name in table.columns]
        if there and len(table):
            rows = table[there].map(category_of).drop_duplicates()
            found[path] = {tuple(row) for row in rows.itertuples(index=False)}, there
    tasks, there = found.get(support_path, (set(), []))
    if len(tasks) > 1:
        shown = "; ".join(", ".join(task) for task in sorted(tasks)[:4])
        raise MamlaxError(
            f"{support_path} has rows of {len(tasks)} tasks ({', '.join(there)}: {shown}"
            f"{'; ...' * (len(tasks) > 4)}), and a model adapts to one at a time. Make a file for "
            "each task and adapt to each, or in Python call adapt_many."
        )
    others, of_query = found.get(query_path, (set(), []))
    if tasks and others - tasks and there == of_query:
        raise MamlaxError(
            f"{query_path} asks about another task ({', '.join(there)}: "
            f"{', '.join(sorted(others - tasks)[0])}) than the one of {support_path} "
            f"({', '.join(next(iter(tasks)))}). Give support and query of the same task."
        )


def _check_numbers(model: FewShotRegressor | FewShotClassifier, table: Any, path: Path) -> None:
    """Refuse cells of text in columns that held numbers, by their lines."""
    for column in model.columns_.columns:
        if not column.categories and column.name in table.columns:
            remedy = "leave it empty: it then counts as missing"
            check_cells(table[column.name], path, "column", remedy, always=True)


def _warn_of_one_class(labels: Sequence[Any], support: Path) -> None:
    if len(labels) and len(set(labels)) == 1:
        warnings.warn(
            f"all examples of {support} are of one class ({labels[0]!r}): they tell nothing of the "
            "others. Add examples of another class.",
            stacklevel=3,
        )


def _as_fitted(label: str) -> str:
    """A class that is a number, as `fit` calls it: pandas writes 0 as 0.0 beside an empty cell."""
    try:
        return category_of(float(label))
    except ValueError:
        return label


def _adapt_to_images(
    model: FewShotImageClassifier, support: Path, query: Path, out: Path
) -> tuple[Model, int]:
    given, asked = model.read(support), model.read(query)
    if "" in given.labels:
        raise MamlaxError(
            f"{support} has images that lie in no folder: put the images of each class in a folder "
            "of its own, named as the class."
        )
    _warn_of_one_class(given.labels, support)
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
