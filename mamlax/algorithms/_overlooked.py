"""Find leaves that do not learn although the loss depends on them: were they meant to learn?"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from ._params import is_learnable
from ._program import is_in, reached


def overlooked(loss_fn: Callable[[PyTree], PyTree], params: PyTree) -> list[str]:
    """A sentence for each number in `params` that would learn if it were floating-point.

    These are Python numbers and arrays of integers with respect to which `loss_fn(params)` can be
    differentiated. An index, a size, a rate that is compared with zero, or a counter cannot.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)

    def has_derivative(index: int) -> bool:
        def loss_at(value):
            new = [value if i == index else leaf for i, (_, leaf) in enumerate(leaves)]
            return loss_fn(jax.tree.unflatten(structure, new))

        value = leaves[index][1]
        kind = jnp.complex64 if np.iscomplexobj(value) else jnp.float32
        value = jnp.asarray(value, kind)
        try:
            program = jax.make_jaxpr(lambda x, dx: jax.jvp(loss_at, (x,), (dx,))[1])(value, value)
        except Exception:  # whatever a loss does with a number that it takes for another thing
            return False
        program = program.jaxpr
        return any(is_in(reached(program.eqns, program.invars[1:]), x) for x in program.outvars)

    return [
        f"{jax.tree_util.keystr(path) or 'params'} is {_kind(leaf)} and does not learn, though the "
        "loss has a derivative by it. For it to learn make it an array of floating-point numbers, "
        "jnp.asarray(x, jnp.float32); else keep it outside of params, or in a static field."
        for index, (path, leaf) in enumerate(leaves)
        if _is_number(leaf) and has_derivative(index)
    ]


def _is_number(leaf: Any) -> bool:
    if eqx.is_array_like(leaf) and not is_learnable(leaf):
        return jnp.issubdtype(jnp.result_type(leaf), jnp.number)
    return False


def _kind(leaf: Any) -> str:
    if eqx.is_array(leaf) or isinstance(leaf, np.ndarray):
        return f"an array of {leaf.dtype}"
    return f"a Python {type(leaf).__name__}"
