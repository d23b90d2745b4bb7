"""How to choose the best state of a run during training, and when to end the run."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Validation(NamedTuple):
    """How to choose the best checkpoint during training.

    Attributes:
        fn: `fn(state) -> {metric key: number}`, evaluated on tasks that are not trained on.
        interval: outer steps between validations.
        metric: the key of the metric to choose by, e.g. `"validation/accuracy"`.
        maximize: whether larger is better.
        patience: end the run after this many validations without a new best one. None: never.
    """

    fn: Callable[[Any], dict[str, float]]
    interval: int
    metric: str
    maximize: bool = True
    patience: int | None = None

    def is_over(self, step: int, best_step: int) -> bool:
        """Whether patience has run out at `step`, if the best validation was at `best_step`."""
        return self.patience is not None and step - best_step >= self.patience * self.interval

    def why_over(self, best_step: int) -> str:
        """Why patience has run out, in words."""
        name = self.metric.replace("/", " ")
        return (
            f"{name} has not improved in {self.patience} validations since outer step {best_step}"
        )

    def measured(self, state: Any) -> dict[str, float]:
        """The metrics of a state, checked.

        Raises:
            ValueError: if the metric to choose by is missing, or a metric is not a number.
        """
        values = self.fn(state)
        if self.metric not in values:
            raise ValueError(
                f"the best state is to be chosen by {self.metric!r}, but the validation returned "
                f"{sorted(values)}. Give one of these as the metric."
            )
        for name, value in values.items():
            if np.ndim(value):
                raise ValueError(
                    f"the validation returned an array of shape {np.shape(value)} for {name!r}; it "
                    "must be one number. Return e.g. the mean (over seeds too)."
                )
        return {name: float(value) for name, value in values.items()}

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether a validation is better than the best so far (None: there is none yet)."""
        if not math.isfinite(value):
            return False
        return best is None or (value > best if self.maximize else value < best)
