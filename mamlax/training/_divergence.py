"""Detect divergence: at which step, in which metric, and for which seeds."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._types import Limit


def stayed_finite(before: PyTree, after: PyTree) -> PyTree:
    """Whether all numbers that were finite still are. (A state may start with infinite ones.)"""
    flags = [
        jnp.all(jnp.isfinite(new) | ~jnp.isfinite(old))
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        if jnp.issubdtype(new.dtype, jnp.inexact)
    ]
    return jnp.all(jnp.stack(flags)) if flags else jnp.array(True)


def not_finite(
    metrics: Any, state_is_finite: Any, start: int, end: int, num_seeds: int | None
) -> str | None:
    """A sentence on the first step at which something is not finite. None if all is finite.

    Metrics are `[(seeds,) steps, ...]`.
    """
    axis = 0 if num_seeds is None else 1
    flags = {}
    for name, values in metrics.items():
        finite = np.isfinite(np.asarray(values))
        finite = np.all(finite, axis=tuple(range(axis + 1, finite.ndim)))
        flags[name] = np.atleast_2d(finite)  # [seeds, steps]
    bad_steps = {name: np.flatnonzero(~finite.all(axis=0)) for name, finite in flags.items()}
    bad_steps = {name: int(steps[0]) for name, steps in bad_steps.items() if steps.size}
    if bad_steps:
        first = min(bad_steps.values())
        names = [name for name, step in bad_steps.items() if step == first]
        ok = np.logical_and.reduce([flags[name][:, first] for name in names])
        return (
            f"the loss or its gradient is not finite at outer step {start + first + 1}. "
            f"{' and '.join(names)} became infinite or NaN{_which_seeds(ok, num_seeds)}."
        )
    ok = np.atleast_1d(state_is_finite)
    if not ok.all():
        return (
            f"the parameters or the optimizer's state are not finite after outer step {end}. The "
            f"last update made some infinite or NaN{_which_seeds(ok, num_seeds)}."
        )
    return None


def above_limit(limits: Mapping[str, Limit], metrics: Any, start: int) -> str | None:
    """A sentence on the first step at which a metric exceeds its limit. None if none does.

    Metrics are `[(seeds,) steps]`.
    """
    for name, limit in limits.items():
        values = np.atleast_2d(metrics[name]).max(axis=0)  # the worst seed
        if steps := np.flatnonzero(values > limit.value).tolist():
            return (
                f"{name} was {values[steps[0]]:.3g} at outer step {start + steps[0] + 1}, more "
                f"than the {limit.value:.3g} that training may go on with. {limit.remedy}"
            )
    return None


def _which_seeds(finite: Any, num_seeds: int | None) -> str:
    if num_seeds is None:
        return ""
    bad = [str(seed) for seed in np.flatnonzero(~finite)]
    return f" for {', '.join(bad)} of the seeds 0 to {num_seeds - 1}"
