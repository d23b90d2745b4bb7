"""What the comparison of a model with simpler ones found: a table and a verdict."""

import math
from collections.abc import Callable
from typing import NamedTuple

from .._files import Json
from ._entry import ADAPTED, Entry, aligned, counted, shown
from ._pooled import WORDS
from ._verdict import verdict_of


class Report(NamedTuple):
    """What a comparison found; printed, a table and a verdict.

    Attributes:
        metric: what `error` is.
        num_groups: groups held out.
        num_units: of groups that were held out together, which intervals take for independent.
        entries: a list of `Entry`.
        num_rounds: trainings by which they were judged, each of them with other groups held out; 0:
            a model that was there already.
        is_ordered: whether support rows were the first of a group, by an order that was given; else
            they were drawn at random.
        pooled: what the model starts from, in each round and then as it is; empty: nothing else
            than its network.
        remarks: pairs of a model and what is to be said of it: that it failed and is left out, or
            that it warned.
    """

    metric: str
    num_groups: int
    num_units: int
    entries: tuple[Entry, ...]
    num_rounds: int = 1
    is_ordered: bool = False
    pooled: tuple[str, ...] = ()
    remarks: tuple[tuple[str, str], ...] = ()

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
        """What to use, in a sentence or two; not more than is shown.

        *Use X*: at every number of rows tried, X is shown to be at most 10 % worse than the adapted
        model. *The adapted model is the best*: with so many rows, every simpler one is shown to be
        worse. Otherwise *it cannot be told*, with both errors. What is shown of the numbers of rows
        and of the simpler models holds for all of them at once, with 95 % confidence; groups are
        compared in pairs.
        """
        over = "group" if self.num_units == self.num_groups else "set of groups"
        return verdict_of(self.entries, self.num_units, over, is_held_out=self.num_rounds > 0)

    def __str__(self) -> str:
        over = "groups"
        if self.num_units < self.num_groups:
            over = f"the {counted(self.num_units, 'set')} of groups held out together"
        interval = f", mean ± 95 % interval over {over}" if self.num_units > 1 else ""
        rounds = f" in {self.num_rounds} rounds" if self.num_rounds > 1 else ""
        held_out = " held out" * (self.num_rounds > 0)
        groups = f"{counted(self.num_groups, 'group')}{held_out}{rounds}"
        first = ", the first rows of a group as support" if self.is_ordered else ""
        lines = self._table(f"{self.metric}, {groups}{first}{interval}", _with_interval)
        for name, of_entry in _OTHER_MEASURES.items():
            if of_entry(self.entries[0]) is not None:
                lines += ["", *self._table(name, lambda one, of=of_entry: shown(of(one) or 0.0))]
        lines += [f"{model}: {said}." for model, said in self.remarks]
        return "\n".join([*lines, "", *self._start(), self.verdict])

    def _start(self) -> list[str]:
        """What the model starts from, in a sentence."""
        if not self.pooled:
            return []
        *rounds, kind = self.pooled
        others = {one: rounds.count(one) for one in rounds if one != kind}
        said = ", ".join(f"{number} from {WORDS[one]}" for one, number in others.items())
        aside = f" (of {len(rounds)} rounds, {said})" if others else ""
        return [f"What adapts starts from {WORDS[kind]}{aside}."]

    def _table(self, title: str, cell: Callable[[Entry], str]) -> list[str]:
        """A line of each model."""
        rows = [["rows of support", *map(str, self.sizes)]]
        for model in self.models:
            rows.append([model, *(cell(self.entry(model, size)) for size in self.sizes)])
        counts = [self.entry(ADAPTED, size).num_groups for size in self.sizes]
        if min(counts) < self.num_groups:  # others have too few rows
            rows.append(["groups", *map(str, counts)])
        return [title, *aligned(rows)]

    def as_json(self) -> Json:
        """For `report_from_json`."""
        entries = [entry._asdict() for entry in self.entries]
        return {**self._asdict(), "entries": entries}


_OTHER_MEASURES: dict[str, Callable[[Entry], float | None]] = {
    "Brier score": lambda entry: entry.brier,
    "share of rows misclassified": lambda entry: entry.misclassified,
}


def report_from_json(value: Json) -> Report:
    """What `as_json` gave, also of an earlier version, whose verdict then says less."""
    entries = tuple(Entry(**entry) for entry in value["entries"])
    pooled, remarks = value.get("pooled", ()), value.get("remarks", ())
    tuples = {"entries": entries, "pooled": tuple(pooled), "remarks": tuple(map(tuple, remarks))}
    return Report(**{**value, **tuples})


def _with_interval(entry: Entry) -> str:
    interval = f" ± {shown(entry.ci95)}" if math.isfinite(entry.ci95) else ""
    return f"{shown(entry.error)}{interval}"
