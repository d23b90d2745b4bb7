"""Compute losses with fewer bits than parameters are stored with."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._types import LossFn
from ._loss import scalar_loss
from ._params import is_learnable


def with_compute_dtype(loss_fn: LossFn, dtype: Any = jnp.bfloat16) -> LossFn:
    """Compute a loss in `dtype` (mixed precision); parameters and gradients keep their own type.

    Parameters and the floating-point arrays of the batch are cast before the loss (complex ones are
    not), and the loss is cast to float32. Updates of both loops use the parameters' own type. This
    halves the memory stored for differentiation. It is faster on hardware with instructions for
    such numbers, and slower on processors without them.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        dtype: a floating-point type, e.g. `jnp.bfloat16`.

    Returns:
        A loss function of the same arguments, with a float32 result.

    Raises:
        TypeError: if `dtype` is not a floating-point type.

    Example:
        >>> import jax, jax.numpy as jnp, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.sum(params * batch)
        >>> in_bfloat16 = mamlax.with_compute_dtype(loss_fn)
        >>> gradient = jax.grad(in_bfloat16)(jnp.ones(2), jnp.array([1.0, 1.001]))
        >>> print(gradient, gradient.dtype)
        [1. 1.] float32
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"dtype must be a floating-point type, got {dtype}.")

    def lowered(tree):
        return jax.tree.map(lambda x: jnp.asarray(x, dtype) if _is_real(x) else x, tree)

    def in_dtype(params, batch):
        return scalar_loss(loss_fn, lowered(params), lowered(batch)).astype(jnp.float32)

    return in_dtype


def _is_real(leaf: PyTree) -> bool:
    """Whether the numbers exist with fewer bits; complex numbers do not."""
    return is_learnable(leaf) and not jnp.iscomplexobj(leaf)
