"""Checks of figures."""

import numpy as np
from PIL import Image

from mamlax.plots import _style


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
    """Arrows are on the edge, whatever range the axis shows, and visible."""
    np.testing.assert_allclose(arrows.get_xdata(), x)
    assert arrows.get_marker() == ("^" if upper else "v") and not arrows.get_clip_on()
    drawn = arrows.get_transform().transform(arrows.get_xydata())[:, 1]
    edge = axes.transAxes.transform([[0, 1 if upper else 0]])[0, 1]
    np.testing.assert_allclose(drawn, edge)


def labeled_y_ticks(axes):
    """The labels of ticks within the limits."""
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    places = [(tick.get_position()[1], tick.get_text()) for tick in axes.get_yticklabels()]
    return [word for place, word in places if word and low <= place <= high]


def assert_legend_within(figure):
    """At the resolution of the files, which differs from that of the screen."""
    figure.set_dpi(160)
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0
