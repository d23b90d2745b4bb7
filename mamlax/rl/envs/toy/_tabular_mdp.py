"""Random Markov decision processes (MDPs) with few states; their values are computed exactly."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._environment import Discrete


class MDP(NamedTuple):
    """A Markov decision process.

    Attributes:
        transitions: `[states, actions, states]`, probabilities of the next state.
        mean_rewards: `[states, actions]`.
    """

    transitions: Float[Array, "states actions states"]
    mean_rewards: Float[Array, "states actions"]


@dataclass(frozen=True)
class TabularMDP:
    """Random MDPs: transitions from a flat Dirichlet, mean rewards m from N(1, 1), rewards from
    N(m, 1), episodes of `horizon` steps from state 0. The state is observed as a one-hot vector.

    Args:
        num_states: the number of states.
        num_actions: the number of actions.
        horizon: steps per episode.

    Raises:
        ValueError: if a number is too small.

    Example:
        >>> import jax, mamlax
        >>> env = mamlax.rl.TabularMDP()
        >>> task = env.sample_task(jax.random.key(0))
        >>> task.transitions.shape
        (10, 5, 10)

    References:
        Duan et al., RL²: Fast Reinforcement Learning via Slow Reinforcement Learning, 2016.
    """

    num_states: int = 10
    num_actions: int = 5
    horizon: int = 10

    def __post_init__(self):
        Discrete(self.num_actions)
        for name in ("num_states", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")

    @property
    def observation_size(self) -> int:
        """One number per state."""
        return self.num_states

    @property
    def action(self) -> Discrete:
        """The index of an action."""
        return Discrete(self.num_actions)

    def sample_task(self, key) -> MDP:
        """Draw an MDP."""
        transition_key, reward_key = jax.random.split(key)
        shape = (self.num_states, self.num_actions)
        transitions = jax.random.dirichlet(transition_key, jnp.ones(self.num_states), shape)
        return MDP(transitions, 1.0 + jax.random.normal(reward_key, shape))

    def reset(self, key, task):
        """Start in state 0."""
        state = jnp.zeros((), jnp.int32)
        return state, self._observation(state)

    def step(self, key, task, state, action):
        """Draw a reward and the next state."""
        reward_key, state_key = jax.random.split(key)
        reward = task.mean_rewards[state, action] + jax.random.normal(reward_key)
        # inverse transform sampling: one random number instead of one per state
        cumulative = jnp.cumsum(task.transitions[state, action])
        chosen = jnp.sum(cumulative < jax.random.uniform(state_key))
        state = jnp.minimum(chosen, self.num_states - 1).astype(jnp.int32)
        return state, self._observation(state), reward, jnp.array(False)

    def optimal_return(self, task: MDP):
        """The expected return of the best policy, by dynamic programming."""

        def back(values, _):
            return jnp.max(task.mean_rewards + task.transitions @ values, axis=1), None

        values, _ = jax.lax.scan(back, jnp.zeros(self.num_states), None, length=self.horizon)
        return values[0]

    def _observation(self, state):
        return jax.nn.one_hot(state, self.num_states)
