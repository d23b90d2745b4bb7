"""Observations of libraries as one row of numbers."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def flat(seen: Any) -> PyTree:
    """All arrays of an observation, one after another, `[observation_size]`."""
    leaves = [jnp.ravel(jnp.asarray(x, jnp.result_type(float))) for x in jax.tree.leaves(seen)]
    return jnp.concatenate(leaves)
