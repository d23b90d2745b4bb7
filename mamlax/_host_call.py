"""Call a NumPy function from a compiled program, once for all rows of a `vmap`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_PIECE_BYTES = 64 * 1024


def host_call(fn: Callable[..., Any], results: Any, *args: Any) -> Any:
    """Call `fn(*args)` on the host; under `vmap`, once for all rows.

    JAX copies an argument of more than 100 kB in a thread of the pool that its devices also run on.
    If several CPU devices call at once, no thread is left and they wait forever. So arguments are
    passed in pieces.

    Args:
        fn: a pure function of NumPy arrays. Under `vmap` they have leading axes. Each leading axis
            of an argument has the full size or size 1; in the results it must have the full size.
        results: a tree of `jax.ShapeDtypeStruct`, without leading axes.
        args: arrays.
    """
    args = tuple(jnp.asarray(x) for x in args)
    return _mapped(fn, results, [x.ndim for x in args])(*args)


def _mapped(fn: Callable[..., Any], results: Any, ranks: list[int]) -> Callable[..., Any]:
    """The call, for arguments of `ranks` axes after any leading ones."""

    @jax.custom_batching.custom_vmap
    def call(*args):
        shapes = [x.shape for x in args]
        leads = [shape[: len(shape) - rank] for shape, rank in zip(shapes, ranks, strict=True)]
        lead = np.broadcast_shapes(*leads)

        def joined(*split):
            whole = [np.concatenate([np.asarray(piece) for piece in pieces]) for pieces in split]
            return fn(*(x.reshape(shape) for x, shape in zip(whole, shapes, strict=True)))

        with_lead = jax.tree.map(
            lambda one: jax.ShapeDtypeStruct((*lead, *one.shape), one.dtype), results
        )
        return jax.pure_callback(joined, with_lead, *(_pieces(jnp.ravel(x)) for x in args))

    @call.def_vmap
    def batching_rule(axis_size, is_mapped, *args):
        args = [x if mapped else x[None] for x, mapped in zip(args, is_mapped, strict=True)]
        return _mapped(fn, results, ranks)(*args), jax.tree.map(lambda _: True, results)

    return call


def _pieces(flat: Any) -> list[Any]:
    length = _PIECE_BYTES // flat.dtype.itemsize
    return [flat[start : start + length] for start in range(0, max(1, flat.size), length)]
