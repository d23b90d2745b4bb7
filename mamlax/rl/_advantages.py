"""Advantages: how much better an action was than expected, from the episodes of one task."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._rollout import Trajectory

BaselineFn: TypeAlias = Callable[[Trajectory, Any], Any]
"""`baseline_fn(trajectory, returns) -> values` `[episodes, time]`, fitted anew at each call."""


class Experience(NamedTuple):
    """What a surrogate needs of the episodes of one task.

    Attributes:
        trajectory: the episodes.
        advantages: `[episodes, time]`, zero after the end.
        explained_variance: of the returns by the baseline: 1 is perfect, 0 is no better than a
            constant.
        scale: what the advantages were divided by to normalize them; 1 where they were not.
    """

    trajectory: Trajectory
    advantages: Float[Array, "*tasks episodes time"]
    explained_variance: Float[Array, "*tasks"]
    scale: Float[Array, "*tasks"]


def discounted_returns(rewards: Any, discount: float) -> PyTree:
    """What is still to come, at each time: Gₜ = rₜ + γ Gₜ₊₁, over the last axis.

    Args:
        rewards: `[..., time]`, zero after the end.
        discount: γ.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> print(mamlax.rl.discounted_returns(jnp.array([0.0, 0.0, 8.0]), 0.5))
        [2. 4. 8.]
    """

    def back(later, reward):
        now = reward + discount * later
        return now, now

    rewards = jnp.moveaxis(rewards, -1, 0)
    _, returns = jax.lax.scan(back, jnp.zeros_like(rewards[0]), rewards, reverse=True)
    return jnp.moveaxis(returns, 0, -1)


def linear_baseline(trajectory: Trajectory, returns: Any, *, ridge: float = 1e-5) -> PyTree:
    """Expected returns: ridge regression on observations, their squares, and time.

    Features are those of Duan et al. 2016: the observation clipped to ±10, its square, t, t² and
    t³, and a constant. They are standardized over the steps at hand, without which single precision
    is not enough: features may be constant, or copies of one another.

    Args:
        trajectory: episodes of one task.
        returns: `[episodes, time]`, the targets.
        ridge: strength of the penalty, relative to a feature's variance; more where rounding asks
            for it.

    Returns:
        `[episodes, time]`, zero after the end.
    """
    trajectory, returns = jax.lax.stop_gradient((trajectory, returns))  # they are data
    weight = trajectory.mask.astype(returns.dtype)
    observations = jnp.clip(trajectory.observations, -10.0, 10.0)
    time = jnp.broadcast_to(jnp.arange(returns.shape[-1]) / 100.0, returns.shape)[..., None]
    powers = (observations, observations**2, time, time**2, time**3)
    features = jnp.concatenate([x.astype(returns.dtype) for x in powers], axis=-1)

    features = features.reshape(-1, features.shape[-1])
    weight, targets = weight.reshape(-1), returns.reshape(-1)
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
        values = (mean + centered @ slopes).reshape(returns.shape)
    return jnp.where(trajectory.mask, values, 0.0)


# One after another where there are many tasks: JAX splits many factorizations over the threads of
# the processor and waits for them on one, and devices that do so at once wait forever.
@jax.custom_batching.sequential_vmap
def _slopes(covariance: Any, correlation: Any, ridge: Any) -> PyTree:
    """x in (`covariance` + `ridge` · 1) x = `correlation`.

    Rounding may leave the covariance of many features that depend on one another with eigenvalues
    below −`ridge`: then the penalty grows tenfold until the matrix can be factorized.
    """
    identity = jnp.eye(len(covariance), dtype=covariance.dtype)

    def solve(ridge):
        factor = jax.scipy.linalg.cho_factor(covariance + ridge.astype(identity.dtype) * identity)
        return jax.scipy.linalg.cho_solve(factor, correlation)

    def grow(found):
        ridge, _ = found
        return 10 * ridge, solve(10 * ridge)

    def fails(found):
        ridge, slopes = found
        return ~jnp.all(jnp.isfinite(slopes)) & (ridge < 1)

    return jax.lax.while_loop(fails, grow, (ridge, solve(ridge)))[1]


def estimate_advantages(
    trajectory: Trajectory,
    *,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
    baseline_fn: BaselineFn | None = linear_baseline,
    normalize: bool = True,
) -> Experience:
    """Generalized advantage estimates, by a baseline fitted to the episodes themselves.

    Aₜ = Σₖ (γλ)ᵏ δₜ₊ₖ with δₜ = rₜ + γ V(sₜ₊₁) − V(sₜ), where V is zero after the end of an
    episode, at the horizon too (V knows the time). With λ = 1, Aₜ = Gₜ − V(sₜ).

    Args:
        trajectory: episodes of one task.
        discount: γ.
        gae_lambda: λ.
        baseline_fn: `baseline_fn(trajectory, returns) -> values` `[episodes, time]`; None: V = 0.
        normalize: bring the advantages to mean 0 and standard deviation 1 (less where they are
            tiny beside the returns).

    Raises:
        ValueError: if `discount` or `gae_lambda` is not in [0, 1], or the baseline's values have
            another shape than the returns.

    References:
        Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage
        Estimation, ICLR 2016.
    """
    check_discounts(discount, gae_lambda)
    mask = trajectory.mask
    returns = discounted_returns(trajectory.rewards, discount)
    values = jnp.zeros_like(returns) if baseline_fn is None else baseline_fn(trajectory, returns)
    if values.shape != returns.shape:
        raise ValueError(
            f"baseline_fn must return values of the shape of the returns, {list(returns.shape)}, "
            f"got {list(values.shape)}."
        )
    values = jnp.where(mask, values, 0.0)
    following = jnp.concatenate([values[:, 1:], jnp.zeros_like(values[:, :1])], axis=1)
    errors = jnp.where(mask, trajectory.rewards + discount * following - values, 0.0)
    advantages = discounted_returns(errors, discount * gae_lambda)
    residual = masked_variance(returns - values, mask)
    explained = 1.0 - residual / jnp.maximum(masked_variance(returns, mask), 1e-12)
    scale = jnp.ones_like(explained)
    if normalize:
        # where all returns are alike, what is left is misfit of the baseline: not to be blown up
        smallest = 1e-3 * jnp.sqrt(masked_mean(returns**2, mask)) + 1e-8
        scale = jnp.sqrt(masked_variance(advantages, mask)) + smallest
        advantages = (advantages - masked_mean(advantages, mask)) / scale
    return Experience(trajectory, jnp.where(mask, advantages, 0.0), explained, scale)


def check_discounts(discount: float, gae_lambda: float) -> None:
    """Refuse what is not in [0, 1].

    Raises:
        ValueError: naming it.
    """
    for name, value in (("discount", discount), ("gae_lambda", gae_lambda)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}.")


def masked_mean(values: PyTree, mask: PyTree) -> PyTree:
    """The mean over `[episodes, time]`, without the steps after the end."""
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def masked_variance(values: PyTree, mask: PyTree) -> PyTree:
    """The variance over `[episodes, time]`, without the steps after the end."""
    return masked_mean((values - masked_mean(values, mask)) ** 2, mask)
