"""Choose trackers by name."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .._errors import MamlaxError
from ..config._spelling import nearest
from ._mlflow import MLflow
from ._tensorboard import TensorBoard
from ._tracker import Tracker
from ._trackio import Trackio
from ._weights_and_biases import WeightsAndBiases

TRACKERS = {one.name: one for one in (TensorBoard, WeightsAndBiases, MLflow, Trackio)}
"""The trackers that can be chosen by name."""


def trackers_of(chosen: Sequence[Any]) -> list[Tracker]:
    """The chosen trackers, each given by name or as an object.

    Raises:
        MamlaxError: if there is no tracker with this name, or two trackers have the same name.
    """
    if isinstance(chosen, str):
        raise MamlaxError(f"trackers must be a list, e.g. trackers=[{chosen!r}].")
    trackers = [_tracker(one) for one in chosen]
    twice = [name for name, count in Counter(one.name for one in trackers).items() if count > 1]
    if twice:
        raise MamlaxError(
            f"two trackers are called {twice[0]!r}. Leave one out, or give one another name: "
            "their runs are found again by it."
        )
    return trackers


def _tracker(one: Any) -> Tracker:
    if isinstance(one, str):
        if one not in TRACKERS:
            near = nearest(one, TRACKERS)
            hint = f" Did you mean {near[0]}?" if near else ""
            known = "; ".join(f"{name} ({kind.install})" for name, kind in TRACKERS.items())
            raise MamlaxError(f"there is no tracker {one!r}.{hint} There are: {known}.")
        return TRACKERS[one]()
    if not isinstance(one, Tracker) or isinstance(one, type):
        raise MamlaxError(
            f"{one!r} is no tracker: give a name ({', '.join(TRACKERS)}), or an object with a name "
            "and the methods of mamlax.trackers.Tracker, which it may inherit."
        )
    return one
