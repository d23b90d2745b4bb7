"""What the comparison of a model with simpler ones found, and what it says in words."""

from typing import Any, NamedTuple

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
        error: mean over groups; of regression relative to the variance of the targets, of
            classification the share of rows misclassified.
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
        """What to use, in a sentence or two."""
        if self.num_units < 3:
            return (
                "Too few groups were held out to tell these models apart. More groups, or a larger "
                "share of them held out, would."
            )
        wins, losses = [], []
        even: dict[str, list[int]] = {}
        for size in self.sizes:
            others = [self.entry(model, size) for model in self.models]
            others = [one for one in others if one.model not in (ADAPTED, UNADAPTED)]
            best = min(others, key=lambda entry: entry.error)
            if best.worse_than_adapted > best.worse_ci95:
                wins.append(size)
            elif best.worse_than_adapted < -best.worse_ci95:
                losses.append((size, best.model))
            else:
                even.setdefault(best.model, []).append(size)
        words = []
        if wins:
            words.append(f"With {_rows(wins)} of support the adapted model is the best.")
        for model, sizes in even.items():
            words.append(f"With {_rows(sizes)}, it cannot be told apart from {model}.")
        for model in dict.fromkeys(model for _, model in losses):
            sizes = [size for size, name in losses if name == model]
            words.append(f"With {_rows(sizes)}, {model} is better: use that.")
        if not wins and (enough := self._enough()):
            words.append(
                f"At no number of rows is {enough} worse by more than chance: it is enough."
            )
        return " ".join(words)

    def _enough(self) -> str | None:
        """The best of the simpler models that are nowhere worse than the adapted one."""
        of_each = {
            model: [self.entry(model, size) for size in self.sizes]
            for model in self.models
            if model not in (ADAPTED, UNADAPTED)
        }
        as_good = [
            model
            for model, entries in of_each.items()
            if all(one.worse_than_adapted <= one.worse_ci95 for one in entries)
        ]
        return min(
            as_good, key=lambda model: sum(one.error for one in of_each[model]), default=None
        )

    def __str__(self) -> str:
        width = max(len(model) for model in self.models)
        over = "groups"
        if self.num_units < self.num_groups:
            over = f"the {self.num_units} sets of groups held out together"
        lines = [
            f"{self.metric}, {self.num_groups} groups held out, mean ± 95 % interval over {over}",
            f"{'rows of support':<{width}}" + "".join(f"{size:>14}" for size in self.sizes),
        ]
        for model in self.models:
            cells = [self.entry(model, size) for size in self.sizes]
            shown = "".join(f"{f'{cell.error:.3f} ± {cell.ci95:.3f}':>14}" for cell in cells)
            lines.append(f"{model:<{width}}{shown}")
        counts = [self.entry(ADAPTED, size).num_groups for size in self.sizes]
        if min(counts) < self.num_groups:  # others have too few rows
            lines.append(f"{'groups':<{width}}" + "".join(f"{count:>14}" for count in counts))
        return "\n".join([*lines, "", self.verdict])

    def as_json(self) -> dict[str, Any]:
        """For `report_from_json`."""
        entries = [entry._asdict() for entry in self.entries]
        return {**self._asdict(), "entries": entries}


def report_from_json(value: dict[str, Any]) -> Report:
    """What `as_json` gave."""
    entries = tuple(Entry(**entry) for entry in value["entries"])
    return Report(value["metric"], value["num_groups"], value["num_units"], entries)


def _rows(sizes: list[int]) -> str:
    words = ", ".join(map(str, sizes[:-1])) + " and " * (len(sizes) > 1) + str(sizes[-1])
    return f"{words} row{'s' * (sizes != [1])}"
