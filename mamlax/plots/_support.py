"""The error or score of a model and of simpler models against the number of support rows."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from .._files import Json
from ._style import RUN_COLORS, one_panel, plain_numbers


def support_sizes(report: Json) -> Any:
    """Draw the errors in `FewShotRegressor.report()` against the number of support rows.

    Args:
        report: `as_json()` of the report.

    Returns:
        A matplotlib figure.
    """
    title = f"{report['num_groups']} groups held out"
    return _lines(report["entries"], "error", textwrap.fill(report["metric"], 40), title)


def support_curve(curve: Json) -> Any:
    """Draw scores of a model and of simpler models against the number of support rows.

    Args:
        curve: `as_json()` of the result of `mamlax.support_curve`.

    Returns:
        A matplotlib figure.
    """
    groups, folds = curve["num_groups"], curve["num_folds"]
    title = f"{groups} groups held out, in {folds} folds"
    return _lines(curve["entries"], "score", curve["scoring"].replace("_", " "), title)


def _lines(entries: Sequence[Json], value: str, label: str, title: str) -> Any:
    """Draw one line per model; the first model has an interval."""
    figure, axes = one_panel(7, 4.2)
    sizes = sorted({entry["num_support"] for entry in entries})
    place = {size: i for i, size in enumerate(sizes)}
    models = dict.fromkeys(entry["model"] for entry in entries)
    is_log = value == "error" and all(entry[value] > 0 for entry in entries)
    for i, (model, color) in enumerate(zip(models, RUN_COLORS, strict=False)):
        found = [entry for entry in entries if entry["model"] == model]
        x = [place[entry["num_support"]] for entry in found]
        y = [entry[value] for entry in found]
        first = i == 0  # the adapted model, which the others are compared with
        axes.plot(
            x,
            y,
            "--" if model.startswith("no model") else "o-",
            color=color,
            lw=2.4 if first else 1.3,
            ms=5 if first else 3,
            zorder=3 if first else 2,
            label=model,
        )
        if first:
            low = [_lower(entry[value], entry["ci95"], is_log) for entry in found]
            high = [entry[value] + entry["ci95"] for entry in found]
            axes.fill_between(x, low, high, color=color, alpha=0.15, lw=0, label="95 % interval")
    if is_log:
        axes.set_yscale("log")
        plain_numbers(axes)
    axes.set_xticks(range(len(sizes)), sizes)
    axes.set(xlabel="rows of support", ylabel=label)
    axes.set_title(title, fontsize="medium")
    axes.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _lower(value: float, ci95: float, is_log: bool) -> float:
    """The lower end of an interval; on a logarithmic axis, computed for the logarithm."""
    return value * math.exp(-ci95 / value) if is_log else value - ci95
