"""Normalization of channels by a mean and a variance."""

import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

Norm = Literal["batch", "support", "group", "layer", "none"]


def is_transductive(norm: Norm) -> bool:
    """Whether predictions for a query example depend on the other query examples."""
    return norm == "batch"


def normalization(x, norm: Norm, num_reference: Any = 0, epsilon: float = 1e-3):
    """A function that normalizes by the mean and variance of `x`, `[examples, ..., channels]`.

    The function takes arrays with the same examples and channels, and any number of rows and
    columns. It is affine in each channel, with a positive factor.

    Args:
        x: the array whose mean and variance are used.
        norm: over which parts of `x`; see `mamlax.models`.
        num_reference: how many of the first examples to use. 0: all.
        epsilon: number added to the variance.
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


def centered(x, num_reference: Any = 0):
    """`x` `[examples, features]` minus its mean, each example scaled to the length √5.

    The logits 2 μ·f of class means are then a cosine times ten, if a class has one example.

    Args:
        x: the features.
        num_reference: how many of the first examples to take the mean of. 0: all.
    """
    x = x - (x[:num_reference] if num_reference else x).mean(0, keepdims=True)
    squares = jnp.square(x).sum(-1, keepdims=True)
    return x * jnp.sqrt(5 / (squares + 1e-6)).astype(x.dtype)


def _mean_and_scale(x, axes: tuple[int, ...], epsilon: float):
    mean, variance = _moments(x, axes)
    return mean, jax.lax.rsqrt(variance + epsilon)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _moments(x, axes: tuple[int, ...]):
    """Mean and variance over `axes`, with a derivative that takes fewer passes over `x`.

    A small change of the mean alone does not change the variance. So

        d variance = 2 · mean((x − mean) · dx) = 2 · (mean(x · dx) − mean · mean(dx)),

    where the last form needs nothing in memory but `x`.
    """
    mean = x.mean(axes, keepdims=True)
    return mean, jnp.square(x - mean).mean(axes, keepdims=True)


@_moments.defjvp
def _moments_jvp(axes, primals, tangents):
    (x,), (dx,) = primals, tangents
    wide = jnp.promote_types(
        x.dtype, jnp.float32
    )  # else bfloat16 would leave little of differences

    def mean_of(y):
        return y.astype(wide).mean(axes, keepdims=True)

    d_mean = mean_of(dx)
    d_variance = 2 * (mean_of(x.astype(wide) * dx.astype(wide)) - mean_of(x) * d_mean)
    return _moments(x, axes), (d_mean.astype(x.dtype), d_variance.astype(x.dtype))


def _grouped(x, num_groups: int):
    return x.reshape(*x.shape[:-1], num_groups, -1)


def _num_groups(width: int) -> int:
    """The largest divisor of `width` that gives groups of at least 8 channels; 1 if none does."""
    return max(n for n in range(1, max(1, width // 8) + 1) if width % n == 0)


def check_norm(norm: str):
    """Raise if `norm` is not a kind of normalization."""
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}.")
