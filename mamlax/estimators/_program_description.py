"""What stands beside an exported program: how tables or images become its numbers, and back.

It is JSON, and enough to call the program without this package.
"""

from typing import Any

from .._files import Json
from ._columns import Columns
from ._images import FewShotImageClassifier
from ._learner import AdaptedParams
from ._targets import Classes

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a program of JAX is compiled for where it is called."""
ABOUT_STABLEHLO: Json = {"platforms": list(PLATFORMS)}
"""What is said of the form of such a program."""

_SUPPORT = {
    "support_inputs": "rows of one task to adapt to, as inputs says",
    "support_targets": "their targets, as targets says",
    "support_weights": "how much each counts: 1; rows of weight 0 count for nothing, and a single "
    "one of weight 0 stands for no support",
}
_WEIGHTS_OF_IMAGES = (
    "how much each counts: 1. The moments of the support, whatever its weights, normalize all "
    "images: give none of weight 0"
)
_QUERY = {"query_inputs": "rows to predict for, as inputs says"}
_NUMBER = (
    "x = (value - mean) / scale, brought between -limit and limit; 0 where the value is missing. "
    "Where has_missing, a second number follows: 1 where the value is missing, else 0."
)
_CATEGORY = (
    "a 1 at the place of the value in categories, 0 elsewhere; 0 everywhere where it is missing or "
    "none of them. Whole numbers are written without a point: 3, not 3.0."
)
_DATE = (
    "days = those since 1970-01-01T00:00 by the clock as it is written, with fractions, whatever "
    "the zone. Of each of parts, in this order: time, x = (days - mean) / scale, brought between "
    "-limit and limit; year, sine and cosine of 2 pi days / 365.2425; week, seven numbers, a 1 at "
    "the place (floor(days) + 3) mod 7, which is 0 on Mondays; day, sine and cosine of 2 pi days. "
    "All are 0 where the date is missing. Where has_missing, a last number follows: 1 where it is "
    "missing, else 0."
)


def adaptation_of(model: Any) -> AdaptedParams | None:
    """What a model is adapted to; None: nothing."""
    if isinstance(model, FewShotImageClassifier):
        return model._adapted
    return model._adapted if model.num_support_ else None


def description_of_program(model: Any, about: Json = ABOUT_STABLEHLO) -> Json:
    """Of an estimator or an image classifier, as JSON has it.

    Args:
        model: the model.
        about: what is to be said of the program's form.
    """
    is_adapted = adaptation_of(model) is not None
    described = {
        "program": {
            **about,
            "arguments": _QUERY if is_adapted else _SUPPORT | _QUERY,
            "is_adapted": is_adapted,
        },
    }
    if isinstance(model, FewShotImageClassifier):
        if not is_adapted and model.learner_.settings.normalizes:
            described["program"]["arguments"] |= {"support_weights": _WEIGHTS_OF_IMAGES}
        return described | _of_images(model)
    columns: Columns = model.columns_
    ends, width = [], 0
    for column in columns.columns:
        ends.append([width, width + column.width])
        width += column.width
    return described | {
        "inputs": {
            "shape": ["rows", width],
            "numbers": _NUMBER,
            "categories": _CATEGORY,
            "dates": _DATE,
        },
        "columns": {
            **columns.as_json(),
            "columns": [
                {**column.as_json(), "kind": column.kind, "places": places}
                for column, places in zip(columns.columns, ends, strict=True)
            ],
        },
        "targets": model.targets_.as_json() | _of_targets(model),
    }


def _of_targets(model: Any) -> Json:
    if isinstance(model.targets_, Classes):
        return {
            "given": "int32 [rows], the place of the label in classes",
            "read": "outputs [rows, classes]; the largest is the label's, softmax gives "
            "probabilities",
        }
    return {
        "names": model.target_names_,
        "given": "float32 [rows, targets], (value - mean) / scale",
        "read": "outputs [rows, targets]; value = output * scale + mean",
    }


def _of_images(model: FewShotImageClassifier) -> Json:
    height, width, channels = model.image_shape
    pixels = "float32, byte / 255"
    if model.reading_.invert:
        pixels = "float32, 1 - byte / 255: ink is 1 and paper 0"
    settings = model.learner_.settings
    targets = {
        "kind": "classes",
        "num_outputs": settings.ways or settings.network["num_outputs"],
        "given": "int32 [images], a number from 0 for each class of the support",
        "read": "outputs [images, num_outputs], of which the first belong to the classes of the "
        "support: the largest of these is the label's, their softmax gives probabilities",
    }
    if model.ways is None and model.targets_ is None:
        targets["given"] += "; the head is made for them: give num_outputs classes, not fewer"
    if model.targets_ is not None:
        targets |= model.targets_.as_json()
    return {
        "inputs": {
            "shape": ["images", height, width, channels],
            "pixels": pixels,
            "channels": {1: "brightness", 3: "red, green, blue"}.get(channels, str(channels)),
            "size": "resized with Lanczos' filter, whatever the aspect ratio"
            if model.reading_.resize
            else "as they are",
        },
        "targets": targets,
    }
