"""An estimator adapted to many tasks at once."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from .._errors import MamlaxError
from ._learner import AdaptedParams


class AdaptedMany:
    """An estimator adapted to many tasks at once.

    Attributes:
        groups: `[tasks]`, what they are called.
    """

    def __init__(
        self, estimator: Any, groups: np.ndarray, adapted: AdaptedParams, sizes: np.ndarray
    ):
        self.groups, self._estimator, self._adapted = groups, estimator, adapted
        self._sizes = sizes

    def predict(self, X, groups, return_std: bool = False) -> Any:
        """Predictions `[rows]`, each row by the parameters of its task.

        Args:
            X: `[rows, columns]`.
            groups: `[rows]`, one of those adapted to.
            return_std: of a regressor: also return standard deviations, as its `predict` does.

        Raises:
            MamlaxError: if a group was not adapted to.
        """
        tasks, inputs = self._rows(X, groups)
        predicted = self._estimator._decoded(self._outputs(tasks, inputs))
        if not return_std:
            return predicted
        known = self._known(tasks, inputs)
        deviations = self._estimator._calibrated().standard_deviations(*known)
        return predicted, self._estimator.targets_.scaled(deviations)

    def predict_interval(self, X, groups, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Of a regressor: lower and upper ends, as its `predict_interval` gives them."""
        tasks, inputs = self._rows(X, groups)
        predicted = self._estimator._decoded(self._outputs(tasks, inputs))
        widths = self._estimator._calibrated().half_widths(*self._known(tasks, inputs), coverage)
        half = self._estimator.targets_.scaled(widths)
        return predicted - half, predicted + half

    def predict_proba(self, X, groups) -> np.ndarray:
        """Of a classifier: `[rows, classes]`, in the order of its `classes_`."""
        return self._estimator.targets_.probabilities(self._outputs(*self._rows(X, groups)))

    def _outputs(self, tasks: np.ndarray, inputs: np.ndarray) -> np.ndarray:
        return self._estimator.learner_.predict_many(self._adapted, tasks, inputs)

    def _known(self, tasks: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        variances = self._estimator.learner_.variances(self._adapted, tasks, inputs)
        return self._sizes[tasks], variances

    def _rows(self, X, groups) -> tuple[np.ndarray, np.ndarray]:
        """The task of each row, and rows as numbers."""
        estimator, groups = self._estimator, np.asarray(groups)
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
