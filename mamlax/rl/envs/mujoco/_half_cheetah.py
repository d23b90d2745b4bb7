"""Half-cheetah: a planar robot with two legs runs forward or backward, or at a velocity."""

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
    """Half-cheetah: a planar robot with two legs and six motors must run as the task says.

    The task is a direction (1 or −1) or a velocity in m/s. It is hidden from the policy. With
    velocity v along the line and control u (clipped to ±1), the reward of a step is

        direction:  d · v − 0.05 ‖u‖²          velocity:  −|v − g| − 0.05 ‖u‖²

    Two environments have this name. Their returns cannot be compared:

    - `"rllab"`, the paper's: a step lasts 0.01 s, and v is the velocity of the center of mass.
      Observations `[20]`: joints (8), their velocities (9), center of mass (3).
    - `"gym"`, of most later papers: a step lasts 0.05 s, and v is the root joint's mean velocity
      over the step. Observations `[17]`: the same without the center of mass.

    An episode ends only at the horizon.

    Args:
        goal: what a task is: a direction or a velocity.
        variant: the paper's environment (`"rllab"`) or that of later papers (`"gym"`).
        horizon: steps per episode: 200 in the paper, 100 or 200 in later papers.
        action_bound: the action that means full torque: the control is the action divided by it. 1
            in the paper. The code of most later papers has 10, so that the same policy explores
            with a tenth of the noise.
        velocities: the range from which velocities are drawn. Later papers also use 0 to 3.
        oracle: also observe the task, as an ideal learner could know it.
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
        """20 (rllab) or 17 (gym); the oracle also observes the task, one number."""
        return (20 if self.variant == "rllab" else 17) + self.oracle

    @property
    def action(self) -> Box:
        """Six numbers, one per motor."""
        return Box(6, -self.action_bound, self.action_bound)

    def sample_task(self, key):
        """Draw a direction or a velocity, one number."""
        return self.along_a_line(key)

    def reset(self, key, task):
        """Start near the standing pose, nearly at rest."""
        physics, center = self.begun(key), None
        if self.variant == "rllab":
            center = self._engine.skeleton.center_of_mass(physics.position)
        return physics, self._observation(physics, center, task)

    def step(self, key, task, state, action):
        """Apply the torques for one step: state, observation, reward, whether the episode ends."""
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
        """The simulated model."""
        return ModelSettings("half_cheetah", total_mass=14.0)
