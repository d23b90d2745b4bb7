"""Two ways of asking for the same number must give it."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh

import mamlax

NUM_TASKS = 6
INNER = optax.sgd(0.1)


def predict(params, inputs):
    hidden = jnp.tanh(inputs @ params["in"] + params["bias"][None])
    return hidden @ params["out"]


def squared_error(params, batch):
    return jnp.mean((predict(params, batch.inputs) - batch.targets) ** 2)


def make_problem(num_tasks=NUM_TASKS):
    """Parameters of a small network, and tasks that are all different."""
    rng = np.random.default_rng(0)
    shapes = {"in": (2, 3), "bias": (3,), "out": (3, 1)}
    params = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}

    def batch(num_examples):
        inputs, targets = (rng.normal(size=(num_tasks, num_examples, n)) for n in (2, 1))
        return mamlax.Batch(jnp.asarray(inputs), jnp.asarray(targets))

    return params, mamlax.Task(support=batch(4), query=batch(5))


def make_learner(loss_fn=squared_error, **options):
    settings = {"inner_optimizer": INNER, "num_inner_steps": 1} | options
    return mamlax.maml(loss_fn, **settings)


def assert_same(found, expected, rtol=1e-11):
    """Equal to rounding in float64; atol is for sums that cancel."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype == np.float64
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-13)


def furthest(one, two):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return max(float(np.abs(x - y).max()) for x, y in pairs)


@functools.cache
def compiled_meta_gradient(way):
    return jax.jit(mamlax.over_tasks(make_learner(), **WAYS[way]()).meta_gradient)


@functools.cache
def plain_result():
    with jax.enable_x64(True):
        return compiled_meta_gradient("plain")(*make_problem())


@jax.enable_x64(True)
def test_zero_inner_steps_are_joint_training():
    params, tasks = make_problem()
    joint = jax.jit(make_learner(num_inner_steps=0).meta_gradient)
    (loss, info), gradient = joint(params, tasks)
    pooled = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), tasks.query)
    assert_same((loss, gradient), jax.jit(jax.value_and_grad(squared_error))(params, pooled))
    assert info["support_losses"].shape == (NUM_TASKS, 0)


@jax.enable_x64(True)
def test_first_order_is_exact_where_the_loss_is_linear_in_params():
    params, tasks = make_problem()
    slopes = {
        "in": lambda x: jnp.mean(x.inputs) + 0 * params["in"],
        "bias": lambda x: jnp.sum(x.targets**2) + 0 * params["bias"],
        "out": lambda x: jnp.max(x.inputs) + 0 * params["out"],
    }

    def linear_loss(params, batch):
        return sum(jnp.sum(params[name] * slope(batch)) for name, slope in slopes.items())

    @functools.partial(jax.jit, static_argnums=0)
    def both_gradients(loss_fn, params, tasks):
        options = ({"num_inner_steps": 2, "first_order": value} for value in (False, True))
        learners = [make_learner(loss_fn, **option) for option in options]
        return [learner.meta_gradient(params, tasks)[1] for learner in learners]

    assert furthest(*both_gradients(linear_loss, params, tasks)) < 1e-13
    assert furthest(*both_gradients(squared_error, params, tasks)) > 1e-2


@jax.enable_x64(True)
def test_a_learner_made_by_hand_with_mean_gradient():
    """What its objective reports is stacked over tasks; a number per task is logged."""
    params, tasks = make_problem()

    def objective(params, task):
        gradient = jax.grad(squared_error)(params, task.support)
        adapted = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
        loss = squared_error(adapted, task.query)
        return loss, {"bias": adapted["bias"], "one": 1.0}

    by_hand = jax.jit(mamlax.mean_gradient(objective))
    (loss, info), gradient = by_hand(params, tasks)
    learner = make_learner()
    (expected_loss, _), expected = plain_result()
    assert_same((loss, gradient), (expected_loss, expected))
    assert info["bias"].shape == (NUM_TASKS, 3)
    assert info["one"].tolist() == [1.0] * NUM_TASKS

    one_task = jax.tree.map(lambda x: x[0], tasks)
    loop = mamlax.outer_loop(
        learner._replace(meta_gradient=by_hand),
        optax.sgd(0.1),
        lambda key: one_task,
        meta_batch_size=2,
    )
    _, metrics = jax.eval_shape(loop.step, jax.random.key(0), loop.init(params))
    assert set(metrics) == {"train/query_loss", "train/gradient_norm", "train/one"}


@jax.enable_x64(True)
def test_remat_changes_nothing():
    params, tasks = make_problem()
    learner, plain = (make_learner(remat=remat, num_inner_steps=2) for remat in ("steps", "none"))
    result = jax.jit(learner.meta_gradient)(params, tasks)
    assert_same(result, jax.jit(plain.meta_gradient)(params, tasks))
    program = str(jax.make_jaxpr(learner.meta_gradient)(params, tasks))
    assert "checkpoint" in program or "remat" in program


def make_mesh():
    assert len(jax.devices("cpu")) == 2, "tests/conftest.py asks for two devices"
    return Mesh(jax.devices("cpu"), ("tasks",))


WAYS = {
    "plain": dict,
    "batch_size=1": lambda: {"batch_size": 1},
    "batch_size=2": lambda: {"batch_size": 2},
    "mesh": lambda: {"mesh": make_mesh()},
    "mesh,batch_size=1": lambda: {"mesh": make_mesh(), "batch_size": 1},
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "plain"])
@jax.enable_x64(True)
def test_over_tasks_in_every_way(way):
    assert_same(compiled_meta_gradient(way)(*make_problem()), plain_result())


@jax.enable_x64(True)
def test_information_is_in_task_order():
    """Guards the test above: every task alone says what the meta-batch says of it."""
    params, tasks = make_problem()
    (loss, info), gradient = plain_result()
    alone = jax.jit(make_learner().meta_gradient)
    each = [alone(params, jax.tree.map(lambda x, i=i: x[i : i + 1], tasks)) for i in range(6)]
    losses = jnp.stack([loss for (loss, _), _ in each])
    assert np.min(np.diff(np.sort(losses))) > 1e-4, "the tasks are told apart by their losses"
    assert_same(info["query_loss"], losses)
    assert_same(
        info["support_losses"], jnp.concatenate([info["support_losses"] for (_, info), _ in each])
    )
    assert_same(loss, jnp.mean(losses))
    assert_same(gradient, jax.tree.map(lambda *gs: sum(gs) / 6, *[g for _, g in each]))


def test_micro_batches_run_one_after_another():
    """And devices work side by side: the shapes of the programs say so."""
    params, tasks = make_problem()
    learner = mamlax.over_tasks(make_learner(), batch_size=2)
    program = str(jax.make_jaxpr(learner.meta_gradient)(params, tasks))
    assert "[2,4,2]" in program and "length=3" in program
    learner = mamlax.over_tasks(make_learner(), mesh=make_mesh())
    program = str(jax.make_jaxpr(learner.meta_gradient)(params, tasks))
    assert "shard_map" in program and "[3,4,2]" in program
    learner = mamlax.over_tasks(make_learner(), batch_size=NUM_TASKS)
    program = str(jax.make_jaxpr(learner.meta_gradient)(params, tasks))
    assert program == str(jax.make_jaxpr(make_learner().meta_gradient)(params, tasks))


class Module(eqx.Module):
    """Params with leaves that are no arrays: a function and a Python number."""

    weight: Any
    activation: Callable
    scale: float

    def __call__(self, inputs):
        return self.scale * self.activation(inputs @ self.weight)


@pytest.mark.parametrize("way", ["batch_size=2", "mesh"])
def test_over_tasks_with_leaves_that_are_no_arrays(way):
    _, tasks = make_problem()
    params = Module(jnp.ones((2, 1)), jnp.tanh, 2.0)
    learner = make_learner(
        lambda params, batch: jnp.mean((params(batch.inputs) - batch.targets) ** 2)
    )
    (loss, _), gradient = eqx.filter_jit(learner.meta_gradient)(params, tasks)
    in_this_way = mamlax.over_tasks(learner, **WAYS[way]())
    (same_loss, _), same_gradient = eqx.filter_jit(in_this_way.meta_gradient)(params, tasks)
    np.testing.assert_allclose(same_loss, loss, rtol=1e-5)
    np.testing.assert_allclose(same_gradient.weight, gradient.weight, rtol=1e-5)
    assert same_gradient.activation is None and same_gradient.scale is None


@pytest.mark.slow
def test_over_tasks_on_a_mesh_from_make_mesh():
    params, tasks = make_problem()
    mesh = jax.make_mesh((2,), ("tasks",))
    learner = mamlax.over_tasks(make_learner(), mesh=mesh)
    result = jax.jit(learner.meta_gradient)(params, tasks)
    assert furthest(result, make_learner().meta_gradient(params, tasks)) < 1e-5


def per_step_problem():
    """Params and 4 tasks with a batch of their own for each of 3 inner steps."""
    x = jax.random.normal(jax.random.key(5), (4, 4, 5, 2))
    y = jnp.sin(x.sum(-1, keepdims=True))
    support = mamlax.Batch(x[:, :3], y[:, :3])
    return 0.3 * jnp.ones((2, 1)), mamlax.Task(support, mamlax.Batch(x[:, 3], y[:, 3]))


@pytest.mark.parametrize("way", ["plain", "batch_size=1", "mesh"])
@jax.enable_x64(True)
@pytest.mark.slow
def test_a_batch_of_its_own_for_each_step(way):
    """As Algorithm 3 needs, where each step has trajectories of its own."""

    def loss_fn(params, batch):
        return jnp.mean((jnp.tanh(batch.inputs @ params) - batch.targets) ** 2)

    def by_hand(params, task):
        for step in range(3):
            batch = jax.tree.map(lambda x, i=step: x[i], task.support)
            params = params - 0.1 * jax.grad(loss_fn)(params, batch)
        return loss_fn(params, task.query)

    params, tasks = per_step_problem()
    expected = jax.value_and_grad(lambda p: jax.vmap(by_hand, (None, 0))(p, tasks).mean())(params)
    learner = mamlax.maml(
        loss_fn, inner_optimizer=optax.sgd(0.1), num_inner_steps=3, support_per_step=True
    )
    ways = {"plain": {}, "batch_size=1": {"batch_size": 1}, "mesh": {"mesh": make_mesh()}}
    learner = mamlax.over_tasks(learner, **ways[way])
    (loss, _), gradient = jax.jit(learner.meta_gradient)(params, tasks)
    assert_same((loss, gradient), expected)


@jax.enable_x64(True)
@pytest.mark.slow
def test_first_order_stops_the_value_too():
    """Polyak's step size is made of the loss: a constant, too, for first order."""
    params, tasks = make_problem()
    learner = mamlax.maml(
        squared_error,
        inner_optimizer=optax.polyak_sgd(max_learning_rate=10.0),
        num_inner_steps=1,
        first_order=True,
    )

    def query_gradient(task):
        adapted = learner.adapt(params, task.support).params
        return jax.grad(squared_error)(adapted, task.query)

    gradients = jax.vmap(query_gradient)(tasks)
    expected = jax.tree.map(lambda g: g.mean(0), gradients)
    assert_same(learner.meta_gradient(params, tasks)[1], expected)


@pytest.mark.slow
def test_numpy_params_learn():
    params, tasks = make_problem()
    result = make_learner().meta_gradient(jax.tree.map(np.asarray, params), tasks)
    assert furthest(result, make_learner().meta_gradient(params, tasks)) < 1e-6


def test_micro_batches_sum_in_float32():
    """The mean of many equal numbers is that number; sums in bfloat16 would round each time."""
    dtype = jnp.bfloat16
    meta_gradient = mamlax.mean_gradient(lambda params, task: (params * task.query, {}))
    learner = mamlax.MetaLearner(lambda p: p, lambda *_: None, meta_gradient)
    tasks = mamlax.Task(jnp.zeros(64), jnp.full(64, 1.01, dtype))
    one_by_one = mamlax.over_tasks(learner, batch_size=1).meta_gradient
    gradient = jax.jit(one_by_one)(jnp.ones((), dtype), tasks)[1]
    assert gradient.dtype == dtype and gradient == tasks.query[0]


CURVES = {
    "plain": dict,
    "batch_size=1": WAYS["batch_size=1"],
    "batch_size=4": lambda: {"batch_size": 4},  # does not divide 6
    "mesh,batch_size=2": lambda: {"mesh": make_mesh(), "batch_size": 2},  # does not divide 3
}


@functools.cache
def curves_by_hand(num_steps):
    """Each task adapted alone, as often as there are points on its curve."""
    params, tasks = make_problem()
    gradient_fn, metric_fn = jax.jit(jax.grad(squared_error)), jax.jit(squared_error)
    curves = []
    for index in range(NUM_TASKS):
        support, query = jax.tree.map(lambda x, i=index: x[i], tasks)
        adapted, curve = params, [metric_fn(params, query)]
        for _ in range(num_steps):
            gradient = gradient_fn(adapted, support)
            adapted = jax.tree.map(lambda p, g: p - 0.1 * g, adapted, gradient)
            curve.append(metric_fn(adapted, query))
        curves.append(jnp.stack(curve))
    return jnp.stack(curves)


@pytest.mark.parametrize("way", CURVES)
@jax.enable_x64(True)
@pytest.mark.slow
def test_adaptation_curves_in_every_way(way):
    params, tasks = make_problem()
    learner = make_learner()
    curves_of = mamlax.adaptation_curves(learner, squared_error, num_inner_steps=3, **CURVES[way]())
    curves = jax.jit(curves_of)(params, tasks)
    assert curves.shape == (NUM_TASKS, 4)
    assert_same(curves, curves_by_hand(3))


def test_adaptation_curves_of_several_metrics_without_steps():
    params, tasks = make_problem()
    curves_of = mamlax.adaptation_curves(
        make_learner(),
        lambda params, batch: {"predictions": predict(params, batch.inputs)},
        num_inner_steps=0,
        batch_size=4,
    )
    predictions = jax.jit(curves_of)(params, tasks)["predictions"]
    assert predictions.shape == (NUM_TASKS, 1, 5, 1)
    np.testing.assert_allclose(predictions[4, 0], predict(params, tasks.query.inputs[4]), rtol=1e-5)


@jax.enable_x64(True)
@pytest.mark.slow
def test_seeds_in_one_program_are_separate_runs():
    _, tasks = make_problem()

    def sample_task(key):
        index = jax.random.key_data(key)[1] % NUM_TASKS
        return jax.tree.map(lambda x: x[index], tasks)

    loop = mamlax.outer_loop(make_learner(), optax.adam(0.1), sample_task, meta_batch_size=2)

    def run(seed):
        params = jax.tree.map(lambda x: x * (1 + seed), make_problem()[0])
        state = loop.init(params)
        keys = jax.vmap(jax.random.key)(seed + jnp.arange(3))
        state, metrics = jax.lax.scan(lambda state, key: loop.step(key, state), state, keys)
        return state.meta_params, metrics

    seeds = jnp.arange(3)
    together, separately = jax.jit(jax.vmap(run))(seeds), jax.jit(run)
    for index in (0, 2):
        alone = separately(seeds[index])
        assert_same(jax.tree.map(lambda x, i=index: x[i], together), alone, rtol=1e-9)


@jax.enable_x64(True)
def test_the_tasks_that_sample_task_holds_are_inputs_of_the_step():
    """Where it is a pytree, its arrays are not compiled into the program."""

    class Distribution(eqx.Module):
        inputs: Any

        def sample(self, key):
            batch = mamlax.Batch(self.inputs, None)
            return mamlax.Task(batch, batch)

    _, tasks = make_problem()
    learner = make_learner(lambda params, batch: jnp.sum((params - batch.inputs) ** 2))
    one, two = (Distribution(tasks.support.inputs[i]) for i in (0, 1))
    loop = mamlax.outer_loop(learner, optax.sgd(1.0), one.sample, meta_batch_size=1)
    num_traces = [0]

    @eqx.filter_jit
    def step(loop_step, key, state):
        num_traces[0] += 1
        return loop_step(key, state)

    key, state = jax.random.key(0), loop.init(jnp.zeros((4, 2)))
    losses = []
    for distribution in (one, two):
        moved = jax.tree.map(lambda x, d=distribution: d.inputs, loop.step)
        losses.append(step(moved, key, state)[1]["train/query_loss"])
    assert num_traces == [1]
    # one step of rate 0.1 leaves 0.8 of the distance, and a loss of its square
    expected = [0.8**2 * jnp.sum(distribution.inputs**2) for distribution in (one, two)]
    assert_same(losses, expected)
    assert abs(losses[0] - losses[1]) > 1e-3


@jax.enable_x64(True)
def test_one_batch_per_step():
    params, tasks = make_problem()
    batches = jax.tree.map(lambda x: x[:3], tasks.support)
    one = jax.tree.map(lambda x: x[0], batches)
    inner_loop = functools.partial(
        mamlax.inner_loop, squared_error, INNER, num_steps=3, probe_fn=lambda params: params["in"]
    )
    equal = jax.tree.map(lambda x: jnp.stack([x] * 3), one)
    assert_same(inner_loop(params, equal, support_per_step=True), inner_loop(params, one))

    adapted, losses, probes = params, [], [params["in"]]
    for step in range(3):
        batch = jax.tree.map(lambda x, i=step: x[i], batches)
        loss, gradient = jax.value_and_grad(squared_error)(adapted, batch)
        adapted = jax.tree.map(lambda p, g: p - 0.1 * g, adapted, gradient)
        losses.append(loss)
        probes.append(adapted["in"])
    found = inner_loop(params, batches, support_per_step=True)
    assert_same(found, mamlax.Adaptation(adapted, jnp.stack(losses), jnp.stack(probes)))

    single = mamlax.inner_loop(
        squared_error,
        INNER,
        params,
        jax.tree.map(lambda x: x[:1], batches),
        num_steps=1,
        support_per_step=True,
    )
    assert_same(single, inner_loop(params, one, num_steps=1, probe_fn=None))


def test_one_step_can_be_debugged_without_jit():
    with jax.disable_jit():
        mamlax.inner_loop(lambda x, y: (x - y) ** 2, INNER, jnp.ones(()), 2.0, num_steps=1)


@pytest.mark.parametrize("way", ["plain", "batch_size=2"])
@settings(max_examples=20, deadline=None, database=None, derandomize=True)
@given(order=st.permutations(range(NUM_TASKS)))
@pytest.mark.slow
def test_the_order_of_tasks_does_not_matter(way, order):
    with jax.enable_x64(True):
        params, tasks = make_problem()
        order = jnp.asarray(order)
        permuted = jax.tree.map(lambda x: x[order], tasks)
        (loss, info), gradient = compiled_meta_gradient(way)(params, permuted)
        (expected_loss, expected_info), expected_gradient = plain_result()
        assert_same((loss, gradient), (expected_loss, expected_gradient))
        assert_same(info, jax.tree.map(lambda x: x[order], expected_info))
