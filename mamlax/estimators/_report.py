"""What the comparison of a model with simpler ones found, and what it says in words."""

import math
from typing import NamedTuple

from .._files import Json

ENOUGH_UNITS = 5
"""Held out together or alone; of fewer, an interval says little."""

ADAPTED = "this model, adapted"
UNADAPTED = "this model, not adapted"
NOTHING = "no model (the mean)"
POOLED = "one pooled linear model"
OFFSET = "pooled + offset of the group"
SUPPORT_ONLY = "fitted to the support alone"
TREES = "gradient-boosted trees"
TREES_OF_GROUP = "trees + mean of the support"


class Entry(NamedTuple):
    """One model at one number of support rows.

    Attributes:
        model: what it is called.
        num_support: rows that it was given of the group.
        error: mean over groups; of regression relative to the variance of the targets over all rows
            held out, of classification the share of rows misclassified.
        ci95: half the width of the 95 % interval over groups.
        worse_than_adapted: mean over groups of its error minus that of the adapted model.
        worse_ci95: half the width of that difference's interval.
        num_groups: groups that have so many rows, and more to judge on.
    """

    model: str
    num_support: int
    error: float
    ci95: float
    worse_than_adapted: float
    worse_ci95: float
    num_groups: int


class Report(NamedTuple):
    """What a comparison found; printed, a table and a verdict.

    Attributes:
        metric: what `error` is.
        num_groups: groups held out.
        num_units: of groups that were held out together, which intervals take for independent.
        entries: a list of `Entry`.
    """

    metric: str
    num_groups: int
    num_units: int
    entries: tuple[Entry, ...]

    @property
    def sizes(self) -> list[int]:
        """The numbers of support rows."""
        return sorted({entry.num_support for entry in self.entries})

    @property
    def models(self) -> list[str]:
        """What was compared."""
        return list(dict.fromkeys(entry.model for entry in self.entries))

    def entry(self, model: str, num_support: int) -> Entry:
        """One of them."""
        return next(
            entry
            for entry in self.entries
            if entry.model == model and entry.num_support == num_support
        )

    @property
    def verdict(self) -> str:
        """What to use, in a sentence or two.

        The adapted model is the best at a number of rows where the best of the simpler ones is
        worse by more than chance. Where it is so at none, a simpler one that is the best of them
        somewhere and nowhere worse by more than chance is to be used.
        """
        if self.num_units < ENOUGH_UNITS:
            return (
                f"Only {_counted(self.num_units, self._over)} held out: too few to say which of "
                f"these models is better; {ENOUGH_UNITS} or more can. More groups would help, or "
                "in Python a larger share of them held out (test_fraction)."
            )
        best = {size: self._best(size) for size in self.sizes}
        wins = [size for size, one in best.items() if one.worse_than_adapted > one.worse_ci95]
        if len(wins) == len(best):
            return "At every number of rows the adapted model is the best: use it."
        if not wins and (enough := self._enough({one.model for one in best.values()})):
            return (
                f"Use {enough}: it is simpler, and at no number of rows is it worse than the "
                "adapted model by more than chance."
            )
        better: dict[str, list[int]] = {}
        even: dict[str, list[int]] = {}
        for size, one in best.items():
            if size not in wins:
                is_better = one.worse_than_adapted < -one.worse_ci95
                (better if is_better else even).setdefault(one.model, []).append(size)
        words = [f"{model} does as well with {_rows(sizes)}" for model, sizes in even.items()]
        words += [f"{model} is better with {_rows(sizes)}" for model, sizes in better.items()]
        if wins:
            first = f"With {_rows(wins)} of support the adapted model is the best: use it there."
            return f"{first} {_sentence(words)}."
        return (
            f"{_sentence(words)}. But none of these keeps up at every number of rows: where one "
            "model is to serve all, use the adapted one."
        )

    def _best(self, size: int) -> Entry:
        """The best of the simpler models."""
        others = [self.entry(model, size) for model in self.models]
        return min(
            (one for one in others if one.model not in (ADAPTED, UNADAPTED)),
            key=lambda entry: entry.error,
        )

    def _enough(self, models: set[str]) -> str | None:
        """The best of some models that are nowhere worse than the adapted one."""
        of_each = {
            model: [self.entry(model, size) for size in self.sizes]
            for model in self.models
            if model in models
        }
        as_good = [
            model
            for model, entries in of_each.items()
            if all(one.worse_than_adapted <= one.worse_ci95 for one in entries)
        ]
        return min(
            as_good, key=lambda model: sum(one.error for one in of_each[model]), default=None
        )

    @property
    def _over(self) -> str:
        """What intervals are over, one of them."""
        return "group" if self.num_units == self.num_groups else "set of groups"

    def __str__(self) -> str:
        over = "groups"
        if self.num_units < self.num_groups:
            over = f"the {_counted(self.num_units, 'set')} of groups held out together"
        interval = f", mean ± 95 % interval over {over}" if self.num_units > 1 else ""
        lines = [f"{self.metric}, {_counted(self.num_groups, 'group')} held out{interval}"]
        rows = [["rows of support", *map(str, self.sizes)]]
        for model in self.models:
            rows.append([model, *(_cell(self.entry(model, size)) for size in self.sizes)])
        counts = [self.entry(ADAPTED, size).num_groups for size in self.sizes]
        if min(counts) < self.num_groups:  # others have too few rows
            rows.append(["groups", *map(str, counts)])
        first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        for name, *cells in rows:
            shown = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
            lines.append("   ".join([f"{name:<{first}}", *shown]))
        return "\n".join([*lines, "", self.verdict])

    def as_json(self) -> Json:
        """For `report_from_json`."""
        entries = [entry._asdict() for entry in self.entries]
        return {**self._asdict(), "entries": entries}


def report_from_json(value: Json) -> Report:
    """What `as_json` gave."""
    entries = tuple(Entry(**entry) for entry in value["entries"])
    return Report(value["metric"], value["num_groups"], value["num_units"], entries)


def _cell(entry: Entry) -> str:
    interval = f" ± {entry.ci95:.3f}" if math.isfinite(entry.ci95) else ""
    return f"{entry.error:.3f}{interval}"


def _counted(number: int, noun: str) -> str:
    """`1 group`, `4 groups`; of a noun of several words the first has the s."""
    first, *more = noun.split()
    return " ".join([str(number), first + "s" * (number != 1), *more])


def _sentence(clauses: list[str]) -> str:
    text = "; ".join(clauses)
    return text[:1].upper() + text[1:]


def _rows(sizes: list[int]) -> str:
    words = ", ".join(map(str, sizes[:-1])) + " and " * (len(sizes) > 1) + str(sizes[-1])
    return f"{words} row{'s' * (sizes != [1])}"
