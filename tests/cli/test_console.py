"""Output of the command line: progress and tables of results."""

import re
from dataclasses import replace

import pytest

from mamlax.cli import _console
from mamlax.records import ComparedRun, Comparison, CurvePoint, Difference, Evaluation

from .answers import words_of


def points(*pairs):
    return [CurvePoint(steps, mean, ci95) for steps, (mean, ci95) in enumerate(pairs)]


EVALUATION = Evaluation(
    recipe="sinusoid",
    algorithm="anil",
    metric="mse",
    num_tasks=9,
    num_seeds=1,
    transductive=False,
    outer_step=100,
    curve=points((4.0, 0.5), (1.0, 0.25)),
    baselines={},
    inner_learning_rates={"main": 0.01},
)


def shown(evaluation, capsys):
    _console.show_evaluation(evaluation)
    return words_of(capsys.readouterr().out)


@pytest.mark.parametrize(
    "number, ci95, text",
    [
        (0.0004, None, "0.0004"),
        (21.5414, 0.5, "21.541 ±0.500"),
        (110000.0, 92954.8, "1.1e+05 ±9.3e+04"),
        (252.34, 26.71, "252.3 ±26.7"),
        (None, None, "diverged"),
    ],
)
def test_numbers_in_the_table_are_short(number, ci95, text, capsys):
    evaluation = replace(EVALUATION, curve=points((number, ci95)))
    table = shown(evaluation, capsys)
    assert table == f"query mse, 9 held-out tasks inner steps anil 0 {text} "


def test_divergence_is_shown_in_the_table(capsys):
    curve = points((4.0, 0.5), (None, None))
    baselines = {"random": points((4.0, 0.5), (4.0, 0.5))}
    changes = {"curve": curve, "num_seeds": 3, "transductive": True, "baselines": baselines}
    text = shown(replace(EVALUATION, **changes), capsys)
    assert "9 held-out tasks, 3 seeds (transductive)" in text
    assert "inner steps anil random 0 4.000 ±0.500 4.000 ±0.500 1 diverged 4.000" in text


def test_a_transductive_result_is_shown_beside_the_other(capsys):
    changes = {
        "transductive": True,
        "curve": points((0.9, 0.1)),
        "non_transductive_curve": points((0.7, 0.2)),
        "baselines": {"random": points((0.2, 0.1))},
    }
    text = shown(replace(EVALUATION, metric="accuracy", **changes), capsys)
    assert "inner steps anil not transductive random 0 0.900 ±0.100 0.700 ±0.200 0.200" in text


def compared(run=None, difference=None):
    """A comparison of two runs, with changes of the second."""
    first = ComparedRun(
        name="first",
        directory="runs/first",
        settings={"first_order": False},
        num_tasks=9,
        num_seeds=1,
        transductive=False,
        curve=points((4.0, 0.5), (1.0, 0.25)),
        num_diverged=[0, 0],
    )
    second = replace(first, name="second[1]", settings={"first_order": True}, **(run or {}))
    to_first = Difference(
        name="second[1]",
        to="first",
        paired=True,
        why_unpaired=None,
        curve=points((0.5, 0.1), (-0.00042, 0.00012)),
    )
    differences = [replace(to_first, **(difference or {}))]
    return Comparison(metric="mse", runs=[first, second], differences=differences)


def test_a_comparison_shows_each_run_and_the_differences(capsys):
    _console.show_comparison(compared())
    text = words_of(capsys.readouterr().out)
    assert "query mse, less is better" in text
    assert "first: 9 held-out tasks; first_order=False" in text
    assert "second[1]: 9 held-out tasks; first_order=True" in text
    assert "inner steps first second[1] 0 4.000 ±0.500 4.000 ±0.500 1 1.000 ±0.250" in text
    assert "difference to first, 95 % interval over tasks" in text
    # small differences have as many decimals as their interval justifies
    assert "inner steps second[1] 0 +0.500 ±0.100 1 -0.00042 ±0.00012" in text
    assert "note:" not in text


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"difference": {"paired": False, "why_unpaired": "its shots are others"}},
            ["not paired: its shots are"],
        ),
        (
            {"run": {"num_diverged": [0, 3]}},
            ["second[1] diverged on 3 of 9 tasks, the first after 1 inner"],
        ),
        (
            {"run": {"num_seeds": 3}},
            ["9 held-out tasks, 3 seeds", "the mean over seeds in each task"],
        ),
        (
            {"run": {"transductive": True}},
            ["9 held-out tasks, transductive", "Some runs are transductive"],
        ),
    ],
)
def test_pitfalls_are_noted(changes, words, capsys):
    _console.show_comparison(compared(**changes))
    text = words_of(capsys.readouterr().out)
    assert text.count("note:") == 1
    for word in words:
        assert word in text


def test_no_number_of_a_comparison_is_truncated(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    found = compared()
    names = [f"a run with a long name, number {n}" for n in range(8)]
    runs = [replace(found.runs[0], name=name) for name in names]
    _console.show_comparison(replace(found, runs=runs))
    text = capsys.readouterr().out
    assert "…" not in text and all(name in text for name in names)
    assert text.count("4.000 ±0.500") == 8


@pytest.mark.parametrize(
    "mean, ci95, text",
    [
        (0.5, 0.1, "+0.500 ±0.100"),
        (-0.5, None, "-0.500"),
        (0.0, 0.0, "+0.000 ±0.000"),
        (2e-5, 1e-9, "+0.000020 ±0.000000"),
        (-2e16, 3e15, "-2e+16 ±3e+15"),
        (252.34, 26.71, "+252.3 ±26.7"),
        (None, None, "diverged"),
    ],
)
def test_differences_have_their_sign(mean, ci95, text, capsys):
    _console.show_comparison(compared(difference={"curve": points((mean, ci95))}))
    assert words_of(capsys.readouterr().out).endswith(f" inner steps second[1] 0 {text} ")


LINE = {
    "step": 50,
    "num_outer_steps": 100,
    "train/query_loss": 0.25,
    "validation/accuracy": 0.875,
    "time/outer_steps_per_second": 10.0,
}


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys):
    with _console.Progress() as progress:
        progress("anil", LINE)
        progress("anil", {**LINE, "step": 60})  # too soon to print again
        progress("anil", {**LINE, "step": 100})
        progress("pretrained", LINE)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "anil: step 50/100  loss 0.25  validation accuracy 0.875  10 steps/s  5 s left",
        "anil: step 100/100  loss 0.25  validation accuracy 0.875  10 steps/s",
        "pretrained: step 50/100  loss 0.25  validation accuracy 0.875  10 steps/s  5 s left",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_that_stops_early_says_so(terminal, capsys, monkeypatch):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with _console.Progress() as progress:
        progress("fit", {**LINE, "step": 10})
        assert not progress.stopped
        progress("fit", {**LINE, "step": 20, "stopped": "loss [x] has not improved"})
    said = "stopped after 20 of 100 outer steps: loss [x] has not improved"
    assert progress.stopped == said
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert text.count(f"fit: {said}\n") == 1
    assert terminal or ("step 20/100" in text and " steps/s\nfit: stopped" in text)


@pytest.mark.parametrize("terminal", [False, True])
def test_trainings_at_the_same_time_have_a_bar_each(terminal, capsys, monkeypatch):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "200")
    with _console.Progress() as progress:
        for stage, step in (("one", 10), ("two", 20), ("one", 30), ("two", 100), ("one", 100)):
            progress(stage, {**LINE, "step": step})
            _console.say(f"between {step}")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    if terminal:
        last = text.splitlines()[-2:]
        assert [line.split()[0] for line in last] == ["one", "two"]
        assert all("100/100" in line and "loss 0.25" in line for line in last)
    else:
        found = [line.split("  ")[0] for line in text.splitlines() if "between" not in line]
        assert found == [
            f"{x}: step {y}/100" for x, y in (("one", 10), ("two", 20), ("two", 100), ("one", 100))
        ]
    assert text.count("between 30\n") == 1
    assert not _console._live


@pytest.mark.parametrize("rate, speed", [(12345.6, "12,346 steps/s"), (0.0432, "0.043 steps/s")])
@pytest.mark.parametrize("terminal", [False, True])
def test_phases_are_announced_and_a_slow_run_has_a_speed(
    rate, speed, terminal, capsys, monkeypatch
):
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    line = {"step": 1, "num_outer_steps": 2, "train/query_loss": 0.25}
    with _console.Progress() as progress:
        progress.announce("maml: [compiling]")
        progress("maml", {**line, "time/outer_steps_per_second": rate})
        progress.announce("maml: evaluating")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    places = [text.index(words) for words in ("maml: [compiling]", speed, "maml: evaluating")]
    assert places == sorted(places)
