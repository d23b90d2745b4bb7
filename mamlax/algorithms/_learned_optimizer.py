"""Learned inner optimizers: their parameters are part of the meta-parameters.

φᵢ₊₁ = φᵢ + update(∇ℒ(φᵢ, support); η)          θ and η learned in the outer loop
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jaxtyping import PyTree

from ._optimizer import check_is_optimizer
from ._params import Where, split


class LearnedOptimizer(NamedTuple):
    """An inner optimizer with parameters η that the outer loop learns.

    Attributes:
        init: `init(adapting) -> η`, any pytree with floating-point arrays. `adapting` are the
            arrays that adapt, in the structure of the parameters, with None for all other leaves.
        build: `build(η) -> optax.GradientTransformation`.
    """

    init: Callable[[PyTree], PyTree]
    build: Callable[[Any], optax.GradientTransformation]


class WithOptimizer(NamedTuple):
    """Meta-parameters of a learner whose inner optimizer is learned.

    Attributes:
        params: the initialization θ.
        optimizer: the parameters η of the inner optimizer.
    """

    params: PyTree
    optimizer: Any


def initial_meta_params(
    params: PyTree,
    inner_optimizer: optax.GradientTransformation | LearnedOptimizer,
    where: Where | None = None,
) -> PyTree:
    """`params`, together with the initial parameters of a learned optimizer, if there is one."""
    if not isinstance(inner_optimizer, LearnedOptimizer):
        return params
    return WithOptimizer(params, inner_optimizer.init(split(params, where)[0]))


def read_meta_params(
    meta_params: PyTree, inner_optimizer: optax.GradientTransformation | LearnedOptimizer
) -> tuple[Any, optax.GradientTransformation]:
    """The initialization and the inner optimizer of meta-parameters.

    Raises:
        TypeError: if the parameters of a learned optimizer are missing.
    """
    if not isinstance(inner_optimizer, LearnedOptimizer):
        return meta_params, inner_optimizer
    if not isinstance(meta_params, WithOptimizer):
        raise TypeError(
            "this learner's inner optimizer is learned: it needs the meta-parameters that "
            f"learner.init(params) makes, got {type(meta_params).__name__}."
        )
    return meta_params.params, inner_optimizer.build(meta_params.optimizer)


def check_optimizer(inner_optimizer: Any, *, learned: bool = True) -> None:
    """Raise if this is not an inner optimizer; with `learned=False` also if it is learned."""
    if isinstance(inner_optimizer, LearnedOptimizer):
        if not learned:
            raise TypeError(
                "inner_optimizer must be an optax transformation here, got one that is learned: "
                "this algorithm does not differentiate its inner loop, so it cannot learn it."
            )
    else:
        check_is_optimizer(inner_optimizer, "inner")
