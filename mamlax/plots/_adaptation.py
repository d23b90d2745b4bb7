"""The metric against inner steps: of one run with its baselines, and of several runs together."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._style import (
    COLORS,
    LABELS,
    RUN_COLORS,
    label_of,
    logarithm_of_costs,
    mark_diverged,
    one_panel,
    panels,
    plain_numbers,
)

_ORDERS_APART = 20
_LABELED_RANGE = 1e4
_MOST_SETTINGS = 6


def adaptation(evaluation: Mapping[str, Any]) -> Any:
    """The metric against inner steps, with 95 % bands and baselines (the paper's figure 3).

    Where adaptation diverged on some task, an arrow at the edge says so.

    Args:
        evaluation: an `evaluation.json`.
    """
    figure, axes = one_panel(6.4, 4.0)
    curves = {"maml": evaluation["curve"]}
    if "non_transductive_curve" in evaluation:
        curves["not transductive"] = evaluation["non_transductive_curve"]
    curves.update(evaluation["baselines"])
    for name, curve in curves.items():
        color = COLORS.get(name, "#555555")
        label = label_of(name, evaluation.get("algorithm", "maml"))
        _curve(axes, curve, color, label)
        _mark(axes, curve, color, label, evaluation["metric"])
    _published(axes, evaluation.get("published", {}), len(evaluation["curve"]))
    _axes_of_metric(axes, evaluation["metric"], list(curves.values()))
    note = ", transductive" if evaluation["transductive"] else ""
    axes.set_title(f"{_over(evaluation)}, mean and 95 % interval{note}", fontsize=9, loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def _published(axes: Any, published: Mapping[str, Sequence[float]], num_points: int) -> None:
    """Means of the paper, as hollow diamonds in the colors of what they are of."""
    label = "published"
    for name, curve in published.items():
        curve = list(curve)[:num_points]
        # one number alone is of something that does not adapt
        steps = range(len(curve)) if len(curve) > 1 else [0]
        axes.plot(steps, curve, "D", mfc="none", ms=6, color=COLORS.get(name, "#555555"))
        if label:
            axes.plot([], [], "D", mfc="none", ms=6, color="#555555", label=label)
            label = None


def comparison(compared: Mapping[str, Any]) -> Any:
    """Adaptation curves of several runs, and beside them their differences to the first.

    Args:
        compared: a `comparison.json`.
    """
    figure, ((left, right),) = panels(1, 2, 10.0, 4.6)
    runs, metric = compared["runs"], compared["metric"]
    colors = {run["name"]: RUN_COLORS[i % len(RUN_COLORS)] for i, run in enumerate(runs)}
    for run in runs:
        _curve(left, run["curve"], colors[run["name"]], _label(run))
        _mark(left, run["curve"], colors[run["name"]], run["name"], metric)
    _axes_of_metric(left, metric, [run["curve"] for run in runs])
    counts = sorted({run["num_tasks"] for run in runs})
    over = " or ".join(map(str, counts))
    left.set_title(f"{over} held-out tasks, mean and 95 % interval", fontsize=9, loc="left")

    differences = compared["differences"]
    right.axhline(0.0, color=colors[runs[0]["name"]], lw=1.2)
    for one in differences:
        _curve(right, one["curve"], colors[one["name"]])
    _orders_apart(right, [one["curve"] for one in differences])
    right.xaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="inner steps", ylabel=f"difference in {metric}")
    kinds = dict.fromkeys("paired" if one["paired"] else "unpaired" for one in differences)
    right.set_title(
        f"difference to {runs[0]['name']}, {' and '.join(kinds)}, over tasks",
        fontsize=9,
        loc="left",
    )
    handles, labels = left.get_legend_handles_labels()
    ncols = 1 if max(map(len, labels)) > 40 else 3
    figure.legend(
        handles, labels, loc="outside lower center", ncols=ncols, frameon=False, fontsize=8
    )
    return figure


def _curve(
    axes: Any, curve: Sequence[Mapping[str, Any]], color: str, label: str | None = None
) -> None:
    """A line with its band; broken where nothing is known."""
    steps = np.array([point["num_inner_steps"] for point in curve])
    mean = np.array([point["mean"] for point in curve], float)  # null, diverged, becomes NaN
    ci95 = np.array([point["ci95"] for point in curve], float)
    axes.plot(steps, mean, marker="o", ms=3.5, color=color, label=label, lw=1.6)
    axes.fill_between(steps, mean - ci95, mean + ci95, color=color, alpha=0.18, lw=0)


def _mark(
    axes: Any, curve: Sequence[Mapping[str, Any]], color: str, name: str, metric: str
) -> None:
    steps = [point["num_inner_steps"] for point in curve if point["mean"] is None]
    mark_diverged(axes, steps, f"{name}: diverged", color=color, low=metric != "mse")


def _axes_of_metric(axes: Any, metric: str, curves: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Words and scale of the metric."""
    axes.set(xlabel="inner steps (gradient steps on the support set)")
    if metric == "return":
        axes.set(xlabel="inner steps (gradient steps, each on new episodes)")
    axes.set_ylabel(LABELS.get(metric, metric))
    means = _means(curves)
    if metric == "accuracy":
        axes.set_ylim(0, 1.01)
    elif means and metric == "return":
        if max(means) < 0:  # sums of distances: orders apart, and better upwards
            logarithm_of_costs(axes, means)
    elif means and min(means) > 0:  # errors of an oracle and of a random start: orders apart
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(min(means) / 2, 2 * max(means))
        if max(means) < _LABELED_RANGE * min(means):
            plain_numbers(axes)
    axes.xaxis.get_major_locator().set_params(integer=True)


def _orders_apart(axes: Any, curves: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """A difference that nearly diverged must not flatten all others: logarithmic beyond those."""
    sizes = np.abs(_means(curves))
    usual = float(np.median(sizes)) if len(sizes) else 0.0
    if usual > 0 and sizes.max() > _ORDERS_APART * usual:
        axes.set_yscale("symlog", linthresh=10.0 ** np.ceil(np.log10(usual)))
        axes.yaxis.get_major_locator().set_params(numticks=9)


def _means(curves: Sequence[Sequence[Mapping[str, Any]]]) -> list[float]:
    return [p["mean"] for curve in curves for p in curve if p["mean"] is not None]


def _over(evaluation: Mapping[str, Any]) -> str:
    over = f"{evaluation['num_tasks']} held-out tasks"
    if evaluation.get("num_seeds", 1) > 1:
        over = f"{evaluation['num_seeds']} seeds × {over}"
    return over


def _label(run: Mapping[str, Any]) -> str:
    """The name of a run and what it alone was told, on a few lines at most."""
    settings = [f"{name}={value}" for name, value in run["settings"].items()]
    if len(settings) > _MOST_SETTINGS:
        more = len(settings) - _MOST_SETTINGS
        settings = [*settings[:_MOST_SETTINGS], f"and {more} more"]
    notes = [f"{run['num_seeds']} seeds"] * (run["num_seeds"] > 1)
    notes += ["transductive"] * run["transductive"]
    name = run["name"] + (f" ({', '.join(notes)})" if notes else "")
    return textwrap.fill(name + (f": {', '.join(settings)}" if settings else ""), 100)
