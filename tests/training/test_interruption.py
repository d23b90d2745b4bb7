"""The command line, interrupted and killed while it trains, ends with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from .conftest import Walk

# one worker runs all tests (if workers respect groups), so that the scenario is played once
pytestmark = [pytest.mark.xdist_group("interruption"), pytest.mark.slow]

NUM_STEPS, LOG_INTERVAL, CHECKPOINT_INTERVAL = 1500, 10, 50
COMMAND = [
    *(sys.executable, "-m", "mamlax", "train", "sinusoid"),
    *("--hidden-sizes", "8", "--meta-batch-size", "4"),
    *("--num-outer-steps", str(NUM_STEPS), "--num-baseline-steps", "0"),
    *("--log-interval", str(LOG_INTERVAL), "--checkpoint-interval", str(CHECKPOINT_INTERVAL)),
    *("--num-validation-tasks", "10", "--num-validation-inner-steps", "1"),
    *("--num-test-tasks", "10", "--num-test-inner-steps", "1"),
]


class Ended(NamedTuple):
    """A process that has ended, and the steps that it had logged and checkpointed."""

    status: int
    output: str
    errors: str
    logged: int
    checkpoints: list


def start(out, cache, ignored=()):
    """Start the command, ignoring signals as a shell does for background jobs."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    environment = {**os.environ, "MAMLAX_CACHE": str(cache), "COLUMNS": "120"}
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    try:
        return subprocess.Popen(
            [*COMMAND, "--out", str(out)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(process, out):
    try:
        output, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    latest = out / "checkpoint" / "latest"
    checkpoints = sorted(int(p.name) for p in latest.iterdir() if p.name.isdigit())
    return Ended(process.returncode, output, errors, Walk.lines(out)[-1]["step"], checkpoints)


def send(process, out, sent, after):
    """Send a signal once the log has reached a step."""
    path, deadline = out / "metrics.jsonl", time.monotonic() + 300
    while not path.exists() or path.read_bytes().count(b"\n") * LOG_INTERVAL < after:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(sent)
    return wait(process, out)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    """An uninterrupted run; and one stopped by Ctrl-C, by SIGTERM, then killed, then finished."""
    folder = tmp_path_factory.mktemp("scenario")
    alone, out, cache = folder / "alone", folder / "run", folder / "cache"
    ended = {"alone": wait(start(alone, cache), alone)}
    ended["interrupted"] = send(start(out, cache), out, signal.SIGINT, after=200)
    background = start(out, cache, ignored=[signal.SIGINT])
    ended["terminated"] = send(
        background, out, signal.SIGTERM, after=ended["interrupted"].logged + 200
    )
    killed_after = ended["terminated"].logged + 300
    ended["killed"] = send(start(out, cache), out, signal.SIGKILL, after=killed_after)
    ended["finished"] = wait(start(out, cache), out)
    return ended, alone, out


def test_a_run_prints_its_results_and_paths(scenario):
    ended, alone, _ = scenario
    assert ended["alone"].status == 0, ended["alone"].errors
    evaluation = json.loads((alone / "evaluation.json").read_text())
    for name, curve in {"maml": evaluation["curve"], **evaluation["baselines"]}.items():
        assert name in ended["alone"].output
        assert f"{curve[1]['mean']:.3f} ±{curve[1]['ci95']:.3f}" in ended["alone"].output
    for name in ("learning_curve", "adaptation", "sinusoids"):
        path = alone / "figures" / f"{name}.png"
        assert str(path) in ended["alone"].errors and path.stat().st_size > 5000
    assert f"maml: step {NUM_STEPS}/{NUM_STEPS}" in ended["alone"].errors


def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_resume(scenario):
    interrupted, out = scenario[0]["interrupted"], scenario[2]
    assert 200 <= interrupted.logged < NUM_STEPS
    assert interrupted.checkpoints[-1] == interrupted.logged
    last = interrupted.errors.strip().splitlines()[-1]
    for words in (
        f"stopped after outer step {interrupted.logged} of {NUM_STEPS}",
        str(out / "checkpoint"),
        "Repeat the command to resume",
    ):
        assert words in last, interrupted.errors
    assert "Traceback" not in interrupted.errors


def test_ctrl_c_ends_with_the_status_that_shells_expect(scenario):
    assert scenario[0]["interrupted"].status == 128 + signal.SIGINT


def test_ctrl_c_prints_no_error(scenario):
    assert "error" not in scenario[0]["interrupted"].errors


def test_sigterm_leaves_a_checkpoint_where_ctrl_c_is_ignored(scenario):
    terminated = scenario[0]["terminated"]
    assert terminated.status == 128 + signal.SIGTERM, terminated.errors
    assert scenario[0]["interrupted"].logged < terminated.logged < NUM_STEPS
    assert terminated.checkpoints[-1] == terminated.logged
    assert "Repeat the command to resume" in terminated.errors.strip().splitlines()[-1]
    assert "error" not in terminated.errors and "Traceback" not in terminated.errors


def test_sigkill_came_before_the_end(scenario):
    killed = scenario[0]["killed"]
    assert killed.status == -signal.SIGKILL
    assert scenario[0]["terminated"].logged < killed.logged < NUM_STEPS
    assert killed.checkpoints[-1] <= killed.logged


def test_the_resumed_run_took_only_what_was_missing(scenario):
    first = next(
        line
        for line in scenario[0]["finished"].errors.splitlines()
        if line.startswith("maml: step")
    )
    step = int(first.split()[2].split("/")[0])
    assert step == scenario[0]["killed"].checkpoints[-1] + LOG_INTERVAL


def test_the_interrupted_and_killed_run_ends_with_the_same_bits(scenario):
    ended, alone, out = scenario
    assert ended["finished"].status == 0, ended["finished"].errors
    assert Walk.lines(out) == Walk.lines(alone)
    for name in ("evaluation.json", "recipe.json"):
        assert (out / name).read_bytes() == (alone / name).read_bytes()
    info = Path("checkpoint/latest") / str(NUM_STEPS) / "info/metadata"
    ours, expected = (json.loads((folder / info).read_text()) for folder in (out, alone))
    assert len(ours["digest"]) == 64  # of parameters and optimizer state
    assert ours == expected
    assert ended["finished"].output == ended["alone"].output
