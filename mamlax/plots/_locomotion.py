"""How a simulated robot moves before and after adaptation."""

from typing import Any

import numpy as np

from ..records._examples import LocomotionExamples
from ._style import COLORS, STEP_COLORS, after, label_of, legend_below, panels

_SMOOTHED_SECONDS = 0.1


def locomotion(examples: LocomotionExamples) -> Any:
    """Forward velocity against time, with the goal; or paths on the plane.

    Args:
        examples: the content of an `examples.npz` of locomotion.
    """
    tasks, goal = examples.tasks, examples.goal
    steps, names = examples.shown_steps, list(examples.positions)
    # a shared axis, because otherwise standing still would look like running
    shared = "none" if goal == "position" else "col"
    size = 2.9 * len(tasks) + 0.6, 2.2 * len(names) + 0.7
    figure, rows = panels(len(names), len(tasks), *size, sharey=shared)
    for row, name in zip(rows, names, strict=True):
        for task, positions, axes in zip(tasks, examples.positions[name], row, strict=True):
            for step, color in zip(steps, STEP_COLORS, strict=True):
                label, path = after(step), _until_the_end(positions[step])
                if goal == "position":
                    lines = path[:, :2].T
                else:
                    lines = _speed(path[:, 0], examples.seconds_per_step)
                axes.plot(*lines, color=color, lw=1.3, label=label)
                if len(path) < len(positions[step]):
                    x, y = (line[-1:] for line in lines)
                    axes.plot(x, y, "x", color=color, ms=6, mew=1.5, label="episode ended")
            _mark_goal(axes, goal, task)
        label = label_of(name, examples.algorithm)
        what = "place, m" if goal == "position" else "velocity, m/s"
        row[0].set_ylabel(f"{label}\n{what}")
    for axes in rows[-1]:
        axes.set_xlabel("place, m" if goal == "position" else "seconds")
    named = {}
    for axes in rows.flat:  # only some panels have an episode that ended early
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    labels = sorted(named, key="episode ended".__eq__)  # it comes last
    legend_below(figure, [named[label] for label in labels], labels, ncols=5)
    return figure


def _until_the_end(positions: np.ndarray) -> np.ndarray:
    """`[time, ...]` up to the end of the episode; positions are constant afterwards."""
    moved = np.flatnonzero((positions[1:] != positions[:-1]).any(axis=-1))
    return positions[: max(2, moved[-1] + 2 if len(moved) else 0)]


def _speed(places: np.ndarray, seconds_per_step: float) -> tuple[np.ndarray, np.ndarray]:
    """Times, and velocities averaged over a short window."""
    width = max(1, round(_SMOOTHED_SECONDS / seconds_per_step))
    speed = (places[width:] - places[:-width]) / (width * seconds_per_step)
    return (np.arange(len(speed)) + width / 2) * seconds_per_step, speed


def _mark_goal(axes: Any, goal: str, task: Any) -> None:
    color = COLORS["pretrained"]
    if goal == "position":
        axes.plot(*task, "*", color=color, ms=13, label="goal", zorder=5)
        axes.plot(0, 0, "o", color="#333333", ms=4, label="start", zorder=5)
        axes.set(aspect="equal")
    elif goal == "velocity":
        axes.axhline(float(task), color=color, ls="--", lw=1.2, label="goal")
        axes.set_title(f"{float(task):.1f} m/s", fontsize=9)
    else:
        axes.axhline(0.0, color="#333333", lw=0.8)
        axes.set_title("forward" if task > 0 else "backward", fontsize=9)
