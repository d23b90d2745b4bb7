"""Advantages: how much better an action was than expected, from the episodes of one task."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ._baseline import BaselineFn, linear_baseline
from ._moments import ObservationMoments
from ._rollout import Trajectory


class Experience(NamedTuple):
    """The episodes of one task with their advantages, as surrogates need them.

    Attributes:
        trajectory: the episodes.
        advantages: `[episodes, time]`, zero after the end.
        explained_variance: the share of the variance of returns that the baseline explains: 1 is
            perfect, 0 is no better than a constant.
        scale: the number by which advantages were divided to normalize them; 1 if they were not
            normalized.
    """

    trajectory: Trajectory
    advantages: Float[Array, "*tasks episodes time"]
    explained_variance: Float[Array, "*tasks"]
    scale: Float[Array, "*tasks"]


def discounted_returns(rewards: Any, discount: float, *, ends: Any = None) -> PyTree:
    """Discounted returns from each time on: Gₜ = rₜ + γ Gₜ₊₁, over the last axis.

    Args:
        rewards: `[..., time]`, zero after the end.
        discount: γ.
        ends: `[..., time]`, true if an episode ends with this step and the next step belongs to
            another episode. None: there is no such step.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> print(mamlax.rl.discounted_returns(jnp.array([0.0, 0.0, 8.0]), 0.5))
        [2. 4. 8.]
    """

    def back(later, now):
        reward, end = now
        later = reward + discount * jnp.where(end, 0.0, later)
        return later, later

    ends = jnp.zeros(rewards.shape, bool) if ends is None else ends
    steps = (jnp.moveaxis(rewards, -1, 0), jnp.moveaxis(ends, -1, 0))
    _, returns = jax.lax.scan(back, jnp.zeros_like(steps[0][0]), steps, reverse=True)
    return jnp.moveaxis(returns, 0, -1)


def estimate_advantages(
    trajectory: Trajectory,
    *,
    discount: float = 0.99,
    gae_lambda: float = 1.0,
    baseline_fn: BaselineFn | None = linear_baseline,
    normalize: bool = True,
    moments: ObservationMoments | None = None,
) -> Experience:
    """Generalized advantage estimation (GAE), with a baseline fitted to the same episodes.

    Aₜ = Σₖ (γλ)ᵏ δₜ₊ₖ with δₜ = rₜ + γ V(sₜ₊₁) − V(sₜ). V is zero after the end of an episode, also
    at the horizon (V depends on the time). With λ = 1, Aₜ = Gₜ − V(sₜ).

    If rows hold several episodes, the baseline is fitted to the first episode of each row, which
    had the whole horizon. V of the other episodes is limited to the range of these returns. If the
    end of a row cut an episode off, V of the last observation stands for the rest of the episode.

    Args:
        trajectory: episodes of one task.
        discount: γ.
        gae_lambda: λ.
        baseline_fn: `baseline_fn(observations, time, returns, weights) -> values`
            `[episodes, time]`, see `linear_baseline`. None: V = 0.
        normalize: scale the advantages to mean 0 and standard deviation 1 (to less if they are tiny
            compared with the returns).
        moments: moments that normalize the observations of the baseline: give those of the policy,
            and results do not depend on units. None: they are not normalized.

    Raises:
        ValueError: if `discount` or `gae_lambda` is not in [0, 1], the values of the baseline do
            not have the shape of the returns, or rows hold several episodes and there is no
            baseline.

    References:
        Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage
        Estimation, ICLR 2016.
    """
    check_discounts(discount, gae_lambda)
    mask, first, ends = trajectory.mask, trajectory.first, trajectory.time[:, 1:] == 0
    returns = discounted_returns(trajectory.rewards, discount, ends=ends)
    values, last = _values(trajectory, returns, baseline_fn, moments)
    following = jnp.concatenate([values[:, 1:], last[:, None]], axis=1)
    errors = trajectory.rewards + discount * jnp.where(ends, 0.0, following) - values
    advantages = discounted_returns(jnp.where(mask, errors, 0.0), discount * gae_lambda, ends=ends)
    residual = masked_variance(returns - values, first)
    explained = 1.0 - residual / jnp.maximum(masked_variance(returns, first), 1e-12)
    scale = jnp.ones_like(explained)
    if normalize:
        # where all returns are alike, what is left is misfit of the baseline: not to be blown up
        smallest = 1e-3 * jnp.sqrt(masked_mean(returns**2, mask)) + 1e-8
        scale = jnp.sqrt(masked_variance(advantages, mask)) + smallest
        advantages = (advantages - masked_mean(advantages, mask)) / scale
    return Experience(trajectory, jnp.where(mask, advantages, 0.0), explained, scale)


def _values(
    trajectory: Trajectory,
    returns: Any,
    baseline_fn: BaselineFn | None,
    moments: ObservationMoments | None,
) -> tuple[PyTree, PyTree]:
    """V at each step `[episodes, time]`, and after the last step if an episode was cut off."""
    restarts, time = trajectory.restarts, trajectory.time
    nothing = jnp.zeros_like(returns[:, 0])
    if baseline_fn is None:
        if restarts is not None:
            raise ValueError(
                "rows of several episodes need a baseline: it stands for what a row cuts off."
            )
        return jnp.zeros_like(returns), nothing
    steps = (trajectory.observations, time[:, :-1], returns, trajectory.first)
    if restarts is not None:
        after = (restarts.following, time[:, -1], nothing, jnp.zeros(nothing.shape, bool))
        steps = jax.tree.map(lambda x, y: jnp.concatenate([x, y[:, None]], axis=1), steps, after)
    observations, *others = steps
    values = baseline_fn(observations if moments is None else moments(observations), *others)
    if values.shape != steps[1].shape:
        raise ValueError(
            f"baseline_fn must return values of the shape of the returns, {list(steps[1].shape)}, "
            f"got {list(values.shape)}."
        )
    if restarts is not None:
        # a later episode may live longer than any that was fitted: nothing is extrapolated
        *_, targets, is_fitted = steps
        least = jnp.min(targets, where=is_fitted, initial=jnp.inf)
        most = jnp.max(targets, where=is_fitted, initial=-jnp.inf)
        values = jnp.where(is_fitted, values, jnp.clip(values, least, most))
        cut = (time[:, -1] > 0) & (time[:, -1] < returns.shape[1])
        values, nothing = values[:, :-1], jnp.where(cut, values[:, -1], 0.0)
    return jnp.where(trajectory.mask, values, 0.0), nothing


def check_discounts(discount: float, gae_lambda: float) -> None:
    """Raise if a number is not in [0, 1].

    Raises:
        ValueError: if a number is not in [0, 1]. The message names it.
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
