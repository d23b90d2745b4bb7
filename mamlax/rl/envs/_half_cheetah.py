"""A planar animal that must run forward or backward, or at some speed."""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from .._environment import Box
from ..engines._engine import engine_of
from ..engines._model import ModelName
from ..engines._physics import EngineName, Physics
from ._settings import check_choice, check_positive, check_range

CheetahGoal = Literal["direction", "velocity"]
Variant = Literal["rllab", "gym"]


_FRAME_SKIP = {"rllab": 1, "gym": 5}


@dataclass(frozen=True)
class HalfCheetah:
    """Run: two legs, six motors, on a line.

    The task is a direction, 1 or −1, or a velocity in m/s; it is not observed. With v the velocity
    along the line and u the control within ±1, the reward of a step is

        direction:  d · v − 0.05 ‖u‖²          velocity:  −|v − g| − 0.05 ‖u‖²

    Two environments go by this name, and their numbers cannot be compared:

    - `"rllab"`, of the paper: a step of 0.01 s; v is that of the center of mass, which
      is observed too: `[20]`, joints (8), their velocities (9), center of mass (3).
    - `"gym"`, of most later papers: a step of 0.05 s; v is that of the root joint, as
      it moved on average; `[17]` without the center of mass.

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
    variant: Variant = "rllab"
    horizon: int = 200
    action_bound: float = 1.0
    velocities: tuple[float, float] = (0.0, 2.0)
    oracle: bool = False
    engine: EngineName = "mujoco"

    def __post_init__(self):
        for name, kind in (("goal", CheetahGoal), ("variant", Variant), ("engine", EngineName)):
            check_choice(name, getattr(self, name), kind)
        check_positive(self, "horizon", "action_bound")
        check_range("velocities", self.velocities)

    @property
    def acts_together(self) -> bool:
        """True of MuJoCo, whose threads take the rows of many tasks at once."""
        return self.engine == "mujoco"

    @property
    def observation_size(self) -> int:
        """20, or 17 of gym; one more for the oracle."""
        return (20 if self.variant == "rllab" else 17) + self.oracle

    @property
    def action(self) -> Box:
        """Six numbers, one a motor."""
        bound = self.action_bound
        return Box(6, -bound, bound)

    def sample_task(self, key):
        """Draw a direction or a velocity: a number."""
        if self.goal == "direction":
            return jax.random.rademacher(key, (), jnp.result_type(float))
        low, high = self.velocities
        return jax.random.uniform(key, (), minval=low, maxval=high)

    def reset(self, key, task):
        """Begin near the standing pose, nearly at rest."""
        place_key, velocity_key = jax.random.split(key)
        model = self._engine.model
        if self.variant == "rllab":
            moved = 0.01 * jax.random.normal(place_key, (model.nq,))
        else:
            moved = jax.random.uniform(place_key, (model.nq,), minval=-0.1, maxval=0.1)
        velocity = 0.1 * jax.random.normal(velocity_key, (model.nv,))
        physics = self._engine.start(jnp.asarray(model.qpos0, moved.dtype) + moved, velocity)
        center = None
        if self.variant == "rllab":
            center = self._engine.skeleton.center_of_mass(physics.position)
        return physics, self._observation(physics, center, task)

    def step(self, key, task, state, action):
        """Hold the torques for one step: state, observation, reward, whether it is over."""
        control = jnp.clip(action / self.action_bound, -1.0, 1.0)
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

    def _observation(self, physics: Physics, center: Any, task: Any) -> Any:
        parts = [physics.position[1:], physics.velocity]
        parts += [] if center is None else [center]
        parts += [task[None]] if self.oracle else []
        return jnp.concatenate(parts)

    @property
    def model_name(self) -> ModelName:
        """The simulated model."""
        return ModelName("half_cheetah", total_mass=14.0)

    @property
    def seconds_per_step(self) -> float:
        """How long a step takes the animal."""
        return self._engine.model.opt.timestep * _FRAME_SKIP[self.variant]

    @property
    def _engine(self):
        return engine_of(self.engine, self.model_name, _FRAME_SKIP[self.variant])
