"""What the command adapt does: a model in a file, and a support, become predictions in another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from .._errors import MamlaxError
from .._files import replacing
from ..datasets._class_names import check_names
from ._adapted_table import INTERVALS_OF_NUMBERS, predictions_of, warn_of_one_class
from ._images import FewShotImageClassifier
from ._load import Model, load
from ._numerals import DecimalMark
from ._policy import FewShotPolicy
from ._tables import SUFFIXES, listed


def adapt(
    path: Path,
    support: Path,
    query: Path,
    out: Path,
    *,
    say: Callable[[str], None],
    decimal_mark: DecimalMark | None = None,
    interval: float | None = None,
) -> tuple[Model, int]:
    """Adapt a saved model, predict and write the predictions.

    Args:
        path: the model.
        support: a table with the target; for an image model a folder of labelled images.
        query: a table; for an image model a folder of images.
        out: the csv to write.
        say: called with what had to be assumed of a table.
        decimal_mark: what decimals in tables begin with; None: as in the table fitted.
        interval: coverage of intervals beside predictions of numbers; None: none.

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
        if interval is not None:
            raise MamlaxError(INTERVALS_OF_NUMBERS)
        return _adapt_to_images(model, support, query, out)
    chosen = (
        model.reading_
        if decimal_mark is None
        else model.reading_._replace(decimal_mark=decimal_mark)
    )
    adapted, result = predictions_of(
        model, support, query, conventions=chosen, say=say, coverage=interval
    )
    _write_csv(result, out)
    return adapted, len(result)


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


def _adapt_to_images(
    model: FewShotImageClassifier, support: Path, query: Path, out: Path
) -> tuple[Model, int]:
    given, asked = model.read(support), model.read(query)
    if "" in given.labels:
        raise MamlaxError(
            f"{support} has images that lie in no folder: put the images of each class in a folder "
            "of its own, named as the class."
        )
    check_names(str(support), {*given.labels}, repeated_names=True)
    warn_of_one_class(given.labels, support)
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
        # names of files need not be Unicode
        table.to_csv(temporary, index=False, errors="surrogateescape")
