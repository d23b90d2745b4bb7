"""Settings as JSON and back; also from the flat settings of mamlax 0.1.0."""

from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from .._errors import MamlaxError
from .._files import Json
from ..config._algorithms import ALGORITHMS, Algorithm
from ..config._policies import OLD_NAMES, POLICY_ALGORITHMS, PolicyAlgorithm
from ..config._settings import Settings
from ._json import from_json, to_json

S = TypeVar("S", bound=Settings)


def settings_as_json(settings: Settings) -> Json:
    """A group of settings as JSON; algorithms also have their name."""
    is_chosen = isinstance(settings, Algorithm | PolicyAlgorithm)
    name = {"name": settings.name} if is_chosen else {}
    return name | {field.name: to_json(getattr(settings, field.name)) for field in fields(settings)}


def settings_from_json(value: Any, kind: type[S], path: Path, remedy: str) -> S:
    """The inverse of `settings_as_json` for a known class.

    Raises:
        MamlaxError: if there are unknown settings, or values out of bounds.
    """
    value = from_json(value, dict, path, remedy)
    if unknown := value.keys() - {field.name for field in fields(kind)}:
        raise MamlaxError(
            f"{path} has settings that mamlax {version('mamlax')} does not have: "
            f"{', '.join(sorted(unknown))}. {remedy}"
        )
    return from_json(value, kind, path, remedy)


def algorithm_from_json(value: Any, kinds: Mapping[str, type[S]], path: Path, remedy: str) -> S:
    """The inverse of `settings_as_json` for an algorithm.

    Raises:
        MamlaxError: as `settings_from_json`, or if there is no such algorithm.
    """
    value = from_json(value, dict, path, remedy)
    name = value.pop("name", None)
    if not isinstance(name, str) or name not in kinds:
        raise MamlaxError(
            f"{path} names the algorithm {name!r}, which mamlax {version('mamlax')} does not have "
            f"here; there are {', '.join(kinds)}. {remedy}"
        )
    return settings_from_json(value, kinds[name], path, remedy)


def algorithm_from_flat(flat: Mapping[str, Any]) -> Json:
    """Convert an algorithm's settings of mamlax 0.1.0 to the form of `settings_as_json`."""
    name = str(flat.get("outer_algorithm") or flat.get("algorithm"))
    name = OLD_NAMES.get(name, name)
    kind = {**ALGORITHMS, **POLICY_ALGORITHMS}.get(name)
    given = {} if kind is None else group_from_flat(flat, kind)
    # mamlax 0.1.0 wrote None for defaults
    return {"name": name, **{field: value for field, value in given.items() if value is not None}}


def group_from_flat(flat: Mapping[str, Any], kind: type[Settings]) -> Json:
    """The part of flat settings that belongs to one group."""
    return {field.name: flat[field.name] for field in fields(kind) if field.name in flat}


OLD_NAMES_OF_ALGORITHMS = {"algorithm", "outer_algorithm", "context_size"} | {
    field.name
    for kind in (*ALGORITHMS.values(), *POLICY_ALGORITHMS.values())
    for field in fields(kind)
}
"""Settings that mamlax 0.1.0 wrote for every run, whatever its algorithm."""
