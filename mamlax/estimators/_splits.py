"""Which groups are learned from, which chosen by, and which held out for the report."""

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .._errors import MamlaxError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_LEAST_TEST = 5
_ENOUGH_TEST = 100
"""Held out in turn; more would cost trainings, and hardly narrow an interval."""


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

    def has(self, part: str) -> bool:
        """Whether it has groups."""
        return bool(np.any(self.parts == part))

    @property
    def counts(self) -> dict[str, int]:
        """How many groups each part has."""
        return {part: int(np.sum(self.parts == part)) for part in (TRAIN, VALIDATION, TEST)}


def splits_of(
    groups: Any, split_by: Any, num_rows: int, settings: Any, seed: int, *, called: str = "split_by"
) -> list[GroupSplit]:
    """The rounds of a fit.

    Args:
        groups: `[rows]`; None: one group, which is learned from.
        split_by: `[rows]`, groups of the same value are held out together; None: each by itself.
        num_rows: how many rows there are.
        settings: `refit`, whether all groups are learned from in the end: only then can they be
            held out in turn; `compare`, whether to hold out any for the report;
            `validation_fraction` and `test_fraction`.
        seed: of the deal.
        called: what `split_by` is called in messages.

    Returns:
        One or more; the last resort is one that holds nothing out.

    Raises:
        MamlaxError: if there is one group only, lengths differ, or fractions make no sense.
    """
    shares = settings.validation_fraction, settings.test_fraction
    deal = Deal.of(groups, split_by, num_rows, *shares, seed, called=called)
    if not settings.refit:
        return [deal.once()]
    return (deal.in_turn() if settings.compare else []) or [deal.split(0, 0)]


class Deal(NamedTuple):
    """Groups in a random order, to be cut; what shares a value of `split_by` is a unit.

    Attributes:
        groups: `[rows]`, the number of each row's group.
        names: `[groups]`.
        unit_of: `[groups]`, the number of what each is held out with.
        order: `[units]`, their numbers at random.
        num_validation: units to choose by.
        test_fraction: share of the units for the report.
    """

    groups: np.ndarray
    names: np.ndarray
    unit_of: np.ndarray
    order: np.ndarray
    num_validation: int
    test_fraction: float

    @staticmethod
    def of(
        groups: Any,
        split_by: Any,
        num_rows: int,
        validation_fraction: float,
        test_fraction: float,
        seed: int,
        *,
        called: str = "split_by",
    ) -> "Deal":
        """Shuffle; see `splits_of`."""
        _check_shares(validation_fraction, test_fraction)
        if groups is None:
            if split_by is not None:
                raise MamlaxError(f"{called} says which groups go together: give groups as well.")
            one = np.zeros(1, int)
            all_rows = np.array(["all rows"])
            return Deal(np.zeros(num_rows, int), all_rows, one, one, 0, test_fraction)
        names, numbers = numbered("groups", groups, num_rows)
        if len(names) == 1:
            raise MamlaxError(
                f"all {num_rows} rows belong to one group ({_shown(names[0])}): there is nothing "
                "to learn across. Give the column that says which task a row belongs to, or fit an "
                "ordinary model (groups=None fits a plain network)."
            )
        units, unit_of = names, np.arange(len(names))
        if split_by is not None:
            units, unit_of = units_of(called, split_by, numbers, names)
            if len(units) == 1:
                raise MamlaxError(
                    f"{called} is {_shown(units[0])} in all rows, so that no group could be held "
                    "out."
                )
        order = np.random.default_rng(seed).permutation(len(units))
        # two or more are left to learn from; a share is one or more where that allows it
        num_validation = min(_share(validation_fraction, len(units)), len(units) - 2)
        return Deal(numbers, names, unit_of, order, num_validation, test_fraction)

    def once(self) -> GroupSplit:
        """One split: five for the report, where that is not more than a quarter, or the share."""
        num_test = _share(self.test_fraction, len(self.order))
        if num_test:  # where there are few, a share is too few to say anything
            num_test = max(num_test, min(_LEAST_TEST, len(self.order) // 4))
        return self.split(0, min(num_test, self._most_test))

    def in_turn(self) -> list[GroupSplit]:
        """Splits in which every group is held out once for the report; or as many as are enough.

        About the share at a time. None where there are too few groups to hold one out.
        """
        total = len(self.order)
        most = min(math.ceil(self.test_fraction * total), self._most_test)
        if most < 1:
            return []
        num_rounds = max(1, round(total / most))
        while -(-total // num_rounds) > self._most_test:
            num_rounds += 1
        ends = [total * (i + 1) // num_rounds for i in range(num_rounds)]
        needed = 1 + sum(end < _ENOUGH_TEST for end in ends[:-1])
        return [self.split(start, end - start) for start, end in pairwise([0, *ends[:needed]])]

    def split(self, start: int, num_test: int) -> GroupSplit:
        """From a place in the order on, some units are chosen by, and so many then held out."""
        order = np.roll(self.order, -start)
        parts = np.full(len(order), TRAIN, dtype="<U10")
        parts[order[: self.num_validation]] = VALIDATION
        parts[order[self.num_validation : self.num_validation + num_test]] = TEST
        return GroupSplit(self.groups, self.names, parts[self.unit_of], self.unit_of[self.groups])

    @property
    def _most_test(self) -> int:
        """Units that can be held out for the report."""
        return max(len(self.order) - 2 - self.num_validation, 0)


def _check_shares(validation_fraction: float, test_fraction: float) -> None:
    if min(validation_fraction, test_fraction) < 0 or validation_fraction + test_fraction >= 1:
        raise MamlaxError(
            "validation_fraction and test_fraction must be 0 or more, and less than 1 together, "
            f"got {validation_fraction} and {test_fraction}."
        )


def _share(fraction: float, total: int) -> int:
    return max(1, int(fraction * total)) if fraction > 0 else 0


def units_of(
    name: str, values: Any, numbers: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The values that groups share, which are held out together, and the number of each group's.

    Args:
        name: what they are called in messages.
        values: `[rows]`.
        numbers: `[rows]`, the number of each row's group.
        groups: `[groups]`, what they are called.

    Raises:
        MamlaxError: if a group has rows of several values.
    """
    units, unit_of_row = numbered(name, values, len(numbers))
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
