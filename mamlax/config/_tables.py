"""Settings of meta-training on the groups of a table."""

from dataclasses import dataclass
from typing import Literal

from ._algorithms import (
    Algorithm,
    Anil,
    Boil,
    Cavia,
    Fomaml,
    Imaml,
    LogisticMaml,
    Maml,
    MamlPlusPlus,
    MetaCurvature,
    MetaSgd,
    ProtoMaml,
    Reptile,
    RidgeMaml,
    UnicornMaml,
)
from ._settings import Count, NonNegative, Positive, Settings

_FOR_TABLES: tuple[Algorithm, ...] = (
    # the intercept that the regression adds varies by 1 / ridge of a row's variance: hardly at all,
    # so that where groups are alike nothing is adapted; networks of tables have one that is learned
    RidgeMaml(num_inner_steps=0, ridge=100.0, head_prior=True),
    LogisticMaml(num_inner_steps=0, ridge=5.0, num_solver_steps=30),
    Maml(inner_learning_rate=0.1, num_inner_steps=3),
    Fomaml(inner_learning_rate=0.1, num_inner_steps=3),
    Anil(inner_learning_rate=0.1, num_inner_steps=5),
    Boil(inner_learning_rate=0.1, num_inner_steps=3),
    MetaSgd(inner_learning_rate=0.05, num_inner_steps=3),
    MamlPlusPlus(inner_learning_rate=0.05, num_inner_steps=5),
    MetaCurvature(inner_learning_rate=0.05, num_inner_steps=3),
    Imaml(inner_learning_rate=0.02, proximal_strength=5.0),
    Reptile(inner_learning_rate=0.05),
    Cavia(inner_learning_rate=1.0, num_inner_steps=3),
    ProtoMaml(inner_learning_rate=0.05, num_inner_steps=3),
    UnicornMaml(inner_learning_rate=0.1, num_inner_steps=3),
)
TABLE_ALGORITHMS: dict[str, Algorithm] = {one.name: one for one in _FOR_TABLES}
"""Each algorithm with settings for standardized tables, by name."""

PooledKind = Literal["none", "linear", "trees"]
PooledChoice = Literal["auto", PooledKind]
"""The model of all groups together that adaptation starts from."""
Features = Literal["waves", "network"]
"""With "waves" the model is a Gaussian process whose kernel is learned."""


@dataclass(frozen=True, kw_only=True)
class TableTraining(Settings):
    """How to meta-train on the groups of a table: the network, the steps, the outer optimizer.

    Attributes:
        hidden_sizes: width of each hidden layer.
        num_outer_steps: largest number of outer steps.
        meta_batch_size: groups per outer step.
        outer_learning_rate: learning rate of Adam; it falls to zero along a cosine.
        weight_decay: weight decay of the outer optimizer.
        max_support: largest number of support rows in training.
        patience: number of validations without improvement after which training stops.
        pooled: the model that adaptation starts from. auto: the one with the smallest error on
            held-out groups.
        features: the features from which a head in closed form makes curves: waves, or the hidden
            layers of a network.
    """

    hidden_sizes: tuple[Count, ...]
    num_outer_steps: Count
    meta_batch_size: Count
    outer_learning_rate: Positive
    weight_decay: NonNegative
    max_support: Count
    patience: Count
    pooled: PooledChoice
    features: Features


def outer_loop_of(*, is_solved: bool) -> dict[str, float]:
    """The default number of outer steps and their learning rate.

    Args:
        is_solved: whether a head is solved for, so that less is left to be learned.
    """
    if is_solved:
        return {"num_outer_steps": 500, "outer_learning_rate": 6e-3}
    return {"num_outer_steps": 2_000, "outer_learning_rate": 2e-3}
