"""Parameters that have arrays of their own for every inner step."""

from typing import Any

import jax
import jax.numpy as jnp

from ._params import Where, mask_of


def stacked_per_step(per_step: Where, params: Any, num: int) -> Any:
    """`params` with the selected leaves repeated along a new leading axis `[num, ...]`."""
    return jax.tree.map(
        lambda leaf, here: jnp.repeat(jnp.asarray(leaf)[None], num, 0) if here else leaf,
        params,
        mask_of(params, per_step),
    )


def params_of_step(per_step: Where, params: Any, index: Any) -> Any:
    """`params` as seen after `index` inner steps; the last arrays where there are no more."""

    def leaf_of_step(leaf, here):
        if not here:
            return leaf
        return jax.lax.dynamic_index_in_dim(leaf, jnp.minimum(index, len(leaf) - 1), keepdims=False)

    return jax.tree.map(leaf_of_step, params, mask_of(params, per_step))


def except_at(per_step: Where, where: Where | None) -> Where:
    """`where` without the leaves that `per_step` selects."""

    def others(params):
        there = jax.tree.leaves(mask_of(params, per_step))
        chosen = params if where is None else where(params)
        excluded = {id(x) for x, here in zip(jax.tree.leaves(params), there, strict=True) if here}
        return [leaf for leaf in jax.tree.leaves(chosen) if id(leaf) not in excluded]

    return others
