"""Arguments of an estimator's constructor, which scikit-learn sets unchecked, as settings."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from .._errors import MamlaxError
from ..config._algorithms import ALGORITHMS, Algorithm, OnMinibatches, SolvedHead
from ..config._tables import TABLE_ALGORITHMS, TableTraining, outer_loop_of


def algorithm_of(estimator: Any, names: Sequence[str]) -> Algorithm:
    """The algorithm's settings, those of the constructor in the place of its own.

    Args:
        estimator: with the constructor's arguments as attributes.
        names: of the algorithms that there are for it, the usual one first.

    Raises:
        MamlaxError: if it is none of them, or a setting makes no sense.
    """
    algorithm: Any = names[0] if estimator.algorithm == "auto" else estimator.algorithm
    if isinstance(algorithm, str) and algorithm in names:
        algorithm = TABLE_ALGORITHMS.get(algorithm) or ALGORITHMS[algorithm]()
    if not isinstance(algorithm, Algorithm) or algorithm.name not in names:
        raise MamlaxError(
            f"algorithm must be auto, one of {', '.join(names)}, or the settings of "
            "one (such as mamlax.config.Maml(inner_learning_rate=0.1, num_inner_steps=3)), got "
            f"{estimator.algorithm!r}."
        )
    if isinstance(algorithm, OnMinibatches) and algorithm.inner_batch_size is not None:
        raise MamlaxError("inner_batch_size is for recipes: inner steps of tables see all rows.")
    if estimator.num_inner_steps is not None:
        algorithm = replace(algorithm, num_inner_steps=int(estimator.num_inner_steps))
    if estimator.inner_learning_rate is not None:
        algorithm = replace(algorithm, inner_learning_rate=float(estimator.inner_learning_rate))
    return algorithm


def with_learned_head(algorithm: Algorithm) -> Algorithm:
    """The same for a table without groups: there are no supports that a head could be solved on."""
    return replace(algorithm, head_prior=True) if isinstance(algorithm, SolvedHead) else algorithm


def training_of(estimator: Any, *, is_solved: bool) -> TableTraining:
    """How to meta-train, by the constructor's arguments.

    Args:
        estimator: with the constructor's arguments as attributes.
        is_solved: whether a head is solved for, so that less is left to be learned.
    """
    given = {field.name: getattr(estimator, field.name) for field in fields(TableTraining)}
    settings: dict[str, Any] = {  # a search over settings gives NumPy's numbers
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in given.items()
    }
    default = outer_loop_of(is_solved=is_solved)
    settings |= {name: value for name, value in default.items() if settings[name] is None}
    settings["hidden_sizes"] = tuple(map(int, np.atleast_1d(estimator.hidden_sizes)))
    return TableTraining(**settings)


def check_pooled(pooled: Any, algorithm: Algorithm) -> None:
    """Refuse a pooled model where none is started from."""
    if pooled in ("linear", "trees") and not isinstance(algorithm, SolvedHead):
        raise MamlaxError(
            f"pooled={pooled!r} is for ridge-maml and logistic-maml, whose heads are solved "
            f"for; {algorithm.name} adapts a network alone. Leave it at 'auto'."
        )
