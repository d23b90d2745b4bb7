"""Linear systems of positive definite matrices.

Under `vmap`, a processor solves the systems one after another. JAX would split many factorizations
over the threads of its pool, and wait for them on one of these threads. Programs that do so at the
same time, on several devices or called from several threads, can wait for each other forever.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def solve_positive(matrix: Any, targets: Any) -> Any:
    """The solution X of A X = B, which can be differentiated any number of times.

    Args:
        matrix: A, `[n, n]`, Hermitian and positive definite.
        targets: B, `[n, columns]`.

    Returns:
        `[n, columns]`; no numbers where the matrix is not positive definite.
    """
    factor = _factor(jax.lax.stop_gradient(matrix))
    return jax.lax.custom_linear_solve(
        lambda x: jnp.matmul(matrix, x, precision="highest"),
        targets,
        lambda _, right: _solution(factor, right),
        # the transpose of a Hermitian matrix is its conjugate, which JAX's own solver overlooks
        lambda _, right: _solution(factor.conj(), right),
    )


def _in_turn(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays, mapped by `vmap` in turn on a processor, and at once elsewhere."""
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def batching_rule(axis_size, is_mapped, *args):
        def in_turn(*args):
            def one(_, rows):
                rows = iter(rows)
                both = zip(args, is_mapped, strict=True)
                return None, mapped(*(next(rows) if found else x for x, found in both))

            rows = tuple(x for x, found in zip(args, is_mapped, strict=True) if found)
            return jax.lax.scan(one, None, rows)[1]

        at_once = jax.vmap(function, [0 if found else None for found in is_mapped])
        return jax.lax.platform_dependent(*args, cpu=in_turn, default=at_once), True

    return mapped


@_in_turn
def _factor(matrix: Any) -> Any:
    return jax.scipy.linalg.cho_factor(matrix, lower=True)[0]


@_in_turn
def _solution(factor: Any, targets: Any) -> Any:
    return jax.scipy.linalg.cho_solve((factor, True), targets)
