"""Baselines: the expected return from an observation, learned from the episodes of one task."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._linear_systems import solve_positive

BaselineFn: TypeAlias = Callable[[Any, Any, Any, Any], Any]
"""`baseline_fn(observations, time, returns, weights) -> values` `[episodes, time]`. It is fitted at
each call; see `linear_baseline`."""


def linear_baseline(
    observations: Any,
    time: Any,
    returns: Any,
    weights: Any,
    *,
    ridge: float = 1e-5,
) -> PyTree:
    """Expected returns: ridge regression on observations, their squares, and time.

    The features are those of Duan et al. 2016: the observation clipped to ±10, its square, t, t²
    and t³, and a constant. They are standardized over the given steps. Without this, single
    precision is not enough, because features may be constant or copies of one another.

    Args:
        observations: `[episodes, time, features]`.
        time: `[episodes, time]`, steps since the beginning of the episode.
        returns: `[episodes, time]`, the targets.
        weights: `[episodes, time]`, 1 where a target counts, 0 where it does not.
        ridge: strength of the penalty, relative to a feature's variance. It is increased if
            rounding requires it.

    Returns:
        Expected returns `[episodes, time]`, also where a target does not count.
    """
    given = jax.lax.stop_gradient((observations, time, returns, weights))  # they are data
    observations, time, returns, weights = given
    observations = jnp.clip(observations, -10.0, 10.0)
    time = jnp.asarray(time, returns.dtype)[..., None] / 100.0
    powers = (observations, observations**2, time, time**2, time**3)
    features = jnp.concatenate([x.astype(returns.dtype) for x in powers], axis=-1)

    shape = returns.shape
    features = features.reshape(-1, features.shape[-1])
    weight, targets = weights.astype(returns.dtype).reshape(-1), returns.reshape(-1)
    weight = weight / jnp.maximum(jnp.sum(weight), 1.0)
    with jax.default_matmul_precision("highest"):  # TensorFloat-32 would not do
        centered = features - (weight @ features)[None]
        deviation = jnp.sqrt(weight @ centered**2)
        # rounding makes the deviation of a constant tiny, not zero
        usable = deviation > 1e-5 * jnp.sqrt(weight @ features**2)
        centered = jnp.where(usable[None], centered / jnp.where(usable, deviation, 1.0)[None], 0.0)
        mean = weight @ targets
        covariance = (centered * weight[:, None]).T @ centered
        slopes = _slopes(covariance, centered.T @ (weight * (targets - mean)), jnp.array(ridge))
        return (mean + centered @ slopes).reshape(shape)


def _slopes(covariance: Any, correlation: Any, ridge: Any) -> PyTree:
    """Solve (`covariance` + `ridge` · 1) x = `correlation` for x.

    Due to rounding, the covariance of many dependent features may have eigenvalues below −`ridge`.
    The penalty then grows tenfold until the matrix can be factorized.
    """
    identity = jnp.eye(len(covariance), dtype=covariance.dtype)

    def solve(ridge):
        penalty = ridge.astype(identity.dtype) * identity
        return solve_positive(covariance + penalty, correlation[:, None])[:, 0]

    def grow(found):
        ridge, _ = found
        return 10 * ridge, solve(10 * ridge)

    def fails(found):
        ridge, slopes = found
        return ~jnp.all(jnp.isfinite(slopes)) & (ridge < 1)

    return jax.lax.while_loop(fails, grow, (ridge, solve(ridge)))[1]
