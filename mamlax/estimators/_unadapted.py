"""What is no adapted model, but could be taken for one."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._errors import warn

_FEW_GROUPS = 5
"""Of which nothing is said."""


def warn_of_no_groups() -> None:
    """Say what `fit` makes of rows without groups."""
    warn(
        "fit was given no groups: all rows are taken for one task, and what is fitted is a plain "
        "network, which has not learned how to adapt. Of cross_val_score and GridSearchCV, groups "
        "reach the splitter alone; fit gets them by "
        "sklearn.set_config(enable_metadata_routing=True), or in cross_val_score by "
        'params={"groups": groups}.',
        stacklevel=3,
    )


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


def warn_of_unadapted(model: Any) -> None:
    """Say what the score of a model is that learned from groups and is not adapted to one."""
    check_is_fitted(model)
    if not model.num_support_ and sum(model.num_groups_.values()) > 1:
        warn(
            "this is the score of the model before it is adapted: it has seen no row of the groups "
            "that it is asked about. mamlax.adaptation_score adapts to each of them first; so does "
            "mamlax.adaptation_scorer, as scoring= of scikit-learn's tools.",
            stacklevel=3,
        )
