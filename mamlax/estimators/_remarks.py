"""What is to be said of a model that something else is compared with: that it failed, or warned."""

from collections.abc import Mapping, Sequence

import numpy as np

from .._errors import collected_warnings
from ._entry import LeftOut
from ._rows import Rows
from ._simpler_models import Predict

_LEFT_OUT = "left out"


def tried(
    predict: Predict, supports: list[Rows], queries: list[Rows]
) -> tuple[list[np.ndarray] | None, str | None]:
    """What a model predicts, None if it fails; and what is to be said of it, if anything."""
    with collected_warnings() as said:
        try:
            outputs = predict(supports, queries)
        except LeftOut as error:
            return None, f"{_LEFT_OUT}: {error}"
        except (ValueError, MemoryError, FloatingPointError) as error:  # of other libraries
            return None, f"{_LEFT_OUT}: it failed ({str(error) or type(error).__name__})"
    if not all(np.isfinite(one).all() for one in outputs):
        return None, f"{_LEFT_OUT}: its predictions are not all finite"
    return outputs, f"warned: {said[0]}" if said else None


def left_out_of(rounds: Sequence[Mapping[str, str]]) -> set[str]:
    """The models that were left out of any round, and so will be of all."""
    found = (item for one in rounds for item in one.items())
    return {model for model, remark in found if remark.startswith(_LEFT_OUT)}


def remarks_of(rounds: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """What is to be said of models, from what was said of them in each round."""
    found = {}
    for model in dict.fromkeys(model for one in rounds for model in one):
        said = [one[model] for one in rounds if model in one]
        # what leaves it out of one round leaves it out of all
        text = next((one for one in said if one.startswith(_LEFT_OUT)), said[0])
        few = f" (in {len(said)} of {len(rounds)} rounds)" if len(said) < len(rounds) else ""
        found[model] = text + few
    return tuple(found.items())
