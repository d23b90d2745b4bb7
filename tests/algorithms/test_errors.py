"""Mistakes are caught where they are made; the message says what came and what was expected."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

import mamlax
from mamlax.algorithms import _inner_loop

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
        (lambda params, batch: None, "got NoneType."),
    ],
    ids=["vector", "length_one", "integer", "complex", "python_number", "none"],
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


def test_a_loss_with_something_beside_is_told_where_to_put_it():
    learner = make_learner(lambda params, batch: (squared_error(params, batch), {}))
    assert_raises(TypeError, ["a tuple of 2", "probe_fn"], learner.meta_gradient, PARAMS, TASKS)


def test_a_loss_takes_params_and_a_batch():
    learner = make_learner(lambda params, x, y: squared_error(params, mamlax.Batch(x, y)))
    parts = ["(params, batch)", "takes (params, x, y)", "batch.inputs"]
    assert_raises(TypeError, parts, learner.meta_gradient, PARAMS, TASKS)


def test_a_distribution_is_no_meta_batch():
    parts = ["a meta-batch", "Sinusoids", "mamlax.sample_tasks"]
    assert_raises(ValueError, parts, make_learner().meta_gradient, PARAMS, mamlax.Sinusoids())


def test_what_is_nearly_right_is_told_what_would_be():
    learner = make_learner()
    assert_raises(TypeError, ["Give task.support"], learner.adapt, PARAMS, TASKS)
    state = mamlax.OuterState(PARAMS, None, 0)
    assert_raises(TypeError, ["Give state.meta_params"], learner.adapt, state, SUPPORT)
    maml = mamlax.maml
    while hasattr(maml, "__wrapped__"):  # the run-time type checks of the tests, which speak first
        maml = maml.__wrapped__
    with pytest.raises(TypeError, match=r"optax.sgd\(0.1\), got 0.1"):
        maml(squared_error, inner_optimizer=0.1, num_inner_steps=1)


def test_tasks_have_support_and_query():
    learner = make_learner()
    parts = ["support and query", "got tuple"]
    assert_raises(TypeError, parts, learner.meta_gradient, PARAMS, (BATCH, BATCH))


def test_support_and_query_of_other_ranks_would_broadcast():
    tasks = mamlax.Task(BATCH, BATCH._replace(targets=jnp.ones((4, 5))))
    parts = ["support.targets has shape [5, 1]", "query.targets [5]", "only the lengths"]
    assert_raises(ValueError, parts, make_learner().meta_gradient, PARAMS, tasks)


ONE_MORE = jnp.ones((4, 5, 2))


@pytest.mark.parametrize(
    ("query", "note"),
    [
        ({"x": BATCH.inputs}, "support['y'] has no counterpart in the query"),
        ({"x": ONE_MORE, "y": BATCH.targets}, "support['x'] has shape [5, 1], query['x'] [5, 2]."),
    ],
    ids=["field", "features"],
)
def test_a_loss_that_fails_on_the_query_alone_is_explained(query, note):
    learner = make_learner(lambda p, batch: jnp.mean((batch["x"] @ p["weight"] - batch["y"]) ** 2))
    tasks = mamlax.Task({"x": BATCH.inputs, "y": BATCH.targets}, query)
    with pytest.raises((KeyError, TypeError)) as caught:
        learner.meta_gradient(PARAMS, tasks)
    assert any(note in found for found in caught.value.__notes__)


def test_what_the_loss_does_not_read_may_differ():
    support = {"x": BATCH.inputs, "mask": ONE_MORE}
    learner = make_learner(lambda params, batch: jnp.mean((batch["x"] @ params["weight"]) ** 2))
    jax.eval_shape(learner.meta_gradient, PARAMS, mamlax.Task(support, {"x": jnp.ones((4, 9, 1))}))


def test_the_number_of_steps_is_static():
    # by itself: the run-time type checks of the tests would speak first
    static = jax.jit(_inner_loop._static)
    assert_raises(TypeError, ["a Python integer", "static_argnames"], static, 2)


def test_one_batch_per_step():
    inner_loop = functools.partial(
        mamlax.inner_loop, squared_error, INNER, num_steps=3, support_per_step=True
    )
    parts = ["3 are expected", "support.inputs has shape [4, 5, 1]"]
    assert_raises(ValueError, parts, inner_loop, PARAMS, BATCH)


def test_an_objective_gives_one_number_per_task():
    meta_gradient = mamlax.mean_gradient(lambda params, task: (params * task.query[:, 0], {}))
    tasks = mamlax.Task(BATCH.inputs, BATCH.inputs)
    parts = ["one number per task", "[5]"]
    assert_raises(TypeError, parts, meta_gradient, jnp.ones(()), tasks)


WRONG_TASKS = {
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
