"""Walker and hopper whose masses, friction and damping differ from task to task."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..._environment import Box
from ...engines._engine import engine_of
from ...engines._model import ModelSettings
from ...engines._physics import EngineName, Physics
from .._checks import check_choice, check_positive

BodyName = Literal["walker2d", "hopper"]


class _Settings(NamedTuple):
    heights: tuple[float, float]
    tilt: float
    action_size: int
    observation_size: int


_SETTINGS = {
    "walker2d": _Settings((0.8, 2.0), 1.0, 6, 17),
    "hopper": _Settings((0.7, float("inf")), 0.2, 3, 11),
}
_FRAME_SKIP = 4  # as in the papers' code, whatever its environments ask for
_BASES = {"body_mass": 1.5, "body_inertia": 1.5, "geom_friction": 1.5, "dof_damping": 1.3}


@dataclass(frozen=True)
class RandomizedBody:
    """Walk or hop forward with a robot whose physics differ from task to task.

    The task is a dictionary of exponents e between −`spread` and `spread`, one for each number in
    the model's fields `body_mass`, `body_inertia`, `geom_friction` (which are multiplied by 1.5ᵉ)
    and `dof_damping` (multiplied by 1.3ᵉ). With v the torso's mean velocity over the 0.008 s of a
    step, and control u (clipped to ±1), the reward is

        v + 1 − 0.001 ‖u‖²

    Observations are the joints without the position along the line, and velocities clipped to ±10:
    `[17]` for the walker, `[11]` for the hopper. An episode ends when the robot falls: the walker
    is below 0.8 m or above 2 m, or leans more than 1 rad; the hopper is below 0.7 m, or leans more
    than 0.2 rad.

    Args:
        body: the walker or the hopper.
        spread: how much tasks differ; with 0 all are the same.
        horizon: the longest episode, in steps.
        oracle: also observe the exponents, in the order of the fields above.
        engine: `"mujoco"`, on processor cores, or `"mjx"`, for accelerators.

    Raises:
        ValueError: if a setting is out of range.
        MamlaxError: at first use, if MuJoCo or Gymnasium is not installed.

    Differs from the papers:
        Tasks are drawn anew each time, instead of 40 for training and 10 for the test. What MuJoCo
        computes from masses when it compiles a model is that of the unchanged model, as in the
        papers' code.

    References:
        Rakelly et al., PEARL, ICML 2019, as in the code of its environments.
    """

    body: BodyName = "walker2d"
    spread: float = 3.0
    horizon: int = 200
    oracle: bool = False
    engine: EngineName = "mujoco"

    def __post_init__(self):
        check_choice("body", self.body, BodyName)
        check_choice("engine", self.engine, EngineName)
        check_positive(self, "horizon")
        if not 0 <= self.spread < float("inf"):
            raise ValueError(f"spread must be 0 or more, got {self.spread}.")

    @property
    def acts_together(self) -> bool:
        """True with MuJoCo, whose threads simulate many tasks at once."""
        return self.engine == "mujoco"

    @property
    def observation_size(self) -> int:
        """17 (walker) or 11 (hopper); the oracle also observes the exponents."""
        task_size = sum(default.size for default in self._defaults.values()) if self.oracle else 0
        return self._settings.observation_size + task_size

    @property
    def action(self) -> Box:
        """One number per motor."""
        return Box(self._settings.action_size)

    def sample_task(self, key):
        """Draw exponents."""
        keys = jax.random.split(key, len(_BASES))
        return {
            name: jax.random.uniform(k, default.shape, minval=-self.spread, maxval=self.spread)
            for k, (name, default) in zip(keys, self._defaults.items(), strict=True)
        }

    def reset(self, key, task):
        """Start near the standing pose, at rest."""
        place_key, velocity_key = jax.random.split(key)
        model = self._engine.model
        moved = jax.random.uniform(place_key, (model.nq,), minval=-0.005, maxval=0.005)
        velocity = jax.random.uniform(velocity_key, (model.nv,), minval=-0.005, maxval=0.005)
        physics = self._engine.start(jnp.asarray(model.qpos0, moved.dtype) + moved, velocity)
        return physics, self._observation(physics, task)

    def step(self, key, task, state, action):
        """Apply the torques for one step: state, observation, reward, whether the episode ends."""
        control = jnp.clip(action, -1.0, 1.0)
        changes = {
            name: jnp.asarray(default, action.dtype) * _BASES[name] ** task[name]
            for name, default in self._defaults.items()
        }
        after = self._engine.step(state, control, changes)
        time = self._engine.model.opt.timestep * _FRAME_SKIP
        speed = (after.position[0] - state.position[0]) / time
        reward = speed + 1.0 - 0.001 * jnp.sum(control**2)
        (low, high), tilt = self._settings.heights, self._settings.tilt
        height, lean = after.position[1], after.position[2]
        standing = (height > low) & (height < high) & (jnp.abs(lean) < tilt)
        return after, self._observation(after, task), reward, ~standing

    def _observation(self, physics: Physics, task: PyTree) -> PyTree:
        parts = [physics.position[1:], jnp.clip(physics.velocity, -10.0, 10.0)]
        parts += [jnp.ravel(task[name]) for name in _BASES] if self.oracle else []
        return jnp.concatenate(parts)

    @property
    def _settings(self) -> _Settings:
        return _SETTINGS[self.body]

    @property
    def _defaults(self) -> dict[str, Any]:
        return {name: getattr(self._engine.model, name) for name in _BASES}

    @property
    def _engine(self):
        return engine_of(self.engine, ModelSettings(self.body), _FRAME_SKIP)
