"""Normalization of channels, and which moments it is by."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

Norm = Literal["batch", "support", "group", "layer", "none"]


def is_transductive(norm: Norm) -> bool:
    """Whether predictions for a query example depend on the other query examples."""
    return norm == "batch"


def normalization(x, norm: Norm, num_reference: Any = 0, epsilon: float = 1e-3):
    """What normalizes by the moments of `x`, `[examples, ..., channels]`.

    The function that is returned takes arrays of the same examples and channels, of as many rows
    and columns as one likes: it is affine in each channel, with a positive factor.

    Args:
        x: what moments are taken of.
        norm: which moments; see `mamlax.models`.
        num_reference: of the first so many examples alone; 0: of all.
        epsilon: added to the variance.
    """
    if norm == "none":
        return lambda y: y
    if norm in ("batch", "support"):
        moments_of = x[:num_reference] if num_reference else x
        axes = tuple(range(x.ndim - 1))
        mean, scale = _mean_and_scale(moments_of, axes, epsilon)
        return lambda y: (y - mean) * scale
    num_groups = 1 if norm == "layer" else _num_groups(x.shape[-1])
    mean, scale = _mean_and_scale(_grouped(x, num_groups), (*range(1, x.ndim - 1), x.ndim), epsilon)
    return lambda y: ((_grouped(y, num_groups) - mean) * scale).reshape(y.shape)


def _mean_and_scale(x, axes: tuple[int, ...], epsilon: float):
    mean = x.mean(axes, keepdims=True)
    variance = jnp.square(x - mean).mean(axes, keepdims=True)
    return mean, jax.lax.rsqrt(variance + epsilon)


def _grouped(x, num_groups: int):
    return x.reshape(*x.shape[:-1], num_groups, -1)


def _num_groups(width: int) -> int:
    """The largest divisor of `width` that gives groups of at least 8 channels; 1 if none does."""
    return max(n for n in range(1, max(1, width // 8) + 1) if width % n == 0)


def check_norm(norm: str):
    """Refuse what is no kind of normalization."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}.")
