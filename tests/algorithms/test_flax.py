"""Flax NNX modules that write while they compute: moments, noise, a state in time.

The recipe of `docs/bring-your-own.md`: merge a copy in the loss, and take keys from the batch.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mamlax

NUM_INNER_STEPS = 2


class Noisy(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.head = nnx.Linear(2, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.head(self.dropout(jnp.tanh(self.hidden(x))))


class Normalized(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.head = nnx.Linear(2, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)

    def __call__(self, x):
        return self.head(jnp.tanh(self.norm(self.hidden(x))))


class Recurrent(nnx.Module):
    """Both inputs one after another; the cell draws its first state, and so has a key."""

    def __init__(self, rngs):
        self.over_time = nnx.RNN(nnx.GRUCell(1, 4, rngs=rngs), rngs=rngs)
        self.head = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(self.over_time(x[..., None])[:, -1])


MODULES = {"dropout": Noisy, "batch_norm": Normalized, "rnn": Recurrent}


def make(name):
    """A loss by the recipe, and the parameters that learn."""
    graph, params, rest = nnx.split(MODULES[name](nnx.Rngs(0)), nnx.Param, ...)

    def loss_fn(params, batch):
        network = nnx.merge(graph, params, rest, copy=True)
        if name == "dropout":
            nnx.reseed(network, default=batch["key"])
        return jnp.mean((network(batch["x"]) - batch["y"]) ** 2)

    return loss_fn, params


def sample_task(key):
    """A key for each inner step beside the support, which is the same at every step."""
    data_key, *keys = jax.random.split(key, NUM_INNER_STEPS + 2)
    x = jax.random.normal(data_key, (9, 2))
    batch = {"x": x, "y": x[:, :1] * x[:, 1:]}
    repeated = {
        name: jnp.broadcast_to(array[:4], (NUM_INNER_STEPS, 4, array.shape[1]))
        for name, array in batch.items()
    }
    query = {name: array[4:] for name, array in batch.items()}
    return mamlax.Task(
        support=repeated | {"key": jnp.stack(keys[:-1])}, query=query | {"key": keys[-1]}
    )


def learner_of(loss_fn):
    return mamlax.maml(
        loss_fn,
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=NUM_INNER_STEPS,
        support_per_step=True,
    )


@pytest.fixture(autouse=True)
def ranks_of_flax():
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize(
    "name", ["dropout", *(pytest.param(x, marks=pytest.mark.slow) for x in ("batch_norm", "rnn"))]
)
def test_it_learns_through_inner_steps(name):
    loss_fn, params = make(name)
    loop = mamlax.outer_loop(learner_of(loss_fn), optax.adam(0.01), sample_task, meta_batch_size=2)
    state = mamlax.run(loop, params, key=jax.random.key(0), num_outer_steps=3).state
    moved = jax.tree.map(lambda x, y: float(jnp.max(jnp.abs(x - y))), state.meta_params, params)
    assert min(jax.tree.leaves(moved)) > 1e-3 or name == "batch_norm"  # whose shift undoes a bias
    assert max(jax.tree.leaves(moved)) < 0.1


@pytest.mark.slow
def test_its_meta_gradient_is_right():
    loss_fn, params = make("dropout")
    tasks = mamlax.sample_tasks(sample_task, jax.random.key(1), 2)
    report = mamlax.check_meta_gradient(learner_of(loss_fn), params, tasks, max_entries=3)
    assert report.passed, report


@pytest.mark.parametrize("name", ["batch_norm", "rnn"])
@pytest.mark.slow
def test_numbers_that_the_module_holds_in_fewer_bits_are_said_to_prevent_the_check(name):
    """Moments and first states are not parameters, and stay in single precision."""
    loss_fn, params = make(name)
    tasks = mamlax.sample_tasks(sample_task, jax.random.key(1), 2)
    with pytest.raises(TypeError, match="not in float64, which the check needs"):
        mamlax.check_meta_gradient(learner_of(loss_fn), params, tasks, max_entries=3)


@pytest.mark.slow
def test_noise_is_fresh_at_every_inner_step():
    """With one batch for all steps the same units are left out each time."""
    loss_fn, params = make("dropout")
    support = sample_task(jax.random.key(0)).support

    def losses(support, **options):
        return mamlax.inner_loop(
            loss_fn, optax.sgd(0.0), params, support, num_steps=NUM_INNER_STEPS, **options
        ).support_losses

    same = losses(jax.tree.map(lambda x: x[0], support))
    fresh = losses(support, support_per_step=True)
    assert same[0] == same[1] == fresh[0] != fresh[1]


def test_moments_are_those_of_the_batch():
    """What the loss writes into its copy is gone after it: running moments stay as they were."""
    loss_fn, params = make("batch_norm")
    task = sample_task(jax.random.key(0))
    again = [float(loss_fn(params, task.query)) for _ in range(2)]
    np.testing.assert_array_equal(*again)
