"""Several processes that train together, started as a user starts them, on this machine."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

SINUSOID = shlex.split(
    "sinusoid --num-outer-steps 20 --log-interval 10 --meta-batch-size 4 --num-devices 1 "
    "--num-baseline-steps 0 --num-test-tasks 8 --num-test-inner-steps 2 --validation-interval 10 "
    "--num-validation-tasks 8 --hidden-sizes 8"
)
BANDIT = shlex.split(
    "bandit-10-arms --num-outer-steps 2 --log-interval 1 --meta-batch-size 4 --num-devices 1 "
    "--num-baseline-steps 0 --num-test-tasks 5 --episodes-per-task 4"
)
# images that stay with the host: each process fetches those of its own tasks
IMAGES = shlex.split(
    "images --num-outer-steps 4 --log-interval 2 --meta-batch-size 4 --num-devices 1 "
    "--num-baseline-steps 0 --num-test-tasks 4 --num-test-inner-steps 1 --num-validation-tasks 4 "
    "--num-inner-steps 1 --validation-interval 4 --ways 3 --shots 1 --num-query 2 "
    "--image-size 16 --channels 4 --stream True --images"
)
# each process steps its own engines
CHEETAH = shlex.split(
    "half-cheetah-direction --num-outer-steps 2 --log-interval 1 --meta-batch-size 4 "
    "--num-devices 1 --num-baseline-steps 0 --num-test-tasks 2 --num-test-inner-steps 1 "
    "--episodes-per-task 2 --horizon 10 --hidden-sizes 8"
)
GYM = ["half-cheetah-direction-gym", *CHEETAH[1:]]
LONG = [*SINUSOID, "--num-outer-steps", "2000000", "--checkpoint-interval", "10"]


@pytest.fixture
def start():
    """`start(words, out)` starts `mamlax train`; as one process of a job if it says which."""
    started = []

    def start_one(words, out, process=None, port=0, folder=None, command="train"):
        job = []
        if process is not None:
            job = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", "2"]
            job += ["--process-id", str(process)]
        where = [str(out)] if command == "evaluate" else ["--out", str(out)]
        one = subprocess.Popen(
            [sys.executable, "-m", "mamlax", command, *words, *where, *job],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
        )
        started.append(one)
        return one

    yield start_one
    for one in started:
        one.kill()
        one.communicate()


@pytest.fixture
def start_two(start):
    """Start two processes of one job, which may be asked for different things."""

    def start_both(
        words, out, other_words=None, other_out=None, folders=(None, None), command="train"
    ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return [
            start(words, out, 0, port, folders[0], command),
            start(other_words or words, other_out or out, 1, port, folders[1], command),
        ]

    return start_both


def ended(processes):
    """The output and the exit status of each."""
    return [(one.communicate(timeout=400)[0], one.returncode) for one in processes]


def wait_for_checkpoint(out, processes):
    latest = out / "checkpoint" / "latest"
    while not any(path.name.isdigit() for path in latest.glob("*")):
        assert all(one.poll() is None for one in processes), ended(processes)
        time.sleep(0.1)


def results(out):
    """The metrics that do not depend on time, and the curves."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    metrics = [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]
    with np.load(out / "curves.npz") as curves:
        return metrics, dict(curves)


def pictures(folder):
    """A small folder of images, to be read by each process for itself."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("validation", 5), ("test", 5)):
        for c in range(count):
            directory = folder / split / f"{split}{c}"
            directory.mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 255, (16, 16, 3), np.uint8)
                Image.fromarray(pixels).save(directory / f"{i}.png")
    return str(folder)


def of_images(folder):
    return [*IMAGES, folder]


@pytest.mark.parametrize("recipe", ["sinusoid", "images", "bandit"])
def test_two_processes_train_what_one_with_two_devices_does(recipe, start, start_two, tmp_path):
    words = {"sinusoid": SINUSOID, "bandit": BANDIT}.get(recipe)
    if words is None:
        words = of_images(pictures(tmp_path / "pictures"))
    of_two = list(words)
    of_two[of_two.index("--num-devices") + 1] = "2"
    one = start(of_two, tmp_path / "one")
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one process has one device here")
    ((said, status),) = ended([one])
    assert status == 0, said
    two, elsewhere = tmp_path / "two", tmp_path / "not-shared"
    for said, status in ended(start_two(words, two, other_out=elsewhere)):
        assert status == 0, said
    assert not elsewhere.exists(), "the first process alone writes"

    metrics, curves = results(tmp_path / "one")
    their_metrics, their_curves = results(two)
    assert [line["step"] for line in metrics] == [line["step"] for line in their_metrics]
    exactly = words[0] == "sinusoid"
    for mine, theirs in zip(metrics, their_metrics, strict=True):
        for name, value in mine.items():
            rel = 0 if exactly else 2e-3
            assert theirs[name] == pytest.approx(value, rel=rel, abs=0 if exactly else 1e-5), name
    for name, values in curves.items():
        if exactly:
            np.testing.assert_array_equal(their_curves[name], values)
        assert their_curves[name].shape == values.shape


@pytest.mark.parametrize("words", [CHEETAH, GYM], ids=["mujoco", "gymnasium"])
def test_engines_are_stepped_where_their_tasks_are(words, start_two, tmp_path):
    processes = start_two(words, tmp_path / "run", other_out=tmp_path / "not-shared")
    for said, status in ended(processes):
        assert status == 0, said
    metrics, curves = results(tmp_path / "run")
    assert [line["step"] for line in metrics] == [1, 2]
    # 4 tasks of two sets of 2 episodes, 10 steps each
    assert [line["train/environment_steps"] for line in metrics] == [160, 160]
    assert np.isfinite(curves["main"]).all()


def test_two_processes_evaluate_what_one_does(start, start_two, tmp_path):
    run = tmp_path / "run"
    ((said, status),) = ended([start(SINUSOID, run)])
    assert status == 0, said
    options = ["--num-tasks", "6", "--num-inner-steps", "3"]
    ((said, status),) = ended([start(options, run, command="evaluate")])
    assert status == 0, said
    _, alone = results(run)
    (run / "curves.npz").unlink()
    elsewhere = tmp_path / "not-shared"
    (said, status), (theirs, other_status) = ended(
        start_two(options, run, other_out=elsewhere, command="evaluate")
    )
    assert status == other_status == 0, said + theirs
    assert "evaluation.json" in said and "evaluation.json" not in theirs
    assert not elsewhere.exists()
    _, together = results(run)
    assert together["main"].shape == (6, 4)
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=1e-5)
    for said, status in ended(start_two(options, run, ["--num-tasks", "8"], command="evaluate")):
        assert status == 1 and "num-test-tasks: 6 in process 0, 8 in process 1" in said, said


def test_processes_that_disagree_are_told_what_about(start_two, tmp_path):
    other = [*SINUSOID, "--outer-learning-rate", "0.5"]
    for said, status in ended(start_two(SINUSOID, tmp_path / "run", other)):
        assert status == 1
        assert "outer-learning-rate: 0.002 in process 0, 0.5 in process 1" in said
    assert not (tmp_path / "run").exists()


def test_processes_with_other_images_are_told_so(start_two, tmp_path):
    pictures(tmp_path / "pictures")
    pictures(tmp_path / "elsewhere" / "pictures")
    for path in (tmp_path / "elsewhere").glob("*/*/*/*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    # both are called the same, as on two machines
    folders = (tmp_path, tmp_path / "elsewhere")
    processes = start_two(of_images("pictures"), tmp_path / "run", folders=folders)
    for said, status in ended(processes):
        assert status == 1 and "data: a draw with the same key is another task" in said, said


def test_a_process_that_fails_at_first_is_named_by_the_other(start_two, tmp_path):
    words = of_images(pictures(tmp_path / "pictures"))
    (said, status), (their, _) = ended(
        start_two(words, tmp_path / "run", [*words[:-1], str(tmp_path / "nowhere")])
    )
    assert status == 1 and "process 1 failed:" in said and "nowhere" in said
    assert "process 1: error:" in their


def test_when_one_is_killed_the_other_ends_and_all_resume(start, start_two, tmp_path):
    out = tmp_path / "run"
    processes = start_two(LONG, out)
    wait_for_checkpoint(out, processes)
    processes[1].kill()
    began = time.monotonic()
    (said, status), _ = ended(processes)
    assert time.monotonic() - began < 60
    assert status == 1 and "Another process of this job has ended" in said

    # the last checkpoint is whole: more processes or fewer go on from it
    alone, has_resumed = start(LONG, out), False
    for line in alone.stdout:
        has_resumed = has_resumed or "resuming from outer step" in line
        if ": step " in line:  # it answers signals from here on
            break
    assert has_resumed
    alone.send_signal(signal.SIGTERM)
    assert ended([alone])[0][1] == 143


def test_sigterm_to_one_stops_all_after_the_same_step(start_two, tmp_path):
    out = tmp_path / "run"
    processes = start_two(LONG, out)
    wait_for_checkpoint(out, processes)
    processes[1].send_signal(signal.SIGTERM)
    for said, status in ended(processes):
        assert status == 143 and "stopped after outer step" in said, said


def test_a_meta_batch_that_does_not_divide_is_refused(start_two, tmp_path):
    words = [*SINUSOID, "--meta-batch-size", "5"]
    for said, status in ended(start_two(words, tmp_path / "run")):
        assert status == 1
        assert "--meta-batch-size 5 does not divide over 2 processes. Give a multiple of 2." in said
