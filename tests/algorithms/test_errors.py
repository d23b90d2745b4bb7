"""Mistakes are caught where they are made; the message says what came and what was expected."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

import mamlax

BATCH = mamlax.Batch(jnp.ones((4, 5, 1)), jnp.ones((4, 5, 1)))
TASKS = mamlax.Task(BATCH, BATCH)
SUPPORT = mamlax.Batch(jnp.ones((5, 1)), jnp.ones((5, 1)))
PARAMS = {"weight": jnp.ones((1, 1))}
INNER = optax.sgd(0.1)


def squared_errors(params, batch):
    return jnp.square(batch.inputs @ params["weight"] - batch.targets)


def squared_error(params, batch):
    return jnp.mean(squared_errors(params, batch))


def make_learner(loss_fn=squared_error, num_inner_steps=1):
    return mamlax.maml(loss_fn, inner_optimizer=INNER, num_inner_steps=num_inner_steps)


def make_mesh(*names):
    devices = np.array(jax.devices("cpu"))
    return Mesh(devices.reshape(-1, *[1] * (len(names) - 1)), names)


def assert_raises(error, parts, fn, *args):
    """`fn(*args)` raises exactly `error`, with every part in its message."""
    with pytest.raises(error) as caught:
        fn(*args)
    assert caught.type is error
    for part in parts:
        assert part in str(caught.value), f"{part!r} is not in: {caught.value}"


@pytest.mark.parametrize(
    ("loss_fn", "got"),
    [
        (squared_errors, "float32[5, 1]"),
        (lambda params, batch: squared_error(params, batch)[None], "float32[1]"),
        (lambda params, batch: jnp.sum(batch.inputs > 0), "int32[]"),
        (lambda params, batch: squared_error(params, batch) * 1j, "complex64[]"),
        (lambda params, batch: 1.0, "got float."),
        (lambda params, batch: (squared_error(params, batch), {}), "got tuple."),
        (lambda params, batch: None, "got NoneType."),
    ],
    ids=["vector", "length_one", "integer", "complex", "python_number", "tuple", "none"],
)
@pytest.mark.parametrize("num_inner_steps", [0, 1])
def test_loss_must_be_a_scalar(loss_fn, got, num_inner_steps):
    parts = ["loss_fn must return a floating-point scalar", got, "jnp.mean"]
    learner = make_learner(loss_fn, num_inner_steps)
    assert_raises(TypeError, parts, learner.meta_gradient, PARAMS, TASKS)
    assert_raises(TypeError, parts, jax.jit(learner.meta_gradient), PARAMS, TASKS)
    if num_inner_steps:
        assert_raises(TypeError, parts, learner.adapt, PARAMS, SUPPORT)


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"a": jnp.arange(3), "b": jnp.array(True)}, "bool, int32."),
        ({"a": 1.5, "b": "name"}, "float, str."),
        ({}, "none."),
    ],
    ids=["integers", "python_values", "empty"],
)
def test_params_must_have_something_to_learn(params, found):
    parts = ["no floating-point array leaf", f"Leaves found: {found}", "jnp.float32"]
    learner = make_learner(lambda params, batch: jnp.mean(batch.inputs))
    loop = mamlax.outer_loop(learner, INNER, lambda key: TASKS, meta_batch_size=1)
    assert_raises(ValueError, parts, learner.adapt, params, SUPPORT)
    assert_raises(ValueError, parts, learner.meta_gradient, params, TASKS)
    assert_raises(ValueError, parts, loop.init, params)


ONE_MORE = jnp.ones((4, 5, 2))
WRONG_TASKS = {
    "query_has_other_features": (
        mamlax.Task(BATCH, BATCH._replace(inputs=ONE_MORE)),
        ["task.support.inputs has shape [4, 5, 1]", "task.query.inputs [4, 5, 2]", "only the"],
    ),
    "query_has_other_rank": (
        mamlax.Task(BATCH, BATCH._replace(targets=jnp.ones((4, 5)))),
        ["task.support.targets has shape [4, 5, 1]", "task.query.targets [4, 5]", "only the"],
    ),
    "query_lacks_a_field": (
        mamlax.Task({"x": ONE_MORE, "y": ONE_MORE}, {"x": ONE_MORE}),
        ["task.query has no field", "['y']", "both need the same fields"],
    ),
    "leading_axes_differ": (
        mamlax.Task(BATCH, jax.tree.map(lambda x: x[:3], BATCH)),
        ["leading axis `tasks`", ".support.inputs: [4]", ".query.targets: [3]", "jnp.stack"],
    ),
    "one_task_not_stacked": (
        mamlax.Task({"x": jnp.ones(())}, {"x": jnp.ones(())}),
        ["leading axis `tasks`", ".support['x']: []", "jax.vmap"],
    ),
    "no_arrays": (mamlax.Task({}, {}), ["leading axis `tasks`", "no arrays"]),
}


@pytest.mark.parametrize("case", WRONG_TASKS)
def test_tasks_must_fit_together(case):
    tasks, parts = WRONG_TASKS[case]
    learner = make_learner()
    curves = mamlax.adaptation_curves(learner, squared_error, num_inner_steps=1)
    sequential = mamlax.over_tasks(learner, batch_size=1)
    shared = mamlax.over_tasks(learner, mesh=make_mesh("tasks"))
    for fn in (learner.meta_gradient, sequential.meta_gradient, shared.meta_gradient, curves):
        assert_raises(ValueError, parts, fn, PARAMS, tasks)


def test_only_the_number_of_examples_may_differ():
    """And the query may have more fields; neither is a mistake."""
    query = mamlax.Batch(jnp.ones((4, 7, 1)), jnp.ones((4, 7, 1)), reference=BATCH.inputs)
    jax.eval_shape(make_learner().meta_gradient, PARAMS, mamlax.Task(BATCH, query))


def test_numbers_of_steps_are_not_negative():
    learner = make_learner()
    parts = ["num_inner_steps must be 0 or more", "got -1"]
    assert_raises(ValueError, parts, make_learner, squared_error, -1)
    parts = ["num_steps must be 0 or more", "got -2"]
    adapt = functools.partial(learner.adapt, num_inner_steps=-2)
    assert_raises(ValueError, parts, adapt, PARAMS, SUPPORT)
    inner_loop = functools.partial(mamlax.inner_loop, squared_error, INNER, num_steps=-2)
    assert_raises(ValueError, parts, inner_loop, PARAMS, SUPPORT)


@pytest.mark.parametrize("batch_size", [3, 8, 0, -2])
def test_micro_batches_must_divide_the_tasks(batch_size):
    learner = mamlax.over_tasks(make_learner(), batch_size=batch_size)
    parts = ["4 tasks do not divide", f"batch_size={batch_size}"]
    assert_raises(ValueError, parts, learner.meta_gradient, PARAMS, TASKS)


def test_devices_must_divide_the_tasks():
    three = jax.tree.map(lambda x: x[:3], TASKS)
    learner = mamlax.over_tasks(make_learner(), mesh=make_mesh("tasks"))
    curves = mamlax.adaptation_curves(
        learner, squared_error, num_inner_steps=1, mesh=make_mesh("tasks")
    )
    for fn in (learner.meta_gradient, curves):
        assert_raises(ValueError, ["3 tasks do not divide over 2 devices"], fn, PARAMS, three)


@pytest.mark.parametrize("names", [("batch",), ("tasks", "model")], ids=str)
def test_the_mesh_has_one_axis_named_tasks(names):
    parts = ['one axis named "tasks"', str(names)]
    mesh = make_mesh(*names)
    over_tasks = functools.partial(mamlax.over_tasks, mesh=mesh)
    assert_raises(ValueError, parts, over_tasks, make_learner())
    curves = functools.partial(mamlax.adaptation_curves, num_inner_steps=1, mesh=mesh)
    assert_raises(ValueError, parts, curves, make_learner(), squared_error)


@pytest.mark.parametrize("meta_batch_size", [0, -1])
def test_a_meta_batch_has_tasks(meta_batch_size):
    outer_loop = functools.partial(mamlax.outer_loop, meta_batch_size=meta_batch_size)
    parts = ["meta_batch_size must be positive", f"got {meta_batch_size}"]
    assert_raises(ValueError, parts, outer_loop, make_learner(), INNER, lambda key: TASKS)
