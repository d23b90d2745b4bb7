"""What was read of a table, and what was made of it, each in one line."""

from collections.abc import Iterable, Sequence

import numpy as np

from .._errors import printable
from ._delimited import SEPARATORS, words_of
from ._described import Described
from ._splits import TEST, GroupSplit
from ._tables import Table, listed, shown

_FEW_VALUES = 10


def summary(
    table: Table,
    targets: Sequence[Described],
    features: Sequence[Described],
    names: Sequence[str],
    left_out: Sequence[str],
) -> str:
    """What was read of a table, and what had to be assumed.

    Args:
        table: what was read.
        targets: what is predicted.
        features: what it is predicted from.
        names: columns of names: of tasks, and of what is held out together.
        left_out: columns left out because they are an index.
    """
    described = [*targets, *features]
    numbers = [_with_assumed(one) for one in described if one.is_numbers]
    dates = [shown(one.name) for one in described if one.is_dates]
    categories = [shown(one.name) for one in described if not (one.is_numbers or one.is_dates)]
    words = [f"{len(table):,} rows, {len(table.names)} columns{_separated(table)}"]
    for what, found in (
        ("numbers", numbers),
        ("dates", dates),
        ("categories", categories),
        ("names", [shown(name) for name in dict.fromkeys(names)]),
        ("left out, as an index", [shown(name) for name in left_out]),
        ("missing", _missing(features)),
    ):
        if found:
            more = f" and {len(found) - 12} more" if len(found) > 12 else ""
            words.append(f"{what}: {', '.join(found[:12])}{more}")
    return printable(f"{table.path}: {'; '.join(words)}.")


def assumptions(table: Table, columns: Iterable[Described]) -> str:
    """What had to be assumed of a table, in a line; empty where nothing had to."""
    found = [_with_assumed(one) for one in columns if one.assumed]
    separated = _separated(table).strip()
    if not found and not separated:
        return ""
    return printable(f"{table.path}: {', '.join(filter(None, [separated, *found]))}.")


def choices(
    y: np.ndarray,
    targets: Sequence[str],
    features: Sequence[str],
    tasks: Sequence[str],
    splits: Sequence[str],
    rounds: Sequence[GroupSplit],
    is_class: bool,
) -> str:
    """What was made of a table, before anything is learned from it."""
    what, hint = f"regression of {' and '.join(targets)}", ""
    if is_class:
        labels = np.unique(y).tolist()
        what = f"classification of {targets[0]} ({len(labels)} classes: {listed(labels, 6)})"
    elif y.ndim == 1 and (count := len(np.unique(y))) <= _FEW_VALUES:
        hint = f" (--kind classes takes the {count} values of {targets[0]} for classes.)"
    held_out = f", held out by {' and '.join(splits)}" if splits else ""
    judged = sum(split.counts[TEST] for split in rounds)
    judging = "too few to hold some out and judge by"
    if judged:
        judging = f"{judged} to judge by, held out in {len(rounds)} rounds"
        judging = judging.replace(" in 1 rounds", "")
    return printable(
        f"{what} on {len(features)} column{'s' * (len(features) != 1)} ({listed(features)}), "
        f"{len(y)} rows; {len(rounds[0].names)} tasks ({', '.join(tasks)}{held_out}) to learn "
        f"from, {judging}.{hint}"
    )


def _with_assumed(column: Described) -> str:
    return shown(column.name) + (f" ({column.assumed})" if column.assumed else "")


def _separated(table: Table) -> str:
    """What separates cells, where the suffix says otherwise, or another would do as well."""
    own = [SEPARATORS[kind] for kind in map(str.lower, table.path.suffixes) if kind in SEPARATORS]
    others = " and ".join(map(words_of, table.other_separators))
    if table.separator is None or (table.separator in own and not others):
        return ""
    doubt = f" ({others} would fit, too)" if others else ""
    return f" separated by {words_of(table.separator)}{doubt}"


def _missing(columns: Sequence[Described]) -> list[str]:
    """How many cells, and by which words."""
    found = []
    for one in columns:
        if count := int(one.is_missing.sum()):
            words = ", ".join(map(repr, one.words))
            found.append(f"{count:,} of {shown(one.name)}" + (f" (as {words})" if words else ""))
    return found
