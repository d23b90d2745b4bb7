"""What is predicted, as numbers that a network learns: standardized values, or class numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from .._errors import MamlaxError, warn
from .._files import Json
from ._columns import names_of
from ._frames import as_pandas
from ._moments import are_lost, exponent_of

_FARTHEST = 1e15
"""Standard deviations; more than these squared could not be added up in single precision."""
_FEW_GROUPS = 5
"""Of which nothing is said."""


class Values(NamedTuple):
    """Targets of regression.

    Attributes:
        mean: `[outputs]`.
        scale: `[outputs]`, the standard deviation.
        flat: whether targets were `[rows]`.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    flat: bool

    @property
    def num_outputs(self) -> int:
        """Numbers predicted for a row."""
        return len(self.mean)

    @staticmethod
    def fit(targets: np.ndarray, weights: np.ndarray) -> "Values":
        """From targets `[rows]` or `[rows, outputs]`, and how much each row counts `[rows]`."""
        columns = targets.reshape(len(targets), -1).astype(np.float64)
        exponent = exponent_of(columns)
        small = np.ldexp(columns, -exponent)
        mean = np.average(small, axis=0, weights=weights)
        scale = np.sqrt(np.average((small - mean) ** 2, axis=0, weights=weights))
        mean, scale = np.ldexp(mean, exponent), np.ldexp(scale, exponent)
        scale = np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
        found = Values(tuple(mean.tolist()), tuple(scale.tolist()), targets.ndim == 1)
        for i, encoded in enumerate(found.encode(targets).T):
            if are_lost(columns[:, i], encoded):
                row = int(np.argmax(np.abs(columns[:, i] - mean[i])))
                warn(
                    f"the target of row {row} is {columns[row, i]:.6g}, so far from the others "
                    "that they can hardly be told apart. Correct it, or predict the logarithm.",
                    stacklevel=4,
                )
        return found

    def encode(self, targets: np.ndarray) -> np.ndarray:
        """`[rows, outputs]` of float32.

        Raises:
            MamlaxError: if there are other than the outputs fitted, or one is so far from those
                fitted that single precision does not hold it.
        """
        columns = targets[:, None] if targets.ndim == 1 else targets
        if columns.shape[1] != self.num_outputs:
            raise MamlaxError(
                f"the model predicts {self.num_outputs} numbers for a row, got targets of "
                f"{columns.shape[1]}."
            )
        with np.errstate(over="ignore"):
            encoded = (columns - np.array(self.mean)) / np.array(self.scale)
        far = ~(np.abs(encoded) < _FARTHEST)
        if far.any():
            row, output = np.argwhere(far)[0]
            raise MamlaxError(
                f"the target of row {row} is {columns[row, output]:.6g}: too far from the others "
                f"(mean {self.mean[output]:.6g}, deviation {self.scale[output]:.6g}). Correct it, "
                "or predict the logarithm."
            )
        return encoded.astype(np.float32)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """The network's `[..., outputs]` in the units of the targets."""
        values = np.asarray(outputs, np.float64) * np.array(self.scale) + np.array(self.mean)
        return values[..., 0] if self.flat else values

    def scaled(self, deviations: np.ndarray) -> np.ndarray:
        """Deviations `[..., outputs]` of the network's outputs, in the units of the targets."""
        values = np.asarray(deviations, np.float64) * np.array(self.scale)
        return values[..., 0] if self.flat else values

    def as_json(self) -> Json:
        """For `from_json`."""
        return {"kind": "values", **self._asdict()}


class Classes(NamedTuple):
    """Targets of classification.

    Attributes:
        classes: `[classes]`, the labels, sorted.
    """

    classes: np.ndarray

    @property
    def num_outputs(self) -> int:
        """Numbers predicted for a row."""
        return len(self.classes)

    @staticmethod
    def fit(targets: np.ndarray) -> "Classes":
        """From labels `[rows]`."""
        return Classes(np.unique(targets))

    def encode(self, targets: np.ndarray) -> np.ndarray:
        """`[rows]` of int32.

        Raises:
            MamlaxError: if a label was not fitted.
        """
        index = {label: i for i, label in enumerate(self.classes.tolist())}
        codes = [index.get(label, -1) for label in np.asarray(targets).tolist()]
        if -1 in codes:
            label = np.asarray(targets).tolist()[codes.index(-1)]
            raise MamlaxError(
                f"{label!r} is none of the {len(index)} classes that were learned: "
                f"{', '.join(map(repr, list(index)[:12]))}{', ...' * (len(index) > 12)}."
            )
        return np.array(codes, np.int32)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Of the network's `[rows, classes]`, which are logarithms up to a constant."""
        return softmax(np.asarray(outputs, np.float64), axis=-1)

    def as_json(self) -> Json:
        """For `from_json`.

        Raises:
            MamlaxError: if labels are of a kind that JSON has not.
        """
        labels = self.classes.tolist()
        if any(not isinstance(label, str | int | float | bool) for label in labels):
            raise MamlaxError(
                f"labels must be text or numbers to be saved, got {type(labels[0]).__name__}."
            )
        kind = "O" if self.classes.dtype == object else self.classes.dtype.str
        return {"kind": "classes", "classes": labels, "dtype": kind}


Targets = Values | Classes


def targets_from_json(value: Json) -> Targets:
    """What `as_json` gave."""
    if value["kind"] == "classes":
        return Classes(np.array(value["classes"], dtype=np.dtype(value["dtype"])))
    return Values(tuple(value["mean"]), tuple(value["scale"]), value["flat"])


def several_names_of(y: Any) -> list[str] | None:
    """The names of targets that are several columns of a frame; None where nothing tells them."""
    frame = as_pandas(y) if hasattr(y, "columns") else y
    names = names_of(frame)
    if names is None or len(names) < 2 or any(not isinstance(one, str) for one in frame.columns):
        return None
    return names


def in_order_of(names: Sequence[str] | None, y: Any) -> Any:
    """Targets with their columns in the order of those that were fitted, found by name.

    Args:
        names: of those fitted; None: nothing is known of them.
        y: a frame, whose columns may be in another order; or an array, which is in the same.

    Raises:
        MamlaxError: if a frame lacks one of them.
    """
    given = several_names_of(y)
    if given is None or names is None or given == list(names):
        return y
    if missing := [name for name in names if name not in given]:
        raise MamlaxError(
            f"the targets have the columns {', '.join(map(repr, given))}, and the model was fitted "
            f"to {', '.join(map(repr, names))}: {missing[0]!r} is missing."
        )
    return as_pandas(y).iloc[:, [given.index(name) for name in names]]


def warn_of_constant_targets(y: np.ndarray, groups: np.ndarray) -> None:
    """Warn if the target never changes within a group, but does from one to another.

    Args:
        y: `[rows]` or `[rows, outputs]`.
        groups: `[rows]`, the number of each row's group. Groups of one row do not count.
    """
    order = np.argsort(groups, kind="stable")
    order = order[(np.bincount(groups) > 1)[groups[order]]]
    y, groups = y[order], groups[order]
    is_same, changes = groups[1:] == groups[:-1], y[1:] != y[:-1]
    if len(np.unique(groups)) >= _FEW_GROUPS and changes.any() and not changes[is_same].any():
        warn(
            "the target never changes within a group: one known row of a new group tells the "
            "target of all its others, and there is nothing else to adapt to. Are these the "
            "groups that you mean? To predict the target of new groups of which no row is known, "
            "an ordinary model does as well.",
            stacklevel=3,
        )
