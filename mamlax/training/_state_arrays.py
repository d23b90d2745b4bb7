"""The arrays of a state as NumPy arrays by path, and back."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree


def arrays_of(state: PyTree) -> dict[str, np.ndarray]:
    """The arrays of `state` by path. PRNG keys are given as their data."""
    return {
        jax.tree_util.keystr(path): np.asarray(_key_data(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(state, eqx.is_array))
    }


def with_arrays(like: PyTree, arrays: dict[str, np.ndarray]) -> PyTree:
    """`like`, with its arrays replaced by these."""

    def replace(path, leaf):
        if not eqx.is_array(leaf):
            return leaf
        array = jax.numpy.asarray(arrays[jax.tree_util.keystr(path)])
        if _is_key(leaf):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        return array

    return jax.tree_util.tree_map_with_path(replace, like)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(leaf: Any) -> PyTree:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
