"""Processes that train one run, and processes that train for themselves, in one job."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("process_group.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes printed, and their folder."""
    folder = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(port), str(process), str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": os.getcwd()},
        )
        for process in range(2)
    ]
    try:
        said = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert all(process.returncode == 0 for process in processes), said
    return [json.loads(out.splitlines()[-1]) for out, _ in said], folder


@pytest.mark.slow
def test_a_loop_without_a_common_mesh_concerns_one_process(found):
    (first, second), folder = found
    assert (first["alone"], second["alone"]) == (2, 3)
    assert first["kept"] == "2" and (folder / "alone-0" / "metrics.jsonl").exists()
    assert "only process 0 of a job can keep the files" in second["kept"]


@pytest.mark.slow
def test_a_loop_on_a_common_mesh_begins_and_ends_with_the_same_bits(found):
    results, folder = found
    assert results[0]["together"] == results[1]["together"]
    assert all(one["is_here"] for one in results), "the result is on each process's own device"
    assert (folder / "together-0").exists() and not (folder / "together-1").exists()


@pytest.mark.slow
def test_what_fails_in_one_process_ends_both(found):
    first, second = found[0]
    for one in (first, second):
        assert "process 1 was given another key than process 0" in one["key"]
    means = {"float32": [1.5, 2.5], "bfloat16": [[3.5]], "int32": [1.5, 2.5], "scalar": 5.5}
    assert first["means"] == second["means"] == means
    assert first["report"] == "RuntimeError: enough"
    assert second["report"] == "OtherProcessError: process 0 failed, and says why."
