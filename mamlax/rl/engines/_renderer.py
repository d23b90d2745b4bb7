"""Pictures of bodies, by MuJoCo's own renderer."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..._errors import MamlaxError
from ._model import ModelSettings, compiled_model, mujoco_library


def render(
    model_name: str, positions: Iterable[Any], *, width: int = 240, height: int = 160
) -> Iterator[np.ndarray]:
    """A picture `[height, width, 3]` of each position, from the side, by a camera that follows.

    Args:
        model_name: of Gymnasium's models.
        positions: each `[nq]`.
        width: in pixels.
        height: in pixels.

    Raises:
        MamlaxError: if there is no OpenGL to draw with.
    """
    # how to draw is decided when MuJoCo is imported
    if sys.platform == "linux" and "DISPLAY" not in os.environ and "mujoco" not in sys.modules:
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        mujoco = mujoco_library()
        model = compiled_model(ModelSettings(model_name))
        data, camera = mujoco.MjData(model), mujoco.MjvCamera()
        renderer = mujoco.Renderer(model, height, width)
    except MamlaxError:
        raise
    except Exception as error:  # each backend has its own
        raise MamlaxError(
            f"MuJoCo cannot draw here: {error}. It needs OpenGL: a screen, or without one the EGL "
            "library (Debian: apt-get install libegl1) and MUJOCO_GL=egl, or OSMesa (libosmesa6) "
            "and MUJOCO_GL=osmesa, set before MuJoCo is imported."
        ) from error
    with renderer:
        camera.distance, camera.azimuth, camera.elevation = 4.0, 90.0, -15.0
        for position in positions:
            data.qpos[:] = position
            mujoco.mj_forward(model, data)
            camera.lookat[:] = data.subtree_com[1]
            renderer.update_scene(data, camera)
            yield renderer.render()
