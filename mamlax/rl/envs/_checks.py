"""Checks of the settings of environments."""

from typing import Any, get_args


def check_choice(name: str, value: Any, kind: Any) -> None:
    """Raise an error if a value is not one of the choices of a `Literal`.

    Raises:
        ValueError: if it is not; the message lists the choices.
    """
    if value not in get_args(kind):
        raise ValueError(f"{name} must be one of {get_args(kind)}, got {value!r}.")


def check_positive(env: Any, *names: str) -> None:
    """Raise an error if an attribute is not a positive, finite number.

    Raises:
        ValueError: if one is not; the message names the first.
    """
    for name in names:
        value = getattr(env, name)
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a positive number, got {value}.")


def check_range(name: str, value: tuple[float, float]) -> None:
    """Raise an error if a value is not two finite numbers, the lower one first.

    Raises:
        ValueError: if it is not; the message names it.
    """
    low, high = value
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(f"{name} must be a range, low < high, got {value}.")
