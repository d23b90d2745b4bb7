"""What the commands adapt and predict do: a model in a file, and rows, become predictions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .._errors import MamlaxError
from .._files import replacing
from ..datasets._class_names import check_names
from ._adapted_many import AdaptedMany
from ._adapted_table import (
    predictions_for_table,
    predictions_of,
    warn_of_one_class,
)
from ._adapted_tasks import predictions_by_task, predictions_of_tasks
from ._calibration import INTERVALS_OF_NUMBERS
from ._conventions import Conventions
from ._entry import counted
from ._images import FewShotImageClassifier
from ._load import Model, load
from ._numerals import DecimalMark
from ._policy import FewShotPolicy
from ._tables import SUFFIXES, listed, read_table


def adapt(
    path: Path,
    support: Path,
    query: Path,
    out: Path,
    *,
    say: Callable[[str], None],
    tasks: Sequence[str] = (),
    decimal_mark: DecimalMark | None = None,
    interval: float | None = None,
    adapted_out: Path | None = None,
) -> str:
    """Adapt a saved model, predict and write the predictions.

    Args:
        path: the model.
        support: a table with the target; for an image model a folder of labelled images.
        query: a table; for an image model a folder of images.
        out: the csv to write.
        say: called with what had to be assumed of a table.
        tasks: columns of both tables that say which task a row belongs to: each is adapted to.
            Empty: all rows are of one task.
        decimal_mark: what decimals in tables begin with; None: as in the table fitted.
        interval: coverage of intervals beside predictions of numbers; None: none.
        adapted_out: a file for the adapted model.

    Returns:
        What was done, in a sentence.
    """
    model = load(path)
    if isinstance(model, FewShotPolicy):
        raise MamlaxError(
            f"{path} is a policy: it adapts to episodes, from Python. "
            "mamlax.load(path).adapt(observations, actions, rewards, ends)."
        )
    if isinstance(model, AdaptedMany):
        raise MamlaxError(
            f"{path} is adapted to {len(model.groups)} tasks already: mamlax predict predicts by "
            "it. To adapt anew, give the model that it was made of."
        )
    _check_out(out, "--out", path, support, query)
    if adapted_out is not None:
        _check_out(adapted_out, "--adapted-out", path, support, query, out)
    _check_kind(model, path, support, query)
    if isinstance(model, FewShotImageClassifier):
        if tasks:
            raise MamlaxError(f"{path} is a model of images: --task-column is of tables.")
        if interval is not None:
            raise MamlaxError(INTERVALS_OF_NUMBERS)
        adapted = _adapted_to_images(model, support)
        result, about = _predicted_images(adapted, query), ""
    else:
        how: Any = {
            "conventions": _read_by(model, decimal_mark),
            "say": say,
            "coverage": interval,
        }
        if tasks:
            adapted, number, result = predictions_of_tasks(model, support, query, tasks, **how)
            about = f" after adapting to {number} rows of {counted(len(adapted.groups), 'task')}"
        else:
            adapted, result = predictions_of(model, support, query, **how)
            about = f" after adapting to {adapted.num_support_} rows"
    _write_csv(result, out)
    if adapted_out is not None:
        adapted.save(adapted_out)
    return f"{len(result)} predictions{about}."


def predict(
    path: Path,
    query: Path,
    out: Path,
    *,
    say: Callable[[str], None],
    tasks: Sequence[str] = (),
    decimal_mark: DecimalMark | None = None,
    interval: float | None = None,
) -> str:
    """Predict by a saved model that is adapted already, and write the predictions.

    Args:
        path: the model.
        query: a table; for an image model a folder of images.
        out: the csv to write.
        say: called with what had to be assumed of a table.
        tasks: columns that say which task a row belongs to, where the model is adapted to many;
            empty: as they were called when it was adapted.
        decimal_mark: what decimals in tables begin with; None: as in the table fitted.
        interval: coverage of intervals beside predictions of numbers; None: none.

    Returns:
        What was done, in a sentence.
    """
    found = load(path)
    _check_out(out, "--out", path, query)
    if isinstance(found, FewShotPolicy):
        raise MamlaxError(f"{path} is a policy: it acts, from Python. mamlax.load(path).act.")
    model: Model = found.estimator if isinstance(found, AdaptedMany) else found
    _check_kind(model, path, query)
    if isinstance(model, FewShotImageClassifier):
        if interval is not None:
            raise MamlaxError(INTERVALS_OF_NUMBERS)
        _check_adapted(path, model.classes_ is not None)
        result, about = _predicted_images(model, query), "an adapted model"
    else:
        how: Any = {
            "conventions": _read_by(model, decimal_mark),
            "say": say,
            "coverage": interval,
        }
        if isinstance(found, AdaptedMany):
            if not (tasks := tasks or model.task_names_ or ()):
                raise MamlaxError(
                    f"{path} is adapted to many tasks, and does not say what tells them apart. "
                    "Give the column that says which task a row belongs to: --task-column."
                )
            result = predictions_by_task(found, read_table(query), tasks, **how)
            about = f"a model adapted to {counted(len(found.groups), 'task')}"
        else:
            _check_adapted(path, model.num_support_ > 0)
            result = predictions_for_table(model, read_table(query), **how)
            about = f"a model adapted to {counted(model.num_support_, 'row')}"
    _write_csv(result, out)
    return f"{len(result)} predictions by {about}."


def what_it_takes(model: Model | FewShotPolicy) -> str:
    """What the command adapt wants of a model's user, in a sentence."""
    if isinstance(model, FewShotPolicy):
        return "A policy adapts to episodes, from Python: mamlax.load(path).adapt."
    if isinstance(model, FewShotImageClassifier):
        return (
            "mamlax adapt takes --support, a folder with a folder of images for each class in it, "
            "and --query, a folder of images."
        )
    columns, targets = model.columns_, model.target_names_ or ["target"]
    names = listed([one.name for one in columns.columns])
    count = len(columns.columns)
    several = "s" * (count != 1)
    inputs = (
        f"column{several} {names}, in any order"
        if columns.named
        else f"{count} column{several} of any name, in the order of the inputs"
    )
    return (
        f"mamlax adapt takes tables: --query with {inputs}; --support with the same and "
        f"{listed(targets)}, the target{'s' * (len(targets) > 1)}."
    )


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


def _check_out(out: Path, flag: str, *read: Path) -> None:
    if out.resolve() in {one.resolve() for one in read}:
        raise MamlaxError(
            f"{out} is read by this command, or written twice. Give another file to {flag}."
        )


def _check_adapted(path: Path, is_adapted: bool) -> None:
    if not is_adapted:
        raise MamlaxError(
            f"{path} is adapted to nothing yet. mamlax adapt adapts it, predicts, and writes the "
            "adapted model with --adapted-out FILE."
        )


def _read_by(model: Any, decimal_mark: DecimalMark | None) -> Conventions:
    """How text in a table is read: as in the table fitted, unless something else is said."""
    if decimal_mark is None:
        return model.reading_
    return model.reading_._replace(decimal_mark=decimal_mark)


def _adapted_to_images(model: FewShotImageClassifier, support: Path) -> FewShotImageClassifier:
    given = model.read(support)
    if "" in given.labels:
        raise MamlaxError(
            f"{support} has images that lie in no folder: put the images of each class in a folder "
            "of its own, named as the class."
        )
    check_names(str(support), {*given.labels}, repeated_names=True)
    warn_of_one_class(given.labels, support)
    return model.adapt(given.images, given.labels)


def _predicted_images(adapted: FewShotImageClassifier, query: Path) -> pd.DataFrame:
    asked = adapted.read(query)
    chances = adapted.predict_proba(asked.images)
    assert adapted.classes_ is not None
    columns = {"image": asked.names, "predicted": adapted.classes_[chances.argmax(1)]}
    for i, label in enumerate(adapted.classes_):
        columns[f"probability {label}"] = chances[:, i]
    return pd.DataFrame(columns)


def _write_csv(table: Any, out: Path) -> None:
    with replacing(out) as temporary:
        # names of files need not be Unicode
        table.to_csv(temporary, index=False, errors="surrogateescape")
