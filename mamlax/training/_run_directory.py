"""A run directory belongs to one recipe, seed and version; opening it for another is refused."""

import json
from pathlib import Path
from typing import Any

from .._errors import MamlaxError
from .._files import is_left_over, write_json


def open_run(
    directory: Path, description: dict[str, Any], *, may_grow: tuple[str, ...] = ()
) -> None:
    """Make `directory` the run of `description`, or confirm that it already is.

    Args:
        directory: the run directory.
        description: everything needed to repeat the run, as JSON. Entries under `"environment"`
            (library versions, machine) are recorded but may differ on resume.
        may_grow: entries, with dots, that may be larger than there, or None in the place of a
            number: the run goes on, and its description is written anew.

    Raises:
        MamlaxError: if the directory is another run's, or cannot be written. The message lists
            the differences.
    """
    path = directory / "recipe.json"
    description = json.loads(json.dumps(description))
    if path.exists():
        found = read_run(directory)
        differences = _differences(found, description)
        grown = {
            name
            for name, (old, new) in differences.items()
            if name in may_grow and old is not None and (new is None or new > old)
        }
        other = [
            f"  {name}: {old!r} there, {new!r} now"
            for name, (old, new) in differences.items()
            if name not in grown and not name.startswith("environment")
        ]
        if other:
            raise MamlaxError(
                f"{directory} holds another run:\n"
                + "\n".join(other)
                + "\nRepeat its command to resume it, choose another directory with --out, or "
                "delete it."
            )
        if grown:
            _write(path, description)
        return
    if directory.is_file() or (
        directory.is_dir() and not all(is_left_over(path) for path in directory.iterdir())
    ):
        raise MamlaxError(
            f"{directory} exists and is not a run directory (no recipe.json). "
            "Choose another with --out."
        )
    _write(path, description)


def _write(path: Path, description: dict[str, Any]) -> None:
    try:
        write_json(path, description)
    except OSError as error:
        raise MamlaxError(f"{path} could not be written ({error}).") from error


def read_run(directory: Path) -> dict[str, Any]:
    """The description of a run.

    Raises:
        MamlaxError: if the directory holds no run, or its description is damaged.
    """
    path = directory / "recipe.json"
    if not path.exists():
        runs = sorted(found.parent for found in directory.glob("*/recipe.json"))
        hint = f" Did you mean {runs[0]}?" if runs else ""
        raise MamlaxError(f"{directory} is not a run directory: {path} is missing.{hint}")
    try:
        description = json.loads(path.read_text())
        if not isinstance(description, dict):
            raise ValueError("it does not hold a JSON object")
    except OSError as error:
        raise MamlaxError(f"{path} could not be read ({error}).") from error
    except ValueError as error:  # not JSON, or not even text
        raise MamlaxError(f"{path} is damaged ({error}).") from error
    return description


def _differences(old: Any, new: Any, name: str = "") -> dict[str, tuple[Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = {}
        for key in sorted(old.keys() | new.keys()):
            path = f"{name}.{key}" if name else key
            found.update(_differences(old.get(key), new.get(key), path))
        return found
    return {} if old == new else {name: (old, new)}
