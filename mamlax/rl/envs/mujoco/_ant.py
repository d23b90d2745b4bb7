"""Ant: a robot with four legs runs forward or backward, at a velocity, or to a position."""

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

_REACH = 3.0  # of positions, in meters


@dataclass(frozen=True)
class Ant(Locomotion):
    """Ant: a robot with four legs and eight motors must run as the task says.

    The task is a direction along x (1 or −1), a velocity along x in m/s, or a position `[2]` in
    meters. It is hidden from the policy. With velocity v, position p and control u (clipped to ±1),
    the reward of a step in the paper's environment (`"rllab"`) is

        direction:  d · v_x + 0.05 − c
        velocity:   1 − |v_x − g| + 0.05 − c          c = 0.005 ‖u‖² + 0.0005 ‖f‖²
        position:   4 − ‖p − g‖₁ + 0.05 − c

    and in the environment of later papers (`"gym"`)

        direction:  d · v_x + 1 − 0.5 ‖u‖²        position:  −‖p − g‖₁ − 0.1 ‖u‖²

    - `"rllab"`: a step lasts 0.02 s. v and p are those of the center of mass; f are the contact
      forces and torques on each body, clipped to ±1. Observations `[125]`: joints (15), their
      velocities (14), f (84), the torso's rotation matrix (9), the center of mass (3). Without
      `observe_contacts`, `[41]`: all but f.
    - `"gym"`: a step lasts 0.05 s. v and p are those of the torso; v is its mean over the step.
      Observations `[27]`: joints without the position (13), their velocities (14). With the goal
      `"position"` also the position: `[29]`.

    An episode ends when the torso is below 0.2 m or above 1 m, except with positions in gym.

    Args:
        goal: what a task is: a direction, a velocity or a position.
        variant: the paper's environment (`"rllab"`) or that of later papers (`"gym"`).
        horizon: steps per episode.
        action_bound: the action that means full torque; see `HalfCheetah`.
        velocities: the range from which velocities are drawn.
        observe_contacts: whether contact forces are observed, in the rllab variant. They are mostly
            zero. Rewards do not depend on whether they are observed.
        oracle: also observe the task.
        engine: `"mujoco"`, on processor cores, or `"mjx"`, for accelerators.

    Raises:
        ValueError: if a setting is out of range; if velocities are asked for in the gym variant,
            for which no paper defines them; or if MJX is asked for in the rllab variant, whose
            contact forces MJX does not compute.
        MamlaxError: at first use, if MuJoCo or Gymnasium is not installed.

    Differs from the papers:
        The robot is Gymnasium's. The rllab variant uses rllab's time step, initial pose and contact
        stiffness. Today's MuJoCo does not reproduce the contacts of version 1.31, which rllab used.
        Contact forces are those at the beginning of the last simulation step. In the gym variant,
        MuJoCo 2 left contact forces at zero, so they are neither observed nor in the reward. From
        its first contact with the ground, MJX's ant moves differently from MuJoCo's, because MJX
        orients the axes of its friction pyramids differently. In the gym variant an episode ends
        below 0.2 m, as in PEARL (ProMP: 0), and its last step has the bonus of 1 too (in
        Gymnasium's v5 it has none).

    References:
        Finn, Abbeel & Levine, ICML 2017, section 5.3, as in its code; gym: Rothfuss et al., ProMP,
        ICLR 2019; Rakelly et al., PEARL, ICML 2019, as in their code.
    """

    goal: AntGoal = "direction"
    velocities: tuple[float, float] = (0.0, 3.0)
    observe_contacts: bool = True
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
        """125 (rllab) or 41 (without contacts), 27 (gym) or 29 (gym with positions).

        The oracle also observes the task.
        """
        places = 2 if self.goal == "position" else 0
        task_size = (places or 1) if self.oracle else 0
        rllab_size = 125 if self.observe_contacts else 41
        return (rllab_size if self.variant == "rllab" else 27 + places) + task_size

    @property
    def action(self) -> Box:
        """Eight numbers, one per motor."""
        return Box(8, -self.action_bound, self.action_bound)

    def sample_task(self, key):
        """Draw a direction, a velocity or a position.

        Positions lie in a square with sides of 6 m (rllab) or a disc of radius 3 m (gym).
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
        """Start near the standing pose, nearly at rest."""
        physics = self.begun(key)
        return physics, self._observation(physics, jnp.zeros((13, 6)), task)

    def step(self, key, task, state, action):
        """Apply the torques for one step: state, observation, reward, whether the episode ends."""
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
        # to reach a position, the policy must know its own
        parts = [position if self.goal == "position" else position[2:], velocity]
        if self.variant == "rllab":
            skeleton = self._engine.skeleton
            turned = skeleton.rotations(position)[1]
            world = jnp.zeros(6, position.dtype)  # whose contact forces are not observed
            forces = [world, contact.ravel()] if self.observe_contacts else []
            parts = [position, velocity, *forces, turned.ravel()]
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
        """The simulated model."""
        if self.variant == "gym":
            return ModelSettings("ant", timestep=0.01)
        return ModelSettings(
            "ant",
            timestep=0.02,
            impedance=(0.8, 0.8, 0.01),
            floor_margin=0.0,  # MuJoCo 1.31 used the larger of the two margins; today's adds them
            contact_forces=True,
        )
