"""The metric of a stage on validation or held-out tasks, in one compiled program."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._processes import words_where_one_has_ended
from ._mesh import everywhere, mesh_for
from ._method import MakeLearner, Method, draws
from ._seeds import Seeds

VALIDATION_SEED, TEST_SEED = 1, 2

CurvesOf: TypeAlias = Callable[
    [MakeLearner, Callable[..., PyTree], int, int],
    Callable[[PyTree, float, PyTree, int], PyTree],
]


def curves_program(method: Method, seeds: Seeds, num_devices: int | None) -> CurvesOf:
    """`curves_of(make_learner, metric_fn, num_inner_steps, num_tasks)`, compiled once for each.

    It returns `curves(params, inner_learning_rate, tasks, seed) -> [(seeds,) tasks, steps + 1]`:
    the metric after 0, 1, … inner steps in tasks drawn with a seed. A metric of policies may be
    several, in any pytree. The step size is an argument of
    the compiled program, so that trying several is cheap.
    """

    @functools.cache
    def curves_of(make_learner, metric_fn, num_inner_steps, num_tasks):
        @eqx.filter_jit
        def curves(params, inner_learning_rate, tasks, seed):
            which, mesh = draws(seed, num_tasks), mesh_for(num_tasks, num_devices)
            of_one = method.curves(
                make_learner, metric_fn, tasks, num_inner_steps, inner_learning_rate, mesh
            )
            found = seeds.each(lambda params: of_one(params, which))(params)
            return found if mesh is None else everywhere(found, mesh)

        def on_host(params, rate, tasks, seed):
            with words_where_one_has_ended():
                found = curves(params, jnp.asarray(rate, jnp.float32), tasks, jnp.asarray(seed))
                return jax.tree.map(np.asarray, found)

        return on_host

    return curves_of
