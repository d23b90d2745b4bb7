"""Programs that are compiled before clients ask for them."""

from collections.abc import Iterable
from threading import Event
from typing import Any

import numpy as np

from ..estimators._few_shot import FewShotClassifier
from ..estimators._images import FewShotImageClassifier
from ..estimators._load import Model
from ..estimators._pretrained import pretrained_by_step
from ..estimators._steps import outputs_by_step
from ._images import CLASSES_SHOWN

_WARM_SIZES = (1, 16, 32)
"""Rows; programs are of powers of two, and of 8 and more."""
MOST_WARM_ROWS = max(_WARM_SIZES)
_OF_A_CURVE = 128


def make_ready(model: Model) -> None:
    """Compile the programs of common sizes; of images, that of one for each class."""
    if isinstance(model, FewShotImageClassifier):
        _ask(model, model.ways or CLASSES_SHOWN)
        return
    width, learner = model.columns_.width, model.learner_
    for size in _WARM_SIZES:
        inputs = np.zeros((size, width), np.float32)
        if isinstance(model, FewShotClassifier):
            targets: Any = np.zeros(size, np.int32)
        else:
            targets = np.zeros((size, model.targets_.num_outputs), np.float32)
        adapted = learner.adapt(inputs, targets)
        for number in _WARM_SIZES:
            asked = np.zeros((number, width), np.float32)
            learner.predict(adapted, asked)
            learner.variances(adapted, np.zeros(number, int), asked)
        if width == 1:  # its page asks for the function after each step
            asked = np.zeros((_OF_A_CURVE, width), np.float32)
            steps = model.num_inner_steps_
            outputs_by_step(learner, inputs, targets, asked, steps)
            if model.pretrained_ is not None:
                pretrained_by_step(model.pretrained_, inputs, targets, asked, steps)


def make_more_ready(models: Iterable[Model], is_ending: Event) -> None:
    """Compile what the page asks for while somebody draws the first images: two of them, three, …

    Args:
        models: those that are served, also while this goes on.
        is_ending: once it is set, no other program is begun.
    """
    for model in models:
        if isinstance(model, FewShotImageClassifier):
            for number in range(2, min(model.ways or CLASSES_SHOWN, CLASSES_SHOWN)):
                if is_ending.is_set():
                    return
                _ask(model, number)


def _ask(model: FewShotImageClassifier, ways: int) -> None:
    """Adapt to an image of each class, and ask for what the page shows."""
    blank = np.zeros((ways, *model.image_shape), np.uint8)
    adapted = model.adapt(blank, list(map(str, range(ways))))
    adapted.predict_proba(blank[:1])
    adapted.probabilities_by_step(blank[:1])
    pretrained = model.pretrained_
    if pretrained is not None and ways <= pretrained.settings.network["num_outputs"]:
        adapted.probabilities_by_step(blank[:1], pretrained=True)
