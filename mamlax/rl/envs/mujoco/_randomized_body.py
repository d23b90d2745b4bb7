"""Bodies that hop or walk, every one with masses, friction and damping of its own."""

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
_FRAME_SKIP = 4  # that of the code, whatever its environments ask for
_BASES = {"body_mass": 1.5, "body_inertia": 1.5, "geom_friction": 1.5, "dof_damping": 1.3}


@dataclass(frozen=True)
class RandomizedBody:
    """Walk or hop forward, in a body that is a little different in each task.

    The task is a dictionary of exponents e between −`spread` and `spread`, one for each number of
    the model's fields `body_mass`, `body_inertia`, `geom_friction` (which are multiplied by 1.5ᵉ)
    and `dof_damping` (by 1.3ᵉ). With v the velocity of the torso, as it moved on average over the
    0.008 s of a step, and u the control within ±1, the reward is

        v + 1 − 0.001 ‖u‖²

    Observed are joints without the place along the line, and velocities within ±10: `[17]` of the
    walker, `[11]` of the hopper. An episode ends where the body has fallen: it is not between 0.8
    and 2 m high or leans more than 1 rad (walker), not 0.7 m high or leans more than 0.2 (hopper).

    Args:
        body: which one.
        spread: how different; 0 is one task for all.
        horizon: the longest episode, in steps.
        oracle: observe the exponents too, in the order of the fields above.
        engine: `"mujoco"`, on processor cores, or `"mjx"`, for accelerators.

    Raises:
        ValueError: if a setting is out of range.
        MamlaxError: at first use, if MuJoCo or Gymnasium is not installed.

    Differs from the papers:
        Tasks are drawn anew each time, not 40 to train on and 10 to test. What MuJoCo derives from
        masses when it compiles a model stays that of the unchanged one, as in the papers' code.

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
        """True of MuJoCo, whose threads take the rows of many tasks at once."""
        return self.engine == "mujoco"

    @property
    def observation_size(self) -> int:
        """17 or 11; for the oracle as many more as there are exponents."""
        task_size = sum(default.size for default in self._defaults.values()) if self.oracle else 0
        return self._settings.observation_size + task_size

    @property
    def action(self) -> Box:
        """A number for each motor."""
        return Box(self._settings.action_size)

    def sample_task(self, key):
        """Draw exponents."""
        keys = jax.random.split(key, len(_BASES))
        return {
            name: jax.random.uniform(k, default.shape, minval=-self.spread, maxval=self.spread)
            for k, (name, default) in zip(keys, self._defaults.items(), strict=True)
        }

    def reset(self, key, task):
        """Begin near the standing pose, at rest."""
        place_key, velocity_key = jax.random.split(key)
        model = self._engine.model
        moved = jax.random.uniform(place_key, (model.nq,), minval=-0.005, maxval=0.005)
        velocity = jax.random.uniform(velocity_key, (model.nv,), minval=-0.005, maxval=0.005)
        physics = self._engine.start(jnp.asarray(model.qpos0, moved.dtype) + moved, velocity)
        return physics, self._observation(physics, task)

    def step(self, key, task, state, action):
        """Hold the torques for one step: state, observation, reward, whether it is over."""
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
