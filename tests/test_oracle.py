"""Our learner against MAML written from scratch in `examples/maml_in_one_file.py`."""

import runpy
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

EXAMPLE = Path(__file__).parents[1] / "examples" / "maml_in_one_file.py"
ORACLE = types.SimpleNamespace(**runpy.run_path(str(EXAMPLE)))


@pytest.fixture(autouse=True)
def with_rank_promotion():
    """The oracle is written as anyone would write it: `x @ weight + bias`."""
    with jax.numpy_rank_promotion("allow"):
        yield


def make_problem():
    """A network for the oracle, with weights at which every gradient counts, and three tasks."""
    rng = np.random.default_rng(0)
    shapes = ((1, 5), (5, 1))
    params = [(jnp.asarray(rng.normal(size=s)), jnp.asarray(rng.normal(size=s[1]))) for s in shapes]
    draw = jax.jit(jax.vmap(lambda key: ORACLE.sample_task(key, shots=6)))
    return params, draw(jax.random.split(jax.random.key(0), 3))


def as_ours(params):
    """The oracle's params as our network; gradients have the same form."""
    return mamlax.models.MLP([w for w, _ in params], [b for _, b in params], "none")


def as_our_tasks(tasks):
    return mamlax.Task(*(mamlax.Batch(x, y) for x, y in tasks))


def make_learner(num_inner_steps):
    return mamlax.maml(
        lambda params, batch: jnp.mean(jnp.square(params(batch.inputs) - batch.targets)),
        inner_optimizer=optax.sgd(0.01),
        num_inner_steps=num_inner_steps,
    )


def assert_close(found, expected, rtol):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype == np.float64
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * np.abs(y).max())


def test_the_oracle_knows_nothing_of_us():
    assert "mamlax" not in EXAMPLE.read_text().replace("nothing of mamlax", "")
    assert len(EXAMPLE.read_text().splitlines()) <= 100


@pytest.mark.parametrize("num_inner_steps", [1, 2])
@jax.enable_x64(True)
def test_the_same_meta_gradient(num_inner_steps):
    params, tasks = make_problem()

    @jax.jit
    def ours(params, tasks):
        learner = make_learner(num_inner_steps)
        (loss, info), gradient = learner.meta_gradient(as_ours(params), as_our_tasks(tasks))
        return loss, info["query_loss"], gradient

    @jax.jit
    def theirs(params, tasks):
        loss, gradient = ORACLE.meta_gradient(params, tasks, num_inner_steps)
        return loss, ORACLE.query_losses(params, tasks, num_inner_steps), as_ours(gradient)

    assert_close(ours(params, tasks), theirs(params, tasks), rtol=1e-12)


@jax.enable_x64(True)
def test_the_same_outer_steps():
    """Three steps of Adam, each on two tasks of three."""
    params, tasks = make_problem()
    zeros = jax.tree.map(jnp.zeros_like, params)
    carry = params, (0, zeros, zeros)

    def sample_task(key):
        index = jax.random.key_data(key)[1] % 3
        return as_our_tasks(jax.tree.map(lambda x: x[index], tasks))

    def their_step(carry, key):
        support, query = mamlax.sample_tasks(sample_task, key, 2)
        return ORACLE.outer_step(carry, (support[:2], query[:2]))

    loop = mamlax.outer_loop(make_learner(1), optax.adam(1e-3), sample_task, meta_batch_size=2)
    state, step, oracle_step = loop.init(as_ours(params)), jax.jit(loop.step), jax.jit(their_step)
    for key in map(jax.random.key, range(3)):
        state, metrics = step(key, state)
        carry, value = oracle_step(carry, key)
        assert_close(metrics["train/query_loss"], value, rtol=1e-9)
        assert_close(state.meta_params, as_ours(carry[0]), rtol=1e-9)
    moved = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), as_ours(params), state.meta_params)
    assert min(jax.tree.leaves(moved)) > 1e-4
