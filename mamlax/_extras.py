"""Optional libraries: imported where they are used, with an error that says how to install them."""

from importlib import import_module
from typing import Any

from ._errors import MamlaxError


def optional(module: str, extra: str = "", *, install: str = "") -> Any:
    """Import a module of an optional library.

    Args:
        module: the module's name.
        extra: the extra of mamlax that installs it.
        install: the command that installs it, where no extra does.

    Raises:
        MamlaxError: if it is not installed, with the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error.name or module, extra, install) from error


def missing(names: str, extra: str, install: str = "") -> MamlaxError:
    """The error to raise if optional libraries are missing."""
    if install:
        return MamlaxError(f"{names} cannot be imported. To install it: {install}")
    return MamlaxError(
        f"{names} cannot be imported. It comes with an extra of mamlax: pip install "
        f"'mamlax[{extra}]'"
    )
