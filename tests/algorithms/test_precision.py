"""Computing in fewer bits: what keeps its type, and how near the result is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

pytestmark = pytest.mark.slow  # compiles a program for each case


def loss_fn(params, batch):
    rows = params["table"][batch["rows"]]
    return jnp.mean((jnp.tanh(batch["inputs"] @ params["weight"]) + rows) ** 2)


def make_problem():
    rng = np.random.default_rng(0)
    params = {
        "weight": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32),
        "table": jnp.asarray(rng.normal(size=(4, 2)), jnp.float32),
        "order": jnp.array([1, 0]),
    }
    inputs = jnp.asarray(rng.normal(size=(2, 8, 3)), jnp.float32)
    batch = {"inputs": inputs, "rows": jnp.tile(jnp.arange(8) % 4, (2, 1))}
    return params, mamlax.Task(batch, batch)


@pytest.mark.parametrize(("dtype", "error"), [(jnp.bfloat16, 3e-2), (jnp.float16, 4e-3)])
def test_near_float32_and_of_its_types(dtype, error):
    seen = []

    def watched(params, batch):
        seen.append(jax.tree.map(lambda x: x.dtype, (params, batch)))
        return loss_fn(params, batch)

    params, tasks = make_problem()
    options = {"inner_optimizer": optax.sgd(0.1), "num_inner_steps": 2}
    low = mamlax.maml(mamlax.with_compute_dtype(watched, dtype), **options)
    full = mamlax.maml(loss_fn, **options)
    (loss, info), gradient = jax.jit(low.meta_gradient)(params, tasks)
    (expected_loss, _), expected = jax.jit(full.meta_gradient)(params, tasks)

    for of_params, of_batch in seen:
        assert of_params == {"weight": dtype, "table": dtype, "order": np.int32}
        assert of_batch == {"inputs": dtype, "rows": np.int32}
    found = jax.tree.leaves((loss, info, gradient))
    assert {x.dtype for x in found} == {np.dtype(np.float32)}
    assert gradient["order"] is None
    np.testing.assert_allclose(loss, expected_loss, rtol=error)
    for name in ("weight", "table"):
        far = np.abs(gradient[name] - expected[name]).max() / np.abs(expected[name]).max()
        assert 0 < far < error

    support = jax.tree.map(lambda x: x[0], tasks.support)
    adapted = low.adapt(params, support).params
    assert {k: x.dtype for k, x in adapted.items()} == {k: x.dtype for k, x in params.items()}


def test_updates_smaller_than_its_steps_are_not_lost():
    """1 − 2⁻¹² is no bfloat16: parameters in it would not move."""
    in_bfloat16 = mamlax.with_compute_dtype(lambda params, batch: jnp.sum(params * batch))
    adaptation = mamlax.inner_loop(
        in_bfloat16, optax.sgd(2.0**-12), jnp.ones(1), jnp.ones(1), num_steps=3
    )
    assert adaptation.params == 1 - 3 * 2.0**-12


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda params, batch: jnp.sum(params > batch), r"got int32\[\]"),
        (lambda params, batch: (jnp.sum(params), {}), "a tuple of 2"),
        (lambda params, x, y: jnp.sum(params), r"takes \(params, x, y\)"),
    ],
    ids=["integer", "tuple", "three_arguments"],
)
def test_a_loss_that_is_none_is_still_refused(wrong, message):
    with pytest.raises(TypeError, match=message):
        mamlax.with_compute_dtype(wrong)(jnp.ones(2), jnp.ones(2))


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.complex64, bool])
def test_the_type_is_of_floating_point(dtype):
    with pytest.raises(TypeError, match="dtype must be a floating-point type, got"):
        mamlax.with_compute_dtype(loss_fn, dtype)
