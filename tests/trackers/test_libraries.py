"""Each tracker with its own library, offline: what is sent can be read, also after a resume."""

import os
import struct
import subprocess
import sys
from importlib.util import find_spec

import pytest

from mamlax.trackers import tracking

# what a run sends that is interrupted, then resumed by another process
RUN = """
import sys
from pathlib import Path
from PIL import Image
from mamlax.records._metrics import append_metrics
from mamlax.trackers import tracking

name, steps = sys.argv[1], map(int, sys.argv[2:])
directory = Path("runs/mine")
directory.mkdir(parents=True, exist_ok=True)
Image.new("RGB", (4, 3), "red").save(directory / "curve.png")
with tracking([name], directory, {"rate": 0.1, "sizes": [8, 8]}) as tracked:
    for step in steps:
        line = {"step": step, "train/query_loss": step / 10}
        append_metrics(directory / "metrics.jsonl", line)
        tracked.log("main", line)
        tracked.log("pretrained", {"step": step, "train/query_loss": None})
    tracked.values("evaluation/main", 1, {"mse": 0.5})
    tracked.figures([directory / "curve.png"])
"""


@pytest.fixture
def run(tmp_path):
    """`run(code, *arguments)`: in a process of its own, with nothing of this machine's settings."""
    local = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "TRACKIO_DIR": str(tmp_path / "io")}
    local |= {"HOME": str(tmp_path), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}

    def run(code, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **local},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0 and "is left out" not in done.stderr, done.stderr
        return done.stdout

    return run


def interrupted_and_resumed(run, name):
    run(RUN, name, 10, 20)
    run(RUN, name, 30)


def needs(*modules):
    absent = [module for module in modules if find_spec(module) is None]
    return pytest.mark.skipif(bool(absent), reason=f"needs {', '.join(modules)}")


@needs("tensorboardX")
def test_tensorboard_has_a_folder_for_each_series(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 3), "red").save(tmp_path / "curve.png")
    for steps in ((10, 20), (20, 30)):  # the line of step 20 comes again after a crash
        with tracking(["tensorboard"], tmp_path, {"rate": 0.1}) as tracked:
            for step in steps:
                tracked.log("main", {"step": step, "train/query_loss": step / 10})
                tracked.log("main", {"step": step, "validation/mse": None})
            tracked.values("evaluation/main", 1, {"mse": 0.5})
            tracked.figures([tmp_path / "curve.png"])
    folder = tmp_path / "tensorboard"
    kept = [(10, 1.0), (20, 2.0), (30, 3.0)]
    assert scalars(folder / "main") == {"train/query_loss": kept}
    assert scalars(folder / "evaluation" / "main") == {"mse": [(1, 0.5)]}
    first, *_ = events(folder / "main")
    assert any(
        "| rate | 0.1 |" in str(value) for event in [first, *_] for value in event.summary.value
    )
    [picture] = [
        value.image for event in events(folder / "figures") for value in event.summary.value
    ][:1]
    assert (picture.height, picture.width) == (3, 4)


def events(folder):
    """What the event files of a folder hold, one file after another."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportMissingImports]

    for path in sorted(folder.glob("events*"), key=lambda path: path.stat().st_mtime_ns):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def scalars(folder):
    """(step, value) of each tag, as TensorBoard shows them: a start hides what it takes back."""
    found = {}
    for event in events(folder):
        if event.HasField("session_log"):
            for tag, pairs in found.items():
                found[tag] = [pair for pair in pairs if pair[0] < event.step]
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.mark.slow
@needs("mlflow", "sqlalchemy", "alembic")
def test_mlflow_continues_its_run(run):
    interrupted_and_resumed(run, "mlflow")
    said = run("""
import mlflow
client = mlflow.MlflowClient()
[run] = client.search_runs([client.get_experiment_by_name("mamlax").experiment_id])
print(run.info.run_name, run.info.status, run.data.params)
history = client.get_metric_history(run.info.run_id, "train/query_loss")
print([(one.step, one.value) for one in history], run.data.metrics["evaluation/main/mse"])
print([file.path for file in client.list_artifacts(run.info.run_id, "figures")])
""")
    assert said.splitlines()[-3:] == [
        "runs/mine FINISHED {'rate': '0.1', 'sizes': '[8, 8]'}",
        "[(10, 1.0), (20, 2.0), (30, 3.0)] 0.5",
        "['figures/curve.png']",
    ]


@pytest.mark.slow
@needs("trackio")
def test_trackio_continues_its_run(run):
    interrupted_and_resumed(run, "trackio")
    said = run("""
import trackio
[run] = trackio.Api().runs("mamlax")
print(run.name.split()[0], run.config["rate"])
from trackio.sqlite_storage import SQLiteStorage
lines = SQLiteStorage.get_logs("mamlax", run.name)
print([(one["step"], one["train/query_loss"]) for one in lines if "train/query_loss" in one])
print([one["evaluation/main/mse"] for one in lines if "evaluation/main/mse" in one][-1])
""")
    assert said.splitlines()[-3:] == [
        "runs/mine 0.1",
        "[(10, 1.0), (20, 2.0), (30, 3.0)]",
        "0.5",
    ]


@pytest.mark.slow
@needs("wandb")
def test_weights_and_biases_continues_its_run(run, tmp_path):
    interrupted_and_resumed(run, "wandb")
    said = run("""
import json, struct
from pathlib import Path
from wandb.proto.wandb_internal_pb2 import Record

def records(content):  # LevelDB's log: blocks of 32 KiB, in which records are cut to pieces
    at, parts = 7, b""
    while at + 7 <= len(content):
        if at % 32768 > 32768 - 7:
            at += -at % 32768
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last piece
            yield Record.FromString(parts)
            parts = b""

for path in sorted(Path("runs/mine/wandb").glob("offline-run-*/*.wandb")):
    history = []
    for record in records(path.read_bytes()):
        items = {"/".join(one.nested_key) or one.key: one.value_json for one in record.history.item}
        if "train/query_loss" in items:
            history.append((json.loads(items["step"]), json.loads(items["train/query_loss"])))
    print(path.stem, history)
""")
    first, second = said.splitlines()[-2:]
    assert first.split()[0] == second.split()[0]  # one id
    assert first.endswith("[(10, 1), (20, 2)]") and second.endswith("[(30, 3)]")
