"""Settings of environments are refused where they make no sense."""

from typing import Any, get_args


def check_choice(name: str, value: Any, kind: Any) -> None:
    """Refuse what is not among the words of a `Literal`.

    Raises:
        ValueError: naming them.
    """
    if value not in get_args(kind):
        raise ValueError(f"{name} must be one of {get_args(kind)}, got {value!r}.")


def check_positive(env: Any, *names: str) -> None:
    """Refuse attributes that are no positive numbers.

    Raises:
        ValueError: naming the first.
    """
    for name in names:
        value = getattr(env, name)
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a positive number, got {value}.")


def check_range(name: str, value: tuple[float, float]) -> None:
    """Refuse what is not a lower and a higher number.

    Raises:
        ValueError: naming it.
    """
    low, high = value
    if not -float("inf") < low < high < float("inf"):
        raise ValueError(f"{name} must be a range, low < high, got {value}.")
