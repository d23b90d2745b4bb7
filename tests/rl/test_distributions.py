"""Distributions against scipy, closed forms and sums over all actions, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax.flatten_util import ravel_pytree

import mamlax

rl = mamlax.rl


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def gaussian(seed=0, shape=(4, 3)):
    rng = np.random.default_rng(seed)
    return rl.Gaussian(
        jnp.asarray(rng.normal(size=shape)), jnp.asarray(0.5 * rng.normal(size=shape))
    )


def categorical(seed=0, shape=(4, 3)):
    return rl.Categorical(jnp.asarray(2 * np.random.default_rng(seed).normal(size=shape)))


def closely(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_gaussian_log_prob_is_summed_over_the_numbers_of_an_action():
    one, actions = gaussian(), gaussian(1).mean
    each = scipy.stats.norm.logpdf(actions, one.mean, np.exp(one.log_std))
    closely(one.log_prob(actions), each.sum(-1))


def test_gaussian_entropy():
    one = gaussian()
    closely(one.entropy(), scipy.stats.norm.entropy(one.mean, np.exp(one.log_std)).sum(-1))


def test_gaussian_kl_is_that_of_the_closed_form():
    """That of multivariate normals, with traces, determinants and inverses."""
    one, other = gaussian(), gaussian(1)
    expected = []
    for m, s, n, t in zip(one.mean, one.log_std, other.mean, other.log_std, strict=True):
        first, second = np.diag(np.exp(2 * s)), np.diag(np.exp(2 * t))
        inverse = np.linalg.inv(second)
        logs = np.linalg.slogdet(second)[1] - np.linalg.slogdet(first)[1]
        quadratic = (n - m) @ inverse @ (n - m)
        expected.append(0.5 * (np.trace(inverse @ first) + quadratic - 3 + logs))
    closely(one.kl(other), expected)
    assert np.abs(one.kl(other) - other.kl(one)).min() > 1e-3, "which way round matters"
    closely(one.kl(one), np.zeros(4))


def test_gaussian_samples_have_its_mean_and_deviation():
    one = gaussian(shape=(1, 3))
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.vmap(one.sample)(keys)
    assert draws.shape == (4000, 1, 3)
    z = (np.asarray(draws) - np.asarray(one.mean)) / np.exp(one.log_std)
    assert np.abs(z.mean(0)).max() < 5 / np.sqrt(4000)
    assert np.abs((z**2).mean(0) - 1).max() < 5 * np.sqrt(2 / 4000)
    assert np.abs((z[..., 0] * z[..., 1]).mean()) < 5 / np.sqrt(4000)


def test_gaussian_mode():
    one = gaussian()
    closely(one.mode(), one.mean)


def test_categorical_log_prob_entropy_and_kl():
    one, other = categorical(), categorical(1)
    p, q = (scipy.special.softmax(x.logits, axis=-1) for x in (one, other))
    actions = jnp.array([0, 2, 1, 1])
    closely(one.log_prob(actions), np.log(p[np.arange(4), actions]))
    closely(one.entropy(), scipy.stats.entropy(p, axis=-1))
    closely(one.kl(other), scipy.stats.entropy(p, q, axis=-1))
    closely(one.kl(one), np.zeros(4))


def test_categorical_does_not_depend_on_a_constant_in_its_logits():
    one, actions = categorical(), jnp.array([0, 2, 1, 1])
    moved = rl.Categorical(one.logits + 1000.0)
    np.testing.assert_allclose(moved.log_prob(actions), one.log_prob(actions), rtol=1e-9)
    np.testing.assert_allclose(moved.kl(one), np.zeros(4), atol=1e-11)


def test_categorical_samples_are_as_frequent_as_it_says():
    one = categorical(shape=(2, 3))
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.vmap(one.sample)(keys)
    assert draws.shape == (4000, 2) and draws.dtype == jnp.int32
    p = scipy.special.softmax(one.logits, axis=-1)
    found = np.eye(3)[draws].mean(0)
    assert (np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / 4000)).all()
    np.testing.assert_array_equal(one.mode(), p.argmax(-1))


def test_a_batch_of_any_shape():
    def all_of(one, other, action):
        return jnp.stack([one.log_prob(action), one.entropy(), one.kl(other)])

    for make in (gaussian, categorical):
        one, other = make(shape=(2, 4, 3)), make(1, shape=(2, 4, 3))
        arguments = (one, other, one.sample(jax.random.key(0)))
        found = jax.jit(all_of)(*arguments)
        assert found.shape == (3, 2, 4)
        row = jax.jit(all_of)(*jax.tree.map(lambda x: x[1, 2], arguments))
        closely(found[:, 1, 2], row)


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_fisher_product_is_the_hessian_of_the_kl_where_it_is_zero(make):
    one, tangent = make(shape=(3,)), make(5, shape=(3,))
    flat, unravel = ravel_pytree(one)
    hessian = jax.jit(jax.hessian(lambda flat: one.kl(unravel(flat))))(flat)
    expected = hessian @ ravel_pytree(tangent)[0]
    closely(ravel_pytree(one.fisher_product(tangent))[0], expected)
    assert isinstance(one.fisher_product(tangent), type(one))


def test_categorical_fisher_is_the_expected_square_of_the_score():
    """E[∇log p(a) ∇log p(a)ᵀ], over all actions."""
    one, tangent = categorical(shape=(3,)), categorical(5, shape=(3,))
    scores = jax.jacobian(lambda x: jax.vmap(rl.Categorical(x).log_prob)(jnp.arange(3)))(one.logits)
    p, scores = np.exp(jax.vmap(one.log_prob)(jnp.arange(3))), np.asarray(scores)
    closely(one.fisher_product(tangent).logits, (scores.T * p) @ scores @ tangent.logits)


def test_gaussian_fisher_is_the_expected_square_of_the_score():
    """E[∇log p(a) ∇log p(a)ᵀ], by Gauss and Hermite's exact quadrature."""
    one, tangent = gaussian(shape=(1,)), gaussian(5, shape=(1,))
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    actions = one.mean + jnp.exp(one.log_std) * nodes
    log_prob = lambda d, action: d.log_prob(action[None])  # noqa: E731
    scores = jax.vmap(functools.partial(jax.grad(log_prob), one))(actions)
    scores = np.concatenate([scores.mean, scores.log_std], axis=1)
    matrix = (scores.T * (weights / weights.sum())) @ scores
    found = jnp.concatenate(one.fisher_product(tangent))
    closely(found, matrix @ jnp.concatenate(tangent))


def test_categorical_actions_begin_where_told():
    one = categorical()
    shifted = rl.Categorical(one.logits, start=-1)
    keys = jax.random.split(jax.random.key(0), 50)
    actions = jax.vmap(one.sample)(keys)
    np.testing.assert_array_equal(jax.vmap(shifted.sample)(keys), actions - 1)
    np.testing.assert_array_equal(shifted.mode(), one.mode() - 1)
    np.testing.assert_array_equal(shifted.log_prob(actions[0] - 1), one.log_prob(actions[0]))
    assert shifted.fisher_product(shifted).start == -1
