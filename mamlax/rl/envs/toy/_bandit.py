"""Bernoulli bandits: the smallest problem of exploration."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..._environment import Discrete


@dataclass(frozen=True)
class BernoulliBandit:
    """Pull one of `num_arms` arms; arm a pays 1 with probability p[a], drawn from U[0, 1].

    The task is p, and an episode is one pull. There is nothing to observe: the observation is the
    constant 1. The oracle observes p.

    Args:
        num_arms: the number of arms.
        oracle: observe p.

    Raises:
        ValueError: if there are fewer than two arms.

    Example:
        >>> import jax, mamlax
        >>> env = mamlax.rl.BernoulliBandit(num_arms=5)
        >>> env.sample_task(jax.random.key(0)).shape
        (5,)

    References:
        Duan et al., RL²: Fast Reinforcement Learning via Slow Reinforcement Learning, 2016.
    """

    num_arms: int = 10
    oracle: bool = False

    def __post_init__(self):
        Discrete(self.num_arms)

    @property
    def observation_size(self) -> int:
        """1; for the oracle, the number of arms."""
        return self.num_arms if self.oracle else 1

    @property
    def action(self) -> Discrete:
        """The index of an arm."""
        return Discrete(self.num_arms)

    @property
    def horizon(self) -> int:
        """One pull."""
        return 1

    def sample_task(self, key):
        """Draw the probabilities `[num_arms]`."""
        return jax.random.uniform(key, (self.num_arms,))

    def reset(self, key, task):
        """Start an episode. The only state is the number of pulls."""
        return jnp.zeros((), jnp.int32), self._observation(task)

    def step(self, key, task, state, action):
        """Pull an arm."""
        reward = jax.random.bernoulli(key, task[action]).astype(task.dtype)
        return state + 1, self._observation(task), reward, jnp.array(True)

    def optimal_return(self, task):
        """The expected return of the best policy that knows the task."""
        return jnp.max(task)

    def _observation(self, task):
        return task if self.oracle else jnp.ones(1, task.dtype)
