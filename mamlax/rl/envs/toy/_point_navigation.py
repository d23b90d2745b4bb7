"""2D point navigation to a hidden goal: the paper's first control problem."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from ..._environment import Box
from .._checks import check_choice, check_positive

Goals = Literal["square", "circle", "semicircle", "corners"]
_SIZES: dict[str, float] = {"square": 0.5, "circle": 1.0, "semicircle": 1.0, "corners": 2.0}


@dataclass(frozen=True)
class PointNavigation:
    """Move from the origin to a hidden goal, by at most `speed` per step in each direction.

    The task is the goal. The observation is the position `[2]`, without the goal. The reward is the
    negative distance −‖position − goal‖ after each step. The episode ends within 0.01 of the goal
    in both directions.

    Args:
        goals: where goals lie: anywhere in a square, on a circle, on its upper half, or on one of
            four corners.
        size: half the side of the square, the radius of the circle, or the coordinates of the
            corners (±size, ±size). None: 0.5 (the paper), 1 or 2.
        speed: how far the action 1 moves the point.
        horizon: the longest episode, in steps.
        sparse_radius: if given, the reward is 1 minus the distance within this radius, and 0
            outside.
        terminate: end an episode at the goal.
        oracle: also observe the goal, as an ideal learner could know it: `[4]`.

    Raises:
        ValueError: if a number is not positive, or `goals` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp, mamlax
        >>> env = mamlax.rl.PointNavigation()
        >>> state, observation = env.reset(jax.random.key(0), jnp.array([0.3, 0.4]))
        >>> _, observation, reward, _ = env.step(
        ...     jax.random.key(1), jnp.array([0.3, 0.4]), state, jnp.array([0.0, 1.0])
        ... )
        >>> print(observation, f"{reward:.3f}")
        [0.  0.1] -0.424

    References:
        Finn, Abbeel & Levine, ICML 2017, section 5.3, as in its code.
    """

    goals: Goals = "square"
    size: float | None = None
    speed: float = 0.1
    horizon: int = 100
    sparse_radius: float | None = None
    terminate: bool = True
    oracle: bool = False

    def __post_init__(self):
        check_choice("goals", self.goals, Goals)
        given = {name: getattr(self, name) for name in ("size", "sparse_radius")}
        check_positive(
            self, "speed", "horizon", *(name for name, value in given.items() if value is not None)
        )

    @property
    def observation_size(self) -> int:
        """2; for the oracle 4."""
        return 4 if self.oracle else 2

    @property
    def action(self) -> Box:
        """Two numbers between −1 and 1."""
        return Box(2)

    def sample_task(self, key):
        """Draw a goal `[2]`."""
        size = _SIZES[self.goals] if self.size is None else self.size
        if self.goals == "square":
            return jax.random.uniform(key, (2,), minval=-size, maxval=size)
        if self.goals == "corners":
            return size * jax.random.rademacher(key, (2,), jnp.result_type(float))
        turn = jnp.pi if self.goals == "semicircle" else 2 * jnp.pi
        angle = jax.random.uniform(key, (), maxval=turn)
        return size * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    def reset(self, key, task):
        """Start at the origin."""
        position = jnp.zeros(2)
        return position, self._observation(position, task)

    def step(self, key, task, state, action):
        """Move the point."""
        position = state + self.speed * jnp.clip(action, -1.0, 1.0)
        distance = jnp.linalg.norm(position - task)
        reward = -distance
        if self.sparse_radius is not None:
            reward = jnp.where(distance <= self.sparse_radius, 1.0 - distance, 0.0)
        arrived = jnp.all(jnp.abs(position - task) < 0.01)
        terminated = arrived if self.terminate else jnp.zeros_like(arrived)
        return position, self._observation(position, task), reward, terminated

    def _observation(self, position, goal):
        return jnp.concatenate([position, goal]) if self.oracle else position
