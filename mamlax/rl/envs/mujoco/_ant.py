"""A body with four legs that must run forward or backward, at some speed, or to some place."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..._environment import Box
from ...engines._model import ModelSettings
from ...engines._physics import Physics
from ._locomotion import Locomotion

AntGoal = Literal["direction", "velocity", "position"]

_REACH = 3.0  # of places, in meters


@dataclass(frozen=True)
class Ant(Locomotion):
    """Run: four legs, eight motors, in space.

    The task is a direction along x, 1 or −1; a velocity along x in m/s; or a place `[2]`, in
    meters. It is not observed. With v and p the velocity and the place, and u the control within
    ±1, the reward of a step is, in the paper's environment (`"rllab"`),

        direction:  d · v_x + 0.05 − c
        velocity:   1 − |v_x − g| + 0.05 − c          c = 0.005 ‖u‖² + 0.0005 ‖f‖²
        position:   4 − ‖p − g‖₁ + 0.05 − c

    and in that of later papers (`"gym"`)

        direction:  d · v_x + 1 − 0.5 ‖u‖²        position:  −‖p − g‖₁ − 0.1 ‖u‖²

    - `"rllab"`: a step of 0.02 s. v and p are those of the center of mass; f are the forces and
      torques of contact on each body, clipped to ±1. Observed `[125]`: joints (15), their
      velocities (14), f (84), the torso's rotation matrix (9), the center of mass (3).
    - `"gym"`: a step of 0.05 s; v and p are those of the torso, v as it moved on average. Observed
      `[27]`: joints without the place (13) and velocities (14); on the way to a position `[29]`,
      with the place.

    An episode ends where the torso is not between 0.2 and 1 m high, but not on the way to a
    position of gym.

    Args:
        goal: what a task is.
        variant: which of the two environments.
        horizon: steps per episode.
        action_bound: the action that means full torque; see `HalfCheetah`.
        velocities: the range that velocities are drawn from.
        oracle: observe the task too.
        engine: `"mujoco"`, on processor cores, or `"mjx"`, for accelerators.

    Raises:
        ValueError: if a setting is out of range, the gym variant is asked for velocities, which
            no paper defines, or MJX for the rllab variant, whose contact forces it cannot measure.
        MamlaxError: at first use, if MuJoCo or Gymnasium is not installed.

    Differs from the papers:
        The body is that of Gymnasium, for rllab with the time step, the pose to start in and the
        stiffness of contacts of rllab. Today's MuJoCo does not repeat the contacts of version 1.31,
        which rllab used. Contact forces are those at the beginning of the last step. MuJoCo 2 left
        the gym variant's at zero, so they are neither observed nor counted there. MJX's ant moves
        otherwise than MuJoCo's from its first contact with the ground on: it lays the axes of the
        pyramids that bound friction otherwise. An ant of gym ends below 0.2 m, as PEARL's (ProMP's:
        0), and its last step has the bonus of 1 that others have (Gymnasium's own v5: none).

    References:
        Finn, Abbeel & Levine, ICML 2017, section 5.3, as in its code; gym: Rothfuss et al., ProMP,
        ICLR 2019; Rakelly et al., PEARL, ICML 2019, as in their code.
    """

    goal: AntGoal = "direction"
    velocities: tuple[float, float] = (0.0, 3.0)
    goals = AntGoal

    def __post_init__(self):
        super().__post_init__()
        if self.variant == "gym" and self.goal == "velocity":
            raise ValueError('no paper defines velocities for variant="gym": use "rllab".')
        if self.variant == "rllab" and self.engine == "mjx":
            raise ValueError(
                'MJX has no sensors for the contact forces of variant="rllab": use variant="gym", '
                'or engine="mujoco".'
            )

    @property
    def observation_size(self) -> int:
        """125; of gym 27, or 29 with places; for the oracle as many more as a task has numbers."""
        places = 2 if self.goal == "position" else 0
        task_size = (places or 1) if self.oracle else 0
        return (125 if self.variant == "rllab" else 27 + places) + task_size

    @property
    def action(self) -> Box:
        """Eight numbers, one a motor."""
        return Box(8, -self.action_bound, self.action_bound)

    def sample_task(self, key):
        """Draw a direction, a velocity, or a place.

        Places lie on a square of 6 m (rllab) or a disc of radius 3 m (gym).
        """
        if self.goal != "position":
            return self.along_a_line(key)
        if self.variant == "rllab":
            return jax.random.uniform(key, (2,), minval=-_REACH, maxval=_REACH)
        radius_key, angle_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, (), maxval=2 * jnp.pi)
        radius = _REACH * jnp.sqrt(jax.random.uniform(radius_key, ()))
        return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    def reset(self, key, task):
        """Begin near the standing pose, nearly at rest."""
        physics = self.begun(key)
        return physics, self._observation(physics, jnp.zeros((13, 6)), task)

    def step(self, key, task, state, action):
        """Hold the torques for one step: state, observation, reward, whether it is over."""
        control = self.control(action)
        after = self._engine.step(state, control)
        if self.variant == "rllab":
            contact = self._contact(state, after)
            place, velocity = self._engine.skeleton.motion(after.position, after.velocity)
            cost = 0.005 * jnp.sum(control**2) + 0.0005 * jnp.sum(contact**2)
            bonus = 0.05 + {"direction": 0.0, "velocity": 1.0, "position": 4.0}[self.goal]
        else:
            contact, place = None, after.position
            velocity = (after.position - state.position) / self.seconds_per_step
            cost = (0.1 if self.goal == "position" else 0.5) * jnp.sum(control**2)
            bonus = 0.0 if self.goal == "position" else 1.0
        if self.goal == "direction":
            gain = task * velocity[0]
        elif self.goal == "velocity":
            gain = -jnp.abs(velocity[0] - task)
        else:
            gain = -jnp.sum(jnp.abs(place[:2] - task))
        height = after.position[2]
        fallen = ~((height >= 0.2) & (height <= 1.0))
        if self.variant == "gym" and self.goal == "position":
            fallen = jnp.zeros((), bool)
        return after, self._observation(after, contact, task), gain + bonus - cost, fallen

    def _observation(self, physics: Physics, contact: PyTree, task: PyTree) -> PyTree:
        position, velocity = physics.position, physics.velocity
        # who must find a place has to know where it is
        parts = [position if self.goal == "position" else position[2:], velocity]
        if self.variant == "rllab":
            skeleton = self._engine.skeleton
            turned = skeleton.rotations(position)[1]
            world = jnp.zeros(6, position.dtype)  # which feels nothing
            parts = [position, velocity, world, contact.ravel(), turned.ravel()]
            parts.append(skeleton.center_of_mass(position))
        parts += [jnp.ravel(task)] if self.oracle else []
        return jnp.concatenate(parts)

    def _contact(self, before: Physics, after: Physics) -> PyTree:
        """Torque about the center of mass and force `[bodies, 6]`, within ±1: `cfrc_ext`."""
        force, torque, place = jnp.split(after.sensors.reshape(-1, 9), 3, axis=1)
        center = self._engine.skeleton.center_of_mass(before.position)
        torque = torque + jnp.cross(place - center[None], force)
        return jnp.clip(-jnp.concatenate([torque, force], axis=1), -1.0, 1.0)

    @property
    def model(self) -> ModelSettings:
        """What is simulated."""
        if self.variant == "gym":
            return ModelSettings("ant", timestep=0.01)
        return ModelSettings(
            "ant",
            timestep=0.02,
            impedance=(0.8, 0.8, 0.01),
            floor_margin=0.0,  # MuJoCo 1.31 took the larger of both margins, and did not add them
            contact_forces=True,
        )
