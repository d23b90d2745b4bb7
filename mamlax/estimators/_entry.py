"""How one model did at one number of support rows, and what models are called."""

from typing import NamedTuple

ADAPTED = "this model, adapted"
UNADAPTED = "this model, not adapted"
NOTHING = "no model (the mean)"
CONSTANT = "the frequencies of the classes"
POOLED = "one pooled linear model"
OFFSET = "pooled + offset of the group"
SUPPORT_ONLY = "fitted to the support alone"
SLOPES = "linear mixed model (random slopes)"
TREES = "gradient-boosted trees"
TREES_OF_GROUP = "trees + mean of the support"
GPBOOST = "trees + random intercept (GPBoost)"
TABICL = "TabICL + mean of the support"

MARGIN = 0.1
"""An error larger by no more than this share is as good, of a model that is simpler."""
CONFIDENCE = 0.95
"""With which everything that a verdict says is shown, together."""


class LeftOut(Exception):
    """Why a model cannot be compared, in a clause."""


class Entry(NamedTuple):
    """One model at one number of support rows.

    Attributes:
        model: what it is called.
        num_support: rows that it was given of the group.
        error: mean over groups; of regression relative to the variance of the targets over all rows
            held out, of classification the log loss.
        ci95: half the width of the 95 % interval over groups.
        worse_than_adapted: mean over groups of its error minus that of the adapted model.
        worse_ci95: half the width of that difference's interval.
        num_groups: groups that have so many rows, and more to judge on.
        brier: of classification the Brier score, mean over groups; None: a regression.
        misclassified: of classification the share of rows.
        is_worse: whether its error is shown to be larger than that of the adapted model.
        is_better: whether it is shown to be smaller.
        is_close: whether it is shown to be at most 10 % larger.
    """

    model: str
    num_support: int
    error: float
    ci95: float
    worse_than_adapted: float
    worse_ci95: float
    num_groups: int
    brier: float | None = None
    misclassified: float | None = None
    is_worse: bool = False
    is_better: bool = False
    is_close: bool = False


def counted(number: int, noun: str) -> str:
    """`1 group`, `4 groups`; of a noun of several words the first has the s."""
    first, *more = noun.split()
    return " ".join([str(number), first + "s" * (number != 1), *more])


def shown(error: float) -> str:
    """An error in a table or sentence: three decimals, and more where it is small."""
    return f"{error:.3f}" if abs(error) >= 0.01 or not error else f"{error:.2g}"


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of a table as lines, names on the left and numbers on the right of their columns."""
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = []
    for name, *cells in rows:
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        lines.append("   ".join([f"{name:<{first}}", *padded]))
    return lines
