"""What the running robots share: settings, how an episode starts, and the engine."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ..._environment import TaskEnv
from ..._rollout import record_states
from ...engines._engine import engine_of
from ...engines._model import ModelSettings
from ...engines._physics import EngineName, Physics
from ...engines._renderer import render
from .._checks import check_choice, check_positive, check_range

Variant = Literal["rllab", "gym"]


@dataclass(frozen=True)
class Locomotion(ABC):
    """A running robot; `HalfCheetah` and `Ant` explain its settings."""

    goal: str
    variant: Variant = "rllab"
    horizon: int = 200
    action_bound: float = 1.0
    velocities: tuple[float, float] = (0.0, 2.0)
    oracle: bool = False
    engine: EngineName = "mujoco"

    goals: ClassVar[Any]
    """A `Literal` of what `goal` may be."""
    frame_skips: ClassVar[dict[str, int]] = {"rllab": 1, "gym": 5}
    """Steps of the engine per step, of each variant."""

    def __post_init__(self):
        check_choice("goal", self.goal, self.goals)
        check_choice("variant", self.variant, Variant)
        check_choice("engine", self.engine, EngineName)
        check_positive(self, "horizon", "action_bound")
        check_range("velocities", self.velocities)

    @property
    def acts_together(self) -> bool:
        """True with MuJoCo, whose threads simulate many tasks at once."""
        return self.engine == "mujoco"

    @property
    @abstractmethod
    def model(self) -> ModelSettings:
        """The simulated model."""

    @property
    def seconds_per_step(self) -> float:
        """Simulated seconds of a step."""
        return self._engine.model.opt.timestep * self.frame_skips[self.variant]

    def frames(
        self, key: PRNGKeyArray, task: PyTree, policy: PyTree, *, greedy: bool = False
    ) -> np.ndarray:
        """Pictures of an episode; see `record_frames`."""
        env = cast(TaskEnv, self)  # of a class with the other attributes
        states = record_states(key, env, task, policy, greedy=greedy)
        return np.stack(list(render(self.model.name, np.asarray(states.position))))

    def begun(self, key: PRNGKeyArray) -> Physics:
        """The state at the start of an episode: near the standing pose, nearly at rest."""
        place_key, velocity_key = jax.random.split(key)
        model = self._engine.model
        if self.variant == "rllab":
            moved = 0.01 * jax.random.normal(place_key, (model.nq,))
        else:
            moved = jax.random.uniform(place_key, (model.nq,), minval=-0.1, maxval=0.1)
        velocity = 0.1 * jax.random.normal(velocity_key, (model.nv,))
        return self._engine.start(jnp.asarray(self._standing, moved.dtype) + moved, velocity)

    @property
    def _standing(self) -> np.ndarray:
        """The joints `[nq]` of the standing pose. For some models rllab has its own."""
        model = self._engine.model
        names = [model.numeric(index).name for index in range(model.nnumeric)]
        if self.variant == "rllab" and "init_qpos" in names:
            return model.numeric("init_qpos").data
        return model.qpos0

    def control(self, action: PyTree) -> PyTree:
        """The control of the motors for an action, clipped to ±1."""
        return jnp.clip(action / self.action_bound, -1.0, 1.0)

    def along_a_line(self, key: PRNGKeyArray) -> PyTree:
        """Draw a direction (1 or −1) or a velocity."""
        if self.goal == "direction":
            return jax.random.rademacher(key, (), jnp.result_type(float))
        low, high = self.velocities
        return jax.random.uniform(key, (), minval=low, maxval=high)

    @property
    def _engine(self) -> PyTree:
        return engine_of(self.engine, self.model, self.frame_skips[self.variant])
