"""Meta-Curvature: learn matrices that transform the gradient of an inner step.

    φᵢ₊₁ = φᵢ − α G ×₁ M₁ ×₂ M₂ … ,   G = ∇ℒ(φᵢ, support)      θ and M learned in the outer loop

×ₖ multiplies a tensor with a matrix along its axis k.
Park & Oliva, Meta-Curvature, NeurIPS 2019.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from .._types import LossFn, MetaLearner
from ._learned_optimizer import LearnedOptimizer
from ._maml import maml


def learned_curvature(inner_learning_rate: float) -> LearnedOptimizer:
    """Gradient descent in a learned metric, with a matrix for each axis of each array.

    φᵢ₊₁ = φᵢ − α G ×₁ M₁ ×₂ M₂ …. The matrices start at the identity, so at first this is
    `optax.sgd(α)`.

    Args:
        inner_learning_rate: α, which is not learned.

    Returns:
        A `LearnedOptimizer` for `maml` and its relatives. Its parameters are, for each adapting
        array of shape `[a, b, …]`, a tuple of matrices `[a, a], [b, b], …` (for a scalar, one
        number).

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> optimizer = mamlax.learned_curvature(0.1)
        >>> [matrix.shape for matrix in optimizer.init(jnp.ones((4, 3)))]
        [(4, 4), (3, 3)]
    """

    def init(adapting):
        def of_leaf(leaf):
            sizes = jnp.shape(leaf)
            return tuple(jnp.eye(n, dtype=leaf.dtype) for n in sizes) or (jnp.ones((), leaf.dtype),)

        return jax.tree.map(of_leaf, adapting)

    def build(matrices):
        def update(gradient, _):
            def of_leaf(g, of_axes):
                if not g.ndim:
                    return -inner_learning_rate * of_axes[0] * g
                for matrix in of_axes:  # each turns the first axis, and makes it the last
                    g = jnp.tensordot(g, matrix, ((0,), (1,)))
                return -inner_learning_rate * g

            return jax.tree.map(of_leaf, gradient, matrices)

        return optax.stateless(update)

    return LearnedOptimizer(init, build)


def meta_curvature(
    loss_fn: LossFn, *, inner_learning_rate: float, num_inner_steps: int, **options: Any
) -> MetaLearner:
    """Meta-Curvature: MAML with learned matrices that transform the inner gradients.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        inner_learning_rate: α.
        num_inner_steps: number of inner steps in training, and the default of `adapt`.
        **options: the arguments of `maml`, except `inner_optimizer`.

    Returns:
        A `MetaLearner` with meta-parameters `WithOptimizer(params, optimizer)`; `optimizer` is the
        matrices.

    Differs from the paper: the height and the width of a convolution kernel have one matrix each.
    The paper has one matrix for both together.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.sum((params - batch) ** 2)
        >>> learner = mamlax.meta_curvature(loss_fn, inner_learning_rate=0.5, num_inner_steps=1)
        >>> meta_params = learner.init(jnp.zeros(2))
        >>> swap = jnp.array([[0.0, 1.0], [1.0, 0.0]])
        >>> meta_params = meta_params._replace(optimizer=(swap,))
        >>> print(learner.adapt(meta_params, jnp.array([3.0, 4.0])).params)
        [4. 3.]

    References:
        Park & Oliva, NeurIPS 2019.
    """
    return maml(
        loss_fn,
        inner_optimizer=learned_curvature(inner_learning_rate),
        num_inner_steps=num_inner_steps,
        **options,
    )
