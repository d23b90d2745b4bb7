"""Which leaves of `params` learn: floating-point arrays, real or complex. Others do not change."""

from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

Where: TypeAlias = Callable[[PyTree], PyTree]
"""`where(params) -> part of params`: a leaf, a subtree, or several in any container."""


def is_learnable(leaf: PyTree) -> bool:
    """Whether a leaf of `params` is an array of floating-point numbers, real or complex."""
    return isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(leaf.dtype, jnp.inexact)


def split(params: PyTree, where: Where | None = None) -> tuple[PyTree, PyTree]:
    """`params` as `(learnable, rest)`, each with None where the other has a leaf.

    `eqx.combine(learnable, rest)` puts them together again.

    Args:
        params: any pytree.
        where: `where(params)` is the part whose floating-point arrays to take. None: all.

    Raises:
        ValueError: if no leaf is learnable, or `where` selects no learnable leaf.
    """
    learnable, rest = eqx.partition(params, is_learnable)
    if not jax.tree.leaves(learnable):
        kinds = {str(getattr(leaf, "dtype", type(leaf).__name__)) for leaf in jax.tree.leaves(rest)}
        raise ValueError(
            "params has no floating-point array leaf, so there is nothing to learn. Leaves found: "
            f"{', '.join(sorted(kinds)) or 'none'}. Convert what should learn to floating point, "
            "e.g. jnp.asarray(x, jnp.float32)."
        )
    if where is None:
        return learnable, rest
    adapts = jax.tree.map(
        lambda leaf, here: here and is_learnable(leaf), params, mask_of(params, where)
    )
    if not any(jax.tree.leaves(adapts)):
        names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(learnable)]
        raise ValueError(
            "where selects no floating-point array of params, so that nothing would adapt (anil's "
            "head and cavia's context are such a where; boil's is all but the head). It is given "
            "params and returns a part of them, e.g. lambda params: params.head; there are: "
            f"{', '.join(name or 'params itself' for name in names)}."
        )
    return eqx.partition(params, adapts)


def mask_of(params: PyTree, where: Where) -> PyTree:
    """Whether each leaf is in `where(params)`: booleans in the structure of `params`."""
    leaves, structure = jax.tree.flatten(params)
    stand_ins = [_Leaf() for _ in leaves]
    try:
        part = where(structure.unflatten(stand_ins))
    except Exception as error:
        error.add_note(
            "A part of params is selected by name, e.g. lambda params: params.head, or by path: "
            "the function is given params with a stand-in for each array, which has no shape."
        )
        raise
    found = {id(leaf) for leaf in jax.tree.leaves(part)}
    return structure.unflatten([id(leaf) in found for leaf in stand_ins])


def except_at(part: Where, where: Where | None = None) -> Where:
    """`where` without the leaves that `part` selects. None: all leaves without them."""

    def others(params):
        there = jax.tree.leaves(mask_of(params, part))
        chosen = params if where is None else where(params)
        excluded = {id(x) for x, here in zip(jax.tree.leaves(params), there, strict=True) if here}
        return [leaf for leaf in jax.tree.leaves(chosen) if id(leaf) not in excluded]

    return others


def selected(params: PyTree, where: Where, name: str) -> list[PyTree]:
    """The leaves of `where(params)`.

    Raises:
        ValueError: if there are none. `name` is the user's name for `where`.
    """
    mask = jax.tree.leaves(mask_of(params, where))
    leaves = jax.tree.leaves_with_path(params)
    found = [leaf for (_, leaf), here in zip(leaves, mask, strict=True) if here]
    if not found:
        names = [jax.tree_util.keystr(path) or "params itself" for path, _ in leaves]
        raise ValueError(
            f"{name} selects no leaf of params. It is given params and returns a part of them, "
            f"e.g. lambda params: params.head; there are: {', '.join(names)}."
        )
    return found


class _Leaf:
    """Stands for a leaf while `where` picks some: equal to itself alone."""
