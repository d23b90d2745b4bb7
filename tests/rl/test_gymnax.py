"""Environments of gymnax: their parameters are the task, and nothing resets by itself."""

from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

rl = mamlax.rl


class Parameters(NamedTuple):
    pull: float = 1.0
    max_steps_in_episode: int = 6


class State(NamedTuple):
    place: jax.Array
    time: int


class Spring:
    """As environments of gymnax are written: numbers of Python in states and parameters."""

    default_params = Parameters()

    def reset_env(self, key, params):
        state = State(jax.random.uniform(key, (2,)), 0)
        return {"place": state.place, "time": state.time}, state

    def step_env(self, key, state, action, params):
        place = state.place + 0.1 * action[0] - 0.1 * params.pull
        after = State(place, state.time + 1)
        seen = {"place": place, "time": after.time}
        return seen, after, -jnp.sum(place**2), jnp.any(place < -1), {"discount": 1.0}

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode

    def action_space(self, params):
        return SimpleNamespace(low=-2.0, high=jnp.full((1, 2), 2.0), shape=(1, 2))


def springs(**options):
    def sample_task(key):
        return Parameters(pull=jax.random.uniform(key, (), minval=-1, maxval=1))

    return rl.GymnaxTasks(Spring(), sample_task=sample_task, **options)


def push(observations):
    mean = jnp.zeros_like(observations[..., :2]) + 0.5
    return rl.Gaussian(mean, jnp.full_like(mean, -1.0))


def test_it_keeps_to_the_contract_and_plays_what_the_environment_plays():
    env = springs()
    rl.check_environment(env)
    assert (env.observation_size, env.action, env.horizon) == (3, rl.Box(2, -2.0, 2.0), 6)
    task = env.sample_task(jax.random.key(1))
    act = jax.jit(lambda key, task: rl.rollout(key, env, task, push, num_episodes=3))
    trajectory = jax.tree.map(np.asarray, act(jax.random.key(0), task))
    place = trajectory.observations[:, 0, :2]
    for time in range(6):
        np.testing.assert_allclose(trajectory.observations[:, time, :2], place, rtol=1e-5)
        np.testing.assert_array_equal(trajectory.observations[:, time, 2], time)
        moved = np.clip(trajectory.actions[:, time], -2, 2) - float(task.pull)
        place = place + 0.1 * moved
        np.testing.assert_allclose(trajectory.rewards[:, time], -(place**2).sum(1), rtol=1e-4)
    assert trajectory.terminated.all(), "the time limit of its own ends it"


@pytest.mark.slow
def test_a_policy_learns_its_tasks():
    env = springs(horizon=5)
    learner = rl.policy_learner(
        env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=4, auto_reset=True
    )
    loop = rl.policy_gradient(learner, optax.sgd(0.1), meta_batch_size=2)
    state = loop.init(rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(4,)))
    _, metrics = jax.jit(loop.step)(jax.random.key(1), state)
    assert np.isfinite(metrics["train/post_adaptation_return"])
    assert metrics["train/environment_steps"] == 2 * 2 * 4 * 5


def test_a_state_that_begins_as_an_integer_and_goes_on_as_a_float_is_not_cut():
    class Halves(Spring):
        def reset_env(self, key, params):
            return {"place": jnp.zeros(1)}, State(0, 0)

        def step_env(self, key, state, action, params):
            after = State(state.place + 0.5, state.time + 1)
            return {"place": jnp.ones(1) * after.place}, after, after.place, False, {}

    env = rl.GymnaxTasks(Halves(), sample_task=lambda key: Parameters())
    rl.check_environment(env)
    task = env.sample_task(jax.random.key(0))
    policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(4,))
    trajectory = rl.rollout(jax.random.key(0), env, task, policy, num_episodes=1)
    np.testing.assert_allclose(trajectory.rewards[0], [0.5, 1, 1.5, 2, 2.5, 3])


def test_what_does_not_fit_is_said():
    with pytest.raises(TypeError, match="tuple is no environment of gymnax: it lacks reset_env"):
        rl.GymnaxTasks((Spring(), Parameters()), sample_task=lambda key: Parameters())
    endless = Spring()
    endless.default_params = Parameters(max_steps_in_episode=None)
    with pytest.raises(ValueError, match="Spring has no time limit of its own: give horizon"):
        rl.GymnaxTasks(endless, sample_task=lambda key: Parameters())
    uneven = Spring()
    uneven.action_space = lambda params: SimpleNamespace(low=jnp.array([-1, 0]), high=1, shape=(2,))
    with pytest.raises(TypeError, match="must have the same bounds"):
        rl.GymnaxTasks(uneven, sample_task=lambda key: Parameters())
    uneven.action_space = lambda params: SimpleNamespace(spaces={})
    with pytest.raises(TypeError, match="must be a Discrete or a Box of gymnax"):
        rl.GymnaxTasks(uneven, sample_task=lambda key: Parameters())


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Reacher-misc"])
def test_environments_of_gymnax_itself(name):
    gymnax = pytest.importorskip("gymnax")
    env, params = gymnax.make(name)
    tasks = rl.GymnaxTasks(env, sample_task=lambda key: params, horizon=10)
    rl.check_environment(tasks)
    policy = rl.mlp_policy(jax.random.key(0), tasks, hidden_sizes=(4,))
    task = tasks.sample_task(jax.random.key(0))
    trajectory = rl.rollout(jax.random.key(1), tasks, task, policy, num_episodes=2, auto_reset=True)
    assert trajectory.mask.all() and np.isfinite(trajectory.rewards).all()
