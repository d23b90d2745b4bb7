"""Observations normalized by the moments of those collected before."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mamlax import rl
from mamlax.rl._moments import moments_of as moments_in

RNG = np.random.default_rng(0)
SEEN = (RNG.normal(size=(600, 3)) * [1.0, 40.0, 0.01] + [0.0, -300.0, 5.0]).astype(np.float32)


def moments_of(*parts):
    moments = rl.ObservationMoments.none(parts[0].shape[1])
    for part in parts:
        moments = moments.merged(jnp.float32(len(part)), part.mean(axis=0), part.var(axis=0))
    return moments


@pytest.mark.parametrize("cuts", [[], [1], [100, 101, 450]])
def test_moments_do_not_depend_on_how_observations_were_divided(cuts):
    moments = moments_of(*np.split(SEEN, cuts))
    assert moments.count == len(SEEN)
    np.testing.assert_allclose(moments.mean, SEEN.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moments.variance, SEEN.var(axis=0), rtol=1e-3)
    normalized = np.asarray(moments(jnp.asarray(SEEN.reshape(30, 20, 3)))).reshape(-1, 3)
    np.testing.assert_allclose(normalized.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(normalized.std(axis=0), 1, rtol=1e-3)


def test_before_any_are_seen_observations_stay_as_they_are():
    np.testing.assert_array_equal(rl.ObservationMoments.none(2)(jnp.array([3.0, -7.0])), [3, -7])


@pytest.mark.parametrize("constant", [0.0, 7.3, -1e5])
def test_a_number_that_never_varied_becomes_zero_and_later_stays_finite(constant):
    parts = [np.full((n, 1), constant, np.float32) for n in (3, 1000, 77)]
    moments = moments_of(*parts)
    assert abs(float(moments(jnp.array([constant]))[0])) < 0.1
    for later in (constant + 1, 1e30, -1e30):
        assert 0 < abs(float(moments(jnp.array([later]))[0])) <= 10


def test_they_are_a_constant_in_every_gradient():
    env = rl.PointNavigation()
    policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(4,), normalize_observations=True)

    def total(policy):
        return jnp.sum(policy(jnp.ones((2, 2))).mean ** 2)

    gradient = jax.grad(total)(policy)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient.moments))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(gradient.network))


# --------------------------------------------------------------------------- in training


class Measured(NamedTuple):
    """An environment whose observations are measured in other units."""

    env: Any
    factor: Any
    offset: Any

    observation_size = 2
    action = rl.Box(2)
    horizon = 4

    def sample_task(self, key):
        return self.env.sample_task(key)

    def reset(self, key, task):
        state, seen = self.env.reset(key, task)
        return state, self.factor * seen + self.offset

    def step(self, key, task, state, action):
        state, seen, reward, ended = self.env.step(key, task, state, action)
        return state, self.factor * seen + self.offset, reward, ended


def small_policy(env, moments=None):
    policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(), normalize_observations=True)
    return policy if moments is None else dataclasses.replace(policy, moments=moments)


RESTLESS = {
    "weight decay": optax.adamw(0.1, weight_decay=0.5),
    "noise": optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(0.1)),
}
"""Optimizers that change parameters without a gradient."""


@pytest.mark.parametrize("name", ["weight decay", pytest.param("noise", marks=pytest.mark.slow)])
def test_after_two_outer_steps_they_are_those_of_all_observations_and_no_others(leash, name):
    """Whatever optimizers do to parameters. Episodes are of different lengths."""
    optimizer, num_tasks = RESTLESS[name], 2
    learner = rl.policy_learner(
        leash, inner_optimizer=optimizer, num_inner_steps=1, episodes_per_task=3, first_order=True
    )
    loop = rl.policy_gradient(learner, optimizer, meta_batch_size=num_tasks, num_gradient_steps=2)

    def explored(key, policy):
        task_key, explore_key = jax.random.split(key)
        return learner.explore(explore_key, policy, learner.sample_task(task_key))

    @jax.jit
    def step(key, state):
        keys = jax.random.split(key, num_tasks)
        explorations = jax.vmap(explored, (0, None))(keys, state.meta_params)
        return *loop.step(key, state), explorations

    state, seen, num_steps = loop.init(small_policy(leash)), [], 0
    for index in range(2):
        acting = state.meta_params.moments
        state, metrics, (*experiences, adapted) = step(jax.random.key(index), state)
        num_steps += metrics["train/environment_steps"]
        for one in (experience.trajectory for experience in experiences):
            assert not one.mask.all(), "no episode has ended early"
            seen.append(np.asarray(one.observations)[np.asarray(one.mask)])
        for one, other in zip(
            jax.tree.leaves(adapted.moments), jax.tree.leaves(acting), strict=True
        ):
            np.testing.assert_array_equal(one, np.stack([other] * num_tasks))
    seen, moments = np.concatenate(seen), state.meta_params.moments
    assert moments.count == len(seen) == num_steps
    np.testing.assert_allclose(moments.mean, seen.mean(axis=0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moments.variance, seen.var(axis=0), rtol=1e-4)


@pytest.mark.parametrize("factor, offset", [(1024.0, 0.0), (1e3, 3e3), (1e-3, 0.02)])
def test_units_do_not_matter_once_there_are_moments(leash, factor, offset):
    """Of the gradient, the baseline included; powers of two change no bit."""

    @jax.jit
    def step(factor, offset):
        env = Measured(leash, factor, offset)
        moments = rl.ObservationMoments(
            jnp.array(50.0),
            factor * jnp.array([0.1, -0.2]) + offset,
            factor**2 * jnp.array([0.3, 0.5]),
        )
        learner = rl.policy_learner(
            env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=6
        )
        loop = rl.policy_gradient(learner, optax.sgd(0.1), meta_batch_size=2)
        state, _ = loop.step(jax.random.key(1), loop.init(small_policy(env, moments)))
        return state.meta_params

    found, expected = step(factor, offset), step(1.0, 0.0)
    (weight,), (expected_weight,) = found.network.weights, expected.network.weights
    rtol = 0 if factor == 1024 else 1e-3
    np.testing.assert_allclose(weight, expected_weight, rtol=rtol, atol=rtol)
    assert np.abs(expected_weight - small_policy(leash).network.weights[0]).max() > 1e-3
    mean = factor * expected.moments.mean + offset
    np.testing.assert_allclose(found.moments.mean, mean, rtol=rtol)
    variance = factor**2 * expected.moments.variance
    np.testing.assert_allclose(found.moments.variance, variance, rtol=rtol)


def test_they_are_found_wherever_they_are_in_a_policy(leash):
    policy = small_policy(leash)
    assert moments_in({"a": [jnp.zeros(2), policy]}) is policy.moments
    assert moments_in(rl.mlp_policy(jax.random.key(0), leash)) is None
