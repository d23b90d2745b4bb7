"""On quadratic losses everything is known in closed form; in float64 we ask for every digit.

ℒ(θ) = ½ (θ − c)ᵀ A (θ − c), so k steps of gradient descent with rate α give
φ = c + (I − αA)ᵏ (θ − c), and the meta-gradient is (I − αA)ᵏ ∇ℒ(φ, query).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

from .quadratics import DIM, NUM_TASKS, make_problem, quadratic_loss

RATE = 0.07


def task_of(tasks, index):
    return jax.tree.map(lambda x: x[index], tasks)


def on_device(tree):
    return jax.tree.map(jnp.asarray, tree)


def assert_equal(found, expected):
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


def contraction(task):
    return np.eye(DIM) - RATE * task.support.curvature


def adapted_by_formula(params, task, num_steps):
    center = task.support.center
    return center + np.linalg.matrix_power(contraction(task), num_steps) @ (params - center)


def query_gradient(adapted, task):
    return task.query.curvature @ (adapted - task.query.center)


@pytest.mark.parametrize("num_steps", [0, 1, 3])
@jax.enable_x64(True)
def test_adaptation(num_steps):
    params, tasks = make_problem()
    task = task_of(tasks, 1)
    path = [adapted_by_formula(params, task, step) for step in range(num_steps + 1)]

    def probe_fn(params):
        return {"params": params, "query_loss": quadratic_loss(params, on_device(task.query))}

    adaptation = mamlax.inner_loop(
        quadratic_loss,
        optax.sgd(RATE),
        jnp.asarray(params),
        on_device(task.support),
        num_steps=num_steps,
        probe_fn=probe_fn,
    )
    assert_equal(adaptation.params, path[-1])
    losses = [quadratic_loss(p, task.support) for p in path]
    assert_equal(adaptation.support_losses, losses[:-1])
    assert_equal(adaptation.probes["params"], path)
    assert_equal(adaptation.probes["query_loss"], [quadratic_loss(p, task.query) for p in path])


@pytest.mark.parametrize("num_steps", [0, 1, 3])
@pytest.mark.parametrize("first_order", [False, True])
@jax.enable_x64(True)
def test_meta_gradient(num_steps, first_order):
    params, tasks = make_problem()
    learner = mamlax.maml(
        quadratic_loss,
        inner_optimizer=optax.sgd(RATE),
        num_inner_steps=num_steps,
        first_order=first_order,
    )
    meta_gradient = jax.jit(learner.meta_gradient)
    (loss, info), gradient = meta_gradient(jnp.asarray(params), on_device(tasks))

    losses, support_losses, gradients = [], [], []
    for task in (task_of(tasks, index) for index in range(NUM_TASKS)):
        path = [adapted_by_formula(params, task, step) for step in range(num_steps + 1)]
        through = np.linalg.matrix_power(contraction(task), num_steps)
        through = np.eye(DIM) if first_order else through
        gradients.append(through @ query_gradient(path[-1], task))
        losses.append(quadratic_loss(path[-1], task.query))
        support_losses.append([quadratic_loss(p, task.support) for p in path[:-1]])
    assert_equal(gradient, np.mean(gradients, axis=0))
    assert_equal(info["query_loss"], losses)
    assert_equal(info["support_losses"], np.reshape(support_losses, (NUM_TASKS, num_steps)))
    assert_equal(loss, np.mean(losses))


@jax.enable_x64(True)
def test_first_order_is_another_gradient():
    """Guards the test above: on these tasks the two differ by far more than it allows."""
    params, tasks = make_problem()
    task = task_of(tasks, 0)
    exact = query_gradient(adapted_by_formula(params, task, 3), task)
    assert np.abs(np.linalg.matrix_power(contraction(task), 3) @ exact - exact).max() > 0.1


def momentum_by_hand(params, gradient_fn, num_steps, rate=RATE, decay=0.8):
    trace = jnp.zeros_like(params)
    for _ in range(num_steps):
        trace = gradient_fn(params) + decay * trace
        params = params - rate * trace
    return params


def adam_by_hand(params, gradient_fn, num_steps, rate=0.1, eps=1e-8, eps_root=1e-6):
    mean, square = jnp.zeros_like(params), jnp.zeros_like(params)
    for step in range(1, num_steps + 1):
        gradient = gradient_fn(params)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        root = jnp.sqrt(square / (1 - 0.999**step) + eps_root)
        params = params - rate * mean / (1 - 0.9**step) / (root + eps)
    return params


OPTIMIZERS = {
    "momentum": (optax.sgd(RATE, momentum=0.8), momentum_by_hand),
    "adam": (optax.adam(0.1, eps=1e-8, eps_root=1e-6), adam_by_hand),
}


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@jax.enable_x64(True)
@pytest.mark.slow
def test_stateful_inner_optimizers(optimizer, first_order):
    """Momentum and Adam, differentiated through their states, against loops written by hand."""
    num_steps = 3
    inner_optimizer, by_hand = OPTIMIZERS[optimizer]
    params, tasks = on_device(make_problem())

    def adapted_by_hand(params, task):
        def gradient_fn(params):
            gradient = jax.grad(quadratic_loss)(params, task.support)
            return jax.lax.stop_gradient(gradient) if first_order else gradient

        return by_hand(params, gradient_fn, num_steps)

    def meta_loss(params):
        each = [task_of(tasks, index) for index in range(NUM_TASKS)]
        losses = [quadratic_loss(adapted_by_hand(params, task), task.query) for task in each]
        return jnp.mean(jnp.stack(losses))

    learner = mamlax.maml(
        quadratic_loss,
        inner_optimizer=inner_optimizer,
        num_inner_steps=num_steps,
        first_order=first_order,
    )
    (loss, _), gradient = jax.jit(learner.meta_gradient)(params, tasks)
    expected_loss, expected_gradient = jax.jit(jax.value_and_grad(meta_loss))(params)
    assert_equal(loss, expected_loss)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9)

    task = task_of(tasks, 2)
    adapted = jax.jit(learner.adapt)(params, task.support)
    assert_equal(adapted.params, jax.jit(adapted_by_hand)(params, task))


@jax.enable_x64(True)
def test_first_order_keeps_the_optimizers_own_dependence_on_params():
    """With weight decay λ, φ = (1 − αλ)ᵏ θ + what the constant gradients add."""
    decay, num_steps = 0.3, 2
    params, tasks = on_device(make_problem())
    learner = mamlax.maml(
        quadratic_loss,
        inner_optimizer=optax.chain(optax.add_decayed_weights(decay), optax.sgd(RATE)),
        num_inner_steps=num_steps,
        first_order=True,
    )
    gradient = learner.meta_gradient(params, tasks)[1]
    expected = []
    for index in range(NUM_TASKS):
        task = task_of(tasks, index)
        adapted = params
        for _ in range(num_steps):
            slope = task.support.curvature @ (adapted - task.support.center)
            adapted = adapted - RATE * (slope + decay * adapted)
        expected.append((1 - RATE * decay) ** num_steps * query_gradient(adapted, task))
    assert_equal(gradient, np.mean(expected, axis=0))


@jax.enable_x64(True)
def test_an_outer_step_is_the_optimizer_on_the_meta_gradient():
    params, tasks = on_device(make_problem())
    learner = mamlax.maml(quadratic_loss, inner_optimizer=optax.sgd(RATE), num_inner_steps=1)
    rate = 0.5

    def sample_task(key):
        return task_of(tasks, jax.random.key_data(key)[1] % NUM_TASKS)

    loop = mamlax.outer_loop(learner, optax.sgd(rate), sample_task, meta_batch_size=4)
    key = jax.random.key(3)
    state, metrics = jax.jit(loop.step)(key, loop.init(params))

    sampled = mamlax.sample_tasks(sample_task, key, 4)
    assert sampled.support.center.shape == (4, DIM)
    (loss, info), gradient = jax.jit(learner.meta_gradient)(params, sampled)
    assert_equal(state.meta_params, params - rate * gradient)
    assert_equal(metrics["train/query_loss"], loss)
    assert_equal(metrics["train/support_loss"], info["support_losses"][:, 0].mean())
    assert_equal(metrics["train/gradient_norm"], np.linalg.norm(gradient))
