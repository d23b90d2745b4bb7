"""Figures of meta-training: losses, returns, and validations, also if they diverged."""

import numpy as np
import pytest

from mamlax import plots

from .looking import assert_legend_within, assert_on_the_edge, labeled_y_ticks, save
from .materials import METRICS


def test_a_learning_curve_shows_both_losses_and_validation(tmp_path):
    figure = plots.learning_curve(METRICS)
    axes, other = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["query loss, after adaptation"], [0.4, 0.2, 4 / 30, 0.1])
    np.testing.assert_allclose(lines["support loss, before adaptation"][0], 0.5)
    assert axes.get_yscale() == "log"
    (validation,) = other.lines
    np.testing.assert_array_equal(validation.get_xydata(), [[20, 0.2], [40, 0.4]])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == 3 and "validation accuracy" in labels
    save(figure, tmp_path)


def test_diverged_validation_errors_do_not_stretch_the_shared_axis(tmp_path):
    errors = [0.05, None, 5e22, 0.2]
    metrics = [
        {**{k: v for k, v in line.items() if k[:10] != "validation"}, "validation/mse": error}
        for line, error in zip(METRICS, errors, strict=True)
    ]
    figure = plots.learning_curve(metrics)
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    dots = lines["validation mse"].get_xydata()
    np.testing.assert_array_equal(dots, [[10, 0.05], [40, 0.2]])
    low, high = axes.get_ylim()
    assert low < 0.05 and high < 1
    arrows = lines["validation mse: diverged, or off the axis"]
    assert_on_the_edge(arrows, axes, [20, 30], upper=True)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("diverged" in label for label in labels)
    save(figure, tmp_path)


def test_a_learning_curve_whose_validation_always_diverged_shows_only_that(tmp_path):
    metrics = [{"step": n, "train/query_loss": 1 / n, "validation/mse": None} for n in (1, 2)]
    figure = plots.learning_curve(metrics)
    assert [line.get_label() for line in figure.axes[0].lines] == [
        "query loss, after adaptation",
        "validation mse: diverged, or off the axis",
    ]
    save(figure, tmp_path)


@pytest.mark.parametrize("errors", [[None] * 4, [0.2, None, 0.1, 5e22]])
def test_the_legend_of_a_validation_that_diverged_is_within_the_figure(errors):
    metrics = [
        {"step": n, "train/query_loss": 1 / n, "train/support_loss": 2 / n, "validation/mse": error}
        for n, error in enumerate(errors, start=1)
    ]
    figure = plots.learning_curve(metrics)
    assert len(figure.legends) == 1
    assert "diverged, or off the axis" in figure.legends[0].get_texts()[-1].get_text()
    assert_legend_within(figure)


def test_an_arrow_points_down_where_the_accuracy_diverged(tmp_path):
    metrics = [{**line} for line in METRICS]
    metrics[1]["validation/accuracy"] = None
    figure = plots.learning_curve(metrics)
    _, other = figure.axes
    curve, arrows = other.lines
    assert np.isnan(curve.get_ydata()[0]) and curve.get_ydata()[1] == 0.4
    assert curve.get_marker() == ".", "one point between two gaps would be no line"
    assert arrows.get_label() == "validation accuracy: diverged"
    assert_on_the_edge(arrows, other, [20], upper=False)
    save(figure, tmp_path)


RETURNS = [
    {
        "step": 10 * n,
        "train/environment_steps": 100_000,
        "time/outer_steps_per_second": 5.0,
        "train/pre_adaptation_return": -40.0 + n,
        "train/post_adaptation_return": -30.0 + n,
        **({} if n == 2 else {"validation/return": None if n == 3 else -20.0 + n}),
    }
    for n in (1, 2, 3, 4)
]


def test_return_curves_mark_only_validations_that_diverged(tmp_path):
    figure = plots.return_curves(RETURNS)
    for axes, x in zip(figure.axes, ([1, 2, 3, 4], [2, 4, 6, 8]), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_allclose(lines["validation"].get_xdata(), [x[0], x[3]])
        np.testing.assert_allclose(lines["validation"].get_ydata(), [-19, -16])
        assert_on_the_edge(lines["validation: diverged"], axes, [x[2]], upper=False)
    assert "validation: diverged" in [t.get_text() for t in figure.legends[0].get_texts()]
    save(figure, tmp_path)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_few_points_have_markers(count):
    figures = [
        plots.learning_curve(METRICS[:count]),
        plots.return_curves(RETURNS[:count]),
        plots.diagnostics([{"step": n, "train/kl": 0.01} for n in range(count)]),
    ]
    for figure in figures:
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == count]
        has_markers = {line.get_marker() != "None" for line in lines if line.get_ls() != "None"}
        assert has_markers == {count < 3}
    axes = figures[0].axes[0]
    assert axes.get_xlim()[1] > METRICS[count - 1]["step"], "half a marker would be cut off"


@pytest.mark.parametrize(
    "losses", [(5.4, 12.2), (1.05, 0.89), (3.1, 3.1001), (0.7, 1.3), (2e13, 4.0), (3e-12, 0.2)]
)
def test_a_learning_curve_has_two_numbers_or_more_on_its_axis(losses):
    figure = plots.learning_curve(
        [{"step": 50, "train/support_loss": losses[0], "train/query_loss": losses[1]}]
    )
    assert 2 <= len(set(labeled_y_ticks(figure.axes[0]))) <= 14


def test_a_learning_curve_of_one_line_without_inner_steps(tmp_path):
    line = {"step": 10, "train/query_loss": 1.0}
    figure = plots.learning_curve([line])
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 1
    save(figure, tmp_path)
