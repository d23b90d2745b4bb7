"""Optax's optimizers in the inner loop, where a gradient is zero or its derivative is.

Which of them are differentiated right is in `test_optax_table.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

pytestmark = pytest.mark.slow  # compiles a program for each case


def loss_fn(params, batch):
    """An entry of `weight` for each column of the inputs: a zero column has no gradient."""
    predictions = jnp.tanh(batch.inputs @ params["weight"] + params["bias"])
    return jnp.mean((predictions - batch.targets) ** 2)


def make_problem(*, dead=False):
    rng = np.random.default_rng(0)

    def batch(size):
        inputs, targets = rng.normal(size=(2, size, 3)), rng.normal(size=(2, size))
        return mamlax.Batch(jnp.asarray(inputs), jnp.asarray(targets))

    tasks = mamlax.Task(batch(4), batch(5))
    if dead:  # in the support alone: to the query, the weight matters
        tasks = tasks._replace(
            support=tasks.support._replace(inputs=tasks.support.inputs.at[..., 0].set(0.0))
        )
    return {"weight": jnp.asarray(rng.normal(size=3)), "bias": jnp.array(0.2)}, tasks


def make_learner(optimizer, **options):
    return mamlax.maml(loss_fn, inner_optimizer=optimizer, num_inner_steps=2, **options)


def test_first_order_does_not_mind_a_zero():
    with jax.enable_x64(True):
        params, tasks = make_problem(dead=True)
        learner = make_learner(optax.adam(0.1), first_order=True)
        gradient = jax.jit(learner.meta_gradient)(params, tasks)[1]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("optimizer", [optax.lion(0.1), optax.sign_sgd(0.1)])
@jax.enable_x64(True)
def test_signs_have_no_second_order(optimizer):
    """The derivative of a sign is zero: second order and first order are the same."""
    second, first = (
        jax.jit(make_learner(optimizer, first_order=first_order).meta_gradient)(*make_problem())[1]
        for first_order in (False, True)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), second, first)


@jax.enable_x64(True)
def test_clipping_by_norm_where_the_whole_gradient_is_zero():
    """‖g‖ has no derivative at g = 0, which only a support without any gradient reaches."""
    learner = mamlax.maml(
        lambda params, batch: jnp.sum((params * batch) ** 2),
        inner_optimizer=optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
        num_inner_steps=1,
    )
    tasks = mamlax.Task(jnp.zeros((1, 2)), jnp.ones((1, 2)))
    gradient = learner.meta_gradient(jnp.ones(2), tasks)[1]
    assert np.all(np.isnan(gradient))
