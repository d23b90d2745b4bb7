"""The library of a tracker, imported when it is chosen."""

from importlib import import_module
from typing import Any

from .._errors import MamlaxError


def library_of(name: str, module: str, install: str) -> Any:
    """Import the library of a tracker.

    Args:
        name: the tracker's name.
        module: the module to import.
        install: the command that installs it.

    Raises:
        MamlaxError: if it is not installed, with that command.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MamlaxError(
            f"the tracker {name} needs {error.name or module}, which cannot be imported: {install}"
        ) from error
