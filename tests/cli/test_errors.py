"""Errors become a message and an exit status; other files are not touched."""

import errno
import shlex
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import mamlax
from mamlax import cli
from mamlax.cli._commands import command_of_run
from mamlax.config import RECIPES
from mamlax.config._job import Job
from mamlax.records._description import RunDescription, open_run

from .answers import exits
from .test_console import EVALUATION


@pytest.mark.parametrize(
    "raised, status, words",
    [
        (mamlax.MamlaxError("what to do"), 1, ["error: what to do"]),
        (mamlax.TrainingDivergedError("not finite at step 3"), 1, ["error: not finite at step 3"]),
        (KeyboardInterrupt(), 130, ["stopped. Repeat the command: what is trained is kept."]),
        (mamlax.TrainingInterruptedError("stopped after step 3", signal.SIGTERM), 143, ["step 3"]),
    ],
)
def test_an_exception_becomes_a_message_and_a_status(raised, status, words, capsys, train_raises):
    train_raises(raised)
    assert exits(["train", "sinusoid"]) == status
    text = capsys.readouterr().err
    for word in words:
        assert word in text


def test_a_command_that_keeps_nothing_promises_no_resume(capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mamlax.plots.draw_run", stop)
    Path("run").mkdir()
    Path("run/metrics.jsonl").write_text("")
    assert exits(["plot", "run"]) == 130
    assert capsys.readouterr().err == "stopped.\n"


def test_a_command_that_was_stopped_does_not_wait_for_what_still_runs():
    """Where Python ends, JAX waits for its programs."""
    program = (
        "import atexit, mamlax.cli, mamlax.__main__\n"
        "atexit.register(print, 'waited')\n"
        "mamlax.cli.main = lambda: 130\n"
        "mamlax.__main__.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (130, ""), ended.stderr


@pytest.mark.parametrize("is_new", [True, False])
def test_a_run_that_was_trained_already_says_so(is_new, capsys, train_does, monkeypatch):
    def train(*_, report, **__):
        if is_new:
            rates = {"time/outer_steps_per_second": 1.0, "train/query_loss": 0.5}
            report("maml", {"step": 1, "num_outer_steps": 1, **rates})
        return EVALUATION

    train_does(train)
    monkeypatch.setattr("mamlax.plots.draw_run", lambda out: [])
    assert exits(["train", "sinusoid", "--out", "a run", "--data-dir", "my data"]) == 0
    assert is_new != (
        "a run was trained already; it was only evaluated again. The next time: "
        "mamlax evaluate 'a run' --data-dir 'my data' or mamlax plot 'a run'."
        in capsys.readouterr().err
    )


def test_a_directory_of_another_run_is_met_with_both_ways_out(capsys, train_does):
    """The differences, and the command that resumes what is there."""

    asked = []

    def train(recipe, *, seed, num_seeds, directory, data_dir, trackers, **_):
        asked.append((data_dir, trackers))
        open_run(directory, RunDescription(recipe, seed, num_seeds))
        raise mamlax.MamlaxError("it is the same run")

    train_does(train)
    other = RECIPES["sinusoid"].changed(shots=5, meta_batch_size=8)
    open_run(Path("my run"), RunDescription(other, 3, 1))
    others = "--data-dir 'my data' --track wandb --track mlflow --num-processes 1"
    assert exits(["train", "sinusoid", "--out", "my run", *shlex.split(others)]) == 1
    head, *differences, _, anew, resume = capsys.readouterr().err.splitlines()
    assert head == "error: my run holds another run:"
    assert differences == [
        "  --meta-batch-size: 8 there, 25 now",
        "  seed: 3 there, 0 now",
        "  shots: 5 there, 10 now",
    ]
    assert anew == "To train this one: the same command with another --out DIR."
    command = "mamlax train sinusoid --shots 5 --meta-batch-size 8 --seed 3 --out 'my run'"
    command += " --track wandb --track mlflow --data-dir 'my data' --num-processes 1"
    assert resume == f"To resume that one: {command}"
    assert exits(shlex.split(command)[1:]) == 1
    assert "it is the same run" in capsys.readouterr().err
    assert asked[0] == asked[1] == ("my data", ("wandb", "mlflow"))


def test_the_command_that_resumes_a_run_of_several_processes_names_them():
    """Each process prints its own."""
    run, job = RunDescription(RECIPES["sinusoid"], 0, 1), Job(num_processes=2, process_id=0)
    command = "mamlax train sinusoid --out run"
    assert (
        command_of_run(run, Path("run")) == command_of_run(run, Path("run"), job=Job()) == command
    )
    assert (
        command_of_run(run, Path("run"), job=job) == f"{command} --num-processes 2 --process-id 0"
    )
    job = replace(job, coordinator="one:1234")
    assert "--coordinator one:1234 --num" in command_of_run(run, Path("run"), job=job)


@pytest.mark.parametrize("is_evaluated", [True, False])
def test_a_run_that_was_never_evaluated_is_exported_with_a_word(is_evaluated, capsys, monkeypatch):
    model = SimpleNamespace(save=lambda out: None)
    monkeypatch.setattr("mamlax.estimators._export.learner_of_run", lambda run, **options: model)
    monkeypatch.setattr("mamlax.estimators._commands.what_it_takes", lambda model: "")
    Path("run").mkdir()
    if is_evaluated:
        Path("run/evaluation.json").write_text("{}")
    assert exits(["export", "run", "--data-dir", "data"]) == 0
    said, how = capsys.readouterr().err, "mamlax evaluate run --data-dir data"
    assert is_evaluated != ("run was never evaluated" in said and how in said)


def test_a_full_disk_at_the_end_is_an_error_without_a_traceback(capsys, train_raises):
    """For example when evaluation.json or a figure is written."""
    path = "runs/sinusoid/0/evaluation.json"
    train_raises(OSError(errno.ENOSPC, "No space left on device", path))
    assert exits(["train", "sinusoid"]) == 1
    text = capsys.readouterr().err
    assert "No space left on device" in text and "evaluation.json" in text


def test_a_bug_is_not_reported_as_a_user_error(train_raises):
    train_raises(KeyError("a bug"))
    with pytest.raises(KeyError):
        cli.main(["train", "sinusoid"])


def test_warnings_are_printed_without_the_line_of_code(capsys, train_does, recwarn):
    def train(*_, **__):
        with warnings.catch_warnings(action="always"):
            warnings.warn("the checkpoint is [damaged]", stacklevel=1)
        raise mamlax.MamlaxError("enough")

    train_does(train)
    assert exits(["train", "sinusoid"]) == 1
    assert capsys.readouterr().err.splitlines()[0] == "warning: the checkpoint is [damaged]"


def test_a_damaged_compiled_program_is_deleted_and_reported(
    capsys, train_does, recwarn, tmp_path, monkeypatch
):
    """JAX compiles it again but does not replace it, and so would warn in every run."""
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path))
    compiled = tmp_path / "compiled"
    compiled.mkdir()
    for name in ("jit_f-12ab-cache", "jit_f-12ab-atime", "jit_f2-34cd-cache"):
        (compiled / name).write_bytes(b"")

    def train(*_, **__):
        with warnings.catch_warnings(action="always"):
            warnings.warn(
                "Error reading persistent compilation cache entry for 'jit_f': ZstdError: bad",
                stacklevel=1,
            )
        raise mamlax.MamlaxError("enough")

    train_does(train)
    assert exits(["train", "sinusoid"]) == 1
    first = capsys.readouterr().err.splitlines()[0]
    assert "It is compiled and kept again" in first
    names = {path.name for path in compiled.iterdir()}
    assert names == {"jit_f-12ab-atime", "jit_f2-34cd-cache"}


def test_brackets_in_a_message_are_not_taken_for_markup(capsys, tmp_path):
    (tmp_path / "[bold]run[red]").write_text("")
    assert exits(["train", "sinusoid", "--out", "[bold]run[red]"]) == 1
    assert "[bold]run[red] exists" in capsys.readouterr().err


def test_a_folder_named_like_a_setting_keeps_its_name(capsys, tmp_path):
    """Settings in messages become flags; parts of paths do not."""
    folder = tmp_path / "num_seeds" / "image_size"
    assert exits(["evaluate", str(folder)]) == 1
    assert f"{folder} is not a run directory: {folder / 'recipe.json'}" in capsys.readouterr().err


def test_a_file_is_no_run(capsys, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x")
    assert exits(["evaluate", str(path)]) == 1
    error = capsys.readouterr().err
    assert f"{path} is a file; this takes the directory of a run" in error
    assert "mamlax score" in error


def test_training_in_a_directory_of_other_files_is_refused(capsys, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    assert exits(["train", "sinusoid", "--out", "thesis"]) == 1
    assert "thesis exists and is not a run directory" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("count", [0, 1])
def test_comparing_fewer_than_two_runs_is_refused(count, capsys):
    assert exits(["compare", *["run"] * count]) == 1
    text = capsys.readouterr().err
    assert f"two run directories or more, got {count}" in text and "Traceback" not in text


def test_comparing_other_directories_writes_nothing(capsys, tmp_path):
    assert exits(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert f"{tmp_path / 'a'} is not a run directory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["evaluate", "plot", "film"])
def test_a_directory_that_is_no_run_is_named(command, capsys, tmp_path):
    assert exits([command, str(tmp_path / "nowhere")]) == 1
    text = capsys.readouterr().err
    assert f"{tmp_path / 'nowhere'} is not a run directory" in text and "Traceback" not in text
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "empty").mkdir()
    assert exits([command, str(tmp_path / "empty")]) == 1
    assert "is not a run directory" in capsys.readouterr().err
    assert exits([command]) == 2


def test_the_folder_above_a_run_gets_a_hint(capsys, tmp_path):
    (tmp_path / "sinusoid" / "0").mkdir(parents=True)
    (tmp_path / "sinusoid" / "0" / "recipe.json").write_text("{}")
    assert exits(["evaluate", str(tmp_path / "sinusoid")]) == 1
    assert f"Did you mean {tmp_path / 'sinusoid' / '0'}?" in capsys.readouterr().err
