"""The report: a comparison of the adapted model with simpler ones, as a table and a verdict."""

import math
from collections.abc import Callable
from typing import NamedTuple

from .._files import Json
from ._entry import ADAPTED, Entry, aligned, counted, shown
from ._pooled import WORDS
from ._verdict import verdict_of


class Report(NamedTuple):
    """The results of a comparison. Printed, it is a table and a verdict.

    Attributes:
        metric: the name of the error.
        num_groups: the number of groups held out.
        num_units: the number of sets of groups that were held out together. Intervals treat these
            sets as independent.
        entries: one `Entry` for each model and number of support rows.
        num_rounds: the number of trainings, each with other groups held out. 0: a model that was
            trained before was judged.
        is_ordered: whether the support was the first rows of a group, in a given order. Otherwise
            it was drawn at random.
        pooled: the kind of pooled model that adaptation starts from: one for each round, then that
            of the final model. Empty: it starts from a network alone.
        remarks: pairs of a model and a remark about it: it failed and was left out, or it gave a
            warning.
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
        """The names of the compared models."""
        return list(dict.fromkeys(entry.model for entry in self.entries))

    def entry(self, model: str, num_support: int) -> Entry:
        """The entry of a model and a number of support rows."""
        return next(
            entry
            for entry in self.entries
            if entry.model == model and entry.num_support == num_support
        )

    @property
    def verdict(self) -> str:
        """Which model to use, in a sentence or two that claim no more than the data show.

        *Use X*: at every number of rows tried, X is shown to be at most 10 % worse than the adapted
        model. *The adapted model is the best*: at the numbers of rows named, every simpler model is
        shown to be worse. Otherwise *it cannot be told*, with both errors. "Shown" means with 95 %
        confidence for all models and numbers of rows together, from differences within each group.
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
        """A sentence on the pooled model that adaptation starts from, if there is one."""
        if not self.pooled:
            return []
        *rounds, kind = self.pooled
        others = {one: rounds.count(one) for one in rounds if one != kind}
        said = ", ".join(f"{number} from {WORDS[one]}" for one, number in others.items())
        aside = f" (of {len(rounds)} rounds, {said})" if others else ""
        return [f"What adapts starts from {WORDS[kind]}{aside}."]

    def _table(self, title: str, cell: Callable[[Entry], str]) -> list[str]:
        """A table with one line for each model."""
        rows = [["rows of support", *map(str, self.sizes)]]
        for model in self.models:
            rows.append([model, *(cell(self.entry(model, size)) for size in self.sizes)])
        counts = [self.entry(ADAPTED, size).num_groups for size in self.sizes]
        if min(counts) < self.num_groups:  # the other groups have too few rows
            rows.append(["groups", *map(str, counts)])
        return [title, *aligned(rows)]

    def as_json(self) -> Json:
        """The report as JSON, for `report_from_json`."""
        entries = [entry._asdict() for entry in self.entries]
        return {**self._asdict(), "entries": entries}


_OTHER_MEASURES: dict[str, Callable[[Entry], float | None]] = {
    "Brier score": lambda entry: entry.brier,
    "share of rows misclassified": lambda entry: entry.misclassified,
}


def report_from_json(value: Json) -> Report:
    """Read what `as_json` gave. If an earlier version wrote it, the verdict says less."""
    entries = tuple(Entry(**entry) for entry in value["entries"])
    pooled, remarks = value.get("pooled", ()), value.get("remarks", ())
    tuples = {"entries": entries, "pooled": tuple(pooled), "remarks": tuple(map(tuple, remarks))}
    return Report(**{**value, **tuples})


def _with_interval(entry: Entry) -> str:
    interval = f" ± {shown(entry.ci95)}" if math.isfinite(entry.ci95) else ""
    return f"{shown(entry.error)}{interval}"
