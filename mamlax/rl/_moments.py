"""Normalization of observations by the moments of all observations collected in training."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from ._rollout import Trajectory

_LIMIT = 10.0


class ObservationMoments(eqx.Module):
    """The mean and variance of observations seen so far, to normalize observations.

    A policy with such moments applies them before its network: x becomes (x − mean) / deviation,
    clipped to ±10. The moments are constants of the policy: they are not differentiated, and no
    optimizer changes them. Outer loops update them after each outer step, wherever they are in the
    policy. The baseline of the returns gets the normalized observations, too.

    Attributes:
        count: number of observations. 0: none yet, and x is only clipped.
        mean: `[features]`.
        variance: `[features]`. For a number that was always the same, only the mean is subtracted.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> seen = mamlax.rl.ObservationMoments(
        ...     jnp.array(100.0), mean=jnp.array([5.0, 1.0]), variance=jnp.array([4.0, 0.0])
        ... )
        >>> print(seen(jnp.array([9.0, 1.0])))
        [2. 0.]
    """

    count: Float[Array, ""]
    mean: Float[Array, " features"]
    variance: Float[Array, " features"]

    @classmethod
    def none(cls, num_features: int) -> "ObservationMoments":
        """The moments of zero observations."""
        return cls(jnp.zeros(()), jnp.zeros(num_features), jnp.ones(num_features))

    def __call__(self, observations: Any) -> PyTree:
        """Normalize observations `[..., features]`."""
        mean, variance = jax.lax.stop_gradient((self.mean, self.variance))
        # rounding makes the deviation of a constant tiny, not zero
        varies = variance > 1e-10 * (mean**2 + variance)
        deviation = jnp.sqrt(jnp.where(varies, variance, 1.0))
        mean, deviation = (jnp.broadcast_to(x, observations.shape) for x in (mean, deviation))
        return jnp.clip((observations - mean) / deviation, -_LIMIT, _LIMIT)

    def merged(self, count: Any, mean: Any, variance: Any) -> "ObservationMoments":
        """The moments of these and of `count` other observations.

        With n of these, m others, and s = m / (n + m): mean + s (mean′ − mean), and the variance
        (1 − s) variance + s variance′ + s (1 − s) (mean′ − mean)².

        References:
            Chan, Golub & LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
            Variances, 1979.
        """
        share = count / jnp.maximum(self.count + count, 1.0)
        moved = mean - self.mean
        between = share * (1 - share) * moved**2
        return ObservationMoments(
            self.count + count,
            self.mean + share * moved,
            (1 - share) * self.variance + share * variance + between,
        )


def with_observations(
    policy: PyTree,
    trajectories: Sequence[Trajectory],
    num_steps: Any,
    average: Callable[[PyTree], PyTree],
) -> PyTree:
    """The policy with updated `ObservationMoments`. Without moments, it does not change.

    Args:
        policy: any pytree.
        trajectories: trajectories of the tasks on this device, each `[tasks, ..., time, features]`.
        num_steps: number of steps on all devices together.
        average: the mean over devices.
    """

    def mean_of(fn):
        sums, count = 0.0, 0.0
        for one in trajectories:
            values = jnp.where(one.mask[..., None], fn(one.observations), 0.0)
            sums += jnp.sum(values, axis=tuple(range(values.ndim - 1)))
            count += jnp.sum(one.mask.astype(values.dtype))
        sums, count = average((sums, count))
        return sums / jnp.maximum(count, 1.0)

    def up_to_date(leaf):
        if not _is_moments(leaf):
            return leaf
        mean = mean_of(lambda x: x)
        variance = mean_of(lambda x: (x - jnp.broadcast_to(mean, x.shape)) ** 2)
        return leaf.merged(num_steps, mean, variance)

    return jax.tree.map(up_to_date, policy, is_leaf=_is_moments)


def moments_of(policy: PyTree) -> ObservationMoments | None:
    """The moments of a policy, the first if it has several (all are of the same observations)."""
    leaves = jax.tree.leaves(policy, is_leaf=_is_moments)
    return next((leaf for leaf in leaves if _is_moments(leaf)), None)


def without_moments(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimizer, but it does not change `ObservationMoments`, as weight decay would."""

    def kept(update):
        return jax.tree.map(jnp.zeros_like, update) if _is_moments(update) else update

    def update(updates, state, params=None, **extra):
        extended = optax.with_extra_args_support(optimizer)
        updates, state = extended.update(updates, state, params, **extra)
        return jax.tree.map(kept, updates, is_leaf=_is_moments), state

    return optax.GradientTransformationExtraArgs(lambda params: optimizer.init(params), update)


def _is_moments(leaf: Any) -> bool:
    return isinstance(leaf, ObservationMoments)
