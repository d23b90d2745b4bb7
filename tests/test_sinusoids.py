"""The sinusoids are drawn from what the paper says: ranges, moments, independence."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax

NUM_TASKS = 4000
PAPER = mamlax.Sinusoids(shots=2, num_query=3, oracle=True)
OTHER = mamlax.Sinusoids(
    shots=2, num_query=3, oracle=True, amplitude=(1.0, 2.0), phase=(-1.0, 0.5), inputs=(0.0, 10.0)
)


@functools.cache
def draw(tasks):
    """Many tasks, on the host in float64."""
    sample = jax.jit(lambda key: mamlax.sample_tasks(tasks.sample, key, NUM_TASKS))
    return jax.tree.map(lambda x: np.asarray(x, np.float64), sample(jax.random.key(0)))


def assert_uniform(values, low, high):
    """Range, mean and variance of U[low, high], within five standard errors: 1 in 10⁶ fails."""
    values = values.ravel()
    width, count = high - low, values.size
    rounding = 1e-6
    assert low - rounding <= values.min() < low + 0.01 * width
    assert high - 0.01 * width < values.max() <= high + rounding
    assert abs(values.mean() - (low + high) / 2) < 5 * width / math.sqrt(12 * count)
    error = width**2 * math.sqrt((1 / 80 - 1 / 144) / count)
    assert abs(values.var() - width**2 / 12) < 5 * error


@pytest.mark.parametrize(
    ("tasks", "amplitudes", "phases", "inputs"),
    [
        (PAPER, (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)),
        (OTHER, (1.0, 2.0), (-1.0, 0.5), (0.0, 10.0)),
    ],
    ids=["paper", "other"],
)
def test_distribution(tasks, amplitudes, phases, inputs):
    support, query = draw(tasks)
    assert_uniform(support.inputs[:, 0, 1], *amplitudes)
    assert_uniform(support.inputs[:, 0, 2], *phases)
    assert_uniform(support.inputs[..., 0], *inputs)
    assert_uniform(query.inputs[..., 0], *inputs)


def test_all_that_is_drawn_is_independent():
    """The standard error of a correlation of independent values is 1/√n; five of them."""
    support, query = draw(PAPER)
    drawn = [*support.inputs[:, 0, 1:].T, *support.inputs[..., 0].T, *query.inputs[..., 0].T]
    correlations = np.corrcoef(drawn) - np.eye(7)
    assert np.abs(correlations).max() < 5 / math.sqrt(NUM_TASKS)
    shifted = np.corrcoef(support.inputs[:-1, 0, 1], support.inputs[1:, 0, 1])[0, 1]
    assert abs(shifted) < 5 / math.sqrt(NUM_TASKS), "one task says nothing of the next"


@pytest.mark.parametrize("tasks", [PAPER, OTHER], ids=["paper", "other"])
def test_targets_are_sine_waves(tasks):
    for batch in draw(tasks):
        x, amplitude, phase = np.moveaxis(batch.inputs, -1, 0)
        expected = amplitude * np.sin(x - phase)
        np.testing.assert_allclose(batch.targets[..., 0], expected, rtol=1e-5, atol=1e-5)
        assert batch.reference is None


def test_second_moment_of_the_targets():
    """E y² = E A² / 2, as the phase is uniform over half a turn; five standard errors."""
    squares = draw(PAPER).query.targets[:, 0, 0] ** 2
    expected = (5.0**3 - 0.1**3) / (3 * 4.9) / 2
    assert abs(squares.mean() - expected) < 5 * squares.std() / math.sqrt(squares.size)


def test_oracle_is_told_the_wave_beside_the_inputs():
    told = draw(PAPER)
    plain = draw(mamlax.Sinusoids(shots=2, num_query=3))
    for with_wave, without in zip(told, plain, strict=True):
        assert (with_wave.inputs.shape[2], without.inputs.shape[2]) == (3, 1)
        np.testing.assert_array_equal(with_wave.inputs[..., :1], without.inputs)
        np.testing.assert_allclose(with_wave.targets, without.targets, rtol=1e-5, atol=1e-5)
    waves = np.concatenate([told.support.inputs, told.query.inputs], axis=1)[..., 1:]
    assert np.all(waves == waves[:, :1]), "one wave in a task, for support and query"
    assert len(np.unique(waves[:, 0, 0])) > 0.99 * NUM_TASKS, "every task has another one"


def test_sizes():
    for options, num_query in (({}, 3), ({"num_query": 7}, 7)):
        task = jax.eval_shape(mamlax.Sinusoids(shots=3, **options).sample, jax.random.key(0))
        assert task.support.inputs.shape == task.support.targets.shape == (3, 1)
        assert task.query.inputs.shape == task.query.targets.shape == (num_query, 1)
    assert mamlax.Sinusoids() == mamlax.Sinusoids(shots=10, num_query=None, oracle=False)


def test_one_key_one_task():
    sample = mamlax.Sinusoids(shots=3).sample
    keys = [jax.random.key(seed) for seed in (0, 0, 1)]
    one, again, other = (sample(key) for key in keys)
    jax.tree.map(np.testing.assert_array_equal, one, again)
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.abs(x - y).min() > 0
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        jax.jit(sample)(keys[0]),
        one,
    )


def test_wave():
    x = jnp.array([[0.0], [1.0], [math.pi / 2 + 0.5]])
    batch = mamlax.Sinusoids().wave(2.0, 0.5, x)
    np.testing.assert_array_equal(batch.inputs, x)
    expected = [[2 * math.sin(-0.5)], [2 * math.sin(0.5)], [2.0]]
    np.testing.assert_allclose(batch.targets, expected, rtol=1e-6)
    told = mamlax.Sinusoids(oracle=True).wave(2.0, 0.5, x)
    np.testing.assert_array_equal(told.inputs, np.hstack([x, np.full((3, 1), 2.0), [[0.5]] * 3]))


@pytest.mark.parametrize("name", ["shots", "num_query"])
@pytest.mark.parametrize("value", [0, -3])
def test_numbers_of_examples_are_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} must be positive, got {value}"):
        mamlax.Sinusoids(**{name: value})
