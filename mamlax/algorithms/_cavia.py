"""CAVIA: adapt only context parameters, inputs of the network that start at zero in every task.

    c₀ = 0,   cᵢ₊₁ = cᵢ − α ∇_c ℒ(θ, cᵢ, support)          θ learned in the outer loop

Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson, Fast Context Adaptation via Meta-Learning, ICML 2019.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .._types import LossFn, MetaLearner
from ._maml import maml
from ._params import Where, mask_of


def cavia(loss_fn: LossFn, *, context: Where, **options: Any) -> MetaLearner:
    """CAVIA: MAML in which only a context adapts, starting at zero.

    A few numbers then describe a task. This makes adaptation cheap and easy to inspect.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        context: `context(params)` is the part that adapts. It starts at zero, whatever its value in
            the parameters, and its meta-gradient is zero.
        **options: the arguments of `maml`, except `where` and `start_fn`.

    Returns:
        A `MetaLearner`, as `maml` returns it.

    Raises:
        ValueError: when used, if `context` selects no floating-point array.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     predictions = params["w"] * batch.inputs + params["context"]
        ...     return jnp.mean((predictions - batch.targets) ** 2)
        >>> learner = mamlax.cavia(
        ...     loss_fn, context=lambda params: params["context"], inner_optimizer=optax.sgd(0.5),
        ...     num_inner_steps=1,
        ... )
        >>> params = {"w": jnp.array(1.0), "context": jnp.array(0.0)}
        >>> support = mamlax.Batch(jnp.array([0.0, 1.0]), jnp.array([2.0, 3.0]))
        >>> print(learner.adapt(params, support).params["context"])
        2.0

    References:
        Zintgraf, Shiarlis, Kurin, Hofmann & Whiteson, ICML 2019.
    """

    def start_fn(params, support):
        is_context = mask_of(params, context)
        if not any(jax.tree.leaves(is_context)):
            raise ValueError(
                "context selects no array of params: a network that was built without a context "
                "has None there. Build it with one, e.g. mamlax.models.mlp(..., context_size=5)."
            )
        return jax.tree.map(
            lambda leaf, here: jnp.zeros_like(leaf) if here else leaf, params, is_context
        )

    return maml(loss_fn, where=context, start_fn=start_fn, **options)
