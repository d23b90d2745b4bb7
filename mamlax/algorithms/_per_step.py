"""Parameters with separate arrays for every inner step."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ._params import Where, mask_of, selected


def stacked_per_step(per_step: Where, params: PyTree, num: int) -> PyTree:
    """`params` with the selected leaves repeated along a new leading axis `[num, ...]`.

    Raises:
        ValueError: if no leaf is selected.
    """
    selected(params, per_step, "per_step")
    return jax.tree.map(
        lambda leaf, here: jnp.repeat(jnp.asarray(leaf)[None], num, 0) if here else leaf,
        params,
        mask_of(params, per_step),
    )


def params_of_step(per_step: Where, params: PyTree, index: PyTree) -> PyTree:
    """`params` as inner step `index` uses them. Later steps use the last arrays."""

    def leaf_of_step(leaf, here):
        if not here:
            return leaf
        return jax.lax.dynamic_index_in_dim(leaf, jnp.minimum(index, len(leaf) - 1), keepdims=False)

    return jax.tree.map(leaf_of_step, params, mask_of(params, per_step))


def check_stacked(per_step: Where, params: PyTree, num: int) -> None:
    """Raise if `stacked_per_step` was not applied to the parameters."""
    for leaf in selected(params, per_step, "per_step"):
        if jnp.shape(leaf)[:1] != (num,):
            raise ValueError(
                f"the leaves that per_step selects must have a leading axis of {num} (inner steps "
                f"in training), got shape {list(jnp.shape(leaf))}. learner.init(params) makes such "
                "meta-parameters."
            )


def at_first_step(per_step: Where, start: Callable[[PyTree], PyTree], params: PyTree) -> PyTree:
    """`start` of the params as the first step uses them, with the stacked arrays put back."""
    started = start(params_of_step(per_step, params, 0))
    return jax.tree.map(
        lambda stacked, new, here: stacked if here else new,
        params,
        started,
        mask_of(params, per_step),
    )
