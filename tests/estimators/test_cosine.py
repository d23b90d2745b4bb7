"""The cosine of waves, beside NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np

from mamlax.estimators._cosine import cosine

ANGLES = np.linspace(-60, 60, 200_001, dtype=np.float32)


def test_it_is_the_cosine():
    found = np.asarray(jax.jit(cosine)(ANGLES), np.float64)
    exact = np.cos(ANGLES.astype(np.float64))
    assert np.all(np.abs(found - exact) < 5e-7 + 1.2e-7 * np.abs(ANGLES))
    turns = jnp.array([0.0, np.pi / 2, np.pi, -np.pi, 2 * np.pi], jnp.float32)
    np.testing.assert_allclose(cosine(turns), [1, 0, -1, -1, 1], atol=6e-7)


def test_its_derivatives_are_those_of_the_cosine():
    some = ANGLES[::500]
    first = jax.vmap(jax.grad(cosine))(some)
    second = jax.vmap(jax.grad(jax.grad(cosine)))(some)
    np.testing.assert_allclose(first, -np.sin(some.astype(np.float64)), atol=1.2e-5)
    np.testing.assert_allclose(second, -np.cos(some.astype(np.float64)), atol=1.2e-5)


def test_other_precisions_have_the_cosine_of_jax():
    half = jnp.asarray(ANGLES[::500], jnp.bfloat16)
    assert cosine(half).dtype == jnp.bfloat16
    np.testing.assert_array_equal(cosine(half), jnp.cos(half))
    with jax.enable_x64(True):
        double = jnp.linspace(-30, 30, 1001, dtype=jnp.float64)
        np.testing.assert_array_equal(cosine(double), jnp.cos(double))


def test_what_is_no_number_stays_none():
    assert np.isnan(cosine(jnp.array([np.nan, np.inf, -np.inf], jnp.float32))).all()
