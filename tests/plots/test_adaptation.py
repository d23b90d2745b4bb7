"""The metric against inner steps, of a run and its baselines."""

from dataclasses import replace

import numpy as np
import pytest

from mamlax import plots

from .looking import assert_legend_within, assert_on_the_edge, labeled_y_ticks, save
from .materials import EVALUATION, curve


def test_adaptation_shows_each_curve_with_its_band(tmp_path):
    figure = plots.adaptation(EVALUATION)
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"MAML", "random", "pretrained"}
    np.testing.assert_array_equal(lines["MAML"].get_xydata(), [[0, 4.0], [1, 1.0], [2, 0.5]])
    assert len(axes.collections) == 3
    low, high = axes.collections[0].get_paths()[0].get_extents().intervaly
    assert (low, high) == pytest.approx((0.4, 4.1))
    assert axes.get_ylabel() == "query mean squared error"
    title = axes.get_title(loc="left")
    assert "6 held-out tasks" in title and "transductive" not in title and "seeds" not in title
    save(figure, tmp_path)


def test_adaptation_says_transductive_and_how_many_seeds(tmp_path):
    changes = {"transductive": True, "num_seeds": 3, "curve": curve(0.2, 0.9), "baselines": {}}
    figure = plots.adaptation(replace(EVALUATION, metric="accuracy", **changes))
    axes = figure.axes[0]
    title = axes.get_title(loc="left")
    assert "3 seeds" in title and "transductive" in title
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] <= 1.05
    save(figure, tmp_path)


def test_adaptation_shows_the_result_that_is_not_transductive_beside_the_other(tmp_path):
    evaluation = replace(
        EVALUATION,
        metric="accuracy",
        transductive=True,
        curve=curve(0.2, 0.9),
        non_transductive_curve=curve(0.2, 0.7),
    )
    figure = plots.adaptation(evaluation)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines)[:2] == ["MAML", "not transductive"]
    np.testing.assert_array_equal(lines["not transductive"].get_ydata(), [0.2, 0.7])
    assert len({line.get_color() for line in lines.values()}) == 4
    save(figure, tmp_path)


def test_adaptation_of_a_single_point_and_of_divergence(tmp_path):
    save(plots.adaptation(replace(EVALUATION, curve=curve(4.0), baselines={})), tmp_path)
    figure = plots.adaptation(replace(EVALUATION, baselines={"random": curve(4.0, None)}))
    axes = figure.axes[0]
    (arrows,) = (line for line in axes.lines if line.get_label() == "random: diverged")
    assert_on_the_edge(arrows, axes, [1], upper=True)
    save(figure, tmp_path)


def test_adaptation_that_nearly_diverged_keeps_numbers_on_its_axis(tmp_path):
    figure = plots.adaptation(replace(EVALUATION, curve=curve(4.0, 1.0, 1e14)))
    assert len(labeled_y_ticks(figure.axes[0])) >= 3
    save(figure, tmp_path)


def test_the_legend_of_many_curves_is_within_the_figure():
    diverged = curve(4.0, None)
    evaluation = replace(
        EVALUATION,
        algorithm="maml-plus-plus",
        baselines=dict.fromkeys(("random", "pretrained", "oracle"), diverged),
        non_transductive_curve=diverged,
    )
    assert_legend_within(plots.adaptation(evaluation))


def test_a_narrow_range_of_costs_has_numbers_on_its_axis():
    evaluation = replace(EVALUATION, metric="return", curve=curve(-3.5, -3.4), baselines={})
    assert len(labeled_y_ticks(plots.adaptation(evaluation).axes[0])) >= 2


@pytest.mark.parametrize(
    "algorithm, label",
    [("maml", "MAML"), ("anil", "anil"), ("ridge-maml", "ridge-MAML"), ("maml-trpo", "MAML-TRPO")],
)
def test_the_curve_is_labeled_with_the_algorithm(algorithm, label):
    figure = plots.adaptation(replace(EVALUATION, algorithm=algorithm))
    assert figure.axes[0].lines[0].get_label() == label
    assert label in [text.get_text() for text in figure.legends[0].get_texts()]


def test_published_means_are_diamonds_in_the_colors_of_the_curves(tmp_path):
    published = {"main": [4.1, 1.2, 0.6, 0.3], "random": [3.9]}
    figure = plots.adaptation(replace(EVALUATION, published=published))
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["published"].get_marker() == "D"
    diamonds = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    main, random = (one for one in diamonds if len(one.get_xdata()))
    # of three steps, as the run has
    np.testing.assert_array_equal(main.get_xydata(), [[0, 4.1], [1, 1.2], [2, 0.6]])
    np.testing.assert_array_equal(random.get_xydata(), [[0, 3.9]])
    for diamond, name in ((main, "MAML"), (random, "random")):
        assert diamond.get_color() == lines[name].get_color()
    save(figure, tmp_path)
