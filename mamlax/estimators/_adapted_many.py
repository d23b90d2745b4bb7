"""An estimator adapted to many tasks at once."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from sklearn.utils.validation import check_consistent_length

from .._errors import MamlaxError
from ._container import Container, filled, named_arrays, write_container
from ._estimator_state import arrays_of_supports, supports_of
from ._learner import AdaptedParams

_LABELS = str | int | float | bool


class AdaptedMany:
    """An estimator adapted to many tasks at once. `adapt_many` returns it.

    Attributes:
        groups: `[tasks]`, the names of the tasks.
        estimator: the estimator that was adapted; it is itself unchanged, not adapted.
    """

    def __init__(
        self, estimator: Any, groups: np.ndarray, adapted: AdaptedParams, sizes: np.ndarray
    ):
        self.groups, self.estimator, self._adapted = groups, estimator, adapted
        self._sizes = sizes

    def predict(self, X, groups, return_std: bool = False) -> Any:
        """Predictions `[rows]`; each row is predicted by the parameters of its own task.

        Args:
            X: `[rows, columns]`.
            groups: `[rows]`, the task of each row, which must be one of `groups`.
            return_std: also return standard deviations, as `predict` of a regressor does.

        Raises:
            MamlaxError: if the estimator was not adapted to a group.
        """
        tasks, inputs = self._rows(X, groups)
        predicted = self.estimator._decoded(self._outputs(tasks, inputs))
        if not return_std:
            return predicted
        return predicted, self.estimator._deviations(*self._known(tasks, inputs))

    def predict_interval(self, X, groups, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of intervals, like `predict_interval` of a regressor."""
        tasks, inputs = self._rows(X, groups)
        predicted = self.estimator._decoded(self._outputs(tasks, inputs))
        half = self.estimator._half_widths(*self._known(tasks, inputs), coverage)
        return predicted - half, predicted + half

    def predict_proba(self, X, groups) -> np.ndarray:
        """Class probabilities `[rows, classes]` of a classifier, in the order of `classes_`."""
        return self.estimator.targets_.probabilities(self._outputs(*self._rows(X, groups)))

    def save(self, path: str | Path) -> None:
        """Write it to one file that `mamlax.load` reads.

        Args:
            path: the file. An existing file is replaced completely or not at all.

        Raises:
            MamlaxError: if the names of groups are neither text nor numbers.
        """
        write_container(path, self.state())

    def state(self) -> Container:
        """The content of its file, for `from_state`."""
        labels = self.groups.tolist()
        if any(not isinstance(label, _LABELS) for label in labels):
            raise MamlaxError(
                f"groups must be text or numbers to be saved, got {type(labels[0]).__name__}."
            )
        estimator = self.estimator.state()
        header = {
            "kind": type(self).__name__,
            "groups": labels,
            "dtype": "O" if self.groups.dtype == object else self.groups.dtype.str,
            "sizes": self._sizes.tolist(),
            "estimator": estimator.header,
        }
        own = named_arrays("many", self._adapted.own)
        supports = arrays_of_supports(self._adapted.supports)
        return Container(header, {**estimator.arrays, **own, **supports})

    @classmethod
    def from_state(cls, estimator: Any, content: Container) -> "AdaptedMany":
        """The `AdaptedMany` whose `state` is `content`.

        Args:
            estimator: the estimator described in the header.
            content: the content of the file.

        Raises:
            MamlaxError: if an array is missing or does not have the shape given in the header.
            ValueError: if the numbers of support rows do not match the tasks.
        """
        header = content.header
        groups = np.array(header["groups"], dtype=np.dtype(header["dtype"]))
        sizes = np.array(header["sizes"], dtype=np.int64)
        if groups.ndim != 1 or sizes.shape != groups.shape:
            raise ValueError(f"rows of {sizes.shape} tasks, where {groups.shape} are named")
        base = estimator._adapted
        expected = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((len(groups), *x.shape), x.dtype), base.own
        )
        own = jax.tree.map(np.asarray, filled(expected, "many", content.arrays))
        supports = supports_of(content, estimator.learner_.settings.network, sizes)
        adapted = AdaptedParams(own, base.shared, supports=supports)
        return cls(estimator, groups, adapted, sizes)

    def _outputs(self, tasks: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        return self.estimator.learner_.predict_many(self._adapted, tasks, inputs)

    def _known(self, tasks: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        variances = self.estimator.learner_.variances(self._adapted, tasks, inputs)
        return self._sizes[tasks], variances

    def _rows(self, X, groups) -> tuple[np.ndarray, np.ndarray]:
        """The task of each row, and the encoded rows."""
        estimator, groups = self.estimator, np.asarray(groups)
        X = estimator._checked_table(X)
        check_consistent_length(X, groups)
        index = {name: i for i, name in enumerate(self.groups.tolist())}
        tasks = np.array([index.get(name, -1) for name in groups.tolist()], int)
        if (tasks < 0).any():
            absent = groups.tolist()[int(np.argmax(tasks < 0))]
            raise MamlaxError(
                f"group {absent!r} was not adapted to ({len(self.groups)} were). Give "
                "adapt_many rows of it too; with none, the estimator itself predicts for it."
            )
        return tasks, estimator.columns_.encode(X)
