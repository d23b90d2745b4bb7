"""Which leaves of `params` learn: the floating-point arrays. Every other leaf rides along."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def is_learnable(leaf: Any) -> bool:
    """Whether a leaf of `params` is an array of real floating-point numbers."""
    return isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.floating)


def split(params: Any) -> tuple[Any, Any]:
    """`params` as `(learnable, rest)`, each with None where the other has a leaf.

    `eqx.combine(learnable, rest)` puts them together again.

    Raises:
        ValueError: if no leaf is learnable.
    """
    learnable, rest = eqx.partition(params, is_learnable)
    if not jax.tree.leaves(learnable):
        kinds = {str(getattr(leaf, "dtype", type(leaf).__name__)) for leaf in jax.tree.leaves(rest)}
        raise ValueError(
            "params has no floating-point array leaf, so there is nothing to learn. Leaves found: "
            f"{', '.join(sorted(kinds)) or 'none'}. Convert what should learn to floating point, "
            "e.g. jnp.asarray(x, jnp.float32)."
        )
    return learnable, rest
