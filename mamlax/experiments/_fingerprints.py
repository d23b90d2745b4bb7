"""A number for each task, to check whether runs were evaluated on the same tasks."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._types import Batch, Task


def fingerprints_of(
    task_of: Callable[[PyTree, PyTree], PyTree], tasks: PyTree, draws: PyTree
) -> np.ndarray:
    """A weighted sum of the numbers in each task, `[tasks]`.

    Comparing settings is not enough: equal settings draw different tasks from another folder of
    images, and settings of the model do not change the tasks.

    Args:
        task_of: `task_of(tasks, draw) -> task`.
        tasks: where tasks come from.
        draws: which, `[tasks]`.
    """

    def fingerprint(task):
        total = jnp.zeros(())
        for place, leaf in enumerate(jax.tree.leaves(_data(task))):
            if eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.number) and leaf.size:
                # weights of both signs, so that what tasks have in common cancels
                weights = jnp.cos(jnp.arange(leaf.size, dtype=jnp.float32) + place)
                numbers = leaf.astype(jnp.float32).reshape(-1)
                total += jnp.sum(weights * numbers) / jnp.sqrt(jnp.float32(leaf.size))
        return total

    @eqx.filter_jit
    def of_all(tasks, draws):
        # one after another: hundreds of tasks of images at once would need gigabytes
        return jax.lax.map(lambda draw: fingerprint(task_of(tasks, draw)), draws)

    return np.asarray(of_all(tasks, draws))


def _data(task: PyTree) -> PyTree:
    """The examples of a task, without the reference, which is derived from them."""
    if isinstance(task, Task) and isinstance(task.support, Batch):
        return [(batch.inputs, batch.targets) for batch in task]
    return task
