"""Advice for training that diverges, depending on which number was the first not to be finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

_RATES = (
    "Try a smaller outer or inner learning rate, fewer inner steps, or clip the outer gradient "
    "(optax.clip_by_global_norm before the outer optimizer)."
)
_DATA = "one NaN in a support or query set, in a reward or in a baseline is enough."
_NO_DERIVATIVE = (
    "a norm or a square root at zero (take the square, or add a small number inside the root), a "
    "division in the branch that jnp.where does not choose, or an inner Adam without eps_root "
    "where an entry of the gradient is zero. jax.config.update('jax_debug_nans', True) names the "
    "line."
)
_FLOAT16 = (
    "Parameters in float16 are a likely cause: a number below 6e-8 is zero there, as Adam's eps of "
    "1e-8 is, which then divides zero by zero; and one above 65504 is infinite. Keep parameters in "
    "float32, and let mamlax.with_compute_dtype compute the loss in fewer bits; or give "
    "optax.adam(..., eps=1e-4)."
)


def what_to_try(
    metrics: Any, start: int, before: PyTree, after: PyTree, num_seeds: int | None
) -> str:
    """Advice, in sentences.

    Args:
        metrics: `[(seeds,) steps, ...]` of the last steps.
        start: number of outer steps before these.
        before: the state before these steps.
        after: the state after these steps.
        num_seeds: number of seeds trained at the same time. None: a single run.
    """
    values = {}  # [seeds, steps]
    for name, value in metrics.items():
        array = np.asarray(value, np.float64)
        array = array[None] if num_seeds is None else array
        values[name] = array.sum(axis=tuple(range(2, array.ndim)))
    finite = np.logical_and.reduce([np.isfinite(value) for value in values.values()])
    advice = [_FLOAT16] if _in_float16(before) else []
    if finite.all():
        return " ".join([*advice, _of_the_state(before, after), _RATES])
    step = int(np.flatnonzero(~finite.all(axis=0))[0])
    seed = int(np.flatnonzero(~finite[:, step])[0])
    there = {name: float(value[seed, step]) for name, value in values.items()}
    first = start + step == 0
    bad = {name for name, value in there.items() if not np.isfinite(value)}
    loss, support_loss = (there.get(f"train/{name}_loss") for name in ("query", "support"))
    if bad == {"train/gradient_norm"} and np.isnan(there["train/gradient_norm"]):
        was = "" if loss is None else f" ({loss:.3g})"
        advice.append(
            f"The loss is finite{was} and its gradient is NaN: something has no derivative where "
            f"it was evaluated. Usual are {_NO_DERIVATIVE} If the loss was very large before, the "
            f"rates are too: {_RATES}"
        )
    elif support_loss is not None and np.isfinite(support_loss):
        advice.append(
            f"Before any inner step the loss was {support_loss:.3g}: the inner loop or the query "
            f"made it so{', and not the outer learning rate' if first else ''}. Try a smaller "
            "inner learning rate or fewer inner steps. If the rate is small, the gradient of the "
            f"support loss may be NaN: {_NO_DERIVATIVE} Or look at the data: {_DATA}"
        )
    elif first:
        advice.append(
            "It is the first outer step, so that the outer learning rate is not the cause. Look at "
            f"the parameters and the data: {_DATA} If they are finite, try a smaller inner "
            "learning rate."
        )
    else:
        advice.append(f"{_RATES} If rates are small, look at the data: {_DATA}")
    return " ".join(advice)


def _of_the_state(before: PyTree, after: PyTree) -> str:
    """The arrays of the state that are no longer finite."""
    names = [
        f"{jax.tree_util.keystr(path)} ({new.dtype})"
        for (path, new), old in zip(
            jax.tree.leaves_with_path(after), jax.tree.leaves(before), strict=True
        )
        if _is_inexact(new) and jnp.any(~jnp.isfinite(new) & jnp.isfinite(old))
    ]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Not finite: {', '.join(names[:3])}{more}."


def _in_float16(state: PyTree) -> bool:
    return any(_is_inexact(x) and x.dtype == jnp.float16 for x in jax.tree.leaves(state))


def _is_inexact(leaf: PyTree) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)
