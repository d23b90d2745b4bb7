"""JSON files of a known type; errors name the file and a remedy."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .._errors import MamlaxError
from .._extras import optional
from .._files import Json, bytes_of

msgspec = optional("msgspec", "cli")

T = TypeVar("T")


def read_json(path: Path, remedy: str) -> Json:
    """The JSON object in a file.

    Args:
        path: the file.
        remedy: a sentence on what to do if it is damaged.

    Raises:
        MamlaxError: if it cannot be read, or holds no JSON object.
    """
    try:
        return msgspec.json.decode(bytes_of(path), type=Json)
    except OSError as error:
        raise MamlaxError(f"{path} could not be read ({error}).") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MamlaxError(f"{path} is damaged: {error}. {remedy}") from error


def from_json(value: Any, kind: type[T], path: Path, remedy: str) -> T:
    """JSON as a value of a type, e.g. a dataclass.

    Raises:
        MamlaxError: if it does not fit the type; the message names the file and the place in it.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, MamlaxError, RecursionError) as error:
        why = str(error).removesuffix(".")
        raise MamlaxError(f"{path} is damaged: {why}. {remedy}") from error


def to_json(value: Any) -> Any:
    """Convert dataclasses to JSON; fields that are None by default are left out if None."""
    if is_dataclass(value):
        return {
            field.name: to_json(given)
            for field in fields(value)
            if (given := getattr(value, field.name)) is not None or field.default is not None
        }
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
