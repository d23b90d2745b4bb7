"""The rate of the outer loop falls to zero over as many steps as the state says."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax.estimators._rate_decay import falling, falling_over, steps_to_zero


def test_updates_fall_along_the_cosine_of_optax():
    optimizer = optax.chain(optax.sgd(0.1), falling(8))
    expected = optax.sgd(optax.cosine_decay_schedule(0.1, 8))
    gradient = {"a": jnp.arange(3.0), "b": jnp.ones((), jnp.bfloat16)}
    state, other, updates = optimizer.init(gradient), expected.init(gradient), gradient
    for _ in range(10):  # beyond its end, where it stays zero
        updates, state = optimizer.update(gradient, state)
        wanted, other = expected.update(gradient, other)
        np.testing.assert_allclose(updates["a"], wanted["a"], rtol=1e-6, atol=1e-8)
        assert updates["b"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(updates["a"], jnp.zeros(3))


def test_another_length_needs_no_other_program():
    traced = []

    def loss_fn(params, batch):
        traced.append(None)
        return jnp.mean((params * batch.inputs - batch.targets) ** 2)

    learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=1)
    optimizer = optax.chain(optax.sgd(0.1), falling(4))
    loop = mamlax.outer_loop(
        learner, optimizer, mamlax.Sinusoids(shots=5).sample, meta_batch_size=2
    )
    step, start = eqx.filter_jit(loop.step), jnp.ones(())

    def taken(loop):
        state = loop.init(start)
        for key in jax.random.split(jax.random.key(0), 4):
            state, _ = step(key, state)
        return float(state.meta_params)

    once, count = taken(loop), len(traced)
    assert taken(falling_over(4, loop)) == once
    assert taken(falling_over(40, loop)) != once
    assert len(traced) == count


@pytest.mark.parametrize("step", [25, 100, 250, 400, 475])
def test_the_sums_of_the_rates_are_the_same(step):
    def rates(num_steps):
        return (1 + np.cos(np.pi * np.arange(num_steps) / num_steps)) / 2

    found = steps_to_zero(step, 500, 1)
    assert step < found <= 500
    assert rates(found).sum() == pytest.approx(rates(500)[:step].sum(), abs=1)


def test_it_is_a_multiple_of_the_interval_and_no_longer_than_the_others():
    assert steps_to_zero(500, 500, 25) == 500
    assert steps_to_zero(490, 500, 25) == 500
    assert steps_to_zero(75, 500, 25) == 150
    assert steps_to_zero(1, 40, 2) == 2
    assert steps_to_zero(1, 3, 1) == 2
