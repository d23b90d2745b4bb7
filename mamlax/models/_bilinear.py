"""A bilinear operation as a primitive of JAX. Other primitives define its derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir


def bilinear(
    name: str, compute: Callable[..., Any], shape_of: Callable[..., Any], *, sums: bool
) -> Primitive:
    """A primitive `(left, right) -> result` with any number of leading axes of tasks.

    Under a `vmap`, tasks are computed one after another. If the right argument is the same for all
    tasks, their images are computed together, as images of one task.

    Args:
        name: name of the operation.
        compute: the operation, for one task.
        shape_of: the shape of the result, for one task.
        sums: whether the operation sums over images, so that images of several tasks must be kept
            apart.
    """
    primitive = Primitive(name)

    def of_tasks(left, right, *, window, num_batch_dims):
        if num_batch_dims == 0:
            return compute(left, right, window)
        return lax.map(
            lambda task: of_tasks(*task, window=window, num_batch_dims=num_batch_dims - 1),
            (left, right),
        )

    def abstract(left, right, *, window, num_batch_dims):
        tasks, one = left.shape[:num_batch_dims], slice(num_batch_dims, None)
        return ShapedArray(
            (*tasks, *shape_of(left.shape[one], right.shape[one], window)), left.dtype
        )

    def batch(arguments, axes, *, window, num_batch_dims):
        left, right = arguments
        if axes[1] is None and num_batch_dims == 0 and not sums:  # more images of one kernel
            tasks = jnp.moveaxis(left, axes[0], 0)
            images = tasks.reshape(-1, *tasks.shape[2:])
            found = primitive.bind(images, right, window=window, num_batch_dims=0)
            return found.reshape(*tasks.shape[:2], *found.shape[1:]), 0
        size = next(
            x.shape[axis] for x, axis in zip(arguments, axes, strict=True) if axis is not None
        )
        left, right = (
            jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
            for x, axis in zip(arguments, axes, strict=True)
        )
        return primitive.bind(left, right, window=window, num_batch_dims=num_batch_dims + 1), 0

    primitive.def_impl(jax.jit(of_tasks, static_argnames=("window", "num_batch_dims")))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(of_tasks, multiple_results=False))
    batching.primitive_batchers[primitive] = batch
    return primitive
