"""How animals run before and after adaptation, from an `examples.npz`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._style import COLORS, STEP_COLORS, after, label_of, legend_below, panels

_SMOOTHED_SECONDS = 0.1
_SHOWN_STEPS = (0, 1, 3)


def running(examples: Mapping[str, Any]) -> Any:
    """Velocity along the line against time, with what was asked for; or paths on the plane.

    Args:
        examples: the arrays of an `examples.npz` of a run of animals.
    """
    tasks, goal = examples["tasks"], str(examples["goal"])
    names = [name for name in ("maml", "pretrained") if f"{name}/positions" in examples]
    # else standing still would look like running
    shared = "none" if goal == "position" else "col"
    size = 2.9 * len(tasks) + 0.6, 2.2 * len(names) + 0.7
    figure, rows = panels(len(names), len(tasks), *size, sharey=shared)
    for row, name in zip(rows, names, strict=True):
        for task, positions, axes in zip(tasks, examples[f"{name}/positions"], row, strict=True):
            for step, color in zip(_SHOWN_STEPS, STEP_COLORS, strict=True):
                label = after(step)
                if goal == "position":
                    axes.plot(*positions[step][:, :2].T, color=color, lw=1.4, label=label)
                else:
                    time, speed = _speed(positions[step][:, 0], float(examples["seconds_per_step"]))
                    axes.plot(time, speed, color=color, lw=1.2, label=label)
            _mark_goal(axes, goal, task)
        label = label_of(name, str(examples.get("algorithm", "maml")))
        what = "place, m" if goal == "position" else "velocity, m/s"
        row[0].set_ylabel(f"{label}\n{what}")
    for axes in rows[-1]:
        axes.set_xlabel("place, m" if goal == "position" else "seconds")
    handles, labels = rows.flat[0].get_legend_handles_labels()
    legend_below(figure, handles, labels, ncols=5)
    return figure


def _speed(places: np.ndarray, seconds_per_step: float) -> tuple[np.ndarray, np.ndarray]:
    """Times, and velocities as means over a moment."""
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
