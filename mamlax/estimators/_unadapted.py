"""What is no adapted model, but could be taken for one."""

from typing import Any

from sklearn.utils.validation import check_is_fitted

from .._errors import warn


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
