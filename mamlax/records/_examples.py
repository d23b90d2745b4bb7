"""`examples.npz`: predictions and behavior in a few tasks, for figures and films.

In every class, dictionaries have the keys "main" and "pretrained", and `[steps]` are the numbers of
inner steps after which examples are shown. The axes of arrays are given in their types, and are
checked when a file is read.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

import numpy as np

from ._arrays import arrays_in, check_shape, write_arrays
from ._evaluation import rewrite_with

ByName: TypeAlias = dict[str, np.ndarray]
_KIND = "kind"


@dataclass(frozen=True, kw_only=True)
class SinusoidExamples:
    """A few sine waves.

    Attributes:
        algorithm: what learned.
        num_steps: `[steps]`.
        grid: `[points]`, inputs to draw at.
        truth: `[waves, points]`.
        support_x: `[waves, shots]`.
        support_y: `[waves, shots]`.
        predictions: `[waves, steps, points]`.
    """

    algorithm: str
    num_steps: Annotated[np.ndarray, "steps"]
    grid: Annotated[np.ndarray, "points"]
    truth: Annotated[np.ndarray, "waves points"]
    support_x: Annotated[np.ndarray, "waves shots"]
    support_y: Annotated[np.ndarray, "waves shots"]
    predictions: Annotated[ByName, "waves steps points"]


@dataclass(frozen=True, kw_only=True)
class FewShotExamples:
    """One classification task.

    Attributes:
        algorithm: what learned.
        num_steps: `[steps]`.
        ways: number of classes.
        support_images: `[examples, height, width, ...]`, those of a class after one another.
        query_images: the same.
        query_targets: `[examples]`.
        probabilities: `[steps, examples, ways]`, of the queries.
    """

    algorithm: str
    num_steps: Annotated[np.ndarray, "steps"]
    ways: int
    support_images: Annotated[np.ndarray, "supports height width ..."]
    query_images: Annotated[np.ndarray, "queries height width ..."]
    query_targets: Annotated[np.ndarray, "queries"]
    probabilities: Annotated[np.ndarray, "steps queries ways"]


@dataclass(frozen=True, kw_only=True)
class NavigationExamples:
    """Paths of a point to a few goals.

    Attributes:
        algorithm: what learned.
        num_steps: `[steps]`.
        goals: `[goals, 2]`.
        paths: `[goals, steps, episodes, time, 2]`.
        masks: `[goals, steps, episodes, time]`, whether an episode was still going on.
    """

    algorithm: str
    num_steps: Annotated[np.ndarray, "steps"]
    goals: Annotated[np.ndarray, "goals 2"]
    paths: Annotated[ByName, "goals steps episodes time 2"]
    masks: Annotated[ByName, "goals steps episodes time"]


@dataclass(frozen=True, kw_only=True)
class BanditExamples:
    """A few rows of slot machines.

    Attributes:
        algorithm: what learned.
        num_steps: `[steps]`.
        payouts: `[bandits, arms]`, probabilities that they pay.
        pulls: `[bandits, steps, arms]`, shares of pulls.
    """

    algorithm: str
    num_steps: Annotated[np.ndarray, "steps"]
    payouts: Annotated[np.ndarray, "bandits arms"]
    pulls: Annotated[ByName, "bandits steps arms"]


@dataclass(frozen=True, kw_only=True)
class LocomotionExamples:
    """Where a simulated body was in episodes of a few tasks.

    Attributes:
        algorithm: what learned.
        num_steps: `[steps]`, all that films show.
        shown_steps: those that figures show.
        model: the name of the body.
        goal: what a task is.
        seconds_per_step: of simulated time.
        tasks: `[tasks]`, or `[tasks, 2]`.
        positions: `[tasks, steps, time, coordinates]`.
    """

    algorithm: str
    num_steps: Annotated[np.ndarray, "steps"]
    shown_steps: Annotated[np.ndarray, "shown"]
    model: str
    goal: str
    seconds_per_step: float
    tasks: Annotated[np.ndarray, "tasks ..."]
    positions: Annotated[ByName, "tasks steps time coordinates"]


Examples: TypeAlias = (
    SinusoidExamples | FewShotExamples | NavigationExamples | BanditExamples | LocomotionExamples
)
_KINDS: dict[str, type[Any]] = {
    "sinusoid": SinusoidExamples,
    "few-shot": FewShotExamples,
    "navigation": NavigationExamples,
    "bandit": BanditExamples,
    "locomotion": LocomotionExamples,
}


def examples_path(directory: Path) -> Path:
    """The path of a run's examples."""
    return directory / "examples.npz"


def write_examples(directory: Path, examples: Examples) -> None:
    """Write the `examples.npz` of a run directory, atomically."""
    kind = next(name for name, one in _KINDS.items() if isinstance(examples, one))
    arrays = {_KIND: np.array(kind)}
    for field in fields(examples):
        value = getattr(examples, field.name)
        if isinstance(value, dict):
            arrays |= {f"{field.name}/{name}": np.asarray(one) for name, one in value.items()}
        else:
            arrays[field.name] = np.asarray(value)
    write_arrays(examples_path(directory), arrays)


def read_examples(directory: Path) -> Examples | None:
    """Read the `examples.npz` of a run directory; None if its problem has no examples.

    Raises:
        MamlaxError: if it is damaged, or was written by an older version; saying how to write it
            again.
    """
    path, remedy = examples_path(directory), rewrite_with(directory)
    if not path.exists():
        return None
    with arrays_in(path, remedy) as arrays:
        name = arrays.pop(_KIND).item()
        if name not in _KINDS:
            raise ValueError(f"there is no kind of examples {name!r}")
        kind, sizes = _KINDS[name], {}
        hints = get_type_hints(kind, include_extras=True)
        return kind(**{name: _value(name, hint, arrays, sizes) for name, hint in hints.items()})


def _value(name: str, hint: Any, arrays: dict[str, np.ndarray], sizes: dict[str, int]) -> Any:
    """One field: a string or a number, an array, or an array for each name."""
    if get_origin(hint) is not Annotated:
        value = arrays[name].item()
        if not isinstance(value, hint):
            raise ValueError(f"{name} is {value!r}")
        return value
    kind, axes = get_args(hint)
    if kind is np.ndarray:
        check_shape(name, arrays[name], axes, sizes)
        return arrays[name]
    found = {
        key.removeprefix(f"{name}/"): array
        for key, array in arrays.items()
        if key.startswith(f"{name}/")
    }
    if not found:
        raise KeyError(name)
    for one, array in found.items():
        check_shape(f"{name}/{one}", array, axes, sizes)
    return found
