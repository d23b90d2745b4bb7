"""All figures of a run directory, and the figure of a comparison."""

from pathlib import Path
from typing import Any

from .._errors import MamlaxError, warn
from .._files import Json
from ..records._comparison import read_comparison
from ..records._evaluation import evaluation_path, read_evaluation
from ..records._examples import (
    BanditExamples,
    Examples,
    FewShotExamples,
    LocomotionExamples,
    NavigationExamples,
    SinusoidExamples,
    read_examples,
)
from ..records._metrics import read_series
from ._adaptation import adaptation, comparison
from ._examples import few_shot, sinusoids
from ._learning import diagnostics, learning_curve, return_curves
from ._locomotion import locomotion
from ._policies import bandit, navigation
from ._style import save
from ._support import support_sizes


def draw_run(directory: Path) -> list[Path]:
    """Draw all figures of a run directory into its `figures/`.

    Args:
        directory: a run directory.

    Returns:
        The paths written: `learning_curve.png` and `adaptation.png`; for examples `sinusoids.png`,
        `few_shot.png`, `navigation.png`, `bandit.png` or `locomotion.png`; for policies
        `diagnostics.png`. Figures whose files are missing are left out.

    Raises:
        MamlaxError: if a file is damaged. Damaged examples, which an older version may have
            written, only give a warning.
    """
    figures = {}
    metrics = read_series(directory / "metrics.jsonl")
    if metrics and "train/post_adaptation_return" in metrics[0]:
        figures["learning_curve"] = return_curves(metrics)
        figures["diagnostics"] = diagnostics(metrics)
    elif metrics:
        figures["learning_curve"] = learning_curve(metrics)
    if evaluation_path(directory).exists():
        figures["adaptation"] = adaptation(read_evaluation(directory))
    try:
        if (examples := read_examples(directory)) is not None:
            name, figure = _figure_of(examples)
            figures[name] = figure
    except MamlaxError as error:  # the other figures can still be drawn
        warn(str(error), stacklevel=2)
    return [save(figure, directory / "figures" / f"{name}.png") for name, figure in figures.items()]


def _figure_of(examples: Examples) -> tuple[str, Any]:
    """The name of a figure of examples, and the figure."""
    match examples:
        case SinusoidExamples():
            return "sinusoids", sinusoids(examples)
        case FewShotExamples():
            return "few_shot", few_shot(examples)
        case NavigationExamples():
            return "navigation", navigation(examples)
        case BanditExamples():
            return "bandit", bandit(examples)
        case LocomotionExamples():
            return "locomotion", locomotion(examples)


def draw_comparison(directory: Path) -> list[Path]:
    """Draw the result of `mamlax compare`.

    Args:
        directory: the directory with `comparison.json`.

    Returns:
        The path written: `curves.png`, beside `comparison.json`.
    """
    return [save(comparison(read_comparison(directory)), directory / "curves.png")]


def draw_report(report: Json, path: Path) -> Path:
    """Draw the `report()` of an estimator.

    Args:
        report: `as_json()` of the report.
        path: the file for the figure.

    Returns:
        The path written.
    """
    return save(support_sizes(report), path)
