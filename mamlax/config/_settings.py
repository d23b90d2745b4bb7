"""Settings as values: the type of each field has bounds, which are checked when a value is made.

Nothing in this package imports JAX, so that the command line answers at once.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import repeat
from numbers import Integral, Real
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from .._errors import MamlaxError

T = TypeVar("T")


class Bound(NamedTuple):
    """Which values a setting may have.

    Attributes:
        words: completes "NAME must be ...".
        allows: whether a value is allowed.
    """

    words: str
    allows: Callable[[Any], bool]


class _Advanced:
    """Marks a setting that few users change: `--help-all` lists it, `--help` does not."""


ADVANCED = _Advanced()
Advanced = Annotated[T, ADVANCED]
"""`Advanced[int]`: an integer that `--help-all` lists, but not `--help`."""

Natural = Annotated[int, Bound("a whole number, 0 or more", lambda n: n >= 0)]
Count = Annotated[int, Bound("a whole number, 1 or more", lambda n: n >= 1)]
Several = Annotated[int, Bound("a whole number, 2 or more", lambda n: n >= 2)]
LARGEST_SEED = 2**32 - 1
"""JAX drops the higher bits of a seed, so that seed 2³² would repeat seed 0."""
Seed = Annotated[
    int, Bound(f"a whole number from 0 to {LARGEST_SEED}", lambda n: 0 <= n <= LARGEST_SEED)
]
Positive = Annotated[float, Bound("a positive number", lambda x: 0 < x < math.inf)]
NonNegative = Annotated[float, Bound("a number, 0 or more", lambda x: 0 <= x < math.inf)]
Fraction = Annotated[float, Bound("a number from 0 to 1", lambda x: 0 <= x <= 1)]
FractionBelowOne = Annotated[float, Bound("a number, 0 or more and below 1", lambda x: 0 <= x < 1)]
PositiveFraction = Annotated[float, Bound("a number above 0, at most 1", lambda x: 0 < x <= 1)]
InnerFraction = Annotated[
    float, Bound("a number above 0 and below 1, such as 0.9", lambda x: 0 < x < 1)
]
Range = Annotated[
    tuple[float, float],
    Bound(
        "two numbers, the lower one first", lambda ends: -math.inf < ends[0] < ends[1] < math.inf
    ),
]


@dataclass(frozen=True)
class Settings:
    """A group of settings. Values outside the bounds of their fields are refused.

    Raises:
        MamlaxError: if a value is not allowed. The message names the setting, its value and what
            is allowed.
    """

    def __post_init__(self) -> None:
        for name, hint in hints_of(type(self)).items():
            check_setting(name, hint, getattr(self, name))


def check_setting(name: str, hint: Any, value: Any) -> None:
    """Refuse a value that has not the type of a hint or is out of its bounds.

    Raises:
        MamlaxError: the message names the setting, its value and what is allowed.
    """
    if not fits(hint, value):
        shown = value.__name__ if isinstance(value, type) else repr(value)
        raise MamlaxError(f"{name} must be {_words(hint, value)}, got {shown}.")


@functools.cache
def hints_of(cls: type[Settings]) -> dict[str, Any]:
    """The type of each field, with its bounds and marks."""
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def is_advanced(hint: Any) -> bool:
    """Whether a field is marked `Advanced`."""
    return ADVANCED in getattr(hint, "__metadata__", ())


def fits(hint: Any, value: Any) -> bool:
    """Whether a value has the type of a hint and is within its bounds."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return fits(parts[0], value) and all(bound.allows(value) for bound in _bounds(hint))
    if origin in (Union, UnionType):
        return any(fits(part, value) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        each = repeat(parts[0]) if Ellipsis in parts else parts
        has_length = Ellipsis in parts or (isinstance(value, tuple) and len(value) == len(parts))
        return isinstance(value, tuple) and has_length and all(map(fits, each, value))
    if hint in (int, float):
        kind = Integral if hint is int else Real
        return isinstance(value, kind) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def is_bounded(hint: Any) -> bool:
    """Whether a type, or a part of it, has bounds."""
    return bool(_bounds(hint)) or any(is_bounded(part) for part in get_args(hint))


def _bounds(hint: Any) -> list[Bound]:
    return [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Bound)]


def _words(hint: Any, value: Any) -> str:
    """In words, what a type allows: for the message about a value that is not allowed."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = _bounds(hint)
        is_of_type = fits(parts[0], value)
        broken = [one for one in bounds if is_of_type and not one.allows(value)] or bounds
        return broken[0].words if broken else _words(parts[0], value)
    if origin in (Union, UnionType):
        parts = [part for part in parts if part is not type(None)]
        parts.sort(key=lambda part: get_origin(part) is not Literal)  # a word, or a number
        return ", or ".join(_words(part, value) for part in parts)
    if origin is Literal:
        choices = [str(part) for part in parts]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    if origin is tuple:
        length = "" if Ellipsis in parts else f" of {len(parts)}"
        values = value if isinstance(value, tuple) else ()
        wrong = next((one for one in values if not fits(parts[0], one)), None)
        return f"a tuple{length}, each value {_words(parts[0], wrong)}"
    names = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    return names.get(hint, f"of type {getattr(hint, '__name__', hint)}")
