"""A grid with a hidden goal cell."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from ..._environment import Discrete


@dataclass(frozen=True)
class GridWorld:
    """Find a hidden goal cell on a `side` × `side` grid, starting in the lower left corner.

    The actions are stay, up, right, down and left; at a wall the position does not change. The
    reward is 1 on the goal and −0.1 elsewhere. An episode has `horizon` steps; it does not end at
    the goal. The task is the goal's `(column, row)`, drawn from the cells that are not adjacent to
    the start. The observation is the current cell as a one-hot vector.

    Args:
        side: the number of cells along a side.
        horizon: steps per episode.

    Raises:
        ValueError: if the grid has no cell for the goal, or `horizon` is not positive.

    Example:
        >>> import jax, mamlax
        >>> env = mamlax.rl.GridWorld()
        >>> env.observation_size
        25

    References:
        Zintgraf et al., VariBAD: A Very Good Method for Bayes-Adaptive Deep RL via Meta-Learning,
        ICLR 2020.
    """

    side: int = 5
    horizon: int = 15

    def __post_init__(self):
        if self.side < 3 or self.horizon < 1:
            raise ValueError(f"side must be 3 or more and horizon 1 or more, got {self}.")

    @property
    def observation_size(self) -> int:
        """One number per cell."""
        return self.side**2

    @property
    def action(self) -> Discrete:
        """Stay, up, right, down, left."""
        return Discrete(5)

    def sample_task(self, key):
        """Draw the goal's `(column, row)`."""
        cells = jnp.arange(self.side**2)
        columns, rows = cells % self.side, cells // self.side
        far = jnp.maximum(columns, rows) > 1
        cell = jax.random.choice(key, cells, p=far / jnp.sum(far))
        return jnp.stack([cell % self.side, cell // self.side]).astype(jnp.int32)

    def reset(self, key, task):
        """Start in the corner."""
        position = jnp.zeros(2, jnp.int32)
        return position, self._observation(position)

    def step(self, key, task, state, action):
        """Move by at most one cell."""
        moves = jnp.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]], jnp.int32)
        position = jnp.clip(state + moves[action], 0, self.side - 1)
        reward = jnp.where(jnp.all(position == task), 1.0, -0.1)
        return position, self._observation(position), reward, jnp.array(False)

    def optimal_return(self, task):
        """The return of the shortest path."""
        to_go = jnp.sum(task)
        return jnp.where(
            to_go <= self.horizon,
            -0.1 * (to_go - 1) + (self.horizon - to_go + 1),
            -0.1 * self.horizon,
        )

    def _observation(self, position):
        return jax.nn.one_hot(position[1] * self.side + position[0], self.side**2)
