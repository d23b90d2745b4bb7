"""Figures of meta-training, from a `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._style import (
    COLORS,
    LABELS,
    legend_below,
    mark_diverged,
    one_panel,
    panels,
    plain_numbers,
)


def learning_curve(metrics: Sequence[Mapping[str, Any]]) -> Any:
    """Loss before and after adaptation against outer steps, with validations if there are any.

    Validation errors share the axis of the losses. Arrows at the edge mark validations that
    diverged on some task, or are too large for the axis.

    Args:
        metrics: the lines of a `metrics.jsonl`.
    """
    figure, axes = one_panel(6.4, 4.0)
    steps = [line["step"] for line in metrics]
    for key, label, color in (
        ("train/support_loss", "support loss, before adaptation", COLORS["random"]),
        ("train/query_loss", "query loss, after adaptation", COLORS["main"]),
    ):
        if key in metrics[0]:
            _line(axes, steps, metrics, key, color=color, label=label)
    # a little further than the last step, so that its marker is drawn in full
    axes.set(xlabel="outer steps", ylabel="meta-training loss", xlim=(0, 1.02 * max(steps)))
    axes.set_yscale("log")
    validated = {
        name: [(line["step"], line[name]) for line in metrics if name in line]
        for name in sorted({name for line in metrics for name in line})
        if name.startswith("validation/")
    }
    for name, points in validated.items():
        points = np.array(points, float)  # None, diverged, becomes NaN
        label = name.replace("/", " ")
        if name == "validation/mse":
            _validation_error(axes, points, label)
            continue
        other = axes.twinx()
        other.plot(*points.T, ".-", color=COLORS["oracle"], label=label, lw=1.3, ms=4)
        other.set_ylabel(label)
        other.spines["right"].set_visible(True)
        steps_diverged = points[~np.isfinite(points[:, 1]), 0]
        mark_diverged(other, steps_diverged, f"{label}: diverged", low=True)
    plain_numbers(axes)
    legend_below(figure, ncols=3, fontsize=8)
    return figure


def return_curves(metrics: Sequence[Mapping[str, Any]]) -> Any:
    """Return before and after adaptation during meta-training, against environment steps and
    against seconds in the compiled program.

    Args:
        metrics: the lines of a `metrics.jsonl` of a policy.
    """
    figure, ((left, right),) = panels(1, 2, 9.0, 3.6)
    taken = np.diff([0, *(line["step"] for line in metrics)])
    steps = np.cumsum(
        [n * line["train/environment_steps"] for n, line in zip(taken, metrics, strict=True)]
    )
    seconds = np.cumsum(
        [n / line["time/outer_steps_per_second"] for n, line in zip(taken, metrics, strict=True)]
    )
    due = np.array(["validation/return" in line for line in metrics])
    validated = np.array([line.get("validation/return") for line in metrics], float)
    known = np.isfinite(validated)
    for axes, x, label in (
        (left, steps / 1e6, "environment steps (millions)"),
        (right, seconds, "seconds of meta-training (sampling and updates)"),
    ):
        for key, name, color in (
            ("train/pre_adaptation_return", "before adaptation", COLORS["random"]),
            ("train/post_adaptation_return", "after adaptation", COLORS["main"]),
        ):
            if key in metrics[0]:
                _line(axes, x, metrics, key, color=color, label=name)
        if known.any():
            axes.plot(
                x[known], validated[known], ".", color=COLORS["oracle"], label="validation", ms=5
            )
        mark_diverged(axes, x[due & ~known], "validation: diverged", low=True)
        axes.set(xlabel=label, xlim=(0, None))
    left.set_ylabel(LABELS["return"])
    handles, labels = left.get_legend_handles_labels()
    legend_below(figure, handles, labels, ncols=4)
    return figure


def diagnostics(metrics: Sequence[Mapping[str, Any]]) -> Any:
    """Diagnostics of meta-reinforcement learning: the size of outer steps, how well the baseline
    predicts returns, and how much the adapted policies explore.

    Args:
        metrics: the lines of a `metrics.jsonl` of a policy.
    """
    titles = {
        "train/kl": "KL of the outer step (nats)",
        "train/accepted": "outer steps accepted",
        "train/backtracks": "step shortened, times",
        "train/explained_variance": "variance explained by the baseline",
        "train/entropy": "entropy of adapted policies (nats)",
        "train/gradient_norm": "norm of the meta-gradient",
    }
    shown = {key: title for key, title in titles.items() if key in metrics[0]}
    figure, grid = panels(2, 3, 9.0, 4.6)
    steps = [line["step"] for line in metrics]
    for axes, (key, title) in zip(grid.flat, shown.items(), strict=False):
        _line(axes, steps, metrics, key, color=COLORS["main"])
        axes.set_title(title, fontsize=9, loc="left")
        if key == "train/accepted":
            axes.set_ylim(-0.05, 1.05)
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    for axes in grid.flat[max(0, len(shown) - 3) : len(shown)]:
        axes.set_xlabel("outer steps")
    return figure


def _line(
    axes: Any, x: Any, metrics: Sequence[Mapping[str, Any]], key: str, **options: Any
) -> None:
    """A metric of each log line, with markers if there are too few points for a line."""
    marker = "o" if len(metrics) < 3 else None
    axes.plot(x, [line[key] for line in metrics], marker=marker, ms=4, lw=1.3, **options)


def _validation_error(axes: Any, points: np.ndarray, label: str) -> None:
    """Draw validation errors on the axis of the losses. Arrows mark those that do not fit."""
    low, high = axes.get_ylim()
    inside = points[:, 1] <= high  # False for NaN
    shown = points[inside]
    if len(shown):
        axes.plot(*shown.T, ".", color=COLORS["oracle"], label=label, ms=5)
    axes.set_ylim(min([low, *(0.8 * shown[:, 1])]), high)
    axes.set_ylabel("loss")
    mark_diverged(axes, points[~inside, 0], f"{label}: diverged, or off the axis")
