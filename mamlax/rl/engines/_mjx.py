"""MJX: MuJoCo's equations as JAX programs, for accelerators with thousands of episodes."""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from ..._errors import MamlaxError
from ._physics import Changes, Physics
from ._skeleton import Skeleton

_LARGEST, _FASTEST = 1e10, 1e4  # MuJoCo itself takes the former for broken down


class MjxEngine:
    """The same model as `MujocoEngine`'s, in the precision that JAX is set to.

    Args:
        model: an `mujoco.MjModel`.
        frame_skip: steps of the engine per step of the environment.

    Raises:
        MamlaxError: if MJX is not installed.

    References:
        MuJoCo XLA (MJX), in the documentation of MuJoCo.
    """

    def __init__(self, model: PyTree, frame_skip: int):
        try:
            from mujoco import mjx
        except ImportError as error:
            raise MamlaxError(
                f"MJX cannot be imported ({error}). To install it: pip install 'mamlax[mjx]'"
            ) from error
        self.model, self.frame_skip, self.skeleton = model, frame_skip, Skeleton(model)
        self._mjx = mjx
        with jax.ensure_compile_time_eval():  # also where a program is being traced
            self._model = mjx.put_model(model)
            self._data = mjx.make_data(self._model)

    def start(self, position: PyTree, velocity: PyTree) -> Physics:
        """Put the bodies somewhere."""
        data = self._data
        sensors = jnp.zeros(self.model.nsensordata, position.dtype)
        return Physics(position, velocity, sensors, (data.time, data.qacc_warmstart))

    def step(self, physics: Physics, control: PyTree, changes: Changes = None) -> Physics:
        """Hold a control for the time of one environment step."""
        model = self._model.replace(**changes) if changes else self._model
        time, warmstart = physics.engine
        data = self._data.replace(
            qpos=physics.position,
            qvel=physics.velocity,
            ctrl=control,
            time=time,
            qacc_warmstart=warmstart,
        )

        def advance(data, _):
            return self._mjx.step(model, data), None

        with jax.numpy_rank_promotion("allow"):  # MJX relies on it
            data, _ = jax.lax.scan(advance, data, None, length=self.frame_skip)
        sound = jnp.all(jnp.abs(data.qpos) < _LARGEST) & jnp.all(jnp.abs(data.qvel) < _FASTEST)
        position, velocity = (jnp.where(sound, x, jnp.nan) for x in (data.qpos, data.qvel))
        return Physics(position, velocity, data.sensordata, (data.time, data.qacc_warmstart))
