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

    def __init__(self, estimator: Any, groups: np.ndarray, adapted: AdaptedParams):
        self.groups, self._estimator, self._adapted = groups, estimator, adapted

    def predict(self, X, groups) -> np.ndarray:
        """Predictions `[rows]`, each row by the parameters of its task.

        Args:
            X: `[rows, columns]`.
            groups: `[rows]`, one of those adapted to.

        Raises:
            MamlaxError: if a group was not adapted to.
        """
        return self._estimator._decoded(self._outputs(X, groups))

    def predict_proba(self, X, groups) -> np.ndarray:
        """Of a classifier: `[rows, classes]`, in the order of its `classes_`."""
        return self._estimator.targets_.probabilities(self._outputs(X, groups))

    def _outputs(self, X, groups) -> np.ndarray:
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
        inputs = estimator.columns_.encode(X)
        return estimator.learner_.predict_many(self._adapted, tasks, inputs)
