"""Gradients of losses with respect to real and complex parameters.

The gradient of a leaf is the direction in which the loss grows fastest. For z = x + iy it is
∂ℒ/∂x + i ∂ℒ/∂y, so that z − αg descends. `jax.grad` gives its complex conjugate. A complex number
is then a vector of two real numbers, with the inner product Re(a* b).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def value_and_gradient(
    fn: Callable[..., Any], argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False
) -> Callable[..., Any]:
    """`jax.value_and_grad`, with the gradients of complex leaves in the direction of ascent."""
    differentiated = jax.value_and_grad(fn, argnums, has_aux=has_aux)

    def of(*args):
        value, gradient = differentiated(*args)
        return value, conjugate(gradient)

    return of


def conjugate(tree: PyTree) -> PyTree:
    """The complex conjugate of every array. Real arrays do not change."""
    return jax.tree.map(jnp.conj, tree)


def real_parts(tree: PyTree) -> PyTree:
    """The same vector in real numbers: a pair of arrays for each complex one."""
    return jax.tree.map(lambda x: (x.real, x.imag) if jnp.iscomplexobj(x) else x, tree)


def from_real_parts(parts: PyTree, like: PyTree) -> PyTree:
    """The inverse of `real_parts`; `like` has the structure and types of the result."""
    return jax.tree.map(
        lambda x, part: jax.lax.complex(*part) if jnp.iscomplexobj(x) else part, like, parts
    )
