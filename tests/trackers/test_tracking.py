"""What trackers are sent, and that a run goes on without one that fails."""

import json
import math
import sys

import pytest

import mamlax
from mamlax.records._metrics import append_metrics
from mamlax.trackers import Tracker, tracking
from mamlax.trackers._choice import trackers_of


class Recorder(Tracker):
    """Keeps what it is sent; fails where it is told to."""

    def __init__(self, name="recorder", fails_in="", error=OSError, raises=()):
        self.name, self.raises = name, raises
        self.fails_in, self.error, self.calls = fails_in, error, []

    def _called(self, method, *what):
        if method == self.fails_in:
            raise self.error("no network\nand more")
        self.calls.append((method, *what))

    def start(self, run):
        self._called("start", run)
        return run.ids or {"id": f"{self.name}-1"}

    def log(self, series, step, values):
        self._called("log", series, step, values)

    def figure(self, name, path):
        self._called("figure", name)

    def finish(self, status):
        self._called("finish", status)

    def named(self, method):
        """The arguments of each call of a method."""
        return [what for name, *what in self.calls if name == method]

    @property
    def steps(self):
        return [(series, step) for series, step, _ in self.named("log")]


def track(directory, *trackers, steps=(), series="main"):
    """Track some lines, as a run that logs them does."""
    file = directory if series == "main" else directory / "baselines" / series
    file.mkdir(parents=True, exist_ok=True)
    with tracking(trackers, directory, {"rate": 0.1}) as tracked:
        for step in steps:
            line = {"step": step, "train/query_loss": 1 / step, "time/date": "today"}
            append_metrics(file / "metrics.jsonl", line)
            tracked.log(series, {**line, "num_outer_steps": 30, "stopped": "in words"})


def state(directory):
    return json.loads((directory / "trackers.json").read_text())


def test_lines_are_sent_without_what_is_no_metric(tmp_path):
    one = Recorder()
    track(tmp_path, one, steps=[10, 20])
    [[run]] = one.named("start")
    assert (run.settings, run.ids, run.directory) == ({"rate": 0.1}, {}, tmp_path)
    assert one.named("log") == [
        ["main", 10, {"train/query_loss": 0.1}],
        ["main", 20, {"train/query_loss": 0.05}],
    ]
    assert one.named("finish") == [["finished"]]


def test_figures_and_other_numbers_are_sent(tmp_path):
    one = Recorder()
    with tracking([one], tmp_path) as tracked:
        tracked.values("evaluation/main", 1, {"mse": 0.5})
        tracked.figures([tmp_path / "learning_curve.png"])
    assert one.named("log") == [["evaluation/main", 1, {"mse": 0.5}]]
    assert one.named("figure") == [["learning_curve"]]


def test_a_run_that_resumes_continues_the_tracked_run(tmp_path):
    track(tmp_path, Recorder(), steps=[10, 20])
    again = Recorder()
    track(tmp_path, again, steps=[30])
    [[run]] = again.named("start")
    assert run.ids == {"id": "recorder-1"} and again.steps == [("main", 30)]
    assert state(tmp_path) == {"recorder": {"ids": {"id": "recorder-1"}}}


def test_a_tracker_that_comes_later_is_sent_what_there_is(tmp_path):
    track(tmp_path, Recorder(), steps=[10, 20])
    track(tmp_path, steps=[5], series="pretrained")
    late = Recorder("late")
    track(tmp_path, Recorder(), late, steps=[30])
    assert late.steps == [("main", 10), ("main", 20), ("pretrained", 5), ("main", 30)]
    assert state(tmp_path).keys() == {"recorder", "late"}


def test_a_tracker_that_was_not_there_for_a_while_is_sent_what_it_missed(tmp_path):
    track(tmp_path, Recorder(), steps=[10])
    track(tmp_path, steps=[20])
    track(tmp_path, Recorder("other"), steps=[30])
    track(tmp_path, again := Recorder(), steps=[40])
    assert again.steps == [("main", 20), ("main", 30), ("main", 40)]
    assert "sent" not in state(tmp_path)["recorder"]


def test_a_run_that_is_not_tracked_has_no_file_of_ids(tmp_path):
    track(tmp_path, steps=[10])
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_diverged_validation_is_not_a_number(tmp_path):
    with tracking([one := Recorder()], tmp_path) as tracked:
        tracked.log("main", {"step": 10, "validation/mse": None})
        tracked.log("main", {"step": 20, "validation/mse": math.inf})
    (*_, first), (*_, second) = one.named("log")
    assert math.isnan(first["validation/mse"]) and second == {"validation/mse": math.inf}


@pytest.mark.parametrize("method", ["start", "log", "figure", "finish"])
def test_a_tracker_that_fails_is_left_out_with_one_warning(method, tmp_path):
    bad, good = Recorder("bad", fails_in=method), Recorder("good")
    with (
        pytest.warns(UserWarning, match=r"tracker bad failed.*OSError: no network\)") as warned,
        tracking([bad, good], tmp_path) as tracked,
    ):
        for step in (10, 20):
            tracked.log("main", {"step": step, "train/query_loss": 1.0})
        tracked.figures([tmp_path / "a.png", tmp_path / "b.png"])
    assert len(warned) == 1 and "metrics.jsonl has every line" in str(warned[0].message)
    assert [name for name, *_ in good.calls] == [
        *("start", "log", "log", "figure", "figure", "finish")
    ]


@pytest.mark.parametrize("method", ["start", "log"])
def test_a_tracker_that_failed_is_sent_what_it_lacks_next_time(method, tmp_path):
    track(tmp_path, Recorder(), steps=[10])
    with pytest.warns(UserWarning, match="is left out"):
        track(tmp_path, Recorder(fails_in=method), steps=[20, 30])
    assert state(tmp_path)["recorder"] == {"ids": {"id": "recorder-1"}, "sent": {"main": 10}}
    again = Recorder()
    track(tmp_path, again, steps=[40])
    assert again.named("start")[0][0].ids == {"id": "recorder-1"}
    assert again.steps == [("main", 20), ("main", 30), ("main", 40)]
    assert state(tmp_path)["recorder"] == {"ids": {"id": "recorder-1"}}


def test_a_tracker_that_fails_while_it_is_sent_what_it_lacks_is_tried_again(tmp_path):
    track(tmp_path, steps=[10, 20])
    with pytest.warns(UserWarning, match="while starting") as warned:
        track(tmp_path, Recorder(fails_in="log"), steps=[30])
    assert len(warned) == 1 and state(tmp_path)["recorder"]["sent"] == {}
    track(tmp_path, again := Recorder())
    assert again.steps == [("main", 10), ("main", 20), ("main", 30)]


class Pruned(Exception):
    """What a search raises."""


def test_what_a_tracker_means_to_raise_ends_the_run(tmp_path):
    meant = Recorder("meant", fails_in="log", error=Pruned, raises=(Pruned,))
    other = Recorder("other")
    with pytest.raises(Pruned):
        track(tmp_path, other, meant, steps=[10])
    assert other.named("finish") == meant.named("finish") == [["interrupted"]]
    with pytest.warns(UserWarning, match="tracker meant failed"):  # another error of the same
        track(tmp_path, Recorder("meant", fails_in="log", raises=(Pruned,)), steps=[20])


@pytest.mark.parametrize(
    "error, status",
    [(mamlax.MamlaxError, "failed"), (KeyboardInterrupt, "interrupted"), (Pruned, "failed")],
)
def test_trackers_are_told_how_a_run_ended(error, status, tmp_path):
    with pytest.raises(error), tracking([one := Recorder()], tmp_path):
        raise error
    assert one.named("finish") == [[status]]


def test_a_damaged_file_of_ids_says_what_to_do(tmp_path):
    (tmp_path / "trackers.json").write_text('{"recorder": 3}')
    with pytest.raises(mamlax.MamlaxError, match=r"trackers\.json is damaged.*Delete it"):
        track(tmp_path, Recorder())


@pytest.mark.parametrize(
    "trackers, words",
    [
        (["tensorbord"], r"no tracker 'tensorbord'\. Did you mean tensorboard\?.*pip install"),
        (
            ["x"],
            r"There are: tensorboard \(pip install 'mamlax\[track\]'\); wandb \(pip install wandb",
        ),
        ("wandb", r"must be a list, e\.g\. trackers=\['wandb'\]"),
        ([Recorder("a"), Recorder("b"), Recorder("a")], "two trackers are called 'a'"),
    ],
)
def test_a_choice_that_cannot_be_names_those_that_can(trackers, words, tmp_path):
    with pytest.raises(mamlax.MamlaxError, match=words), tracking(trackers, tmp_path):
        pass
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("one", [Recorder, object()])
def test_what_is_no_tracker_is_refused(one):
    with pytest.raises(mamlax.MamlaxError, match="is no tracker: give a name"):
        trackers_of([one])


@pytest.mark.parametrize(
    "name, module, install",
    [
        ("tensorboard", "tensorboardX", "mamlax[track]"),
        ("wandb", "wandb", "pip install wandb"),
        ("mlflow", "mlflow", "pip install mlflow-skinny"),
        ("trackio", "trackio", "pip install trackio"),
    ],
)
def test_a_missing_library_says_how_to_install_it(name, module, install, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(mamlax.MamlaxError, match=f"{module} cannot be imported") as raised:
        trackers_of([name])
    assert install in str(raised.value)
