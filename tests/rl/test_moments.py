"""Observations normalized by the moments of those collected before."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamlax import rl

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
