"""Several runs together, and their differences to the first."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from mamlax import plots
from mamlax.records import ComparedRun, Comparison, CurvePoint, Difference
from mamlax.records._comparison import write_comparison

from .looking import assert_drawn, assert_legend_within, assert_on_the_edge, labeled_y_ticks, save
from .materials import curve


def compared_run(name, values, **settings):
    return ComparedRun(
        name=name,
        directory=f"runs/{name}",
        settings=settings,
        num_tasks=6,
        num_seeds=2 if name == "second" else 1,
        transductive=name == "third",
        curve=values,
        num_diverged=[6 * (point.mean is None) for point in values],
    )


def difference(name, values, *, to="first", paired=True):
    why = None if paired else "other tasks"
    return Difference(name=name, to=to, paired=paired, why_unpaired=why, curve=values)


def comparison(metric="mse"):
    """Three runs, of which the last diverged after 2 steps and the first took more."""
    return Comparison(
        metric=metric,
        runs=[
            compared_run("first", curve(4.0, 1.0, 0.5, 0.4), shots=5),
            compared_run("second", curve(4.0, 2.0, 1.0), shots=10),
            compared_run("third", curve(4.0, 3.0, None)),
        ],
        differences=[
            difference("second", curve(0.0, 1.0, 0.5)),
            difference("third", curve(0.0, 2.0, None), paired=False),
        ],
    )


def test_a_comparison_shows_all_curves_and_their_differences_to_the_first(tmp_path):
    figure = plots.comparison(comparison())
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}
    assert list(lines) == [
        "first: shots=5",
        "second (2 seeds): shots=10",
        "third (transductive)",
        "third: diverged",
    ]
    np.testing.assert_array_equal(lines["first: shots=5"].get_ydata(), [4.0, 1.0, 0.5, 0.4])
    assert_on_the_edge(lines["third: diverged"], left, [2], upper=True)
    assert left.get_yscale() == "log" and "6 held-out tasks" in left.get_title(loc="left")
    zero, second, third, arrows = right.lines
    assert_on_the_edge(arrows, right, [2], upper=True)
    assert list(zero.get_ydata()) == [0, 0]
    np.testing.assert_array_equal(second.get_xydata(), [[0, 0.0], [1, 1.0], [2, 0.5]])
    np.testing.assert_array_equal(third.get_ydata(), [0.0, 2.0, np.nan])
    assert len(right.collections) == 2, "a band each"
    for line, label in zip((zero, second, third), lines, strict=False):
        assert line.get_color() == lines[label].get_color(), "a run has one color in both"
    assert right.get_title(loc="left") == "difference to first, paired and unpaired, over tasks"
    assert right.get_yscale() == "linear"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(lines)
    save(figure, tmp_path)


@pytest.mark.parametrize("metric", ["accuracy", "return"])
def test_divergence_of_a_metric_to_maximize_is_marked_below(tmp_path, metric):
    figure = plots.comparison(comparison(metric))
    (arrows,) = (line for line in figure.axes[0].lines if line.get_label() == "third: diverged")
    assert_on_the_edge(arrows, figure.axes[0], [2], upper=False)
    save(figure, tmp_path)


def compared_curves(metric, **means):
    """A comparison of runs of these means, with the differences that follow."""
    first, *others = means
    differences = {
        name: [
            None if None in pair else pair[0] - pair[1]
            for pair in zip(means[name], means[first], strict=True)
        ]
        for name in others
    }
    return Comparison(
        metric=metric,
        runs=[compared_run(name, with_intervals(values)) for name, values in means.items()],
        differences=[
            difference(name, with_intervals(values), to=first)
            for name, values in differences.items()
        ],
    )


def with_intervals(means):
    """Each a tenth of the mean."""
    widths = [None if mean is None else 0.1 * abs(mean) for mean in means]
    return [CurvePoint(steps, *both) for steps, both in enumerate(zip(means, widths, strict=True))]


@pytest.mark.parametrize("end", [1e18, None])
@pytest.mark.parametrize("metric, sign", [("mse", 1), ("return", -10)])
@pytest.mark.slow
def test_a_run_that_diverges_does_not_flatten_the_others(tmp_path, metric, sign, end):
    means = {"good": [3.2, 1.1, 0.6, 0.5], "usual": [3.1, 1.5, 1.0, 0.8], "bad": [3.3, 4.0, 9e5]}
    curves = {name: [sign * mean for mean in values] for name, values in means.items()}
    curves["bad"].append(end and sign * end)
    figure = plots.comparison(compared_curves(metric, **curves))
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}
    np.testing.assert_array_equal(lines["bad"].get_ydata()[:2], curves["bad"][:2])
    arrows = lines["bad: diverged, or off the axis"]
    assert_on_the_edge(arrows, left, [2, 3], upper=metric == "mse")
    assert max(map(abs, left.get_ylim())) < 10 * abs(sign)
    assert right.get_yscale() == "linear" and max(map(abs, right.get_ylim())) < 5 * abs(sign)
    assert_on_the_edge(right.lines[-1], right, [2, 3], upper=metric == "mse")
    for axes in figure.axes:
        assert 2 <= len(labeled_y_ticks(axes)) <= 14
    assert_legend_within(figure)
    save(figure, tmp_path)


def test_if_the_first_run_diverged_arrows_point_the_other_way(tmp_path):
    figure = plots.comparison(
        compared_curves("mse", bad=[3.3, 9e5, None], good=[3.2, 1.0, 0.5], worse=[3.2, 9e5, 4.0])
    )
    _, right = figure.axes
    _, good, good_arrows, worse, worse_arrows = right.lines
    for line in (good, worse):
        np.testing.assert_allclose(line.get_ydata(), [-0.1, np.nan, np.nan])
    assert_on_the_edge(good_arrows, right, [1, 2], upper=False)
    assert_on_the_edge(worse_arrows, right, [2], upper=False)  # none if both diverged
    save(figure, tmp_path)


@pytest.mark.parametrize(
    "metric, curves",
    [
        ("mse", {"head": [2e-3, 1e-3], "maml": [3.8, 0.5], "longer": [4.0, 30.0]}),
        ("mse", {"bad": [4.0, 1e3], "worse": [4.0, 9e3]}),
        ("return", {"stands": [0.5, 0.4], "runs": [-0.5, 400.0], "falls": [-0.5, -90.0]}),
        ("accuracy", {"learns": [0.2, 0.9], "forgets": [0.2, 0.0]}),
    ],
)
def test_runs_that_differ_much_without_diverging_are_all_on_the_axis(metric, curves):
    left, _ = plots.comparison(compared_curves(metric, **curves)).axes
    assert [line.get_label() for line in left.lines] == list(curves)
    low, high = left.get_ylim()
    for line, means in zip(left.lines, curves.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), means)
        assert low <= min(means) and max(means) <= high


def test_runs_that_diverged_from_the_start_are_drawn(tmp_path):
    figure = plots.comparison(compared_curves("mse", one=[None, None], other=[None, None]))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["one", "one: diverged", "other", "other: diverged"]
    save(figure, tmp_path)


@pytest.mark.parametrize("small", [0.1, 1e-9])
def test_one_large_difference_does_not_flatten_the_others(tmp_path, small):
    curves = {"a": [4.0] * 3, "b": [4 + small, 4 - small, 4 - small], "c": [4.0, 4 + small, 30.0]}
    figure = plots.comparison(compared_curves("mse", **curves))
    _, right = figure.axes
    assert right.get_yscale() == "symlog"
    assert 2 <= len(labeled_y_ticks(right)) <= 9
    if small == 0.1:
        height = np.diff(right.transData.transform([[0, 0.0], [0, 0.1]])[:, 1])
        assert height > 0.05 * np.diff(right.transAxes.transform([[0, 0], [0, 1]])[:, 1])
    labels = [tick for tick in right.get_yticklabels() if tick.get_text()]
    boxes = sorted(tick.get_window_extent().intervaly.tolist() for tick in labels)
    for (_, top), (bottom, _) in itertools.pairwise(boxes):
        assert top <= bottom, "numbers lie on one another"
    save(figure, tmp_path)


def test_many_settings_do_not_fill_the_legend(tmp_path):
    found = comparison()
    first = replace(found.runs[0], settings={f"setting_{n}": n for n in range(30)})
    figure = plots.comparison(replace(found, runs=[first, *found.runs[1:]]))
    label = figure.legends[0].get_texts()[0].get_text()
    assert "setting_0=0" in label and "and 24 more" in label and "setting_29" not in label
    assert max(map(len, label.splitlines())) <= 100
    save(figure, tmp_path)


def test_the_figure_of_a_comparison_is_written_beside_it(tmp_path):
    write_comparison(tmp_path, comparison())
    (path,) = plots.draw_comparison(tmp_path)
    assert path == tmp_path / "curves.png"
    assert_drawn(path)
    assert len(list(tmp_path.iterdir())) == 2, "temporary files were left"
