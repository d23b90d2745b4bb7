"""The engine of an environment, made once for all that ask."""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import PyTree

from ._model import ModelSettings, compiled_model
from ._physics import EngineName


def engine_of(engine: EngineName, model: ModelSettings, frame_skip: int) -> PyTree:
    """What simulates a model.

    Args:
        engine: which engine.
        model: which model.
        frame_skip: engine steps per environment step.

    Raises:
        MamlaxError: if a library is missing.
    """
    return _made(engine, model, frame_skip, jnp.result_type(float))


@functools.cache
def _made(engine: EngineName, model: ModelSettings, frame_skip: int, precision: Any) -> PyTree:
    """MJX computes in the precision of where it was made."""
    compiled = compiled_model(model)
    if engine == "mjx":
        from ._mjx import MjxEngine

        return MjxEngine(compiled, frame_skip)
    from ._mujoco import MujocoEngine

    return MujocoEngine(compiled, frame_skip)
