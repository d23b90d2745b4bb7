"""Steps in a trust region: the natural gradient direction, and the step length along it.

    minimize ℒ(θ)   subject to   KL(θ_old ‖ θ) ≤ δ

To second order the KL is ½ dᵀFd, so the direction is x = F⁻¹∇ℒ and the longest step √(2δ / xᵀFx).
Schulman et al., Trust Region Policy Optimization, ICML 2015, appendix C.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree


class Search(NamedTuple):
    """The result of a line search.

    Attributes:
        params: the accepted parameters; if no step was accepted, the given ones, bit for bit.
        accepted: whether a step was accepted.
        kl: KL(θ_old ‖ θ) of `params`.
        num_backtracks: how often the step was shortened.
    """

    params: PyTree
    accepted: Any
    kl: Any
    num_backtracks: Any


def fisher_vector_product(
    distributions_fn: Callable[[PyTree], PyTree],
    weights: PyTree,
    params: PyTree,
    *,
    damping: float = 0.0,
    average: Callable[[PyTree], PyTree] = lambda tree: tree,
) -> Callable[[PyTree], PyTree]:
    """v ↦ JᵀFJv + damping · v: the Hessian of the mean KL at `params`, times a vector.

    J is the derivative of the parameters of the action distributions, F is their Fisher matrix. At
    `params` the gradient of the KL is zero, so this Gauss–Newton product is exactly the Hessian
    product, without third derivatives. The linearization is computed once.

    Args:
        distributions_fn: `distributions_fn(params) -> Distribution`, of any shape.
        weights: the weight of each distribution in the mean, with the same shape.
        params: a pytree of floating-point arrays.
        damping: number added to the diagonal.
        average: the mean over devices.
    """
    distributions, forward = jax.linearize(distributions_fn, params)
    backward = jax.linear_transpose(forward, params)

    def product(vector):
        tangent = distributions.fisher_product(forward(vector))
        tangent = jax.tree.map(
            lambda x, like: (
                x * weights.reshape(weights.shape + (1,) * (x.ndim - weights.ndim))
            ).astype(like.dtype),
            tangent,
            distributions,
        )
        (curved,) = backward(tangent)
        return jax.tree.map(lambda c, v: c + damping * v, average(curved), vector)

    return product


def longest_step(
    product_fn: Callable[[PyTree], PyTree], gradient: PyTree, *, max_kl: float, num_iterations: int
) -> PyTree:
    """−√(2δ / xᵀFx) x with x ≈ F⁻¹∇ℒ, by conjugate gradients. Zero if the gradient is zero.

    Args:
        product_fn: v ↦ Fv.
        gradient: ∇ℒ.
        max_kl: δ.
        num_iterations: number of conjugate gradient iterations.
    """

    def improve(_, found):
        direction, residual, search, size = found
        curved = product_fn(search)
        curvature = _dot(search, curved)
        # once the residual is zero, or rounding has won (no curvature), nothing changes any more
        scale = jnp.where(curvature > 0, size / jnp.where(curvature > 0, curvature, 1.0), 0.0)
        direction = _add(direction, scale, search)
        residual = _add(residual, -scale, curved)
        new_size = _dot(residual, residual)
        ratio = jnp.where(size > 0, new_size / jnp.where(size > 0, size, 1.0), 0.0)
        search = jax.tree.map(
            lambda x: jnp.where(curvature > 0, x, 0), _add(residual, ratio, search)
        )
        return direction, residual, search, new_size

    # the library's cg costs two products more, and stops at a tolerance
    zero = jax.tree.map(jnp.zeros_like, gradient)
    found = (zero, gradient, gradient, _dot(gradient, gradient))
    direction, residual, _, _ = jax.lax.fori_loop(0, num_iterations, improve, found)
    curvature = _dot(direction, _add(gradient, -1.0, residual))  # F x = ∇ℒ − residual
    length = jnp.sqrt(2 * max_kl / jnp.where(curvature > 0, curvature, jnp.inf))
    return optax.tree.scale(-length, direction)


def line_search(
    evaluate_fn: Callable[[Any], tuple[PyTree, PyTree]],
    params: PyTree,
    step: Any,
    *,
    loss: PyTree,
    max_kl: float,
    backtrack: float = 0.8,
    max_backtracks: int = 15,
) -> Search:
    """Shorten `step` until the loss falls and the KL is within δ.

    The KL grows about with the square of the step. So if it is too large, the step is shortened at
    once to a length at which it should be just below δ.

    Args:
        evaluate_fn: `evaluate_fn(params) -> (loss, kl)`.
        params: the parameters to start from.
        step: the full step, added to `params`.
        loss: ℒ at `params`.
        max_kl: δ.
        backtrack: each time, the step is shortened by this factor or more.
        max_backtracks: how often to shorten before giving up.
    """

    def moved(scale):
        return _add(params, scale, step)

    def good(new_loss, kl):
        return (new_loss < loss) & (kl <= max_kl)  # NaN is neither

    def try_again(search):
        _, new_loss, kl, count = search
        return ~good(new_loss, kl) & (count < max_backtracks) & possible

    def shorten(search):
        scale, _, kl, count = search
        within = jnp.sqrt(0.9 * max_kl / jnp.maximum(kl, max_kl))
        within = jnp.where(jnp.isfinite(kl), jnp.maximum(within, 0.1), 0.1)
        scale = scale * jnp.where(kl <= max_kl, backtrack, jnp.minimum(backtrack, within))
        return scale, *evaluate_fn(moved(scale)), count + 1

    possible = jnp.isfinite(loss) & (_dot(step, step) > 0)
    one = jnp.ones((), jnp.result_type(loss))
    search = (one, *evaluate_fn(moved(one)), jnp.zeros((), jnp.int32))
    scale, new_loss, kl, count = jax.lax.while_loop(try_again, shorten, search)
    accepted = good(new_loss, kl)
    kept = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), moved(scale), params)
    return Search(kept, accepted, jnp.where(accepted, kl, 0.0), count)


def _add(a: Any, scale: Any, b: Any) -> PyTree:
    """a + scale · b, in the data types of a."""
    return optax.tree.cast_like(optax.tree.add_scale(a, scale, b), a)


def _dot(a: Any, b: Any) -> PyTree:
    return optax.tree.vdot(a, b)
