"""The figure of a report: every model against how many rows of support it was given."""

import numpy as np
import pytest
from PIL import Image

from mamlax import plots

FIRST = "this model, adapted"
MODELS = [
    FIRST,
    "this model, not adapted",
    "no model (the mean)",
    "one pooled linear model",
    "pooled + offset of the group",
    "fitted to the support alone",
    "gradient-boosted trees",
    "trees + mean of the support",
]
SIZES = [0, 1, 5, 20]


def error_of(model, size):
    return (1 + MODELS.index(model)) / (1 + size)


def report(models=MODELS, sizes=SIZES, scale=1.0):
    entries = [
        {
            "model": model,
            "num_support": size,
            "error": scale * error_of(model, size),
            "ci95": 0.1 * scale * error_of(model, size),
            "worse_than_adapted": 0.0,
            "worse_ci95": 0.0,
        }
        for model in models
        for size in sizes
    ]
    return {"metric": "squared error", "num_groups": 7, "entries": entries}


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines}


def test_every_model_is_drawn_at_every_size():
    (axes,) = plots.support_sizes(report()).axes
    lines = lines_of(axes)
    assert list(lines) == MODELS
    for model, line in lines.items():
        np.testing.assert_array_equal(line.get_xdata(), range(4))
        np.testing.assert_allclose(line.get_ydata(), [error_of(model, size) for size in SIZES])
    assert len({line.get_color() for line in lines.values()}) == len(MODELS)
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == [FIRST, "95 % interval", *MODELS[1:]]
    assert lines["no model (the mean)"].get_linestyle() == "--"
    assert axes.get_yscale() == "log"


def test_the_interval_of_the_adapted_model_is_drawn():
    (axes,) = plots.support_sizes(report()).axes
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    for place, size in enumerate(SIZES):
        edges = corners[corners[:, 0] == place, 1]
        np.testing.assert_allclose(
            [edges.min(), edges.max()], np.array([np.exp(-0.1), 1.1]) * error_of(FIRST, size)
        )
    assert np.allclose(band.get_facecolor()[0, :3], matplotlib_color(lines_of(axes)[FIRST]))


def test_an_interval_wider_than_the_error_does_not_reach_the_bottom():
    """The axis is logarithmic: so is the lower half of the interval."""
    found = report()
    for entry in found["entries"]:
        entry["ci95"] = 2 * entry["error"]
    (axes,) = plots.support_sizes(found).axes
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == pytest.approx(np.exp(-2) * error_of(FIRST, 20))


def matplotlib_color(line):
    from matplotlib.colors import to_rgb

    return to_rgb(line.get_color())


def test_the_adapted_model_is_in_front():
    (axes,) = plots.support_sizes(report()).axes
    lines = lines_of(axes)
    others = [line for model, line in lines.items() if model != FIRST]
    assert all(lines[FIRST].get_zorder() > other.get_zorder() for other in others)
    assert all(lines[FIRST].get_linewidth() > other.get_linewidth() for other in others)


def test_axes_are_labeled():
    (axes,) = plots.support_sizes(report()).axes
    assert axes.get_xlabel() == "rows of support" and axes.get_ylabel() == "squared error"
    assert "7 groups held out" in axes.get_title()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "5", "20"]


def test_a_model_without_errors_can_be_drawn():
    (axes,) = plots.support_sizes(report(scale=0.0)).axes
    assert axes.get_yscale() == "linear"
    np.testing.assert_array_equal(lines_of(axes)[FIRST].get_ydata(), np.zeros(4))


def test_a_model_without_every_size_is_drawn():
    found = report()
    found["entries"] = [
        entry
        for entry in found["entries"]
        if entry["model"] != MODELS[1] or entry["num_support"] == 5
    ]
    (axes,) = plots.support_sizes(found).axes
    assert lines_of(axes)[MODELS[1]].get_xydata().tolist() == [[2, error_of(MODELS[1], 5)]]


def test_the_figure_is_written_atomically(tmp_path):
    """Also where an interval is not known: a single group had rows enough."""
    found = report()
    for entry in found["entries"]:
        if entry["num_support"] == 20:
            entry["ci95"] = float("nan")
    path = plots.draw_report(found, tmp_path / "report.png")
    with Image.open(path) as image:
        assert image.format == "PNG" and image.width > image.height > 300
        pixels = np.asarray(image.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    assert [one.name for one in tmp_path.iterdir()] == ["report.png"]
