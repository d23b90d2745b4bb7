"""What an engine is to an environment."""

from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from jaxtyping import PyTree

EngineName: TypeAlias = Literal["mujoco", "mjx"]
Changes: TypeAlias = dict[str, Any] | None


class Physics(NamedTuple):
    """Bodies at one moment.

    Attributes:
        position: `[nq]`, MuJoCo's `qpos`.
        velocity: `[nv]`, MuJoCo's `qvel`.
        sensors: `[nsensordata]`, what the model's sensors measured when the last step of the engine
            began; zero at the start.
        engine: all that the engine itself needs to go on exactly from here.
    """

    position: PyTree
    velocity: PyTree
    sensors: Any
    engine: Any


class Engine(Protocol):
    """Moves bodies. Both functions are traceable and may be mapped over any axes.

    Where the simulation breaks down, positions and velocities are NaN.
    """

    def start(self, position: PyTree, velocity: PyTree) -> Physics:
        """Put the bodies somewhere."""
        ...

    def step(self, physics: Physics, control: PyTree, changes: Changes = None) -> Physics:
        """Hold a control for the time of one environment step.

        Args:
            physics: where the bodies are.
            control: `[nu]`, MuJoCo's `ctrl`.
            changes: fields of the model that differ in this task, by MuJoCo's names. None: none.
        """
        ...
