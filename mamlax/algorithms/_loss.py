"""Evaluate the user's loss on a batch and on a task's query, with errors that name the mistake."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._types import LossFn, Task


def scalar_loss(loss_fn: LossFn, params: PyTree, batch: PyTree) -> PyTree:
    """`loss_fn(params, batch)`. Raises if it does not take these or returns no real scalar."""
    _check_takes_two(loss_fn)
    loss = loss_fn(params, batch)
    if isinstance(loss, tuple):
        raise TypeError(
            f"loss_fn must return the loss alone, got a tuple of {len(loss)}. Record other "
            "quantities along the inner loop by probe_fn, or by a metric_fn in an evaluation."
        )
    if not eqx.is_array(loss) or loss.shape or not jnp.issubdtype(loss.dtype, jnp.floating):
        got = f"{loss.dtype}{list(loss.shape)}" if eqx.is_array(loss) else type(loss).__name__
        raise TypeError(
            f"loss_fn must return a floating-point scalar, got {got}. "
            "Average over the examples, e.g. with jnp.mean."
        )
    return loss


def query_loss(loss_fn: LossFn, params: PyTree, task: Task) -> PyTree:
    """`scalar_loss` on the query. If it fails, notes say how query and support differ."""
    try:
        return scalar_loss(loss_fn, params, task.query)
    except Exception as error:
        for difference in _differences(task):
            error.add_note(difference)
        raise


def check_task(task: PyTree, support_per_step: bool) -> None:
    """Raise if the query has other ranks than the support, and would silently broadcast."""
    if not (hasattr(task, "support") and hasattr(task, "query")):
        raise TypeError(
            "a task must have support and query, as mamlax.Task(support, query) has; got "
            f"{type(task).__name__}."
        )
    query = _shapes(task.query)
    for name, shape in _shapes(task.support).items():
        axis = ""
        if support_per_step:
            shape, axis = shape[1:], " behind the axis of inner steps (support_per_step)"
        if name in query and len(query[name]) != len(shape):
            raise ValueError(
                f"support and query do not match: support{name} has shape {list(shape)}{axis} and "
                f"query{name} {list(query[name])}. The same loss_fn is evaluated on both, so that "
                "only the lengths of their axes may differ."
            )


def _check_takes_two(loss_fn: LossFn) -> None:
    try:
        signature = inspect.signature(loss_fn)
    except (TypeError, ValueError):  # some callables have none
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise TypeError(
            f"loss_fn must take (params, batch), where batch is a task's support or query; it "
            f"takes {signature}. Unpack the batch inside, e.g. batch.inputs and batch.targets."
        ) from error


def _differences(task: Task) -> list[str]:
    """How the query differs from the support: why a loss may fail only on the query."""
    support, query = _shapes(task.support), _shapes(task.query)
    lacking = [
        f"support{name} has no counterpart in the query, on which loss_fn was evaluated here."
        for name in support.keys() - query.keys()
    ]
    return lacking + [
        f"support{name} has shape {list(support[name])}, query{name} {list(query[name])}."
        for name in support.keys() & query.keys()
        if support[name][1:] != query[name][1:]
    ]


def _shapes(batch: PyTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
