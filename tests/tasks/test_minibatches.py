"""Supports dealt out over the inner steps: every example in its turn, and nothing else changed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax


class Numbered:
    """Tasks of so many examples, numbered from 0, with targets that are their negatives."""

    def __init__(self, num_examples):
        self.num_examples = num_examples

    def sample(self, key):
        numbers = jnp.arange(self.num_examples, dtype=jnp.float32)
        batch = mamlax.Batch(numbers[:, None], -numbers)
        query = mamlax.Batch(jax.random.normal(key, (7, 1)), jnp.zeros(7))
        return mamlax.Task(batch, query)


def dealt(num_examples, **options):
    tasks = mamlax.Minibatches(Numbered(num_examples), **options)
    return tasks.sample(jax.random.key(0))


@pytest.mark.parametrize("num_steps, size", [(3, 4), (4, 3), (1, 12), (5, 12), (7, 5)])
@pytest.mark.slow
def test_every_example_comes_once_before_any_comes_again(num_steps, size):
    task = dealt(12, num_inner_steps=num_steps, size=size)
    assert task.support.inputs.shape == (num_steps, size, 1)
    assert (task.support.targets == -task.support.inputs[..., 0]).all(), "rows came apart"
    numbers = np.asarray(task.support.inputs).ravel()
    for start in range(0, len(numbers), 12):
        lot = numbers[start : start + 12]
        assert len(set(lot)) == len(lot)
    if len(numbers) >= 24:
        assert list(numbers[:12]) != list(numbers[12:24]), "not shuffled again"


def test_the_order_is_drawn_with_the_task():
    tasks = mamlax.Minibatches(Numbered(6), num_inner_steps=3, size=2)
    drawn = mamlax.sample_tasks(tasks.sample, jax.random.key(1), 3000)
    firsts = np.asarray(drawn.support.inputs)[:, 0, 0, 0].astype(int)
    counts = np.bincount(firsts, minlength=6)
    assert abs(counts - 500).max() < 5 * np.sqrt(500 * 5 / 6), counts


def test_tasks_and_their_queries_stay_as_they_are():
    waves = mamlax.Sinusoids(shots=6)
    key = jax.random.key(3)
    plain = waves.sample(key)
    task = mamlax.Minibatches(waves, num_inner_steps=2, size=3).sample(key)
    assert (task.query.inputs == plain.query.inputs).all()
    points = task.support.inputs.reshape(-1)
    assert sorted(points.tolist()) == sorted(plain.support.inputs.ravel().tolist())


@pytest.mark.slow
def test_a_reference_of_no_examples_stays_one_in_every_minibatch():
    """It stands for the inputs, in models with `norm="support"`."""
    rng = np.random.default_rng(0)
    data = mamlax.ClassArrays.of({str(i): rng.normal(size=(6, 4)) for i in range(5)})
    tasks = mamlax.Minibatches(
        mamlax.FewShot(data, ways=3, shots=4, num_query=2, reference=True),
        num_inner_steps=2,
        size=6,
    )
    task = tasks.sample(jax.random.key(0))
    assert task.support.reference.shape == (2, 0, 4) and task.query.reference.shape == (12, 4)


@pytest.mark.slow
def test_reptile_takes_a_step_on_each():
    """By hand: one step of gradient descent after another, each on its minibatch."""
    tasks = mamlax.Minibatches(Numbered(4), num_inner_steps=2, size=2)
    meta_batch = mamlax.sample_tasks(tasks.sample, jax.random.key(0), 5)
    learner = mamlax.reptile(
        lambda params, batch: 0.5 * jnp.mean((params - batch.targets) ** 2),
        inner_optimizer=optax.sgd(0.5),
        num_inner_steps=2,
        support_per_step=True,
    )
    _, displacement = learner.meta_gradient(jnp.array(0.0), meta_batch)
    means = np.asarray(meta_batch.support.targets).mean(axis=-1)
    ends = 0.25 * means[:, 0] + 0.5 * means[:, 1]
    assert float(displacement) == pytest.approx(-ends.mean(), rel=1e-5)


def test_the_order_does_not_come_from_a_key_of_the_tasks():
    """Where a distribution has shuffled its examples itself, with one of many keys."""

    class Shuffled:
        def sample(self, key):
            keys = jax.vmap(lambda key: jax.random.split(key, 1)[0])(jax.random.split(key, 12))
            orders = jax.vmap(lambda key: jax.random.permutation(key, 50))(keys)
            return mamlax.Task(orders.T.astype(jnp.float32), jnp.zeros(3))

    tasks = mamlax.Minibatches(Shuffled(), num_inner_steps=1, size=50)
    dealt = np.asarray(tasks.sample(jax.random.key(0)).support)[0].astype(int)
    orders = np.asarray(Shuffled().sample(jax.random.key(0)).support).astype(int)
    for column in range(12):
        assert list(dealt[:, column]) != list(orders[orders[:, column], column])


def test_supports_without_a_common_axis_of_examples_are_refused():
    class Uneven:
        def __init__(self, other):
            self.other = other

        def sample(self, key):
            return mamlax.Task((jnp.zeros((4, 2)), self.other), jnp.zeros(2))

    for other, words in ((jnp.zeros(2), r"\[1\]: \[2\]"), (jnp.zeros(()), r"\[1\]: \[\]")):
        with pytest.raises(mamlax.MamlaxError, match=f"must share.*{words}"):
            mamlax.Minibatches(Uneven(other), num_inner_steps=1, size=2)


def test_minibatches_that_cannot_be_are_refused():
    with pytest.raises(mamlax.MamlaxError, match=r"minibatch of 5 .* the 4 of a support"):
        dealt(4, num_inner_steps=2, size=5)
    for options in ({"num_inner_steps": 0, "size": 2}, {"num_inner_steps": 2, "size": -1}):
        with pytest.raises(ValueError, match="must be positive"):
            dealt(4, **options)
