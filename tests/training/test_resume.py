"""A resumed run ends with the same bits, and no intact checkpoint is lost."""

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import mamlax
from mamlax.training._interruption import interruptible, wait_until

SCORES = [3.0, 5.0, 1.0, 4.0, 6.0, 2.0]


@pytest.fixture(scope="module")
def whole_validated(walk, tmp_path_factory):
    """An uninterrupted run whose best step is 50."""
    directory = tmp_path_factory.mktemp("validated")
    return walk.run(directory, validation=walk.validation(SCORES)), directory


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of the uninterrupted run, to damage."""
    shutil.copytree(whole[1], tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "crash_at, kept",
    [
        ([10], [None]),  # before any checkpoint
        ([20], [None]),  # at the step of the first checkpoint, before it is written
        pytest.param([30], [20], marks=pytest.mark.slow),
        pytest.param([60], [40], marks=pytest.mark.slow),
        ([30, 50, 60], [20, 40, 40]),
    ],
)
def test_a_crash_and_a_resume_end_with_the_same_bits(walk, whole, tmp_path, crash_at, kept):
    for step, checkpoint in zip(crash_at, kept, strict=True):
        with pytest.raises(walk.Crash):
            walk.run(tmp_path, crash_at=step)
        assert walk.lines(tmp_path)[-1]["step"] == step
        folder = tmp_path / "checkpoint" / "latest"
        newest = max(walk.steps(tmp_path), default=None) if folder.exists() else None
        assert newest == checkpoint
    result = walk.run(tmp_path)
    walk.assert_same_bits(result.state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


def test_a_resume_takes_only_the_missing_steps(walk, tmp_path):
    with pytest.raises(walk.Crash):
        walk.run(tmp_path, crash_at=50)
    reported = []
    walk.run(tmp_path, report=reported.append)
    assert [line["step"] for line in reported] == [50, 60]
    reported.clear()
    walk.run(tmp_path, report=reported.append)
    assert not reported


def test_several_seeds_resume_with_the_same_bits(walk, tmp_path):
    seeds = {
        "key": jnp.stack([jax.random.key(seed) for seed in (3, 8)]),
        "params": jax.tree.map(lambda x: jnp.stack([x, x + 1.0]), walk.PARAMS),
    }
    expected = walk.run(tmp_path / "whole", **seeds)
    with pytest.raises(walk.Crash):
        walk.run(tmp_path / "run", crash_at=30, **seeds)
    walk.assert_same_bits(walk.run(tmp_path / "run", **seeds).state, expected.state)
    assert walk.lines(tmp_path / "run") == walk.lines(tmp_path / "whole")
    restored = mamlax.restore_run(walk.loop(), seeds["params"], tmp_path / "run", seeds=True)
    walk.assert_same_bits(restored.state, expected.state)


def test_a_log_line_cut_short_is_written_again(walk, whole, tmp_path):
    with pytest.raises(walk.Crash):
        walk.run(tmp_path, crash_at=30)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    walk.run(tmp_path)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


def test_an_unfinished_checkpoint_is_ignored(walk, whole, tmp_path):
    with pytest.raises(walk.Crash):
        walk.run(tmp_path, crash_at=30)
    latest = tmp_path / "checkpoint" / "latest"
    shutil.copytree(latest / "20", latest / "40.orbax-checkpoint-tmp")
    result = walk.run(tmp_path)
    walk.assert_same_bits(result.state, whole[0].state)
    assert {path.name for path in latest.iterdir() if path.is_dir()} == {"40", "60"}


@pytest.mark.parametrize(
    "crash_at", [20, 50, *(pytest.param(at, marks=pytest.mark.slow) for at in (30, 40, 60))]
)
def test_the_best_state_survives_a_crash_anywhere(walk, whole_validated, tmp_path, crash_at):
    """Also between two checkpoints with different best states."""
    validation = walk.validation(SCORES)
    with pytest.raises(walk.Crash):
        walk.run(tmp_path, crash_at=crash_at, validation=validation)
    result = walk.run(tmp_path, validation=validation)
    expected, directory = whole_validated
    assert result.best_step == expected.best_step == 50
    walk.assert_same_bits(result.best_state, expected.best_state)
    walk.assert_same_bits(result.state, expected.state)
    assert walk.lines(tmp_path) == walk.lines(directory)
    again = walk.run(tmp_path, validation=validation)
    walk.assert_same_bits(again.best_state, expected.best_state)
    assert again.best_step == 50


@pytest.mark.slow
def test_a_kill_between_the_best_and_the_latest_checkpoint_leaves_a_matching_pair(
    walk, whole_validated, by_hand, tmp_path, monkeypatch
):
    from mamlax.training._checkpoint import Checkpoints

    save, validation = Checkpoints.save, walk.validation(SCORES)

    def killed(self, step, *rest):
        if step == 60:
            raise walk.Crash
        save(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", killed)
        with pytest.raises(walk.Crash):
            walk.run(tmp_path, validation=validation)
    assert walk.steps(tmp_path, "best") == [20, 50] and walk.steps(tmp_path) == [20, 40]
    restored = mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path)
    assert restored.best_step == 20, "a state from the future"
    walk.assert_same_bits(restored.best_state, by_hand[0][20])
    result = walk.run(tmp_path, validation=validation)
    assert result.best_step == 50
    walk.assert_same_bits(result.best_state, whole_validated[0].best_state)


@pytest.mark.filterwarnings("ignore:the checkpoint of step 60 .* is damaged:UserWarning")
def test_falling_back_to_an_older_checkpoint_falls_back_to_its_best(
    walk, whole_validated, by_hand, tmp_path
):
    shutil.copytree(whole_validated[1], tmp_path / "run")
    damage(tmp_path / "run/checkpoint/latest/60", "truncate")
    restored = mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path / "run")
    assert restored.best_step == 20
    walk.assert_same_bits(restored.best_state, by_hand[0][20])
    walk.assert_same_bits(restored.state, by_hand[0][40])


def test_a_finished_run_is_restored_without_training(walk, whole_validated, tmp_path):
    expected, directory = whole_validated
    restored = mamlax.restore_run(walk.loop(), walk.PARAMS, directory)
    assert restored.best_step == 50
    walk.assert_same_bits(restored.best_state, expected.best_state)
    walk.assert_same_bits(restored.state, expected.state)


def test_restoring_needs_a_checkpoint(walk, tmp_path):
    with pytest.raises(mamlax.MamlaxError, match="no checkpoint yet"):
        mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def damage(folder, how, names=None):
    """Damage every file of a checkpoint, or those with one of `names`."""
    damaged = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or (names and path.name not in names):
            continue
        content = path.read_bytes()
        if how == "truncate":
            path.write_bytes(content[: len(content) // 2])
        elif how == "flip":
            path.write_bytes(bytes(byte ^ 0xFF for byte in content))
        elif how == "flip one bit":
            middle = len(content) // 2
            path.write_bytes(
                content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            )
        else:
            path.unlink()
        damaged += 1
    assert damaged


@pytest.mark.parametrize("how", ["truncate", "flip", "flip one bit", "delete"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(walk, whole, copy, how):
    damage(copy / "checkpoint/latest/60", how)
    with pytest.warns(UserWarning, match=r"checkpoint of step 60 .* is damaged .*that of step 40"):
        result = walk.run(copy)
    walk.assert_same_bits(result.state, whole[0].state)
    assert walk.lines(copy) == walk.lines(whole[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the damage is repaired
        walk.assert_same_bits(walk.run(copy).state, whole[0].state)


def test_a_checkpoint_that_does_not_match_its_digest_is_skipped(walk, whole, copy):
    """A checkpoint that can be read, but holds other numbers than those of its digest."""
    latest = copy / "checkpoint/latest"
    shutil.rmtree(latest / "60/state")
    shutil.copytree(latest / "40/state", latest / "60/state")
    with pytest.warns(UserWarning, match="checkpoint of step 60 .* is damaged"):
        result = walk.run(copy)
    walk.assert_same_bits(result.state, whole[0].state)


@pytest.mark.slow
def test_a_checkpoint_with_a_truncated_file_is_restored_right_or_skipped(walk, whole, copy):
    files = [p.relative_to(copy) for p in (copy / "checkpoint/latest/60").rglob("*") if p.is_file()]
    outcomes = set()
    for name in files:
        content = (whole[1] / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) // 3])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            restored = mamlax.restore_run(walk.loop(), walk.PARAMS, copy)
        (copy / name).write_bytes(content)
        step = int(restored.state.count)
        assert (step == 40) == any("step 60" in str(w.message) for w in caught), name
        if step == 60:
            walk.assert_same_bits(restored.state, whole[0].state)
        outcomes.add(step)
    assert outcomes == {40, 60}


@pytest.mark.slow
def test_a_flipped_bit_is_detected_or_harmless(walk, by_hand, copy):
    """It leads neither to another state nor to the message "another model"."""
    for path in sorted((copy / "checkpoint/latest/60").rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        for position in {len(content) * fifth // 5 for fifth in range(5)} if content else ():
            garbled = bytearray(content)
            garbled[position] ^= 1
            path.write_bytes(garbled)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                restored = mamlax.restore_run(walk.loop(), walk.PARAMS, copy)
            skipped = any("step 60" in str(w.message) for w in caught)
            walk.assert_same_bits(restored.state, by_hand[0][40 if skipped else 60])
        if content:
            path.write_bytes(content)


def damage_all(directory, kind="latest"):
    for folder in (directory / "checkpoint" / kind).iterdir():
        if folder.name.isdigit():
            damage(folder, "truncate")


@pytest.mark.filterwarnings("ignore:the checkpoint of step:UserWarning")
def test_if_all_checkpoints_are_damaged_resuming_fails_and_deletes_nothing(walk, copy, whole):
    damage_all(copy)
    for _ in range(2):  # a second try must not start over silently
        with pytest.raises(mamlax.MamlaxError, match=r"no checkpoint in .*latest can be read"):
            walk.run(copy)
        assert walk.lines(copy) == walk.lines(whole[1])
    with pytest.raises(mamlax.MamlaxError, match="no checkpoint in"):
        mamlax.restore_run(walk.loop(), walk.PARAMS, copy)


@pytest.mark.filterwarnings("ignore:the checkpoint of step:UserWarning")
def test_a_run_resumes_without_its_best_checkpoint(walk, whole_validated, tmp_path):
    expected, directory = whole_validated
    shutil.copytree(directory, tmp_path / "run")
    damage_all(tmp_path / "run", "best")
    result = walk.run(tmp_path / "run", validation=walk.validation(SCORES))
    walk.assert_same_bits(result.state, expected.state)


@pytest.mark.parametrize("how", ["truncate", pytest.param("delete all", marks=pytest.mark.slow)])
def test_a_lost_best_checkpoint_is_reported_and_replaced(walk, by_hand, tmp_path, how):
    validation = walk.validation([3.0, 9.0, 1.0, 4.0, 6.0, 2.0])
    with pytest.raises(walk.Crash):
        walk.run(tmp_path, crash_at=50, validation=validation)
    if how == "truncate":
        damage_all(tmp_path, "best")
    else:
        shutil.rmtree(tmp_path / "checkpoint/best")
    said = r"checkpoint of step 20 in .*best cannot be read .*best state so far is lost"
    with pytest.warns(UserWarning, match=said):
        restored = mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path)
    assert restored.best_step == 40
    walk.assert_same_bits(restored.best_state, by_hand[0][40])
    with pytest.warns(UserWarning, match=said):
        result = walk.run(tmp_path, validation=validation)
    assert result.best_step == 50
    again = mamlax.restore_run(walk.loop(), walk.PARAMS, tmp_path)  # without a warning
    walk.assert_same_bits(again.best_state, by_hand[0][50])


@pytest.mark.parametrize(
    "params, words",
    [
        ({"w": jnp.ones(4), "first": jnp.zeros(())}, ["['w']", "3", "4"]),
        ({"w": jnp.ones(3, jnp.bfloat16), "first": jnp.zeros(())}, ["float32", "bfloat16"]),
        ({"w": jnp.ones(3), "first": jnp.zeros(()), "more": jnp.ones(2)}, ["['more']"]),
    ],
    ids=["shape", "type", "name"],
)
def test_the_checkpoint_of_another_model_is_refused_and_kept(walk, copy, whole, params, words):
    with pytest.raises(mamlax.MamlaxError, match="another model") as error:
        walk.run(copy, params=params)
    for word in words:
        assert word in str(error.value)
    assert walk.steps(copy) == [40, 60] and walk.lines(copy) == walk.lines(whole[1])
    walk.assert_same_bits(walk.run(copy).state, whole[0].state)


@pytest.mark.parametrize("steps", [40, pytest.param(60, marks=pytest.mark.slow)])
def test_a_run_of_another_key_is_refused(walk, whole, tmp_path, steps):
    """Otherwise three seeds, given one directory by mistake, would be one seed trained once."""
    walk.run(tmp_path, num_outer_steps=steps)
    with pytest.raises(mamlax.MamlaxError, match=r"another key \(seed\)"):
        walk.run(tmp_path, key=jax.random.key(4))
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)


def test_two_processes_do_not_train_in_one_directory(walk, whole, tmp_path):
    pytest.importorskip("fcntl")
    refused = []

    def report(line):
        with pytest.raises(mamlax.MamlaxError, match="being trained in already") as error:
            walk.run(tmp_path)
        refused.append(error)

    walk.run(tmp_path, report=report)
    assert len(refused) == 6
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


def test_reading_a_run_changes_no_file(walk, copy):
    """An unfinished checkpoint, under a temporary name, belongs to the process that writes it."""
    latest = copy / "checkpoint/latest"
    shutil.copytree(latest / "40", latest / "80.orbax-checkpoint-tmp")
    before = sorted(path.relative_to(copy) for path in copy.rglob("*"))
    restored = mamlax.restore_run(walk.loop(), walk.PARAMS, copy)
    assert int(restored.state.count) == 60
    assert sorted(path.relative_to(copy) for path in copy.rglob("*")) == before


def test_the_level_of_other_loggers_is_restored(walk, tmp_path):
    import orbax.checkpoint  # noqa: F401  (importing it sets it too)

    logger = logging.getLogger("absl")
    before = logger.level
    try:
        logger.setLevel(logging.DEBUG)
        walk.run(tmp_path)
        walk.run(tmp_path)
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)


def test_a_full_disk_is_reported_and_the_earlier_checkpoint_kept(
    walk, whole, tmp_path, monkeypatch
):
    import orbax.checkpoint as ocp

    save = ocp.CheckpointManager.save

    def full(self, step, *args, **kwargs):
        if step == 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, step, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ocp.CheckpointManager, "save", full)
        with pytest.raises(mamlax.MamlaxError) as error:
            walk.run(tmp_path)
    message = str(error.value)
    for words in (
        "step 40",
        "No space left on device",
        str(tmp_path),
        "Free some disk space",
        "repeat",
    ):
        assert words in message, message
    assert walk.steps(tmp_path) == [20]
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A file system of 160 kB."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)]
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or subprocess.run(mount).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


LARGE = {
    "params": {"w": jnp.linspace(-1.0, 1.0, 6000) ** 3, "first": jnp.zeros(())},
    "checkpoint_interval": 10,
}
ON_A_SMALL_DISK = """
import sys

import jax.numpy as jnp
import orbax.checkpoint
sys.path.insert(0, {tests!r})
from conftest import Walk
import mamlax

params = {{"w": jnp.linspace(-1.0, 1.0, 6000) ** 3, "first": jnp.zeros(())}}
try:
    Walk().run({run!r}, params=params, checkpoint_interval=10)
except mamlax.MamlaxError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def filled(small_disk):
    """A small disk that a run has filled, and what that run has printed.

    It runs in its own process: on a full disk, orbax's threads have been seen to abort the process.
    """
    code = ON_A_SMALL_DISK.format(tests=str(Path(__file__).parent), run=str(small_disk / "run"))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return small_disk, ended


@pytest.mark.slow
def test_a_full_disk_is_reported_without_tracebacks(filled):
    _, ended = filled
    assert ended.returncode == 0, ended.stderr
    assert "No space left on device" in ended.stdout
    assert not ended.stderr


@pytest.mark.slow
def test_after_a_full_disk_a_run_resumes_from_the_earlier_checkpoint(walk, filled):
    disk, ended = filled
    for words in (str(disk), "could not be written", "disk space", "repeat the command"):
        assert words in ended.stdout
    (kept,) = walk.steps(disk / "run")
    subprocess.run(["mount", "-o", "remount,size=2m", str(disk)], check=True)
    reported = []
    result = walk.run(disk / "run", report=reported.append, **LARGE)
    assert reported[0]["step"] == kept + 10, "it did not resume from the checkpoint"
    walk.assert_same_bits(result.state, walk.run(params=LARGE["params"]).state)


def test_after_a_full_disk_at_the_best_checkpoint_a_run_resumes(
    walk, whole_validated, tmp_path, monkeypatch
):
    usage, validation = shutil.disk_usage, walk.validation(SCORES)

    def full(path):
        nothing = path.name == "best" and (path / "20").exists()
        return usage(path)._replace(free=0) if nothing else usage(path)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", full)
        with pytest.raises(mamlax.MamlaxError, match=r"step 50 .*best \(.*No space left.* 0 free"):
            walk.run(tmp_path, validation=validation)
    assert walk.steps(tmp_path) == [20, 40]
    result = walk.run(tmp_path, validation=validation)
    walk.assert_same_bits(result.best_state, whole_validated[0].best_state)
    walk.assert_same_bits(result.state, whole_validated[0].state)


def test_a_long_error_is_shortened_but_keeps_its_cause():
    from mamlax.training._checkpoint import _reason

    error = ValueError("RESOURCE_EXHAUSTED: " + "at a long path/ " * 90 + "Disk quota exceeded")
    assert "Disk quota exceeded" in _reason(error) and len(_reason(error)) < 250


def test_a_full_disk_is_reported_for_the_log(walk, tmp_path, monkeypatch):
    open_path = Path.open

    def full(self, mode="r", *args, **kwargs):
        if self.name == "metrics.jsonl" and "a" in mode:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_path(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(mamlax.MamlaxError, match=r"metrics\.jsonl .*No space left.*repeat"):
        walk.run(tmp_path)


def test_a_full_disk_is_reported_when_resuming(walk, copy, monkeypatch):
    """The log is cut back to the checkpoint, which also writes a file."""
    before = (copy / "metrics.jsonl").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(mamlax.MamlaxError, match="No space left"):
            walk.run(copy)
    assert (copy / "metrics.jsonl").read_bytes() == before


def test_a_run_says_where_it_resumes(walk, copy, tmp_path):
    said = []
    with pytest.raises(walk.Crash):
        walk.run(tmp_path / "new", crash_at=40, announce=said.append)
    assert said.pop() == "training; the first result comes after outer step 10" and not said
    walk.run(tmp_path / "new", announce=said.append)
    walk.run(copy, announce=said.append)
    once = walk.validation(SCORES)._replace(patience=1)
    for _ in range(2):
        walk.run(tmp_path / "patient", validation=once, announce=said.append)
    assert said == [
        "resuming from outer step 20 of 60",
        "training; the first result comes after outer step 30",
        "trained already, to outer step 60 of 60",
        "training; the first result comes after outer step 10",
        "trained already, to outer step 30 of 60",
    ]


def interrupt(at, times=1, sent=signal.SIGINT):
    """A report callback that sends a signal, as Ctrl-C does, at a log line."""

    def report(line):
        if line["step"] == at:
            for _ in range(times):
                os.kill(os.getpid(), sent)

    return report


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [50, *(pytest.param(at, marks=pytest.mark.slow) for at in (10, 20))])
def test_a_signal_writes_a_checkpoint_that_resumes_to_the_same_bits(
    walk, whole, tmp_path, at, sent, capsys
):
    handler = signal.getsignal(sent)
    with pytest.raises(mamlax.TrainingInterruptedError) as error:
        walk.run(tmp_path, report=interrupt(at, sent=sent))
    assert error.value.signal == sent
    message = str(error.value)
    for words in (f"outer step {at} of 60", f"step {at},", str(tmp_path), "Repeat the command"):
        assert words in message, message
    again = "press Ctrl-C again" if sent == signal.SIGINT else "send SIGTERM again"
    said = f"stopping after this block of outer steps; {again} to stop at once\n"
    assert capsys.readouterr().err == said
    assert walk.steps(tmp_path)[-1] == at and walk.lines(tmp_path)[-1]["step"] == at
    assert signal.getsignal(sent) is handler, "the handler was not restored"
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


def test_ctrl_c_while_compiling_stops_before_the_block(walk, whole, tmp_path):
    loop = walk.loop()

    def step(key, state):  # Python runs it only while tracing
        os.kill(os.getpid(), signal.SIGINT)
        return loop.step(key, state)

    lines = []
    with pytest.raises(mamlax.TrainingInterruptedError, match="after outer step 0 of 60"):
        walk.run(tmp_path, mamlax.OuterLoop(loop.init, step), report=lines.append)
    assert not lines
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)
    assert walk.lines(tmp_path) == walk.lines(whole[1])


def test_ctrl_c_while_validating_keeps_the_validation(walk, whole_validated, tmp_path):
    validation = walk.validation(SCORES)

    def validate(state):
        if int(state.count) == 50:
            os.kill(os.getpid(), signal.SIGINT)
        return validation.fn(state)

    with pytest.raises(mamlax.TrainingInterruptedError, match="after outer step 50 of 60"):
        walk.run(tmp_path, validation=validation._replace(fn=validate))
    result = walk.run(tmp_path, validation=validation)
    assert result.best_step == 50
    walk.assert_same_bits(result.best_state, whole_validated[0].best_state)
    assert walk.lines(tmp_path) == walk.lines(whole_validated[1])


def test_ctrl_c_that_is_ignored_stays_ignored(walk, whole):
    """Shells let background jobs ignore Ctrl-C, which is meant for the job in the foreground."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = walk.run(report=interrupt(30))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
    walk.assert_same_bits(result.state, whole[0].state)


def test_sigterm_stops_a_run_that_ignores_ctrl_c(walk, tmp_path):
    """As under nohup, or in the background of a shell."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(mamlax.TrainingInterruptedError, match="after outer step 30"):
            walk.run(tmp_path, report=interrupt(30, sent=signal.SIGTERM))
    finally:
        signal.signal(signal.SIGINT, previous)
    assert walk.steps(tmp_path)[-1] == 30


def test_a_signal_handler_of_the_program_is_kept(walk, whole):
    received = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        result = walk.run(report=interrupt(30, sent=signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert received == [signal.SIGTERM]
    walk.assert_same_bits(result.state, whole[0].state)


def test_a_second_sigterm_ends_the_process_at_once():
    program = (
        "import os, signal\n"
        "from mamlax.training._interruption import interruptible\n"
        "with interruptible() as asked:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    assert asked() == signal.SIGTERM\n"
        "    print('still here', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('never')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGTERM, ended.stderr
    assert ended.stdout == "still here\n"


def test_ctrl_c_without_a_directory_says_that_nothing_was_written(walk):
    with pytest.raises(mamlax.TrainingInterruptedError) as error:
        walk.run(report=interrupt(10))
    assert "no directory" in str(error.value) and "resume" not in str(error.value)


def test_a_second_ctrl_c_stops_at_once(walk, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(mamlax.TrainingInterruptedError) as error:
        walk.run(tmp_path, report=interrupt(30, times=2))
    for words in ("stopped at once", "of step 20,", str(tmp_path), "Repeat the command to resume"):
        assert words in str(error.value)
    assert walk.steps(tmp_path) == [20] and signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_before_the_first_checkpoint_names_none(walk, tmp_path):
    with pytest.raises(mamlax.TrainingInterruptedError) as error:
        walk.run(tmp_path, report=interrupt(10, times=2))
    assert str(error.value) == f"stopped at once. There is no checkpoint yet in {tmp_path}."
    assert not (tmp_path / "checkpoint").exists()


def test_a_signal_is_answered_while_a_block_runs(capsys):
    """Python handles signals between two of its instructions, and a block may take minutes."""
    answers = []

    def is_ready():
        if not answers:
            os.kill(os.getpid(), signal.SIGINT)
        answers.append(asked())
        return len(answers) > 3

    with interruptible() as asked:
        wait_until(is_ready)
    assert answers[-1] == signal.SIGINT
    assert capsys.readouterr().err.count("stopping after this block") == 1


def test_ctrl_c_at_the_last_step_still_raises(walk, whole, tmp_path):
    """The caller may have more to do, such as baselines, which the user wants stopped as well."""
    with pytest.raises((mamlax.TrainingInterruptedError, KeyboardInterrupt)):
        walk.run(tmp_path, report=interrupt(60))
    walk.assert_same_bits(walk.run(tmp_path).state, whole[0].state)


def test_the_handler_of_ctrl_c_is_restored_after_an_error(walk):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(mamlax.TrainingDivergedError):
        walk.run(loop=walk.loop(5))
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_run_in_another_thread_leaves_signals_alone(walk, whole):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(walk.run).result()
    walk.assert_same_bits(result.state, whole[0].state)
