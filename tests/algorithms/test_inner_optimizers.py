"""Optax's optimizers in the inner loop: which are differentiated right, and which need care.

The table of the documentation: every row of `DIFFERENTIABLE` passes `check_meta_gradient`, also
where an entry of the inner gradient is zero; `NOT_AT_ZERO` are right elsewhere, and NaN there.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

pytestmark = pytest.mark.slow  # compiles a program for each case

DIFFERENTIABLE = {
    "sgd": optax.sgd(0.1),
    "sgd_with_schedule": optax.sgd(optax.linear_schedule(0.2, 0.05, 2)),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "weight_decay": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
    "adam_eps_root": optax.adam(0.1, eps_root=1e-4),
    "adam_without_momentum_eps_root": optax.adam(0.1, b1=0.0, eps_root=1e-4),
    "adamw_eps_root": optax.adamw(0.1, eps_root=1e-4),
    "rmsprop": optax.rmsprop(0.1, eps=1e-4),
    "adagrad": optax.adagrad(0.1),
    "clip": optax.chain(optax.clip(0.4), optax.sgd(0.1)),
    "clip_by_global_norm": optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
    "lion": optax.lion(0.1),
    "sign_sgd": optax.sign_sgd(0.1),
}
NOT_AT_ZERO = {
    "adam": optax.adam(0.1),
    "rmsprop_eps_outside_the_root": optax.rmsprop(0.1, eps_in_sqrt=False),
}


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


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_differentiable(name):
    """One of the weights has no inner gradient, the others have."""
    with jax.enable_x64(True):
        problem = make_problem(dead=True)
    learner = make_learner(DIFFERENTIABLE[name])
    report = mamlax.check_meta_gradient(learner, *problem, max_entries=3)
    assert report.passed, report


@pytest.mark.parametrize("name", NOT_AT_ZERO)
def test_not_where_a_gradient_is_zero(name):
    """√v has an infinite derivative at v = 0; elsewhere all is well."""
    learner = make_learner(NOT_AT_ZERO[name])
    with jax.enable_x64(True):
        alive, (params, tasks) = make_problem(), make_problem(dead=True)
    report = mamlax.check_meta_gradient(learner, *alive, max_entries=2)
    assert report.passed, report
    with jax.enable_x64(True):
        (loss, _), gradient = jax.jit(learner.meta_gradient)(params, tasks)
    assert np.isfinite(loss)
    assert np.isnan(gradient["weight"][0])


def test_first_order_does_not_mind_a_zero():
    with jax.enable_x64(True):
        params, tasks = make_problem(dead=True)
        learner = make_learner(optax.adam(0.1), first_order=True)
        gradient = jax.jit(learner.meta_gradient)(params, tasks)[1]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", ["lion", "sign_sgd"])
@jax.enable_x64(True)
def test_signs_have_no_second_order(name):
    """The derivative of a sign is zero: second order and first order are the same."""
    second, first = (
        jax.jit(make_learner(DIFFERENTIABLE[name], first_order=first_order).meta_gradient)(
            *make_problem()
        )[1]
        for first_order in (False, True)
    )
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), second, first)


@jax.enable_x64(True)
def test_clipping_by_norm_where_the_whole_gradient_is_zero():
    """‖g‖ has no derivative at g = 0, which only a support without any gradient reaches."""
    learner = mamlax.maml(
        lambda params, batch: jnp.sum((params * batch) ** 2),
        inner_optimizer=DIFFERENTIABLE["clip_by_global_norm"],
        num_inner_steps=1,
    )
    tasks = mamlax.Task(jnp.zeros((1, 2)), jnp.ones((1, 2)))
    gradient = learner.meta_gradient(jnp.ones(2), tasks)[1]
    assert np.all(np.isnan(gradient))
