"""Numbers among the params that do not learn are named, where the loss has a derivative by them."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

WAVES = mamlax.Sinusoids(shots=5)


class Line(eqx.Module):
    slope: jax.Array
    offset: float

    def __call__(self, x):
        return self.slope * x + self.offset


def line(params, x):
    return params["w"] * x + params["more"]


def loss_with(predict):
    return lambda params, batch: jnp.mean((predict(params, batch.inputs) - batch.targets) ** 2)


def warnings_of(params, predict, **options):
    learner = mamlax.maml(loss_with(predict), inner_optimizer=optax.sgd(0.01), num_inner_steps=1)
    loop = mamlax.outer_loop(learner, optax.sgd(0.01), WAVES.sample, meta_batch_size=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        eqx.filter_eval_shape(loop.step, jax.random.key(0), loop.init(params))
    return [str(warning.message) for warning in caught]


W = jnp.array(1.0)
MEANT = {
    "python_float": ({"w": W, "more": 0.5}, line, "['more'] is a Python float"),
    "python_integer": ({"w": W, "more": 2}, line, "['more'] is a Python int"),
    "integers": ({"w": W, "more": jnp.array(2)}, line, "['more'] is an array of int32"),
    "numpy": ({"w": W, "more": np.array([2])}, line, "['more'] is an array of int"),
    "module": (Line(W, 0.5), lambda model, x: model(x), ".offset is a Python float"),
}
NOT_MEANT = {
    "index": ({"w": jnp.ones(3), "more": jnp.array([1])}, lambda p, x: p["w"][p["more"]] * x),
    "compared": (
        {"w": W, "more": 0.5},
        lambda p, x: p["w"] * (x if p["more"] > 0 else x**2),
    ),
    "threshold": ({"w": W, "more": 0.5}, lambda p, x: p["w"] * (x > p["more"])),
    "unused": ({"w": W, "more": jnp.array(3)}, lambda p, x: p["w"] * x),
    "boolean": ({"w": W, "more": jnp.array(True)}, lambda p, x: jnp.where(p["more"], p["w"], x)),
    "key": (
        {"w": W, "more": jax.random.key(0)},
        lambda p, x: p["w"] * x + jax.random.normal(p["more"], (1, 1)),
    ),
    "old_key": (
        {"w": W, "more": jax.random.PRNGKey(0)},
        lambda p, x: p["w"] * x + jax.random.normal(p["more"], (1, 1)),
    ),
    "dropout": (
        [eqx.nn.MLP(1, 1, 3, 1, key=jax.random.key(0)), eqx.nn.Dropout(0.5)],
        lambda p, x: p[1](jax.vmap(p[0])(x), key=jax.random.key(0)),
    ),
}


@pytest.mark.parametrize("name", MEANT)
def test_it_is_named(name):
    params, predict, named = MEANT[name]
    with jax.numpy_rank_promotion("allow"):
        (message,) = warnings_of(params, predict)
    assert message.startswith(named) and "jnp.asarray(x, jnp.float32)" in message


@pytest.mark.parametrize("name", NOT_MEANT)
def test_what_has_no_derivative_is_not(name):
    with jax.numpy_rank_promotion("allow"):
        assert not warnings_of(*NOT_MEANT[name])


def test_the_check_remarks_on_it():
    learner = mamlax.maml(loss_with(line), inner_optimizer=optax.sgd(0.01), num_inner_steps=1)
    tasks = mamlax.sample_tasks(WAVES.sample, jax.random.key(0), 1)
    report = mamlax.check_meta_gradient(learner, {"w": W, "more": 0.5}, tasks)
    assert report.passed, report
    (remark,) = report.remarks
    assert remark.startswith("['more'] is a Python float and does not learn")
