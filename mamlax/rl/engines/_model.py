"""Models: MuJoCo's descriptions that Gymnasium installs, compiled."""

import functools
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxtyping import PyTree

from ..._errors import MamlaxError


def mujoco_library() -> ModuleType:
    """MuJoCo.

    Raises:
        MamlaxError: if it is not installed.
    """
    try:
        import mujoco
        import mujoco.rollout
    except ImportError as error:
        raise MamlaxError(
            f"this environment is simulated by MuJoCo, which cannot be imported ({error}). "
            "To install it: pip install 'mamlax[mujoco]'"
        ) from error
    _quiet()
    return mujoco


class ModelSettings(NamedTuple):
    """Which model, and how it differs from Gymnasium's.

    Attributes:
        name: of its file, without ".xml".
        total_mass: in kg; None: as in the file.
        timestep: of the engine, in seconds; None: as in the file.
        impedance: of contacts, the first three numbers of MuJoCo's `solimp`; None: as in the file.
        floor_margin: at what distance the floor begins to push, in meters, beside the margin of
            what touches it: MuJoCo adds both. None: as in the file.
        contact_forces: whether to measure the force `[3]`, torque `[3]` and place `[3]` of what
            each body but the world feels in contact, as sensors.
    """

    name: str
    total_mass: float | None = None
    timestep: float | None = None
    impedance: tuple[float, float, float] | None = None
    floor_margin: float | None = None
    contact_forces: bool = False


def compiled_model(wanted: ModelSettings) -> PyTree:
    """An `mujoco.MjModel`.

    Raises:
        MamlaxError: if MuJoCo or Gymnasium is missing, or Gymnasium has no such model.
    """
    mujoco = mujoco_library()
    try:
        folder = resources.files("gymnasium")
    except ModuleNotFoundError as error:
        raise MamlaxError(
            "models of bodies come with Gymnasium, which is not installed. "
            "To install it: pip install 'mamlax[mujoco]'"
        ) from error
    path = Path(str(folder / "envs" / "mujoco" / "assets" / f"{wanted.name}.xml"))
    if not path.exists():
        raise MamlaxError(f"Gymnasium has no model {path.name!r} in {path.parent}.")
    spec = mujoco.MjSpec.from_file(str(path))
    spec.compiler.settotalmass = -1  # deprecated: scaled below instead
    if wanted.timestep is not None:
        spec.option.timestep = wanted.timestep
    for geom in spec.geoms:
        if wanted.impedance is not None:
            geom.solimp[:3] = wanted.impedance
        if wanted.floor_margin is not None and geom.name == "floor":
            geom.margin = wanted.floor_margin
    if wanted.contact_forces:
        _measure_contact(mujoco, spec)
    model = spec.compile()
    if wanted.total_mass is not None:
        mujoco.mj_setTotalmass(model, wanted.total_mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def _measure_contact(mujoco: ModuleType, spec: Any) -> None:
    """A sensor for each body: the sum of what touches it."""
    kinds, net_force = mujoco.mjtConDataField, 3
    for index, body in enumerate(list(spec.bodies)[1:], start=1):
        body.name = body.name or f"body_{index}"
        sensor = spec.add_sensor(
            name=f"contact_{index}",
            type=mujoco.mjtSensor.mjSENS_CONTACT,
            objtype=mujoco.mjtObj.mjOBJ_BODY,
            objname=body.name,
        )
        measured = (kinds.mjCONDATA_FORCE, kinds.mjCONDATA_TORQUE, kinds.mjCONDATA_POS)
        sensor.intprm[:3] = [sum(1 << int(kind) for kind in measured), net_force, 1]


@functools.cache
def _quiet() -> None:
    """A simulation that breaks down is counted by whom it concerns, not logged to a file."""
    import mujoco

    mujoco.set_mju_user_warning(  # pyright: ignore[reportAttributeAccessIssue]
        lambda message: None
    )
