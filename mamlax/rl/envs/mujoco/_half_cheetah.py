"""A planar body that must run forward or backward, or at some speed."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import PyTree

from ..._environment import Box
from ...engines._model import ModelSettings
from ...engines._physics import Physics
from ._locomotion import Locomotion

CheetahGoal = Literal["direction", "velocity"]


@dataclass(frozen=True)
class HalfCheetah(Locomotion):
    """Run: two legs, six motors, on a line.

    The task is a direction, 1 or −1, or a velocity in m/s; it is not observed. With v the velocity
    along the line and u the control within ±1, the reward of a step is

        direction:  d · v − 0.05 ‖u‖²          velocity:  −|v − g| − 0.05 ‖u‖²

    Two environments go by this name, and their numbers cannot be compared:

    - `"rllab"`, of the paper: a step of 0.01 s; v is that of the center of mass, which is
      observed too: `[20]`, joints (8), their velocities (9), center of mass (3).
    - `"gym"`, of most later papers: a step of 0.05 s; v is that of the root joint, as it
      moved on average; `[17]` without the center of mass.

    An episode ends at the horizon only.

    Args:
        goal: what a task is.
        variant: which of the two.
        horizon: steps per episode: 200 in the paper, 100 or 200 in later ones.
        action_bound: the action that means full torque: controls are actions divided by it. 1 in
            the paper. The code of most later papers has 10: the same policy then explores with a
            tenth of the noise.
        velocities: the range that velocities are drawn from. Later papers also use 0 to 3.
        oracle: observe the task too: what an ideal learner could know.
        engine: `"mujoco"`, on processor cores, or `"mjx"`, for accelerators.

    Raises:
        ValueError: if a setting is out of range.
        MamlaxError: at first use, if MuJoCo or Gymnasium is not installed.

    References:
        Finn, Abbeel & Levine, ICML 2017, section 5.3, as in its code; gym: Rothfuss et al., ProMP,
        ICLR 2019, as in its code.
    """

    goal: CheetahGoal = "direction"
    goals = CheetahGoal

    @property
    def observation_size(self) -> int:
        """20, or 17 of gym; one more for the oracle."""
        return (20 if self.variant == "rllab" else 17) + self.oracle

    @property
    def action(self) -> Box:
        """Six numbers, one a motor."""
        return Box(6, -self.action_bound, self.action_bound)

    def sample_task(self, key):
        """Draw a direction or a velocity: a number."""
        return self.along_a_line(key)

    def reset(self, key, task):
        """Begin near the standing pose, nearly at rest."""
        physics, center = self.begun(key), None
        if self.variant == "rllab":
            center = self._engine.skeleton.center_of_mass(physics.position)
        return physics, self._observation(physics, center, task)

    def step(self, key, task, state, action):
        """Hold the torques for one step: state, observation, reward, whether it is over."""
        control = self.control(action)
        after = self._engine.step(state, control)
        if self.variant == "rllab":
            center, velocity = self._engine.skeleton.motion(after.position, after.velocity)
            speed = velocity[0]
        else:
            center = None
            speed = (after.position[0] - state.position[0]) / self.seconds_per_step
        gain = task * speed if self.goal == "direction" else -jnp.abs(speed - task)
        reward = gain - 0.05 * jnp.sum(control**2)
        return after, self._observation(after, center, task), reward, jnp.zeros((), bool)

    def _observation(self, physics: Physics, center: PyTree, task: PyTree) -> PyTree:
        parts = [physics.position[1:], physics.velocity]
        parts += [] if center is None else [center]
        parts += [task[None]] if self.oracle else []
        return jnp.concatenate(parts)

    @property
    def model(self) -> ModelSettings:
        """What is simulated."""
        return ModelSettings("half_cheetah", total_mass=14.0)
