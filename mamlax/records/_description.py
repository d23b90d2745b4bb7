"""`recipe.json`: the recipe and seeds of a run, to repeat, resume, evaluate and compare it."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .._errors import MamlaxError
from .._files import Json, is_temporary, remedy, write_json
from ..config._catalog import RECIPES, nearest_recipe
from ..config._recipe import Recipe
from ._json import from_json, read_json
from ._settings import (
    OLD_NAMES_OF_ALGORITHMS,
    algorithm_from_flat,
    algorithm_from_json,
    group_from_flat,
    settings_as_json,
    settings_from_json,
)

_REMEDY = "Train again in another directory."
_OF_THE_MACHINE = {"num_devices", "task_batch_size"}


class OtherRunError(MamlaxError):
    """A directory holds another run than the one that is to be trained there.

    Attributes:
        found: the run that it holds.
    """

    def __init__(self, message: str, found: "RunDescription"):
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class RunDescription:
    """The recipe and seeds of a run.

    Attributes:
        recipe: the recipe with all settings.
        seed: the (first) seed.
        num_seeds: seeds trained side by side.
        mamlax: the version that trains it.
        environment: versions of libraries, and the machine; they may change before a resume.
    """

    recipe: Recipe
    seed: int
    num_seeds: int
    mamlax: str = field(default_factory=lambda: version("mamlax"))
    environment: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> Json:
        """The content of `recipe.json`."""
        return {
            "recipe": self.recipe.name,
            "seed": self.seed,
            "num_seeds": self.num_seeds,
            "mamlax": self.mamlax,
            "settings": {
                name: settings_as_json(group) for name, group in self.recipe.groups.items()
            },
            "environment": self.environment,
        }


def environment() -> Json:
    """Versions of libraries, and the machine."""
    import jax

    packages = ("jax", "jaxlib", "optax", "equinox", "numpy")
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "devices": [device.device_kind for device in jax.devices()],
        "machine": platform.machine(),
    }


def open_run(directory: Path, description: RunDescription) -> None:
    """Make `directory` the run of `description`, or check that it already is.

    Settings in the recipe's `may_grow` may be larger than in the directory, or None instead of a
    number. The run then continues, and its description is rewritten. Which devices compute, and how
    many tasks at once, may be other than before: that changes nothing beyond rounding.

    Args:
        directory: the run directory.
        description: the description of the run.

    Raises:
        OtherRunError: if the directory belongs to another run. The message lists the differences.
        MamlaxError: if it cannot be written, or holds other files.
    """
    path = directory / "recipe.json"
    if path.exists():
        found = read_run(directory)
        different = differences(found, description)
        different = {name: two for name, two in different.items() if name not in _OF_THE_MACHINE}
        grown = {
            name
            for name, (old, new) in different.items()
            if name in description.recipe.may_grow
            and old is not None
            and (new is None or new > old)
        }
        other = [
            f"  {name}: {old!r} there, {new!r} now"
            for name, (old, new) in different.items()
            if name not in grown
        ]
        if other:
            raise OtherRunError(
                f"{directory} holds another run:\n"
                + "\n".join(other)
                + "\nGive another directory, or resume that run with its own settings.",
                found,
            )
        if grown:
            _write(path, description)
        return
    if directory.is_file() or (
        directory.is_dir() and not all(is_temporary(path) for path in directory.iterdir())
    ):
        raise MamlaxError(
            f"{directory} exists and is not a run directory (no recipe.json). "
            "Choose another with --out."
        )
    _write(path, description)


def read_run(directory: Path) -> RunDescription:
    """The description of a run.

    Raises:
        MamlaxError: if the directory holds no run, its description is damaged, or this version of
            mamlax does not know its recipe or settings.
    """
    path = directory / "recipe.json"
    if directory.is_file():
        raise MamlaxError(
            f"{directory} is a file; this takes the directory of a run, which mamlax train makes. "
            "If it is a saved model: mamlax inspect describes it, and mamlax score measures it on "
            "a table."
        )
    if not path.exists():
        runs = sorted(found.parent for found in directory.glob("*/recipe.json"))
        hint = f" Did you mean {runs[0]}?" if runs else ""
        raise MamlaxError(f"{directory} is not a run directory: {path} is missing.{hint}")
    value = read_json(path, _REMEDY)
    parts = from_json(value, _Parts, path, _REMEDY)
    if parts.recipe not in RECIPES:
        raise MamlaxError(
            f"{directory} is a run of the recipe {parts.recipe!r} of mamlax {parts.mamlax}, which "
            f"mamlax {version('mamlax')} does not have.{nearest_recipe(parts.recipe)}"
        )
    recipe = _recipe_from(parts, path)
    return RunDescription(recipe, parts.seed, parts.num_seeds, parts.mamlax, parts.environment)


@dataclass(frozen=True)
class _Parts:
    """A `recipe.json` whose settings are not checked yet."""

    recipe: str
    seed: int
    num_seeds: int
    mamlax: str
    settings: Json
    environment: Json = field(default_factory=dict)


def _recipe_from(parts: _Parts, path: Path) -> Recipe:
    known, settings = RECIPES[parts.recipe], parts.settings
    remedy = f"mamlax {parts.mamlax} wrote it. {_REMEDY}"
    if "num_outer_steps" in settings:  # written by mamlax 0.1.0
        settings = _grouped(settings, known)
    groups = {
        name: algorithm_from_json(settings.get(name), known.algorithms, path, remedy)
        if name == "algorithm"
        else settings_from_json(settings.get(name), type(default), path, remedy)
        for name, default in known.groups.items()
    }
    try:
        return replace(known, **groups)
    except MamlaxError as error:
        raise MamlaxError(f"{path} is damaged: {error} {_REMEDY}") from error


def _grouped(written: Mapping[str, Any], known: Recipe) -> Json:
    """Convert the settings of mamlax 0.1.0, which are in two groups, to today's groups."""
    problem = written.get("problem")
    flat: Json = {**written, **(problem if isinstance(problem, dict) else {})}
    flat.pop("problem", None)
    if flat.get("context_size") == getattr(known.problem, "context_size", None):
        flat["context_size"] = None  # the problem's default
    grouped: Json = {
        name: group_from_flat(flat, type(default)) for name, default in known.groups.items()
    }
    used = OLD_NAMES_OF_ALGORITHMS.union(*grouped.values())
    used |= {field.name for default in known.groups.values() for field in fields(default)}
    grouped["algorithm"] = algorithm_from_flat(flat)
    # keep a problem that is not an object, and unknown settings, for the reader to refuse
    if not isinstance(problem, dict):
        grouped["problem"] = problem
    grouped["training"] |= {name: value for name, value in flat.items() if name not in used}
    return grouped


def differences(one: RunDescription, other: RunDescription) -> dict[str, tuple[Any, Any]]:
    """What differs between two runs, but for the environment; by the name of the setting.

    Of another recipe or algorithm, not the settings that only one of them has.
    """
    old, new = _compared(one), _compared(other)
    if old["recipe"] != new["recipe"]:
        return {"recipe": (old["recipe"], new["recipe"])}
    names = sorted(old.keys() & new.keys())
    return {name: (old[name], new[name]) for name in names if old[name] != new[name]}


def _compared(description: RunDescription) -> Json:
    """What must be equal for a run to be resumed; names of settings are unique across groups."""
    value = description.as_json()
    del value["environment"]
    groups = value.pop("settings")
    groups["algorithm"]["algorithm"] = groups["algorithm"].pop("name")
    for group in groups.values():
        value |= group
    return value


def _write(path: Path, description: RunDescription) -> None:
    try:
        write_json(path, description.as_json())
    except OSError as error:
        raise MamlaxError(
            f"{path} could not be written ({error}). {remedy(error)}, then repeat the command."
        ) from error
