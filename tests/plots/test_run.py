"""All figures of a run directory, depending on its files."""

import json

import pytest

from mamlax import plots
from mamlax.records._evaluation import write_evaluation
from mamlax.records._examples import write_examples

from .looking import assert_drawn
from .materials import (
    EVALUATION,
    METRICS,
    bandit_examples,
    few_shot_examples,
    locomotion_examples,
    navigation_examples,
    sinusoid_examples,
)


@pytest.fixture
def run(tmp_path):
    """A run directory with everything that can be drawn."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    write_evaluation(folder, EVALUATION)
    write_examples(folder, sinusoid_examples())
    return folder


def test_all_figures_of_a_run_are_drawn_and_closed(run):
    import matplotlib.pyplot as plt

    paths = plots.draw_run(run)
    names = ["learning_curve", "adaptation", "sinusoids"]
    assert paths == [run / "figures" / f"{name}.png" for name in names]
    for path in paths:
        assert_drawn(path)
    assert sorted((run / "figures").iterdir()) == sorted(paths), "temporary files were left"
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "examples",
    [few_shot_examples, navigation_examples, bandit_examples, locomotion_examples],
)
def test_the_figure_of_examples_is_named_after_their_kind(run, examples):
    (run / "evaluation.json").unlink()
    (run / "metrics.jsonl").write_text("")
    write_examples(run, examples())
    path = plots.draw_run(run)[-1]
    assert path.stem == examples.__name__.removesuffix("_examples")
    assert_drawn(path)


def test_an_unfinished_run_can_be_drawn(run):
    (run / "evaluation.json").unlink()
    (run / "examples.npz").unlink()
    assert [path.stem for path in plots.draw_run(run)] == ["learning_curve"]
    (run / "metrics.jsonl").write_text("")
    assert plots.draw_run(run) == []


def test_a_log_line_cut_short_is_left_out(run):
    """A killed run has one until it is resumed."""
    (run / "evaluation.json").unlink()
    (run / "examples.npz").unlink()
    path = run / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert [path.stem for path in plots.draw_run(run)] == ["learning_curve"]


def test_drawing_again_replaces_the_figures(run):
    first = {path: path.read_bytes() for path in plots.draw_run(run)}
    (run / "metrics.jsonl").write_text(json.dumps(METRICS[0]) + "\n")
    second = {path: path.read_bytes() for path in plots.draw_run(run)}
    changed = {path.stem for path in first if first[path] != second[path]}
    assert changed == {"learning_curve"}, "the same values should give the same file"
