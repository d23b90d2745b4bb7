"""The metric against inner steps: one run with its baselines, or several runs together."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..records._comparison import ComparedRun, Comparison
from ..records._evaluation import Curve, Evaluation
from ._style import (
    COLORS,
    LABELS,
    RUN_COLORS,
    label_of,
    legend_below,
    logarithm_of_costs,
    mark_diverged,
    one_panel,
    panels,
    plain_numbers,
)

_LINEAR_RATIO = 20
_COMPARABLE_RATIO = 10
_START_RATIO = 1e4
_MAX_SETTINGS = 6


def adaptation(evaluation: Evaluation) -> Any:
    """The metric against inner steps, with 95 % bands and baselines (the paper's figure 3).

    Arrows at the edge mark steps at which adaptation diverged on some task.

    Args:
        evaluation: the content of an `evaluation.json`.
    """
    figure, axes = one_panel(6.4, 4.0)
    curves = {"main": evaluation.curve}
    if evaluation.non_transductive_curve is not None:
        curves["not transductive"] = evaluation.non_transductive_curve
    curves.update(evaluation.baselines)
    for name, curve in curves.items():
        color = COLORS.get(name, "#555555")
        label = label_of(name, evaluation.algorithm)
        _curve(axes, curve, color, label)
        _mark(axes, curve, color, f"{label}: diverged", evaluation.metric)
    _published(axes, evaluation.published or {}, len(evaluation.curve), set(curves))
    _axes_of_metric(axes, evaluation.metric, list(curves.values()))
    note = ", transductive" if evaluation.transductive else ""
    axes.set_title(f"{_over(evaluation)}, mean and 95 % interval{note}", fontsize=9, loc="left")
    legend_below(figure, ncols=4)
    return figure


def _published(
    axes: Any, published: Mapping[str, Sequence[float]], num_points: int, drawn: set[str]
) -> None:
    """Published means: hollow diamonds in the colors of the curves; named if there is no curve."""
    hollow: dict[str, Any] = {"marker": "D", "ls": "none", "mfc": "none", "ms": 6}
    if published.keys() & drawn:
        axes.plot([], [], color="#555555", label="published", **hollow)
    for name, curve in published.items():
        curve = list(curve)[:num_points]
        # a single number belongs to a model that does not adapt
        steps = range(len(curve)) if len(curve) > 1 else [0]
        label = None if name in drawn else f"{name}, published"
        axes.plot(steps, curve, color=COLORS.get(name, "#555555"), label=label, **hollow)


def comparison(compared: Comparison) -> Any:
    """Adaptation curves of several runs, and beside them their differences from the first run.

    Arrows at the edge mark steps at which a run diverged, or is so far off that it would flatten
    all other curves.

    Args:
        compared: the content of a `comparison.json`.
    """
    figure, ((left, right),) = panels(1, 2, 10.0, 4.6)
    runs, metric = compared.runs, compared.metric
    colors = {run.name: RUN_COLORS[i % len(RUN_COLORS)] for i, run in enumerate(runs)}
    curves = _comparable([run.curve for run in runs], metric)
    for run, curve in zip(runs, curves, strict=True):
        _curve(left, curve, colors[run.name], _label(run))
        what = "diverged" if curve == run.curve else "diverged, or off the axis"
        _mark(left, curve, colors[run.name], f"{run.name}: {what}", metric)
    _axes_of_metric(left, metric, curves)
    counts = sorted({run.num_tasks for run in runs})
    over = " or ".join(map(str, counts))
    left.set_title(f"{over} held-out tasks, mean and 95 % interval", fontsize=9, loc="left")

    differences = compared.differences
    right.axhline(0.0, color=colors[runs[0].name], lw=1.2)
    missing = {run.name: _missing(curve) for run, curve in zip(runs, curves, strict=True)}
    first, shown = missing[runs[0].name], []
    for one in differences:
        color, other = colors[one.name], missing[one.name]
        shown.append(_without(one.curve, first | other))
        _curve(right, shown[-1], color)
        steps = {point.num_inner_steps for point in one.curve}
        # the arrow points to the side of the run that diverged; if both did, there is none
        mark_diverged(right, sorted(steps & other - first), "", color=color, low=metric != "mse")
        mark_diverged(right, sorted(steps & first - other), "", color=color, low=metric == "mse")
    _compress_outliers(right, shown)
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="inner steps", ylabel=f"difference in {metric}")
    kinds = dict.fromkeys("paired" if one.paired else "unpaired" for one in differences)
    right.set_title(
        f"difference to {runs[0].name}, {' and '.join(kinds)}, over tasks",
        fontsize=9,
        loc="left",
    )
    legend_below(figure, *left.get_legend_handles_labels(), ncols=3, fontsize=8)
    return figure


def _comparable(curves: Sequence[Curve], metric: str) -> list[Curve]:
    """The curves, without points that are worse than typical ones by an order of magnitude.

    Typical values are those at which runs start, those of the run that stays smallest, and all good
    returns.
    """
    worse = 1 if metric == "mse" else -1
    sizes = [np.abs(means) for curve in curves if (means := _means([curve]))]
    starts = [size[0] for size in sizes]
    typical = max(
        # except for a start so large that training must have diverged
        max((start for start in starts if start <= _START_RATIO * min(starts)), default=0),
        min((size.max() for size in sizes), default=0),
        max((-worse * mean for mean in _means(curves)), default=0),
    )
    far = [
        {
            point.num_inner_steps
            for point in curve
            if point.mean is not None and worse * point.mean > _COMPARABLE_RATIO * typical
        }
        for curve in curves
    ]
    return [_without(curve, steps) for curve, steps in zip(curves, far, strict=True)]


def _without(curve: Curve, steps: set[int]) -> Curve:
    """The curve, with some steps set to None."""
    return [replace(p, mean=None, ci95=None) if p.num_inner_steps in steps else p for p in curve]


def _missing(curve: Curve) -> set[int]:
    return {point.num_inner_steps for point in curve if point.mean is None}


def _curve(axes: Any, curve: Curve, color: str, label: str | None = None) -> None:
    """A line with its band, interrupted where the mean is None."""
    steps = np.array([point.num_inner_steps for point in curve])
    mean = np.array([point.mean for point in curve], float)  # None, diverged, becomes NaN
    ci95 = np.array([point.ci95 for point in curve], float)
    axes.plot(steps, mean, marker="o", ms=3.5, color=color, label=label, lw=1.6)
    axes.fill_between(steps, mean - ci95, mean + ci95, color=color, alpha=0.18, lw=0)


def _mark(axes: Any, curve: Curve, color: str, label: str, metric: str) -> None:
    mark_diverged(axes, sorted(_missing(curve)), label, color=color, low=metric != "mse")


def _axes_of_metric(axes: Any, metric: str, curves: Sequence[Curve]) -> None:
    """Set the labels and the scale of the metric's axis."""
    axes.set(xlabel="inner steps (gradient steps on the support set)")
    if metric == "return":
        axes.set(xlabel="inner steps (gradient steps, each on new episodes)")
    axes.set_ylabel(LABELS.get(metric, metric))
    means = _means(curves)
    if metric == "accuracy":
        axes.set_ylim(0, 1.01)
    elif means and metric == "return":
        if max(means) < 0:  # negative sums of distances differ by orders of magnitude
            logarithm_of_costs(axes, means)
    elif means and min(means) > 0:  # errors differ by orders of magnitude
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(min(means) / 2, 2 * max(means))
        plain_numbers(axes)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _compress_outliers(axes: Any, curves: Sequence[Curve]) -> None:
    """Use a logarithmic scale beyond typical differences, so that outliers do not flatten them.

    It spans at most three decades, so that labels do not overlap.
    """
    sizes = np.abs(_means(curves))
    typical = float(np.median(sizes)) if len(sizes) else 0.0
    if typical > 0 and sizes.max() > _LINEAR_RATIO * typical:
        axes.set_yscale(
            "symlog", linthresh=10.0 ** np.ceil(np.log10(max(typical, sizes.max() / 1e3)))
        )
        axes.yaxis.get_major_locator().set_params(numticks=9)


def _means(curves: Sequence[Curve]) -> list[float]:
    return [p.mean for curve in curves for p in curve if p.mean is not None]


def _over(evaluation: Evaluation) -> str:
    over = f"{evaluation.num_tasks} held-out tasks"
    if evaluation.num_seeds > 1:
        over = f"{evaluation.num_seeds} seeds × {over}"
    return over


def _label(run: ComparedRun) -> str:
    """The name of a run and the settings in which runs differ, on a few lines."""
    settings = [f"{name}={value}" for name, value in run.settings.items()]
    if len(settings) > _MAX_SETTINGS:
        more = len(settings) - _MAX_SETTINGS
        settings = [*settings[:_MAX_SETTINGS], f"and {more} more"]
    notes = [f"{run.num_seeds} seeds"] * (run.num_seeds > 1)
    notes += ["transductive"] * run.transductive
    name = run.name + (f" ({', '.join(notes)})" if notes else "")
    return textwrap.fill(name + (f": {', '.join(settings)}" if settings else ""), 100)
