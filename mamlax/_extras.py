"""Optional libraries: imported where they are used, with a sentence where one is missing."""

from importlib import import_module
from typing import Any

from ._errors import MamlaxError


def optional(module: str, extra: str) -> Any:
    """A module of an optional library.

    Args:
        module: its name.
        extra: which extra of mamlax installs it.

    Raises:
        MamlaxError: if it is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error.name or module, extra) from error


def missing(names: str, extra: str) -> MamlaxError:
    """The error to raise where optional libraries are missing."""
    return MamlaxError(
        f"{names} cannot be imported. It comes with an extra of mamlax; in the folder of mamlax: "
        f"pip install '.[{extra}]'"
    )
