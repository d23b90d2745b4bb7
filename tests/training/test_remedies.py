"""Advice where training left the finite numbers speaks of what did it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

ZEROS = mamlax.Batch(jnp.zeros((3, 2)), jnp.zeros((3, 2)))
SGD = optax.sgd(0.01)


def squared_error(params, batch):
    return jnp.mean((batch.inputs + params["w"][None] - batch.targets) ** 2)


def distance(params, batch):
    return jnp.linalg.norm(batch.inputs + params["w"][None] - batch.targets)


def chosen_quotient(params, batch):
    """The branch that is not chosen divides by zero."""
    return jnp.where(params["w"][0] == 0, 0.0, jnp.sum(params["w"] / params["w"]))


def message_of(
    loss_fn=squared_error,
    *,
    inner=SGD,
    outer=SGD,
    dtype=jnp.float32,
    batch=ZEROS,
    n=1,
    num_outer_steps=3,
):
    learner = mamlax.maml(loss_fn, inner_optimizer=inner, num_inner_steps=n)
    loop = mamlax.outer_loop(
        learner, outer, lambda key: mamlax.Task(batch, batch), meta_batch_size=2
    )
    params = {"w": jnp.zeros(2, dtype)}
    with pytest.raises(mamlax.TrainingDivergedError) as error:
        mamlax.run(loop, params, key=jax.random.key(0), num_outer_steps=num_outer_steps)
    return str(error.value)


@pytest.mark.parametrize("loss_fn", [distance, chosen_quotient])
def test_a_loss_without_a_derivative(loss_fn):
    """It has a finite value: rates and data are not what is wrong."""
    message = message_of(loss_fn, n=0)
    assert "train/gradient_norm became infinite or NaN" in message
    assert "The loss is finite (0) and its gradient is NaN" in message
    assert "a norm or a square root at zero" in message
    assert message.index("no derivative") < message.index("learning rate")


def test_it_is_said_also_where_the_inner_loop_meets_it_first():
    message = message_of(distance)
    for words in ("Before any inner step the loss was 0", "not the outer", "a norm or a square"):
        assert words in message


def test_an_inner_adam_without_eps_root():
    message = message_of(inner=optax.adam(0.1))
    assert "The loss is finite" in message and "Adam without eps_root" in message


def test_adam_of_parameters_in_float16():
    """Its eps is zero there, and zero by zero is NaN."""
    data = jax.tree.map(lambda x: x.astype(jnp.float16), ZEROS)
    message = message_of(outer=optax.adam(1e-3), dtype=jnp.float16, batch=data)
    assert message.index("float16 are a likely cause") < message.index("learning rate")


def test_arrays_of_the_state_are_named():
    """Where no metric has shown it yet."""
    message = message_of(outer=optax.scale(jnp.inf), num_outer_steps=1)
    assert "parameters or the optimizer's state are not finite" in message
    assert "Not finite: .meta_params['w'] (float32)." in message


def test_in_the_first_step_the_outer_rate_is_not_the_cause():
    missing = ZEROS._replace(targets=jnp.full((3, 2), np.nan))
    message = message_of(batch=missing)
    assert "the outer learning rate is not the cause" in message and "one NaN in" in message
    assert "clip" not in message


def test_rates_where_rates_are_to_blame():
    ones = ZEROS._replace(targets=jnp.ones((3, 2)))
    message = message_of(outer=optax.sgd(1e30), batch=ones)
    assert "Try a smaller outer or inner learning rate" in message
    assert "float16" not in message and "derivative" not in message
