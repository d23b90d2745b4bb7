"""Read a data set of Hugging Face `datasets` as classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import MamlaxError
from ..tasks._class_arrays import ClassArrays
from ._decoding import ImageSettings, decode
from ._images import check_size
from ._listing import File


def hugging_face_classes(
    dataset: Any,
    *,
    inputs: str | Sequence[str] = "image",
    label: str = "label",
    size: int | None = None,
    color: bool = True,
) -> ClassArrays:
    """Sort the rows of a `datasets.Dataset` by their label.

    Images are read into memory, as by `image_classes`. Numbers become `float32` and are not scaled:
    pixels in a column of numbers are not divided by 255.

    Args:
        dataset: one split, e.g. `load_dataset(...)["train"]`. Join several splits with the same
            classes by `datasets.concatenate_datasets`.
        inputs: the column of images, or one or several columns of numbers. A column of arrays keeps
            their shape; several columns become `[examples, features]`.
        label: the column of classes: a `ClassLabel`, text or whole numbers.
        size: height and width to resize images to, in pixels. None: images are not resized.
        color: read images as three color channels; False: as one channel of brightness.

    Returns:
        The classes that have examples, in the order of the `ClassLabel`, otherwise sorted by name.
        They are not split: `select` classes for training, validation and test.

    Raises:
        MamlaxError: if this is not a data set with these columns, a row has no label, an input is
            neither image nor number, or inputs differ in shape.
    """
    check_size(size)
    names = [inputs] if isinstance(inputs, str) else list(inputs)
    features = getattr(dataset, "features", None)
    if not hasattr(dataset, "select_columns") or features is None:
        raise MamlaxError(
            f"expected a datasets.Dataset, got {type(dataset).__name__}. Of a DatasetDict choose a "
            "split, e.g. dataset['train']; a stream must be read first."
        )
    dataset = dataset.with_format(None)  # of the user's own: labels would be tensors
    if absent := [name for name in [*names, label] if name not in features]:
        raise MamlaxError(
            f"the data set has no column {absent[0]!r}; it has {', '.join(features)}. Say which "
            "with inputs= and label=."
        )
    classes = _classes(dataset.select_columns([label])[:][label], features[label])
    if type(features[names[0]]).__name__ == "Image":
        examples = _pixels(dataset, names, ImageSettings(size, color))
    else:
        columns = dataset.select_columns(names).with_format("numpy")[:]
        examples = _numbers({name: columns[name] for name in names})
    return ClassArrays.of({name: examples[rows] for name, rows in classes.items()})


def _classes(labels: Sequence[Any], feature: Any) -> dict[str, list[int]]:
    """The rows of each class."""
    words = getattr(feature, "names", None)  # of a ClassLabel
    rows = {word: [] for word in words or sorted({str(value) for value in labels})}
    for row, value in enumerate(labels):
        if value is None or (words and value < 0):  # -1: of a split whose labels are secret
            raise MamlaxError(f"row {row} has no label. Leave such rows out: dataset.filter.")
        rows[words[value] if words else str(value)].append(row)
    return {name: found for name, found in rows.items() if found}


def _pixels(dataset: Any, names: Sequence[str], settings: ImageSettings) -> np.ndarray:
    if len(names) > 1:
        raise MamlaxError(f"inputs must be one column where it holds images, got {names}.")
    pixels = []
    for row, one in enumerate(dataset.select_columns(names)):
        if (picture := one[names[0]]) is None:
            raise MamlaxError(f"row {row} has no image. Leave such rows out: dataset.filter.")
        file = File(f"row {row}", "", 0, Path("the data set"), lambda _: b"")
        image = decode(file, picture, settings)
        if image.levels is not None:
            raise MamlaxError(
                f"the image of row {row} has gray values of more than 8 bits, and does not say how "
                "many it uses. Save the images in folders and read them by image_splits."
            )
        if pixels and image.pixels.shape != pixels[0].shape:
            raise MamlaxError(
                f"images must have one shape, got {list(pixels[0].shape)} in row 0 and "
                f"{list(image.pixels.shape)} in row {row}. Give size=, e.g. 84."
            )
        pixels.append(image.pixels)
    return np.stack(pixels)


def _numbers(columns: dict[str, Any]) -> np.ndarray:
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise MamlaxError(
                f"column {name!r} holds neither images nor numbers of one shape. Convert it, e.g. "
                "with dataset.map, or leave it out."
            )
        if not np.isfinite(array).all():
            row = int(np.argmin(np.isfinite(array.reshape(len(array), -1)).all(axis=1)))
            raise MamlaxError(
                f"column {name!r} has no finite number in row {row}. Fill such rows, or leave them "
                "out: dataset.filter."
            )
    if len(arrays) > 1:
        arrays = {name: array.reshape(len(array), -1) for name, array in arrays.items()}
        return np.concatenate([*arrays.values()], axis=1, dtype=np.float32)
    return next(iter(arrays.values())).astype(np.float32)
