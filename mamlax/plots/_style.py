"""The style of figures: colors, labels, axes and panels, and how they are saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._extras import optional
from .._files import replacing

COLORS = {
    "main": "#1b6ca8",
    "not transductive": "#e08e1b",
    "pretrained": "#d1495b",
    "random": "#8d99ae",
    "oracle": "#2e933c",
}
RUN_COLORS = (
    *("#1b6ca8", "#d1495b", "#2e933c", "#e08e1b", "#7a4ea3"),
    *("#17a2a2", "#8d99ae", "#8c5a2b", "#d977a8", "#444444"),
)
STEP_COLORS = ("#b8c4ce", "#6aa5d1", "#1b6ca8")
LABELS = {
    "mse": "query mean squared error",
    "accuracy": "query accuracy",
    "return": "return of an episode",
}
_LABELED_RANGE = 1e4


def label_of(name: str, algorithm: str) -> str:
    """The label of a curve: the algorithm's name for "main", otherwise the curve's name."""
    return algorithm.replace("maml", "MAML").replace("trpo", "TRPO") if name == "main" else name


def one_panel(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its only axes."""
    figure, grid = panels(1, 1, width, height)
    return figure, grid[0, 0]


def panels(
    num_rows: int, num_columns: int, width: float, height: float, **options: Any
) -> tuple[Any, Any]:
    """A figure and its axes, `[rows, columns]`: open above and on the right, with a faint grid."""
    figure, grid = bare_panels(num_rows, num_columns, width, height, **options)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, lw=0.6)
    return figure, grid


def bare_panels(
    num_rows: int, num_columns: int, width: float, height: float, **options: Any
) -> tuple[Any, Any]:
    """A figure and its axes, `[rows, columns]`, as matplotlib makes them."""
    return optional("matplotlib.pyplot", "cli").subplots(
        num_rows,
        num_columns,
        figsize=(width, height),
        layout="constrained",
        squeeze=False,
        **options,
    )


def legend_below(figure: Any, *entries: Any, ncols: int, **options: Any) -> None:
    """A legend below the panels, in as many columns as the figure has room for.

    Args:
        figure: a figure with all its panels.
        *entries: handles and labels. Default: those of all panels.
        ncols: largest number of columns.
        **options: arguments of `figure.legend`.
    """
    for columns in range(ncols, 0, -1):
        legend = figure.legend(
            *entries, loc="outside lower center", ncols=columns, frameon=False, **options
        )
        # a margin, because text is a little wider at the resolution of the file
        if columns == 1 or legend.get_window_extent().width < 0.97 * figure.bbox.width:
            return
        legend.remove()


def save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, atomically, and close it."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=160)
    optional("matplotlib.pyplot", "cli").close(figure)
    return path


def after(num_steps: Any) -> str:
    """The label of a curve or an image after some inner steps."""
    if num_steps == 0:
        return "before"
    return f"after {num_steps} step{'s' if num_steps > 1 else ''}"


def mark_diverged(
    axes: Any, x: Any, label: str, *, color: str = COLORS["oracle"], low: bool = False
) -> None:
    """Arrows where a value diverged: at the upper edge, or with `low` at the lower edge.

    They are visible whatever range the axis shows. Use `low` for metrics that are maximized.
    """
    if len(x):
        axes.plot(
            x,
            np.full(len(x), 0.0 if low else 1.0),
            "v" if low else "^",
            transform=axes.get_xaxis_transform(),
            color=color,
            mfc="none",
            ms=5,
            label=label,
            clip_on=False,
            zorder=5,
        )


def plain_numbers(axes: Any) -> None:
    """0.1, 0.2, 0.5 on a logarithmic axis whose limits are set, instead of powers of ten.

    Powers of ten remain if the axis spans many of them. A range too narrow for two of these numbers
    gets other ticks.
    """
    from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    if high > _LABELED_RANGE * low:
        return
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    if sum(low <= tick <= high for tick in axes.get_yticks()) < 2:
        axes.yaxis.set_major_locator(AutoLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def logarithm_of_costs(axes: Any, returns: Sequence[float]) -> None:
    """A logarithmic axis of −return that rises as the return does."""
    from matplotlib.ticker import AutoLocator, FixedLocator, NullLocator

    axes.set_yscale(
        "function", functions=(lambda x: -np.log(np.maximum(-x, 1e-9)), lambda y: -np.exp(-y))
    )
    low, high = 1.3 * min(returns), max(returns) / 1.3
    axes.set_ylim(low, high)
    ticks = [-m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks) if len(ticks) > 1 else AutoLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
