"""What these tests share: programs that run once, and a small environment."""

import jax
import jax.numpy as jnp
import pytest

import mamlax


class Leash:
    """A point that is to come near the task, in episodes that end where it goes too far."""

    observation_size = 2
    action = mamlax.rl.Box(2)
    horizon = 4

    def sample_task(self, key):
        return jax.random.normal(key, (2,))

    def reset(self, key, task):
        position = 0.3 * jax.random.normal(key, (2,))
        return position, position

    def step(self, key, task, state, action):
        position = state + 0.5 * action
        reward = -jnp.sum((position - task) ** 2)
        return position, position, reward, jnp.any(jnp.abs(position) > 1)


@pytest.fixture(scope="session")
def leash():
    return Leash()


@pytest.fixture
def float64():
    """Double precision everywhere: the context of `jax.enable_x64` is not that of callbacks."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
