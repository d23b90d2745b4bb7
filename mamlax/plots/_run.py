"""Every figure of a run directory, and that of a comparison."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ._adaptation import adaptation, comparison
from ._examples import few_shot, sinusoids
from ._learning import diagnostics, learning_curve, return_curves
from ._policies import bandit, navigation
from ._running import running
from ._style import save
from ._support import support_sizes

_EXAMPLES = {
    "sinusoid": ("sinusoids", sinusoids),
    "few-shot": ("few_shot", few_shot),
    "navigation": ("navigation", navigation),
    "bandit": ("bandit", bandit),
    "running": ("running", running),
}


def draw_run(directory: Path) -> list[Path]:
    """Draw every figure a run directory has material for, into its `figures/`.

    Args:
        directory: a run directory.

    Returns:
        The paths written: `learning_curve.png`, `adaptation.png`, of the examples `sinusoids.png`,
        `few_shot.png`, `navigation.png`, `bandit.png` or `running.png`, and of episodes
        `diagnostics.png`.
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
    return [save(figure, directory / "figures" / f"{name}.png") for name, figure in figures.items()]


def draw_comparison(directory: Path) -> list[Path]:
    """Draw what `mamlax compare` found.

    Args:
        directory: where its `comparison.json` lies.

    Returns:
        The path written: `curves.png`, beside it.
    """
    compared = json.loads((directory / "comparison.json").read_text())
    return [save(comparison(compared), directory / "curves.png")]


def draw_report(report: dict[str, Any], path: Path) -> Path:
    """Draw what an estimator's `report()` found.

    Args:
        report: its `as_json()`.
        path: of the figure.

    Returns:
        The path written.
    """
    return save(support_sizes(report), path)
