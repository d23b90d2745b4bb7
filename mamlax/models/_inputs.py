"""The inputs of a network: examples, a reference and a context."""

import math
from typing import Any

import jax.numpy as jnp

from ._normalization import Norm


def zero_context(size: int):
    """The context before it adapts, `[size]`; None if `size` is 0."""
    if size < 0:
        raise ValueError(f"context_size must be 0 or more, got {size}.")
    return jnp.zeros(size) if size else None


def flattened(x):
    """`[examples, features]`. (len and -1 would fail for the symbolic shapes of `jax.export`.)"""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def with_reference(inputs, reference, norm: Norm, check) -> tuple[Any, Any]:
    """The reference inputs followed by `inputs`, and the number of reference inputs."""
    check("inputs", jnp.shape(inputs))
    if norm != "support":
        return inputs, 0
    if reference is None:
        raise ValueError(
            'norm="support" normalizes by the moments of the support set, got no reference. Pass '
            "batch.reference as the second argument, and sample tasks with "
            "FewShot(..., reference=True)."
        )
    check("reference", jnp.shape(reference))
    if reference.shape[0] == 0:  # the inputs are the support set itself
        return inputs, 0
    return jnp.concatenate([reference, inputs]), reference.shape[0]
