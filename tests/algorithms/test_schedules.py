"""What changes as the outer loop goes on, and that the outer step reaches it in every way."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

import mamlax

RATE, NUM_TASKS, STEPS = 0.1, 4, 3


def loss_fn(params, batch):
    return jnp.mean((jnp.tanh(params["slope"] * batch) + params["shift"] - jnp.sin(batch)) ** 2)


def make_params():
    return {"slope": jnp.array(0.7), "shift": jnp.array(-0.4)}


def make_tasks():
    rng = np.random.default_rng(0)
    return mamlax.Task(*(jnp.asarray(rng.normal(size=(NUM_TASKS, n))) for n in (5, 6)))


def assert_same(found, expected, rtol=1e-11):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-13)


def published_weights(num_steps, num_epochs, epoch):
    """`get_per_step_loss_importance_vector` and its use, in the authors' code."""
    if epoch >= num_epochs:
        return np.eye(num_steps)[-1]
    weights = np.ones(num_steps) / num_steps
    decay_rate = 1.0 / num_steps / num_epochs
    least = 0.03 / num_steps
    for i in range(num_steps - 1):
        weights[i] = np.maximum(weights[i] - epoch * decay_rate, least)
    weights[-1] = np.minimum(
        weights[-1] + epoch * (num_steps - 1) * decay_rate, 1.0 - (num_steps - 1) * least
    )
    return weights


@pytest.mark.parametrize(("num_steps", "num_epochs"), [(5, 15), (5, 10), (1, 3), (2, 100)])
@jax.enable_x64(True)
@pytest.mark.slow
def test_multi_step_weights_are_the_published_ones(num_steps, num_epochs):
    weights = mamlax.multi_step_weights(num_steps, num_epochs)
    found = jax.vmap(weights)(jnp.arange(num_epochs + 3))
    expected = [published_weights(num_steps, num_epochs, e) for e in range(num_epochs + 3)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-12)
    assert np.array_equal(weights(num_epochs - 1), weights(jnp.asarray(num_epochs - 1)))


def test_no_multi_step_phase_is_the_last_step_alone():
    assert mamlax.multi_step_weights(3, 0)(0).tolist() == [0.0, 0.0, 1.0]


PHASES = {  # (multi-step until, first order until): outer steps to look at
    (4, 2): (0, 1, 2, 3, 4, 9),
    (2, 4): (0, 1, 2, 3, 4),
    (3, 3): (0, 2, 3),
    (0, 2): (0, 1, 2),
    (0, 0): (0, 5),
}


@functools.cache
def compiled_phase(multi_step, first_order, num_multi_step):
    learner = mamlax.maml(
        loss_fn,
        inner_optimizer=mamlax.learned_step_sizes(RATE, per="leaf", num_steps=STEPS),
        num_inner_steps=STEPS,
        first_order=first_order,
        step_weights=(lambda weights: weights) if multi_step else None,
    )
    return jax.jit(learner.meta_gradient)


@pytest.mark.parametrize("ends", PHASES, ids=str)
@jax.enable_x64(True)
@pytest.mark.slow
def test_each_phase_is_a_composition(ends):
    num_multi_step, num_first_order = ends
    learner = mamlax.maml_plus_plus(
        loss_fn,
        initial_step_size=RATE,
        num_inner_steps=STEPS,
        num_multi_step_outer_steps=num_multi_step,
        num_first_order_outer_steps=num_first_order,
    )
    meta_params, tasks = learner.init(make_params()), make_tasks()
    compiled = jax.jit(learner.meta_gradient)
    results = []
    for outer_step in PHASES[ends]:
        multi_step = outer_step < num_multi_step
        phase = compiled_phase(multi_step, outer_step < num_first_order, 0)
        weights = published_weights(STEPS, max(num_multi_step, 1), outer_step)
        expected = phase(meta_params, tasks, outer_step=jnp.asarray(weights))
        results.append(compiled(meta_params, tasks, outer_step=outer_step))
        assert_same(results[-1], expected)
    changes = [
        not np.allclose(one[1].params["slope"], two[1].params["slope"], rtol=1e-6)
        for one, two in itertools.pairwise(results)
    ]
    expected = [
        one < num_first_order <= two or one < num_multi_step
        for one, two in itertools.pairwise(PHASES[ends])
    ]
    assert changes == expected, "and the phases are told apart by their gradients"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("x64", [False, True])
def test_phases_agree_on_types(dtype, x64):
    """Weights of steps do not turn a loss of low precision into another."""
    with jax.enable_x64(x64):
        learner = mamlax.maml_plus_plus(
            loss_fn, initial_step_size=RATE, num_inner_steps=2, num_multi_step_outer_steps=3
        )
        params, tasks = jax.tree.map(lambda x: x.astype(dtype), (make_params(), make_tasks()))
        (loss, _), gradient = jax.eval_shape(learner.meta_gradient, learner.init(params), tasks)
    assert {x.dtype for x in jax.tree.leaves((loss, gradient))} == {jnp.dtype(dtype)}


def scheduled():
    """A learner whose gradient says which outer step it was given, for every task."""
    meta_gradient = mamlax.mean_gradient(lambda params, task: (params * task.query.mean(), {}))

    def with_step(params, tasks, *, outer_step=0):
        (loss, info), gradient = meta_gradient(params, tasks)
        seen = jnp.full(tasks.query.shape[0], outer_step + 10.0)
        return (loss, info | {"outer_step": seen}), gradient + outer_step

    return mamlax.MetaLearner(lambda params: params, lambda *_: None, with_step)


def mesh():
    return Mesh(jax.devices("cpu"), ("tasks",))


WAYS = {
    "plain": dict,
    "batch_size": lambda: {"batch_size": 1},
    "mesh": lambda: {"mesh": mesh()},
    "mesh,batch_size": lambda: {"mesh": mesh(), "batch_size": 1},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_outer_step_reaches_the_learner(way):
    """From the state through jit, scan, micro-batches and devices; it counts from zero."""
    learner = mamlax.over_tasks(scheduled(), **WAYS[way]())
    zeros = mamlax.Task(jnp.zeros(3), jnp.zeros(3))
    loop = mamlax.outer_loop(learner, optax.sgd(1.0), lambda key: zeros, meta_batch_size=4)

    def run(state):
        keys = jax.random.split(jax.random.key(0), 4)
        return jax.lax.scan(lambda state, key: loop.step(key, state), state, keys)

    state, metrics = jax.jit(run)(loop.init(jnp.zeros(())))
    assert metrics["train/outer_step"].tolist() == [10.0, 11.0, 12.0, 13.0]
    assert state.meta_params == -(0 + 1 + 2 + 3)
    assert state.outer_step == 4
    assert state.outer_step.dtype == jnp.int32


@pytest.mark.parametrize("way", ["batch_size", "mesh"])
@jax.enable_x64(True)
@pytest.mark.slow
def test_phases_in_other_ways_of_walking_the_tasks(way):
    learner = mamlax.maml_plus_plus(
        loss_fn,
        initial_step_size=RATE,
        num_inner_steps=2,
        num_multi_step_outer_steps=2,
        num_first_order_outer_steps=1,
    )
    walked = mamlax.over_tasks(learner, **WAYS[way]())
    meta_params, tasks = learner.init(make_params()), make_tasks()
    both = [jax.jit(x.meta_gradient) for x in (learner, walked)]
    for outer_step in range(3):
        one, other = (fn(meta_params, tasks, outer_step=outer_step) for fn in both)
        assert_same(other, one)


@jax.enable_x64(True)
def test_adaptation_is_that_of_every_phase():
    learner = mamlax.maml_plus_plus(
        loss_fn, initial_step_size=RATE, num_inner_steps=2, num_multi_step_outer_steps=2
    )
    plain = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(RATE), num_inner_steps=2)
    support = make_tasks().support[0]
    found = learner.adapt(learner.init(make_params()), support, num_inner_steps=5)
    assert_same(found, plain.adapt(make_params(), support, num_inner_steps=5))
