"""Every figure is drawn from as little as a run may leave, and shows what it was given."""

import itertools
import json

import numpy as np
import pytest
from PIL import Image

from mamlax import plots
from mamlax.plots import _style

METRICS = [
    {
        "step": step,
        "train/query_loss": 4.0 / step,
        "train/support_loss": 5.0 / step,
        "train/gradient_norm": 1.0,
        **({"validation/accuracy": step / 100} if step % 20 == 0 else {}),
    }
    for step in (10, 20, 30, 40)
]


def curve(*means):
    return [{"num_inner_steps": n, "mean": mean, "ci95": 0.1} for n, mean in enumerate(means)]


EVALUATION = {
    "recipe": "sinusoid",
    "metric": "mse",
    "num_tasks": 6,
    "num_seeds": 1,
    "transductive": False,
    "curve": curve(4.0, 1.0, 0.5),
    "baselines": {"random": curve(4.0, 3.9, 3.8), "pretrained": curve(3.0, 2.9, 2.8)},
}


def sinusoid_examples(names=("maml", "pretrained")):
    grid = np.linspace(-5, 5, 21)
    arrays = {"kind": np.array("sinusoid"), "grid": grid, "num_steps": np.array([0, 1, 10])}
    for index in range(2):
        arrays[f"{index}/support_x"] = np.array([-1.0, 2.0])
        arrays[f"{index}/support_y"] = np.array([0.5, -0.5])
        arrays[f"{index}/truth"] = np.sin(grid)
        for name in names:
            arrays[f"{index}/{name}"] = np.stack([0 * grid, 0.5 * np.sin(grid), np.sin(grid)])
    return arrays


def few_shot_examples(ways=3, shots=1, num_query=2):
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(ways), (3, ways * num_query))
    return {
        "kind": np.array("few-shot"),
        "ways": np.array(ways),
        "num_steps": np.array([0, 1, 3]),
        "support_images": random.random((ways * shots, 6, 6)),
        "query_images": random.random((ways * num_query, 6, 6)),
        "query_targets": np.repeat(np.arange(ways), num_query),
        "probabilities": probabilities,
    }


@pytest.fixture(autouse=True)
def close_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def assert_drawn(path):
    """A PNG of a plausible size, neither blank nor of one color."""
    assert path.stat().st_size > 8000
    with Image.open(path) as image:
        assert image.format == "PNG" and min(image.size) > 300
        pixels = np.asarray(image.convert("RGB"))
    colors, counts = np.unique(pixels[::4, ::4].reshape(-1, 3), axis=0, return_counts=True)
    assert len(colors) > 20 and 1 - counts.max() / counts.sum() > 0.001


def save(figure, tmp_path):
    path = _style.save(figure, tmp_path / "figure.png")
    assert_drawn(path)


def assert_on_the_edge(arrows, axes, x, *, upper):
    """Arrows lie there whatever the axis shows, and are seen."""
    np.testing.assert_allclose(arrows.get_xdata(), x)
    assert arrows.get_marker() == ("^" if upper else "v") and not arrows.get_clip_on()
    drawn = arrows.get_transform().transform(arrows.get_xydata())[:, 1]
    edge = axes.transAxes.transform([[0, 1 if upper else 0]])[0, 1]
    np.testing.assert_allclose(drawn, edge)


def labeled_y_ticks(axes):
    """Of those within the limits, the words."""
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    places = [(tick.get_position()[1], tick.get_text()) for tick in axes.get_yticklabels()]
    return [word for place, word in places if word and low <= place <= high]


def assert_legend_within(figure):
    """At the resolution of the files, which is another than that of the screen."""
    figure.set_dpi(160)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0


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


def test_validation_errors_share_the_axis_and_none_that_diverged_stretches_it(tmp_path):
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


def test_where_an_accuracy_diverged_an_arrow_points_down(tmp_path):
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


def test_return_curves_mark_what_diverged_but_not_what_was_not_due(tmp_path):
    figure = plots.return_curves(RETURNS)
    for axes, x in zip(figure.axes, ([1, 2, 3, 4], [2, 4, 6, 8]), strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_allclose(lines["validation"].get_xdata(), [x[0], x[3]])
        np.testing.assert_allclose(lines["validation"].get_ydata(), [-19, -16])
        assert_on_the_edge(lines["validation: diverged"], axes, [x[2]], upper=False)
    assert "validation: diverged" in [t.get_text() for t in figure.legends[0].get_texts()]
    save(figure, tmp_path)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_so_few_points_that_a_line_is_not_seen_have_markers(count):
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


def test_a_narrow_range_of_costs_has_numbers_on_its_axis():
    evaluation = {**EVALUATION, "metric": "return", "curve": curve(-3.5, -3.4), "baselines": {}}
    assert len(labeled_y_ticks(plots.adaptation(evaluation).axes[0])) >= 2


def test_a_learning_curve_of_one_line_without_inner_steps(tmp_path):
    line = {"step": 10, "train/query_loss": 1.0}
    figure = plots.learning_curve([line])
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 1
    save(figure, tmp_path)


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
    evaluation = {
        **EVALUATION,
        "metric": "accuracy",
        "transductive": True,
        "num_seeds": 3,
        "curve": curve(0.2, 0.9),
        "baselines": {},
    }
    figure = plots.adaptation(evaluation)
    axes = figure.axes[0]
    title = axes.get_title(loc="left")
    assert "3 seeds" in title and "transductive" in title
    assert axes.get_ylim()[0] == 0 and axes.get_ylim()[1] <= 1.05
    save(figure, tmp_path)


def test_adaptation_shows_the_result_that_is_not_transductive_beside_the_other(tmp_path):
    evaluation = {
        **EVALUATION,
        "metric": "accuracy",
        "transductive": True,
        "curve": curve(0.2, 0.9),
        "non_transductive_curve": curve(0.2, 0.7),
    }
    figure = plots.adaptation(evaluation)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines)[:2] == ["MAML", "not transductive"]
    np.testing.assert_array_equal(lines["not transductive"].get_ydata(), [0.2, 0.7])
    assert len({line.get_color() for line in lines.values()}) == 4
    save(figure, tmp_path)


def test_adaptation_of_one_point_and_of_what_diverged(tmp_path):
    diverged = [*curve(4.0), {"num_inner_steps": 1, "mean": None, "ci95": None}]
    save(plots.adaptation({**EVALUATION, "curve": curve(4.0), "baselines": {}}), tmp_path)
    figure = plots.adaptation({**EVALUATION, "baselines": {"random": diverged}})
    axes = figure.axes[0]
    (arrows,) = (line for line in axes.lines if line.get_label() == "random: diverged")
    assert_on_the_edge(arrows, axes, [1], upper=True)
    save(figure, tmp_path)


def test_adaptation_that_nearly_diverged_keeps_numbers_on_its_axis(tmp_path):
    figure = plots.adaptation({**EVALUATION, "curve": curve(4.0, 1.0, 1e14)})
    assert len(labeled_y_ticks(figure.axes[0])) >= 3
    save(figure, tmp_path)


def test_the_legend_of_many_curves_is_within_the_figure():
    diverged = [*curve(4.0), {"num_inner_steps": 1, "mean": None, "ci95": None}]
    names = ("random", "pretrained", "oracle")
    evaluation = {**EVALUATION, "baselines": dict.fromkeys(names, diverged)}
    evaluation |= {"algorithm": "maml-plus-plus", "non_transductive_curve": diverged}
    assert_legend_within(plots.adaptation(evaluation))


def comparison(metric="mse"):
    """Three runs, of which the last diverged after 2 steps and the first took more."""
    unknown = [{"num_inner_steps": 2, "mean": None, "ci95": None}]
    runs = [
        ("first", curve(4.0, 1.0, 0.5, 0.4), {"shots": 5}),
        ("second", curve(4.0, 2.0, 1.0), {"shots": 10}),
        ("third", [*curve(4.0, 3.0), *unknown], {}),
    ]
    return {
        "metric": metric,
        "runs": [
            {
                "name": name,
                "settings": settings,
                "num_tasks": 6,
                "num_seeds": 2 if name == "second" else 1,
                "transductive": name == "third",
                "curve": values,
            }
            for name, values, settings in runs
        ],
        "differences": [
            {"name": "second", "paired": True, "curve": curve(0.0, 1.0, 0.5)},
            {"name": "third", "paired": False, "curve": [*curve(0.0, 2.0), *unknown]},
        ],
    }


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
def test_a_comparison_of_what_is_to_be_large_marks_divergence_below(tmp_path, metric):
    figure = plots.comparison(comparison(metric))
    (arrows,) = (line for line in figure.axes[0].lines if line.get_label() == "third: diverged")
    assert_on_the_edge(arrows, figure.axes[0], [2], upper=False)
    save(figure, tmp_path)


def compared_curves(metric, **curves):
    """A comparison of runs of these means, with the differences that follow."""
    compared = comparison(metric)
    first, *others = curves
    compared["runs"] = [
        {**compared["runs"][0], "name": name, "settings": {}, "curve": curve(*means)}
        for name, means in curves.items()
    ]
    compared["differences"] = [
        {
            "name": name,
            "paired": True,
            "curve": curve(
                *(
                    None if None in pair else pair[0] - pair[1]
                    for pair in zip(curves[name], curves[first], strict=True)
                )
            ),
        }
        for name in others
    ]
    for one in (*compared["runs"], *compared["differences"]):
        for point in one["curve"]:
            point["ci95"] = None if point["mean"] is None else 0.1 * abs(point["mean"])
    return compared


@pytest.mark.parametrize("end", [1e18, None])
@pytest.mark.parametrize("metric, sign", [("mse", 1), ("return", -10)])
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


def test_where_the_first_run_diverged_differences_to_it_leave_the_other_way(tmp_path):
    figure = plots.comparison(
        compared_curves("mse", bad=[3.3, 9e5, None], good=[3.2, 1.0, 0.5], worse=[3.2, 9e5, 4.0])
    )
    _, right = figure.axes
    _, good, good_arrows, worse, worse_arrows = right.lines
    for line in (good, worse):
        np.testing.assert_allclose(line.get_ydata(), [-0.1, np.nan, np.nan])
    assert_on_the_edge(good_arrows, right, [1, 2], upper=False)
    assert_on_the_edge(worse_arrows, right, [2], upper=False)  # of two that diverged there is none
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


def test_runs_of_which_nothing_is_known_are_drawn_as_that(tmp_path):
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
    compared = comparison()
    compared["runs"][0]["settings"] = {f"setting_{n}": n for n in range(30)}
    figure = plots.comparison(compared)
    label = figure.legends[0].get_texts()[0].get_text()
    assert "setting_0=0" in label and "and 24 more" in label and "setting_29" not in label
    assert max(map(len, label.splitlines())) <= 100
    save(figure, tmp_path)


def test_a_comparison_on_disk_is_drawn_beside_itself(tmp_path):
    (tmp_path / "comparison.json").write_text(json.dumps(comparison()))
    (path,) = plots.draw_comparison(tmp_path)
    assert path == tmp_path / "curves.png"
    assert_drawn(path)
    assert len(list(tmp_path.iterdir())) == 2, "temporary files were left"


@pytest.mark.parametrize("names", [("maml", "pretrained"), ("maml",)])
def test_sinusoids_show_truth_support_and_every_curve(tmp_path, names):
    figure = plots.sinusoids(sinusoid_examples(names))
    assert len(figure.axes) == 2 * len(names)
    for axes in figure.axes:
        labels = [line.get_label() for line in axes.lines]
        assert labels == ["truth", "before", "after 1 step", "after 10 steps", "support points"]
        np.testing.assert_array_equal(axes.lines[-1].get_xydata(), [[-1.0, 0.5], [2.0, -0.5]])
    save(figure, tmp_path)


@pytest.mark.parametrize("ways", [1, 2, 3, 5])
def test_the_title_of_few_shot_fits_the_figure(ways):
    figure = plots.few_shot(few_shot_examples(ways))
    figure.draw_without_rendering()
    box = figure._suptitle.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    assert "after 0, 1 and 3 inner steps" in figure._suptitle.get_text()


@pytest.mark.parametrize("ways, shots, num_query", [(3, 1, 2), (5, 5, 15), (1, 1, 1)])
def test_few_shot_marks_what_was_guessed_right(tmp_path, ways, shots, num_query):
    examples = few_shot_examples(ways, shots, num_query)
    figure = plots.few_shot(examples)
    shown = min(num_query, 5)
    rows = np.reshape(figure.axes, (1 + shown, ways))
    guesses = examples["probabilities"][-1].argmax(-1).reshape(ways, num_query)
    for way in range(ways):
        assert f"class {way}" in rows[0][way].get_title()
        for index in range(shown):
            axes = rows[index + 1][way]
            np.testing.assert_allclose(
                axes.images[0].get_array(), examples["query_images"][way * num_query + index]
            )
            green = axes.spines["left"].get_edgecolor()[1] > axes.spines["left"].get_edgecolor()[0]
            assert green == (guesses[way, index] == way)
            assert f"3: class {guesses[way, index]}" in axes.get_xlabel()
    save(figure, tmp_path)


@pytest.fixture
def run(tmp_path):
    """A run directory with everything that can be drawn."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    (folder / "evaluation.json").write_text(json.dumps(EVALUATION))
    np.savez(folder / "examples.npz", **sinusoid_examples())
    return folder


def test_all_of_a_run_is_drawn_and_no_figure_left_open(run):
    import matplotlib.pyplot as plt

    paths = plots.draw_run(run)
    names = ["learning_curve", "adaptation", "sinusoids"]
    assert paths == [run / "figures" / f"{name}.png" for name in names]
    for path in paths:
        assert_drawn(path)
    assert sorted((run / "figures").iterdir()) == sorted(paths), "temporary files were left"
    assert not plt.get_fignums()


def test_a_few_shot_run_is_drawn(run):
    np.savez(run / "examples.npz", **few_shot_examples())
    assert [path.stem for path in plots.draw_run(run)][-1] == "few_shot"


def test_a_run_that_is_still_training_is_drawn_as_far_as_it_is(run):
    (run / "evaluation.json").unlink()
    (run / "examples.npz").unlink()
    assert [path.stem for path in plots.draw_run(run)] == ["learning_curve"]
    (run / "metrics.jsonl").write_text("")
    assert plots.draw_run(run) == []


def test_a_log_line_cut_short_is_left_out(run):
    """A killed run has one until it is resumed."""
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert plots.draw_run(run)[0].stem == "learning_curve"


def test_drawing_again_replaces_the_figures(run):
    first = {path: path.read_bytes() for path in plots.draw_run(run)}
    (run / "metrics.jsonl").write_text(json.dumps(METRICS[0]) + "\n")
    second = {path: path.read_bytes() for path in plots.draw_run(run)}
    changed = {path.stem for path in first if first[path] != second[path]}
    assert changed == {"learning_curve"}, "the same values should give the same file"


@pytest.mark.parametrize("goal", ["direction", "position"])
def test_an_episode_that_ended_is_not_drawn_as_one_that_stands(goal):
    from mamlax.plots._running import running

    path = np.cumsum(np.full((1, 4, 60, 3), 0.1), axis=2)  # [tasks, steps, time, nq]
    path[0, 1, 30:] = path[0, 1, 29]
    examples = {
        "tasks": np.ones((1, 2) if goal == "position" else 1),
        "goal": np.array(goal),
        "seconds_per_step": np.array(0.05),
        "shown_steps": np.array([0, 1, 3]),
        "maml/positions": path,
    }
    figure = running(examples)
    axes = figure.axes[0]
    (legend,) = figure.legends
    assert "episode ended" in [text.get_text() for text in legend.get_texts()]
    lengths = {line.get_label(): len(line.get_xdata()) for line in axes.lines}
    assert lengths["episode ended"] == 1
    ended, whole = lengths["after 1 step"], lengths["after 3 steps"]
    assert ended == whole - 30
