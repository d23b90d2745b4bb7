"""Figures from what a run wrote: nothing is computed here.

`draw_run` draws all that a run directory has material for; each other function draws one figure
from values already read, and returns a matplotlib figure.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._files import replacing

_COLORS = {"maml": "#1b6ca8", "pretrained": "#d1495b", "random": "#8d99ae", "oracle": "#2e933c"}
_STEP_COLORS = ("#b8c4ce", "#6aa5d1", "#1b6ca8")
_LABELS = {
    "mse": "query mean squared error",
    "accuracy": "query accuracy",
    "return": "return of an episode",
}


def draw_run(directory: Path) -> list[Path]:
    """Draw every figure a run directory has material for, into its `figures/`.

    Args:
        directory: a run directory.

    Returns:
        The paths written: `learning_curve.png`, `adaptation.png`, of the examples `sinusoids.png`,
        `few_shot.png`, `navigation.png` or `bandit.png`, and of episodes `diagnostics.png`.
    """
    figures = {}
    # only whole lines: a crash may have cut the last one short
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines if line.endswith("}")]
    if metrics and "train/post_adaptation_return" in metrics[0]:
        figures["learning_curve"] = return_curves(metrics)
        figures["diagnostics"] = diagnostics(metrics)
    elif metrics:
        figures["learning_curve"] = learning_curve(metrics)
    if (directory / "evaluation.json").exists():
        figures["adaptation"] = adaptation(json.loads((directory / "evaluation.json").read_text()))
    if (directory / "examples.npz").exists():
        with np.load(directory / "examples.npz") as arrays:
            examples = dict(arrays)
        kind = str(examples["kind"])
        name, draw = _EXAMPLES[kind]
        figures[name] = draw(examples)
    return [
        _save(figure, directory / "figures" / f"{name}.png") for name, figure in figures.items()
    ]


def learning_curve(metrics: Sequence[Mapping[str, Any]]) -> Any:
    """Loss before and after adaptation against outer steps, with validation where there is any.

    Validation errors share the axis of the losses; a dot is missing where adaptation diverged on
    some validation task, or nearly did.

    Args:
        metrics: the lines of a `metrics.jsonl`.
    """
    figure, axes = _figure(6.4, 4.0)
    steps = [line["step"] for line in metrics]
    for key, label, color in (
        ("train/support_loss", "support loss, before adaptation", _COLORS["random"]),
        ("train/query_loss", "query loss, after adaptation", _COLORS["maml"]),
    ):
        if key in metrics[0]:
            axes.plot(steps, [line[key] for line in metrics], color=color, label=label, lw=1.3)
    axes.set(xlabel="outer steps", ylabel="meta-training loss", xlim=(0, max(steps)))
    axes.set_yscale("log")
    validated = {
        name: [(line["step"], line[name]) for line in metrics if name in line]
        for name in sorted({name for line in metrics for name in line})
        if name.startswith("validation/")
    }
    for name, points in validated.items():
        points = np.array(points, float)  # null, diverged, becomes NaN
        label = name.replace("/", " ")
        if name == "validation/mse":
            _validation_error(axes, points, label)
            continue
        other = axes.twinx()
        other.plot(*points.T, color=_COLORS["oracle"], label=label, lw=1.3)
        other.set_ylabel(label)
        other.spines["right"].set_visible(True)
    _plain_numbers(axes)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def adaptation(evaluation: Mapping[str, Any]) -> Any:
    """The metric against inner steps, with 95 % bands and baselines (the paper's figure 3).

    Args:
        evaluation: an `evaluation.json`.
    """
    figure, axes = _figure(6.4, 4.0)
    curves = {"maml": evaluation["curve"], **evaluation["baselines"]}
    for name, curve in curves.items():
        steps = np.array([point["num_inner_steps"] for point in curve])
        mean = np.array([point["mean"] for point in curve], float)  # null, diverged, becomes NaN
        ci95 = np.array([point["ci95"] for point in curve], float)
        color = _COLORS.get(name, "#555555")
        label = "MAML" if name == "maml" else name
        axes.plot(steps, mean, marker="o", ms=3.5, color=color, label=label, lw=1.6)
        axes.fill_between(steps, mean - ci95, mean + ci95, color=color, alpha=0.18, lw=0)
    metric = evaluation["metric"]
    axes.set(xlabel="inner steps (gradient steps on the support set)")
    if metric == "return":
        axes.set(xlabel="inner steps (gradient steps, each on new episodes)")
    axes.set_ylabel(_LABELS.get(metric, metric))
    means = [p["mean"] for curve in curves.values() for p in curve if p["mean"] is not None]
    if metric == "accuracy":
        axes.set_ylim(0, 1.01)
    elif means and metric == "return":
        if max(means) < 0:  # sums of distances: orders apart, and better upwards
            _logarithm_of_costs(axes, means)
    elif means and min(means) > 0:  # errors of an oracle and of a random start: orders apart
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(min(means) / 2, 2 * max(means))
        _plain_numbers(axes)
    axes.xaxis.get_major_locator().set_params(integer=True)
    over = f"{evaluation['num_tasks']} held-out tasks"
    if evaluation.get("num_seeds", 1) > 1:
        over = f"{evaluation['num_seeds']} seeds × {over}"
    note = ", transductive" if evaluation["transductive"] else ""
    axes.set_title(f"{over}, mean and 95 % interval{note}", fontsize=9, loc="left")
    figure.legend(loc="outside lower center", ncols=len(curves), frameon=False)
    return figure


def return_curves(metrics: Sequence[Mapping[str, Any]]) -> Any:
    """Return before and after adaptation while meta-training: against environment steps, and
    against seconds in the compiled program.

    Args:
        metrics: the lines of a `metrics.jsonl` of a policy.
    """
    figure, (left, right) = _panels(1, 2, 9.0, 3.6)
    taken = np.diff([0, *(line["step"] for line in metrics)])
    steps = np.cumsum(
        [n * line["train/environment_steps"] for n, line in zip(taken, metrics, strict=True)]
    )
    seconds = np.cumsum(
        [n / line["time/outer_steps_per_second"] for n, line in zip(taken, metrics, strict=True)]
    )
    validated = np.array([line.get("validation/return", np.nan) for line in metrics], float)
    for axes, x, label in (
        (left, steps / 1e6, "environment steps (millions)"),
        (right, seconds, "seconds of meta-training (sampling and updates)"),
    ):
        for key, name, color in (
            ("train/pre_adaptation_return", "before adaptation", _COLORS["random"]),
            ("train/post_adaptation_return", "after adaptation", _COLORS["maml"]),
        ):
            if key in metrics[0]:
                axes.plot(x, [line[key] for line in metrics], color=color, label=name, lw=1.3)
        known = np.isfinite(validated)
        if known.any():
            axes.plot(
                x[known], validated[known], ".", color=_COLORS["oracle"], label="validation", ms=5
            )
        axes.set(xlabel=label, xlim=(0, None))
    left.set_ylabel(_LABELS["return"])
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def diagnostics(metrics: Sequence[Mapping[str, Any]]) -> Any:
    """What tells whether policy search is well: how far outer steps went, how well returns were
    predicted, and how much the adapted policies still explore.

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
    figure, grid = _panels(2, 3, 9.0, 4.6)
    steps = [line["step"] for line in metrics]
    for axes, (key, title) in zip(grid.flat, shown.items(), strict=False):
        axes.plot(steps, [line[key] for line in metrics], color=_COLORS["maml"], lw=1.2)
        axes.set_title(title, fontsize=9, loc="left")
        if key == "train/accepted":
            axes.set_ylim(-0.05, 1.05)
    for axes in grid.flat[len(shown) :]:
        axes.remove()
    for axes in grid.flat[max(0, len(shown) - 3) : len(shown)]:
        axes.set_xlabel("outer steps")
    return figure


def navigation(examples: Mapping[str, Any]) -> Any:
    """Paths of the point before and after inner steps, with its goals (the paper's figure 4).

    Args:
        examples: the arrays of an `examples.npz` of a navigation run.
    """
    goals, num_steps = examples["goals"], examples["num_steps"]
    limit = 1.8 * max(0.5, np.abs(goals).max())
    names = [name for name in ("maml", "pretrained") if f"{name}/paths" in examples]
    figure, rows = _panels(len(names), len(goals), 2.5 * len(goals), 2.6 * len(names) + 0.5)
    for row, name in zip(rows.reshape(len(names), -1), names, strict=True):
        for index, axes in enumerate(row):
            for step, color, style in zip(range(len(num_steps)), _STEP_COLORS, "-:-", strict=True):
                paths, mask = (
                    examples[f"{name}/{what}"][index, step] for what in ("paths", "mask")
                )
                label = _after(num_steps[step])
                for path, seen in zip(paths, mask, strict=True):
                    axes.plot(*path[seen][:, :2].T, color=color, lw=1.1, ls=style, label=label)
                    label = None
            axes.plot(
                *goals[index], "*", color=_COLORS["pretrained"], ms=13, label="goal", zorder=5
            )
            axes.plot(0, 0, "o", color="#333333", ms=4, label="start", zorder=5)
            axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        row[0].set_ylabel("MAML" if name == "maml" else name, fontsize=11)
    handles, labels = rows.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    return figure


def bandit(examples: Mapping[str, Any]) -> Any:
    """What the arms of some bandits pay, and how often each is pulled before and after adaptation.

    Args:
        examples: the arrays of an `examples.npz` of a bandit run.
    """
    payouts, num_steps = examples["payouts"], examples["num_steps"]
    names = [name for name in ("maml", "pretrained") if f"{name}/pulls" in examples]
    figure, rows = _panels(len(names), len(payouts), 2.6 * len(payouts), 2.1 * len(names) + 0.6)
    arms = np.arange(payouts.shape[1])
    for row, name in zip(rows.reshape(len(names), -1), names, strict=True):
        for index, axes in enumerate(row):
            axes.plot(arms, payouts[index], "_", color=_COLORS["pretrained"], ms=9, mew=2)
            for step, color in zip(range(len(num_steps)), _STEP_COLORS, strict=True):
                axes.bar(
                    arms + 0.27 * (step - 1),
                    examples[f"{name}/pulls"][index, step],
                    width=0.27,
                    color=color,
                    label=_after(num_steps[step]),
                )
            axes.set(ylim=(0, 1.02), xticks=arms)
            axes.tick_params(labelsize=7)
        row[0].set_ylabel("MAML" if name == "maml" else name, fontsize=11)
    handles, labels = rows.flat[0].get_legend_handles_labels()
    mark = rows.flat[0].lines[0]
    figure.legend(
        [mark, *handles],
        ["probability that the arm pays", *(f"share of pulls, {label}" for label in labels)],
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8,
    )
    return figure


def sinusoids(examples: Mapping[str, Any]) -> Any:
    """Sine waves before and after adaptation, MAML beside pretrained (the paper's figure 2).

    Args:
        examples: the arrays of an `examples.npz` of a sinusoid run.
    """
    import matplotlib.pyplot as plt

    count = sum(name.endswith("/truth") for name in examples)
    names = [name for name in ("maml", "pretrained") if f"0/{name}" in examples]
    figure, rows = plt.subplots(
        len(names),
        count,
        figsize=(2.9 * count, 2.1 * len(names) + 0.6),
        sharex=True,
        sharey="col",
        layout="constrained",
        squeeze=False,
    )
    grid = examples["grid"]
    for row, name in zip(rows, names, strict=True):
        for index, axes in enumerate(row):
            axes.plot(grid, examples[f"{index}/truth"], color="#d1495b", lw=1.2, label="truth")
            for steps, curve, color in zip(
                examples["num_steps"], examples[f"{index}/{name}"], _STEP_COLORS, strict=True
            ):
                label = _after(steps)
                style = "--" if steps == 0 else ":" if steps == 1 else "-"
                axes.plot(grid, curve, color=color, ls=style, lw=1.6, label=label)
            axes.plot(
                examples[f"{index}/support_x"],
                examples[f"{index}/support_y"],
                "^",
                color="#5b2a86",
                ms=5,
                label="support points",
            )
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("MAML" if name == "maml" else name, fontsize=11)
    figure.legend(
        *rows[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False
    )
    return figure


def few_shot(examples: Mapping[str, Any]) -> Any:
    """One classification task: its support images, and its query images with predictions.

    Args:
        examples: the arrays of an `examples.npz` of an image run.
    """
    import matplotlib.pyplot as plt

    ways = int(examples["ways"])
    per_class = {
        side: examples[f"{side}_images"].reshape(ways, -1, *examples[f"{side}_images"].shape[1:])
        for side in ("support", "query")
    }
    probabilities = examples["probabilities"]
    probabilities = probabilities.reshape(len(probabilities), ways, -1, ways)
    shown = {side: images[:, : 5 if side == "query" else 1] for side, images in per_class.items()}
    num_rows = 1 + shown["query"].shape[1]
    figure, rows = plt.subplots(
        num_rows,
        ways,
        figsize=(1.15 * ways + 1.2, 1.45 * num_rows + 0.8),
        layout="constrained",
        squeeze=False,
    )
    for way in range(ways):
        rows[0][way].imshow(1 - shown["support"][way, 0], cmap="gray", vmin=0, vmax=1)
        rows[0][way].set_title(f"class {way}", fontsize=9)
        for index in range(num_rows - 1):
            axes = rows[index + 1][way]
            axes.imshow(1 - shown["query"][way, index], cmap="gray", vmin=0, vmax=1)
            guesses = probabilities[:, way, index]
            axes.set_xlabel(
                "\n".join(
                    f"{n}: class {guess.argmax()} ({guess.max():.0%})"
                    for n, guess in zip(examples["num_steps"], guesses, strict=True)
                ),
                fontsize=6.5,
            )
            right = guesses[-1].argmax() == way
            for spine in axes.spines.values():
                spine.set(color="#2e933c" if right else "#d1495b", linewidth=2)
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
    rows[0][0].set_ylabel("support", fontsize=9)
    rows[1][0].set_ylabel("query", fontsize=9)
    figure.suptitle(
        "predictions after 0, 1 and 3 inner steps; frame green where the last is right", fontsize=8
    )
    return figure


_EXAMPLES = {
    "sinusoid": ("sinusoids", sinusoids),
    "few-shot": ("few_shot", few_shot),
    "navigation": ("navigation", navigation),
    "bandit": ("bandit", bandit),
}


def _after(num_steps: Any) -> str:
    if num_steps == 0:
        return "before"
    return f"after {num_steps} step{'s' if num_steps > 1 else ''}"


def _logarithm_of_costs(axes: Any, returns: Sequence[float]) -> None:
    """A logarithmic axis of −return that rises as the return does."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_yscale(
        "function", functions=(lambda x: -np.log(np.maximum(-x, 1e-9)), lambda y: -np.exp(-y))
    )
    low, high = 1.3 * min(returns), max(returns) / 1.3
    axes.set_ylim(low, high)
    ticks = [-m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5)]
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def _validation_error(axes: Any, points: np.ndarray, label: str) -> None:
    """An error has the axis of the losses; where it left it, adaptation diverged on some task."""
    low, high = axes.get_ylim()
    points = points[points[:, 1] <= high]  # which NaN is not
    axes.plot(*points.T, ".", color=_COLORS["oracle"], label=label, ms=5)
    axes.set_ylim(min([low, *(0.8 * points[:, 1])]), high)
    axes.set_ylabel("loss")


def _plain_numbers(axes: Any) -> None:
    """0.1, 0.2, 0.5 on a logarithmic axis, instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _figure(width: float, height: float) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    return figure, axes


def _panels(num_rows: int, num_columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure and its axes: `[columns]` for one row, else `[rows, columns]`."""
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(
        num_rows, num_columns, figsize=(width, height), layout="constrained"
    )
    for axes in np.ravel(grid):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, lw=0.6)
    return figure, np.atleast_1d(grid)


def _save(figure: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=160)
    plt.close(figure)
    return path
