"""What adapted models and policies do in a few tasks."""

import numpy as np
import pytest

from mamlax import plots

from .looking import assert_legend_within, save
from .materials import (
    bandit_examples,
    few_shot_examples,
    locomotion_examples,
    navigation_examples,
    sinusoid_examples,
)


@pytest.mark.parametrize("names", [("main", "pretrained"), ("main",)])
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
def test_few_shot_marks_correct_predictions(tmp_path, ways, shots, num_query):
    examples = few_shot_examples(ways, shots, num_query)
    figure = plots.few_shot(examples)
    shown = min(num_query, 5)
    rows = np.reshape(figure.axes, (1 + shown, ways))
    guesses = examples.probabilities[-1].argmax(-1).reshape(ways, num_query)
    for way in range(ways):
        assert f"class {way}" in rows[0][way].get_title()
        for index in range(shown):
            axes = rows[index + 1][way]
            np.testing.assert_allclose(
                axes.images[0].get_array(), examples.query_images[way * num_query + index]
            )
            green = axes.spines["left"].get_edgecolor()[1] > axes.spines["left"].get_edgecolor()[0]
            assert green == (guesses[way, index] == way)
            assert f"3: class {guesses[way, index]}" in axes.get_xlabel()
    save(figure, tmp_path)


@pytest.mark.parametrize("goal", ["direction", "position"])
def test_an_episode_is_drawn_only_until_its_end(goal):
    path = np.cumsum(np.full((1, 4, 60, 3), 0.1), axis=2)  # [tasks, steps, time, coordinates]
    path[0, 1, 30:] = path[0, 1, 29]
    figure = plots.locomotion(locomotion_examples(goal, path))
    axes = figure.axes[0]
    (legend,) = figure.legends
    assert "episode ended" in [text.get_text() for text in legend.get_texts()]
    lengths = {line.get_label(): len(line.get_xdata()) for line in axes.lines}
    assert lengths["episode ended"] == 1
    ended, whole = lengths["after 1 step"], lengths["after 3 steps"]
    assert ended == whole - 30


@pytest.mark.parametrize("goal", ["direction", "velocity", "position"])
def test_locomotion_shows_every_task_after_the_steps_shown(goal, tmp_path):
    examples = locomotion_examples(goal)
    figure = plots.locomotion(examples)
    assert len(figure.axes) == 2
    assert figure.axes[0].get_ylabel().startswith("MAML-TRPO")
    for axes, task in zip(figure.axes, examples.tasks, strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines)[:3] == ["before", "after 1 step", "after 3 steps"]
        if goal == "position":
            np.testing.assert_array_equal(
                lines["after 3 steps"].get_xydata(), examples.positions["main"][0, 3, :, :2]
            )
            np.testing.assert_array_equal(lines["goal"].get_xydata(), [task])
        else:  # 0.4 m in each step of 0.05 s
            np.testing.assert_allclose(lines["after 3 steps"].get_ydata(), 8.0)
        if goal == "velocity":
            assert set(lines["goal"].get_ydata()) == {task}
        if goal == "direction":
            assert axes.get_title() == ("forward" if task > 0 else "backward")
    assert_legend_within(figure)
    save(figure, tmp_path)


def test_navigation_shows_paths_until_episodes_ended(tmp_path):
    examples = navigation_examples()
    figure = plots.navigation(examples)
    assert [axes.get_ylabel() for axes in figure.axes] == ["MAML-TRPO", "", "pretrained", ""]
    for axes, goal, index in zip(figure.axes[:2], examples.goals, range(2), strict=True):
        *paths, star, start = axes.lines
        assert len(paths) == 3 * 2  # steps, episodes
        labels = [path.get_label() for path in paths[::2]]
        assert labels == ["before", "after 1 step", "after 3 steps"]
        np.testing.assert_array_equal(star.get_xydata(), [goal])
        np.testing.assert_array_equal(start.get_xydata(), [[0, 0]])
        whole = examples.paths["main"][index, 2, 1]
        np.testing.assert_array_equal(paths[5].get_xydata(), whole)
        length = 3 if index == 1 else 5
        np.testing.assert_array_equal(paths[4].get_xydata(), whole[:length])
        (low, high), (below, above) = axes.get_xlim(), axes.get_ylim()
        assert low < goal[0] < high and below < goal[1] < above
    assert_legend_within(figure)
    save(figure, tmp_path)


def test_bandit_shows_what_arms_pay_and_how_often_each_is_pulled(tmp_path):
    examples = bandit_examples()
    figure = plots.bandit(examples)
    assert [axes.get_ylabel() for axes in figure.axes] == ["promp", "", "pretrained", ""]
    panels = [(name, index) for name in ("main", "pretrained") for index in range(2)]
    for axes, (name, index) in zip(figure.axes, panels, strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), examples.payouts[index])
        for step, bars in enumerate(axes.containers):
            heights = [bar.get_height() for bar in bars]
            np.testing.assert_array_equal(heights, examples.pulls[name][index, step])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [
        "probability that the arm pays",
        "share of pulls, before",
        "share of pulls, after 1 step",
        "share of pulls, after 3 steps",
    ]
    assert_legend_within(figure)
    save(figure, tmp_path)
