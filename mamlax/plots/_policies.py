"""Behavior of adapted policies in a few tasks."""

from typing import Any

import numpy as np

from ..records._examples import BanditExamples, NavigationExamples
from ._style import COLORS, STEP_COLORS, after, label_of, legend_below, panels


def navigation(examples: NavigationExamples) -> Any:
    """Paths of the point before and after inner steps, with the goals (the paper's figure 4).

    Args:
        examples: the content of an `examples.npz` of navigation.
    """
    goals, num_steps = examples.goals, examples.num_steps
    limit = 1.8 * max(0.5, np.abs(goals).max())
    names = list(examples.paths)
    figure, rows = panels(len(names), len(goals), 2.5 * len(goals), 2.6 * len(names) + 0.5)
    for row, name in zip(rows, names, strict=True):
        for index, axes in enumerate(row):
            for step, color, style in zip(range(len(num_steps)), STEP_COLORS, "-:-", strict=True):
                paths, mask = (by[name][index, step] for by in (examples.paths, examples.masks))
                label = after(num_steps[step])
                for path, seen in zip(paths, mask, strict=True):
                    axes.plot(*path[seen][:, :2].T, color=color, lw=1.1, ls=style, label=label)
                    label = None
            axes.plot(*goals[index], "*", color=COLORS["pretrained"], ms=13, label="goal", zorder=5)
            axes.plot(0, 0, "o", color="#333333", ms=4, label="start", zorder=5)
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        row[0].set_ylabel(label_of(name, examples.algorithm), fontsize=11)
    handles, labels = rows.flat[0].get_legend_handles_labels()
    legend_below(figure, handles, labels, ncols=5)
    return figure


def bandit(examples: BanditExamples) -> Any:
    """How much each arm of some bandits pays, and how often it is pulled before and after adapting.

    Args:
        examples: the content of an `examples.npz` of bandits.
    """
    payouts, num_steps = examples.payouts, examples.num_steps
    names = list(examples.pulls)
    figure, rows = panels(len(names), len(payouts), 2.6 * len(payouts), 2.1 * len(names) + 0.6)
    arms = np.arange(payouts.shape[1])
    for row, name in zip(rows, names, strict=True):
        for index, axes in enumerate(row):
            axes.plot(arms, payouts[index], "_", color=COLORS["pretrained"], ms=9, mew=2)
            for step, color in zip(range(len(num_steps)), STEP_COLORS, strict=True):
                axes.bar(
                    arms + 0.27 * (step - 1),
                    examples.pulls[name][index, step],
                    width=0.27,
                    color=color,
                    label=after(num_steps[step]),
                )
            axes.set(ylim=(0, 1.02), xticks=arms)
            axes.tick_params(labelsize=7)
        row[0].set_ylabel(label_of(name, examples.algorithm), fontsize=11)
    handles, labels = rows.flat[0].get_legend_handles_labels()
    mark = rows.flat[0].lines[0]
    labels = ["probability that the arm pays", *(f"share of pulls, {label}" for label in labels)]
    legend_below(figure, [mark, *handles], labels, ncols=2, fontsize=8)
    return figure
