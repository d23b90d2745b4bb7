"""What a comparison shows, in words, and not more."""

from collections.abc import Sequence
from typing import NamedTuple

from ._entry import ADAPTED, CONFIDENCE, MARGIN, TABICL, UNADAPTED, Entry, counted, shown

_ENOUGH_UNITS = 8
"""Held out together or alone; fewer show nothing: with skewed errors, no test is sure enough."""


def verdict_of(
    entries: Sequence[Entry], num_units: int, over: str, *, is_held_out: bool = True
) -> str:
    """The verdict; see `Report.verdict`.

    Args:
        entries: of all models at all sizes.
        num_units: of groups held out together, or alone.
        over: what one of these is called.
        is_held_out: whether they were held out of a training.
    """
    held_out = counted(num_units, over)
    if num_units < _ENOUGH_UNITS:
        return (
            f"Only {held_out}{' held out' * is_held_out}: too few to say which of these models is "
            f"better; {_ENOUGH_UNITS} or more can. More groups would help."
        )
    sizes = [_AtSize.of(entries, size) for size in sorted({one.num_support for one in entries})]
    tried = _listed([one.size for one in sizes])
    basis = f"{100 * CONFIDENCE:.0f} % confidence, {held_out}"
    if enough := _enough(sizes):
        return (
            f"Use {enough}: it is simpler, and at every number of rows tried ({tried}) its error "
            f"is at most {100 * MARGIN:.0f} % larger than that of the adapted model ({basis})."
        )
    wins = [one.size for one in sizes if one.is_adapted_best]
    if len(wins) == len(sizes):
        return (
            f"At every number of rows tried ({tried}) the adapted model is the best ({basis}): use "
            "it."
        )
    said = []
    if wins:
        said.append(
            f"With {_rows(wins)} of support the adapted model is the best ({basis}): use it there."
        )
    lost = [one for one in sizes if one.best_other.is_better]
    for model in dict.fromkeys(one.best_other.model for one in lost):
        those = [one for one in lost if one.best_other.model == model]
        said.append(
            f"With {_rows([one.size for one in those])} {model} is better than the adapted model "
            f"({basis}): {_errors(those)}."
        )
    unknown = [one for one in sizes if not one.is_adapted_best and one not in lost]
    if unknown:
        where = f"With {_rows([one.size for one in unknown])} it cannot be told"
        if len(unknown) == len(sizes):
            where = f"Cannot tell with {_rows([one.size for one in unknown])}"
        said.append(f"{where} ({held_out}): {_errors(unknown)}.")
    return " ".join(said)


class _AtSize(NamedTuple):
    """Models at one number of support rows.

    Attributes:
        size: the number.
        adapted: the model, adapted.
        unadapted: the same without adapting; None where nothing tells both apart.
        simpler: all others; if there are none, the model without adapting.
    """

    size: int
    adapted: Entry
    unadapted: Entry | None
    simpler: tuple[Entry, ...]

    @staticmethod
    def of(entries: Sequence[Entry], size: int) -> "_AtSize":
        there = {one.model: one for one in entries if one.num_support == size}
        adapted, unadapted = there.pop(ADAPTED), there.pop(UNADAPTED, None)
        if not there and unadapted is not None:
            return _AtSize(size, adapted, None, (unadapted,))
        if size == 0:
            unadapted = None
        return _AtSize(size, adapted, unadapted, tuple(there.values()))

    @property
    def best_other(self) -> Entry:
        """The best of those that are not adapted."""
        others = self.simpler if self.unadapted is None else (*self.simpler, self.unadapted)
        return min(others, key=lambda entry: entry.error)

    @property
    def is_adapted_best(self) -> bool:
        """Whether that is shown of every simpler one, and adapting does not look like a loss."""
        is_loss = self.unadapted is not None and self.unadapted.error < self.adapted.error
        return not is_loss and all(entry.is_worse for entry in self.simpler)


def _enough(sizes: Sequence[_AtSize]) -> str | None:
    """The best of the simpler models that are close at every size; TabICL is no simpler one."""
    close = [
        {one.model: one.error for one in at.simpler if one.is_close and one.model != TABICL}
        for at in sizes
    ]
    everywhere = [model for model in close[0] if all(model in errors for errors in close)]
    return min(everywhere, key=lambda model: sum(errors[model] for errors in close), default=None)


def _errors(sizes: Sequence[_AtSize]) -> str:
    """`adapted 0.016, one pooled linear model 0.163 (10 rows)`, of each."""
    return "; ".join(
        f"adapted {shown(one.adapted.error)}, {one.best_other.model} "
        f"{shown(one.best_other.error)} ({_rows([one.size])})"
        for one in sizes
    )


def _rows(sizes: list[int]) -> str:
    return f"{_listed(sizes)} row{'s' * (sizes != [1])}"


def _listed(sizes: list[int]) -> str:
    return ", ".join(map(str, sizes[:-1])) + " and " * (len(sizes) > 1) + str(sizes[-1])
