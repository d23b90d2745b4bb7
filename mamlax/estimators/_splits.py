"""Which groups are learned from, which chosen by, and which held out for the report."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._errors import MamlaxError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_LEAST_TEST = 5


class GroupSplit(NamedTuple):
    """Groups in three parts.

    Attributes:
        groups: `[rows]`, the number of each row's group.
        names: `[groups]`, what each group is called.
        parts: `[groups]`, the part of each.
        units: `[rows]`, the number of what is held out together.
    """

    groups: np.ndarray
    names: np.ndarray
    parts: np.ndarray
    units: np.ndarray

    def rows(self, part: str) -> np.ndarray:
        """The indices of the rows of a part."""
        return np.flatnonzero((self.parts == part)[self.groups])

    def has(self, part: str) -> bool:
        """Whether it has groups."""
        return bool(np.any(self.parts == part))

    @property
    def counts(self) -> dict[str, int]:
        """How many groups each part has."""
        return {part: int(np.sum(self.parts == part)) for part in (TRAIN, VALIDATION, TEST)}


def split_groups(
    groups: Any,
    split_by: Any,
    num_rows: int,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    *,
    called: str = "split_by",
) -> GroupSplit:
    """Deal groups out at random; with `split_by`, those of the same value to the same part.

    Args:
        groups: `[rows]`; None: one group, which is learned from.
        split_by: `[rows]` or None.
        num_rows: how many rows there are.
        validation_fraction: share to choose by.
        test_fraction: share for the report; five, where that is not more than a quarter.
        seed: of the deal.
        called: what `split_by` is called in messages.

    Raises:
        MamlaxError: if there is one group only, lengths differ, or fractions make no sense.
    """
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise MamlaxError(
            "validation_fraction and test_fraction must be 0 or more, and less than 1 together, "
            f"got {validation_fraction} and {test_fraction}."
        )
    if groups is None:
        if split_by is not None:
            raise MamlaxError(f"{called} says which groups go together: give groups as well.")
        one = np.zeros(num_rows, int)
        return GroupSplit(one, np.array(["all rows"]), np.array([TRAIN]), one)
    names, numbers = numbered("groups", groups, num_rows)
    if len(names) == 1:
        raise MamlaxError(
            f"all {num_rows} rows belong to one group ({_shown(names[0])}): there is nothing to "
            "learn across. Give the column that says which task a row belongs to, or fit an "
            "ordinary model (groups=None fits a plain network)."
        )
    units, unit_of = names, np.arange(len(names))
    if split_by is not None:
        units, unit_of = _units(called, split_by, numbers, names)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(units))
    # two or more are left to learn from; a share is one or more where that allows it
    num_validation = min(_share(validation_fraction, len(units)), len(units) - 2)
    num_test = _share(test_fraction, len(units))
    if num_test:  # where there are few, a share is too few to say anything
        num_test = max(num_test, min(_LEAST_TEST, len(units) // 4))
    num_test = min(num_test, len(units) - 2 - num_validation)
    parts = np.full(len(units), TRAIN, dtype="<U10")
    parts[order[:num_validation]] = VALIDATION
    parts[order[num_validation : num_validation + num_test]] = TEST
    return GroupSplit(numbers, names, parts[unit_of], unit_of[numbers])


def _share(fraction: float, total: int) -> int:
    return max(1, int(fraction * total)) if fraction > 0 else 0


def _units(name: str, values: Any, numbers: np.ndarray, groups: np.ndarray):
    """The values that groups are dealt out by, and that of each group."""
    units, unit_of_row = numbered(name, values, len(numbers))
    if len(units) == 1:
        raise MamlaxError(
            f"{name} is {_shown(units[0])} in all rows, so that no group could be held out."
        )
    unit_of = np.zeros(len(groups), int)
    unit_of[numbers] = unit_of_row
    mixed = np.flatnonzero(unit_of[numbers] != unit_of_row)
    if len(mixed):
        group = numbers[mixed[0]]
        there = np.unique(unit_of_row[numbers == group])
        raise MamlaxError(
            f"group {_shown(groups[group])} has rows of several values of {name} "
            f"({', '.join(_shown(units[i]) for i in there[:4])}), so that it could not be held out "
            f"with either. Make groups finer, or leave {name} away."
        )
    return units, unit_of


def _shown(label: Any) -> str:
    """A label as a user wrote it, without NumPy's type."""
    return repr(label.item() if isinstance(label, np.generic) else label)


def numbered(name: str, values: Any, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The different values, sorted, and the number of each row's.

    Raises:
        MamlaxError: if there is not one for each row, or they are of several kinds.
    """
    values = np.asarray(values)
    if values.ndim != 1 or len(values) != num_rows:
        raise MamlaxError(
            f"{name} must have one label for each of the {num_rows} rows, got shape "
            f"{list(values.shape)}."
        )
    missing = pd.isna(values)
    if missing.any():
        raise MamlaxError(
            f"{name} is missing in {int(missing.sum())} rows (the first: {int(missing.argmax())}). "
            "Fill it in, or leave these rows out."
        )
    try:
        return np.unique(values, return_inverse=True)
    except TypeError as error:  # 1 and "1" would become one
        kinds = sorted({type(value).__name__ for value in values.tolist()})
        raise MamlaxError(
            f"{name} mixes labels of several kinds ({', '.join(kinds)}). Make them one."
        ) from error
