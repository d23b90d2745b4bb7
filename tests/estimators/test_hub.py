"""Models on the Hugging Face Hub: its library against a stand-in of its server on this machine."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import mamlax
from mamlax.estimators._hub import card_of, pulled

pytest.importorskip("huggingface_hub")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """What the library asks of the Hub to make, fill and read a repository."""

    files: dict[str, dict[str, bytes]]
    private: set[str]
    asked: list[str]

    def log_message(self, *_):
        pass

    def _answer(self, value, status=200, **headers):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, one in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), one)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        body, path = self._body(), unquote(self.path)
        self.asked.append(path)
        if self.headers.get("Authorization") != "Bearer secret":
            self._answer({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            one = json.loads(body)
            name = "/".join(filter(None, (one.get("organization"), one["name"])))
            if name not in self.files and (
                one.get("private") or one.get("visibility") == "private"
            ):
                self.private.add(name)
            self.files.setdefault(name, {})
            self._answer({"url": f"http://{self.headers['Host']}/{name}"})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            wanted = [one["path"] for one in json.loads(body)["files"]]
            modes = [
                {"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in wanted
            ]
            self._answer({"files": modes})
        elif path.endswith("/commit/main"):
            name = path.removeprefix("/api/models/").removesuffix("/commit/main")
            for line in body.splitlines():
                one = json.loads(line)
                if one["key"] == "file":
                    content = base64.b64decode(one["value"]["content"])
                    self.files[name][one["value"]["path"]] = content
            address = f"http://{self.headers['Host']}/{name}/commit/{COMMIT}"
            self._answer({"commitUrl": address, "commitOid": COMMIT, "success": True})
        else:
            self._answer({"error": "unknown"}, 404)

    def do_GET(self):
        path = unquote(self.path).split("?")[0]
        self.asked.append(path)
        name, _, rest = path.removeprefix("/").partition("/resolve/")
        file = rest.partition("/")[2]
        if path.startswith("/api/models/"):
            name = path.removeprefix("/api/models/").partition("/revision")[0]
            about = {"id": name, "sha": COMMIT, "siblings": [], "tags": []}
            self._answer({**about, "private": name in self.private})
        elif name not in self.files:
            self._answer(b"", 404, X_Error_Code="RepoNotFound")
        elif file not in self.files[name]:
            self._answer(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        else:
            content = self.files[name][file]
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self._answer(content, ETag=etag, X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


@pytest.fixture
def hub(tmp_path):
    """`hub(*words)` runs the command line against the stand-in; `hub.files` is what it holds."""
    handler = type("OneHub", (Hub,), {"files": {}, "private": set(), "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hub"),
        "HF_TOKEN": "secret",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
    }

    def run(*words, code=None, **changes):
        command = ["-c", code] if code else ["-m", "mamlax", *map(str, words)]
        return subprocess.run(
            [sys.executable, *command],
            env={**os.environ, **settings, **changes},
            capture_output=True,
            text=True,
            timeout=300,
        )

    run.files, run.private, run.asked = handler.files, handler.private, handler.asked
    yield run
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small fitted model."""
    path = tmp_path_factory.mktemp("model") / "lines.safetensors"
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 6)
    x = rng.normal(size=(48, 1))
    estimator = mamlax.FewShotRegressor(num_outer_steps=2, compare=False, pooled="none")
    estimator.fit(x, rng.normal(size=8)[groups] + x[:, 0], groups=groups).save(path)
    return path


@pytest.mark.slow
def test_what_is_pushed_is_pulled_and_loaded(hub, model, tmp_path):
    pushed = hub("push", model, "ada/lines")
    assert pushed.returncode == 0, pushed.stderr
    assert f"/ada/lines/commit/{COMMIT}" in pushed.stdout
    assert hub.files["ada/lines"]["model.safetensors"] == model.read_bytes()
    card = hub.files["ada/lines"]["README.md"].decode()
    assert "library_name: mamlax" in card and "FewShotRegressor, written by mamlax" in card

    out = tmp_path / "mine.safetensors"
    pull = hub("pull", "ada/lines", "--out", out)
    assert pull.returncode == 0, pull.stderr
    assert out.read_bytes() == model.read_bytes() and "FewShotRegressor" in pull.stdout

    code = "import mamlax; print(type(mamlax.load('hf://ada/lines')).__name__)"
    loaded = hub(code=code)
    assert loaded.stdout.strip() == "FewShotRegressor", loaded.stderr


@pytest.mark.slow
def test_what_is_to_be_private_goes_to_no_public_repository(hub, model):
    hub.files["ada/lines"] = {}
    refused = hub("push", model, "ada/lines", "--private")
    assert refused.returncode == 1 and "there already, and public" in refused.stderr, refused.stderr
    assert not hub.files["ada/lines"]
    pushed = hub("push", model, "ada/mine", "--private")
    assert pushed.returncode == 0, pushed.stderr
    assert hub.private == {"ada/mine"} and "model.safetensors" in hub.files["ada/mine"]


@pytest.mark.slow
def test_what_the_hub_refuses_is_said(hub, model, tmp_path):
    refused = hub("push", model, "ada/lines", HF_TOKEN="other")
    assert refused.returncode == 1 and "HF_TOKEN" in refused.stderr, refused.stderr
    absent = hub("pull", "ada/nothing", "--out", tmp_path / "x.safetensors")
    assert absent.returncode == 1 and "no repository ada/nothing" in absent.stderr, absent.stderr
    hub.files["ada/empty"] = {"model.safetensors": b"not a model"}
    other = hub("pull", "ada/empty", "--out", tmp_path / "x.safetensors")
    assert other.returncode == 1 and "no model that mamlax wrote" in other.stderr, other.stderr
    lacking = hub("pull", "ada/empty/second.safetensors", "--out", tmp_path / "x.safetensors")
    assert lacking.returncode == 1 and "no such file" in lacking.stderr, lacking.stderr
    assert not (tmp_path / "x.safetensors").exists()
    offline = hub("pull", "ada/lines", HF_HUB_OFFLINE="1")
    assert offline.returncode == 1 and "could not be reached" in offline.stderr, offline.stderr


def test_a_file_that_is_no_model_is_not_sent(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(mamlax.MamlaxError, match=r"no model that mamlax wrote"):
        card_of(path, "ada/lines")


@pytest.mark.parametrize("address", ["lines", "hf://ada", "hf://ada/lines/x.txt", "a/b/c/d", ""])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(mamlax.MamlaxError, match="no address of a model"):
        pulled(address)


@pytest.mark.slow
def test_a_card_shows_the_model_and_how_to_load_it(model):
    card = card_of(Path(model), "ada/lines")
    assert "# lines" in card and 'mamlax.load("hf://ada/lines")' in card
    assert "8 tasks" in card
