"""Implicit MAML: exact on quadratics, and honest about how far it is from exact elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

from .quadratics import DIM, NUM_TASKS, make_problem, quadratic_loss

RATE, STRENGTH = 0.08, 2.0


def tasks_one_by_one(tasks):
    return [jax.tree.map(lambda x, i=i: x[i], tasks) for i in range(NUM_TASKS)]


def make_learner(loss_fn=quadratic_loss, **options):
    settings = {
        "inner_optimizer": optax.sgd(RATE),
        "num_inner_steps": 150,
        "proximal_strength": STRENGTH,
        "num_conjugate_gradient_steps": DIM + 1,
    }
    return mamlax.imaml(loss_fn, **{**settings, **options})


def result_of(learner, params, tasks):
    params, tasks = jax.tree.map(jnp.asarray, (params, tasks))
    return jax.jit(learner.meta_gradient)(params, tasks)


def minimum(params, task):
    curvature, center = task.support
    system = curvature + STRENGTH * np.eye(DIM)
    return np.linalg.solve(system, curvature @ center + STRENGTH * params)


def query_gradient(params, task):
    return task.query.curvature @ (params - task.query.center)


@jax.enable_x64(True)
@pytest.mark.parametrize("damping", [0.0, 7.0])
def test_the_exact_gradient(damping):
    """(I + A/(λ + δ))⁻¹ ∇ℒ(φ, query) at φ = (A + λ)⁻¹ (A c + λ θ): damping leaves φ alone."""
    params, tasks = make_problem()
    (loss, info), gradient = result_of(make_learner(damping=damping), params, tasks)
    each = tasks_one_by_one(tasks)
    expected = [
        np.linalg.solve(
            np.eye(DIM) + task.support.curvature / (STRENGTH + damping),
            query_gradient(minimum(params, task), task),
        )
        for task in each
    ]
    np.testing.assert_allclose(gradient, np.mean(expected, axis=0), rtol=1e-9)
    losses = [quadratic_loss(minimum(params, task), task.query) for task in each]
    np.testing.assert_allclose(info["query_loss"], losses, rtol=1e-9)
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-9)
    assert np.max(info["residual"]) < 1e-12
    assert np.max(info["stationarity"]) < 1e-10


@jax.enable_x64(True)
@pytest.mark.parametrize("damping", [0.0, 3.0])
def test_what_does_not_adapt_learns_through_the_same_system(damping):
    """ℒ = k/2 (φ − ψ c)²: ψ's gradient is its own, and through φ by λ + δ."""

    def loss_fn(params, batch):
        curvature, center = batch
        return 0.5 * curvature * (params["a"] - params["b"] * center) ** 2

    a, b, k, c, kq, cq = 0.3, 0.7, 1.5, 2.0, 0.8, -1.0
    task = mamlax.Task((jnp.array([k]), jnp.array([c])), (jnp.array([kq]), jnp.array([cq])))
    learner = make_learner(loss_fn, where=lambda params: params["a"], damping=damping)
    params = {"a": jnp.array(a), "b": jnp.array(b)}
    gradient = jax.jit(learner.meta_gradient)(params, task)[1]
    adapted = (k * b * c + STRENGTH * a) / (k + STRENGTH)
    slope, strength = kq * (adapted - b * cq), STRENGTH + damping
    x = slope / (1 + k / strength)
    np.testing.assert_allclose(gradient["a"], x, rtol=1e-9)
    # ∂/∂ψ of ℒ on the query, and of ∂ℒ/∂φ on the support: −k c
    np.testing.assert_allclose(gradient["b"], -slope * cq + x * k * c / strength, rtol=1e-9)


@jax.enable_x64(True)
@pytest.mark.slow
def test_damped_without_end_it_is_the_first_order_gradient():
    """Of what adapts, and of what does not."""
    params, tasks = make_network()
    learner = make_learner(network_error, where=lambda params: params["out"], damping=1e9)
    (_, info), gradient = jax.jit(learner.meta_gradient)(params, tasks)

    @jax.jit
    def first_order(task):
        return jax.grad(network_error)(learner.adapt(params, task.support).params, task.query)

    each = [first_order(task) for task in tasks_one_by_one(tasks)]
    expected = jax.tree.map(lambda *x: np.mean(x, axis=0), *each)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), gradient, expected)
    assert np.max(info["residual"]) < 1e-9


def conjugate_gradients(matrix, right, num_steps):
    """As in a textbook."""
    x, rest = np.zeros_like(right), right
    direction = rest
    for _ in range(num_steps):
        step = rest @ rest / (direction @ matrix @ direction)
        x, before = x + step * direction, rest
        rest = rest - step * matrix @ direction
        direction = rest + rest @ rest / (before @ before) * direction
    return x


@jax.enable_x64(True)
def test_what_it_says_of_being_far_from_exact():
    """Two inner steps and two conjugate gradients: neither is enough, and both are reported."""
    params, tasks = make_problem()
    learner = make_learner(num_inner_steps=2, num_conjugate_gradient_steps=2)
    (_, info), gradient = result_of(learner, params, tasks)
    solutions, residuals, stationarities, losses = [], [], [], []
    for task in tasks_one_by_one(tasks):
        curvature, center = task.support
        adapted, path = params, []
        for _ in range(2):
            slope = curvature @ (adapted - center) + STRENGTH * (adapted - params)
            away = adapted - params
            path.append(quadratic_loss(adapted, task.support) + STRENGTH / 2 * away @ away)
            adapted = adapted - RATE * slope
        slope = curvature @ (adapted - center) + STRENGTH * (adapted - params)
        matrix, right = np.eye(DIM) + curvature / STRENGTH, query_gradient(adapted, task)
        x = conjugate_gradients(matrix, right, 2)
        norm = np.linalg.norm
        solutions.append(x)
        losses.append(path)
        residuals.append(norm(matrix @ x - right) / norm(right))
        stationarities.append(norm(slope) / norm(curvature @ (params - center)))
    np.testing.assert_allclose(gradient, np.mean(solutions, axis=0), rtol=1e-9)
    np.testing.assert_allclose(info["residual"], residuals, rtol=1e-9)
    np.testing.assert_allclose(info["stationarity"], stationarities, rtol=1e-9)
    np.testing.assert_allclose(info["support_losses"], losses, rtol=1e-9)
    assert np.min(info["residual"]) > 1e-3 and np.min(info["stationarity"]) > 1e-3


@pytest.mark.slow
def test_more_conjugate_gradients_than_needed_do_no_harm():
    """In float32: the residual stays at rounding, and nothing is divided by zero."""
    params, tasks = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), make_problem())
    enough, many = (
        make_learner(num_inner_steps=9, num_conjugate_gradient_steps=n) for n in (DIM, 100)
    )
    (_, info), gradient = result_of(many, params, tasks)
    np.testing.assert_allclose(gradient, result_of(enough, params, tasks)[1], rtol=1e-4)
    assert np.max(info["residual"]) < 1e-5


def test_nothing_to_learn_from_is_a_zero_not_a_nan():
    """A query without a gradient, and a support without one."""
    learner = make_learner(lambda params, x: 0.5 * jnp.sum((params - x) ** 2))
    zeros = jnp.zeros((2, 3))
    (_, info), gradient = jax.jit(learner.meta_gradient)(jnp.zeros(3), mamlax.Task(zeros, zeros))
    assert np.array_equal(gradient, np.zeros(3))
    assert np.array_equal(info["residual"], np.zeros(2))
    assert np.array_equal(info["stationarity"], np.zeros(2))


def network_error(params, batch):
    hidden = jnp.tanh(batch.inputs @ params["in"] + params["bias"][None])
    return jnp.mean((hidden @ params["out"] - batch.targets) ** 2)


def make_network():
    rng = np.random.default_rng(1)
    shapes = {"in": (2, 3), "bias": (3,), "out": (3, 1)}
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def batch(size):
        inputs, targets = (rng.normal(size=(NUM_TASKS, size, n)) for n in (2, 1))
        return mamlax.Batch(inputs, targets)

    return jax.tree.map(jnp.asarray, (params, mamlax.Task(batch(4), batch(5))))


def unrolled_gradient(params, tasks, num_steps, adapting):
    """Autodiff through the proximal loop written by hand."""

    def adapted(params, support):
        def proximal_loss(adapted):
            squares = [jnp.sum((adapted[name] - params[name]) ** 2) for name in adapting]
            return network_error(params | adapted, support) + STRENGTH / 2 * sum(squares)

        def step(adapted, _):
            gradient = jax.grad(proximal_loss)(adapted)
            return jax.tree.map(lambda p, g: p - RATE * g, adapted, gradient), None

        start = {name: params[name] for name in adapting}
        return params | jax.lax.scan(step, start, length=num_steps)[0]

    def meta_loss(params):
        losses = jax.vmap(lambda task: network_error(adapted(params, task.support), task.query))
        return losses(tasks).mean()

    return jax.jit(jax.grad(meta_loss))(params)


@functools.cache
def distance_from_unrolled(num_steps, adapting):
    """The largest difference, relative to the largest entry of the gradient."""
    with jax.enable_x64(True):
        params, tasks = make_network()
        learner = make_learner(
            network_error,
            num_inner_steps=num_steps,
            num_conjugate_gradient_steps=30,
            where=lambda params: [params[name] for name in adapting],
        )
        gradient = jax.jit(learner.meta_gradient)(params, tasks)[1]
        expected = unrolled_gradient(params, tasks, num_steps, adapting)
        largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(expected))
        differences = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), gradient, expected)
        return {name: value / largest for name, value in differences.items()}


@pytest.mark.parametrize("adapting", [("in", "bias", "out"), ("bias", "out")], ids=len)
def test_it_is_the_unrolled_gradient_in_the_end(adapting):
    """Also of leaves that do not adapt: directly, and through what the others do."""
    assert max(distance_from_unrolled(200, adapting).values()) < 1e-9


@pytest.mark.slow
def test_it_converges_to_the_unrolled_gradient_geometrically():
    """With μ the least curvature of the proximal problem, each step leaves 1 − α μ of the error."""
    numbers = (10, 20, 30)
    errors = [
        max(distance_from_unrolled(number, ("in", "bias", "out")).values()) for number in numbers
    ]
    ratios = np.divide(errors[1:], errors[:-1])
    assert errors[0] > 1e-4
    assert np.all(ratios < 0.5)
    assert abs(np.log(ratios[1] / ratios[0])) < 1, "the same factor from ten steps to the next"


@jax.enable_x64(True)
def test_integers_and_functions_ride_along():
    params, tasks = make_network()
    learner = make_learner(network_error, num_inner_steps=3, where=lambda p: p["out"])
    expected = jax.jit(learner.meta_gradient)(params, tasks)[1]
    more = params | {"count": jnp.arange(2), "flag": None}
    gradient = jax.jit(learner.meta_gradient)(more, tasks)[1]
    assert gradient["count"] is None
    del gradient["count"], gradient["flag"]
    jax.tree.map(np.testing.assert_array_equal, gradient, expected)


def test_the_check_says_how_far_from_exact_it_was():
    """Only where it fails."""
    params, tasks = make_problem()
    report = mamlax.check_meta_gradient(make_learner(num_inner_steps=1), params, tasks)
    (remark,) = report.remarks
    assert not report.passed and "stationarity" in remark and "residual" in remark
    assert str(report).endswith(remark)
