"""Meta-SGD and ANIL on quadratics, where everything is known: by numpy, in float64.

ℒ(θ) = ½ (θ − c)ᵀ A (θ − c); with step sizes D = diag(α), k steps are φ = c + (I − D A)ᵏ (θ − c).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

from . import quadratics
from .quadratics import DIM, NUM_TASKS, make_problem

RATE = 0.07


def quadratic_loss(params, batch):
    return quadratics.quadratic_loss(jnp.concatenate([params["body"], params["head"]]), batch)


def parts(vector):
    return {"body": jnp.asarray(vector[:1]), "head": jnp.asarray(vector[1:])}


def by_formula(params, sizes, tasks, num_steps):
    """Mean gradients with respect to θ and α: Jᵀ q, and −Σᵢ gᵢ ∘ (Jᵀ)ᵏ⁻¹⁻ⁱ q, J = I − D A."""
    for_params, for_sizes = [], []
    for i in range(NUM_TASKS):
        support, query = jax.tree.map(lambda x, i=i: x[i], tasks)
        jacobian = np.eye(DIM) - np.diag(sizes) @ support.curvature
        path = [
            support.center + np.linalg.matrix_power(jacobian, k) @ (params - support.center)
            for k in range(num_steps + 1)
        ]
        q = query.curvature @ (path[-1] - query.center)
        for_params.append(np.linalg.matrix_power(jacobian.T, num_steps) @ q)
        for_sizes.append(
            -sum(
                (support.curvature @ (path[k] - support.center))
                * (np.linalg.matrix_power(jacobian.T, num_steps - 1 - k) @ q)
                for k in range(num_steps)
            )
        )
    return np.mean(for_params, axis=0), np.mean(for_sizes, axis=0)


def assert_parts(found, expected):
    found = np.concatenate([found["body"], found["head"]])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("num_steps", [1, 3])
@jax.enable_x64(True)
def test_meta_sgd(num_steps):
    params, tasks = make_problem()
    sizes = np.array([0.05, -0.02, 0.08, 0.11])
    learner = mamlax.meta_sgd(quadratic_loss, initial_step_size=0.1, num_inner_steps=num_steps)
    meta_params = mamlax.WithOptimizer(parts(params), parts(sizes))
    gradient = jax.jit(learner.meta_gradient)(meta_params, jax.tree.map(jnp.asarray, tasks))[1]
    for_params, for_sizes = by_formula(params, sizes, tasks, num_steps)
    assert_parts(gradient.params, for_params)
    assert_parts(gradient.optimizer, for_sizes)


@pytest.mark.parametrize("num_steps", [1, 3])
@pytest.mark.parametrize("algorithm", ["anil", "boil"])
@jax.enable_x64(True)
def test_a_part_that_adapts(algorithm, num_steps):
    """As if the step size of the other part were zero."""
    params, tasks = make_problem()
    learner = getattr(mamlax, algorithm)(
        quadratic_loss,
        head=lambda p: p["head"],
        inner_optimizer=optax.sgd(RATE),
        num_inner_steps=num_steps,
    )
    gradient = jax.jit(learner.meta_gradient)(parts(params), jax.tree.map(jnp.asarray, tasks))[1]
    adapts = np.array([0, 1, 1, 1]) if algorithm == "anil" else np.array([1, 0, 0, 0])
    assert_parts(gradient, by_formula(params, RATE * adapts, tasks, num_steps)[0])
