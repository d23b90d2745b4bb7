"""`mamlax serve` as a process: what it refuses, that it answers, and how it ends."""

import copy
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import httpx
import numpy as np
import pytest

from mamlax import MamlaxError, cli
from mamlax.config._serving import Serving
from mamlax.estimators import _steps
from mamlax.serve._readiness import make_more_ready, make_ready
from mamlax.serve._server import serve


@pytest.fixture(scope="module")
def path(regressor, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "wear.safetensors"
    regressor.save(path)
    return path


@pytest.fixture
def refused(capsys, monkeypatch):
    """`refused("model", "--port", 0)`: the error that the command ends with."""
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)

    def run(*arguments):
        assert cli.main(["serve", *map(str, arguments)]) == 1
        return capsys.readouterr().err.splitlines()[-1]

    return run


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org"])
def test_other_machines_need_a_token(refused, path, host):
    assert "let other machines in. Give a --token" in refused(path, "--host", host)


def test_a_port_that_is_taken_is_said(refused, path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = refused(path, "--port", port, "--no-warm")
    assert f"127.0.0.1:{port} cannot be listened on" in found and "--port 0" in found


def test_two_models_of_one_name_are_refused(refused, path, tmp_path):
    (tmp_path / "wear.safetensors").write_bytes(path.read_bytes())
    found = refused(path, tmp_path / "wear.safetensors")
    assert "two models are called 'wear'" in found


def test_what_is_no_model_is_refused(refused, tmp_path):
    (tmp_path / "a").write_text("nothing")
    assert "is no model that mamlax wrote" in refused(tmp_path / "a")


@pytest.mark.parametrize(
    "name, words",
    [
        ("table.csv", "it is a table. mamlax fit makes"),
        ("table.CSV.gz", "it is a table."),
        ("wear.onnx", "it is a program for other software. Give the model"),
        ("wear.stablehlo.json", "it is a program"),
        ("wear.safetensors", "or it is cut off"),
    ],
)
def test_a_file_of_another_kind_is_said_to_be_one(refused, tmp_path, name, words):
    (tmp_path / name).write_text("speed,wear\n1,2\n")
    found = refused(tmp_path / name)
    assert f"{name} is no model that mamlax wrote" in found and words in found


@pytest.mark.parametrize(
    "flag, value",
    [
        ("--most-rows", 0),
        ("--seconds-kept", -1),
        ("--token", ""),
        ("--token", "schlüssel und mehr"),
    ],
)
def test_settings_out_of_bounds_are_refused(refused, path, flag, value):
    assert "must be" in refused(path, flag, value)


def test_pages_of_images_find_their_programs(characters):
    """Also those of the pretrained network beside it, of two classes and more."""
    model = copy.copy(characters)
    model.pretrained_ = replace(
        characters.learner_, settings=replace(characters.learner_.settings, num_inner_steps=3)
    )
    _steps._program.cache_clear()
    make_ready(model)
    make_more_ready([model], threading.Event())
    compiled = _steps._program.cache_info().misses
    for ways in (2, 3):
        images = np.zeros((ways, *model.image_shape), np.uint8)
        adapted = model.adapt(images, list(map(str, range(ways))))
        for pretrained in (False, True):
            adapted.probabilities_by_step(images[:1], pretrained=pretrained)
    assert _steps._program.cache_info().misses == compiled == 4
    ending = threading.Event()
    ending.set()
    _steps._program.cache_clear()
    make_more_ready([model], ending)
    assert _steps._program.cache_info().misses == 0


def test_a_model_is_made_ready(regressor, classifier, characters):
    for model in (regressor, classifier, characters):
        make_ready(model)
    programs = regressor.learner_._programs(None)
    compiled = programs.predict._cache_size()
    assert compiled > 0
    regressor.learner_.predict(regressor._adapted, np.zeros((20, regressor.columns_.width)))
    assert programs.predict._cache_size() == compiled


@pytest.mark.slow
def test_a_process_answers_finishes_what_it_began_and_ends(path):
    command = [sys.executable, "-m", "mamlax", "serve", path, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://localhost:(\d+)", line):
                break
        else:
            pytest.fail("it never served")
        port = int(found[1])
        assert httpx.get(f"http://localhost:{port}/models").status_code == 200
        answers = []

        def slowly():
            yield b'{"rows": [[1.0, '
            time.sleep(2)
            yield b'"dry"]]}'

        def ask():
            headers = {"content-type": "application/json"}
            path = f"http://localhost:{port}/models/wear/predict"
            answers.append(httpx.post(path, content=slowly(), headers=headers, timeout=30))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert answers[0].status_code == 200
        process.wait(20)
        assert process.returncode in (0, -signal.SIGTERM, 143)


def test_nothing_to_serve_is_refused():
    with pytest.raises(MamlaxError, match="nothing to serve"):
        serve([], Serving(), host="127.0.0.1", port=0, warm=False, say=print)
