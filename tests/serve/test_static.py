"""The folder of a page without a service: what is written, replaced and left."""

import copy
import json
from pathlib import Path

import pytest

from mamlax import MamlaxError
from mamlax.serve import _static


@pytest.fixture
def runtime(tmp_path):
    """Files in the place of onnxruntime-web."""
    (tmp_path / "dist").mkdir()
    for name in _static.RUNTIME:
        (tmp_path / "dist" / name).write_bytes(b"")
    return tmp_path / "dist"


def saved(model, path):
    model.save(path)
    return path


def test_a_page_replaces_an_earlier_one_and_leaves_what_is_not_of_it(curve, runtime, tmp_path):
    beside = copy.copy(curve)
    beside.pretrained_ = curve.learner_
    folder = tmp_path / "page"
    _static.write_page(folder, [saved(beside, tmp_path / "old.safetensors")], runtime)
    for name in ("old.onnx", "old.pretrained.onnx"):
        assert (folder / name).is_file()
    (folder / "CNAME").write_text("example.org")
    (folder / "own.onnx").write_bytes(b"mine")
    _static.write_page(folder, [saved(curve, tmp_path / "new.safetensors")], runtime)
    found = {path.name for path in folder.iterdir()}
    assert {"new.onnx", "CNAME", "own.onnx"} <= found
    assert not {"old.onnx", "old.pretrained.onnx"} & found
    listed = json.loads((folder / "mamlax-page.json").read_text())["files"]
    assert set(listed) == found - {"CNAME", "own.onnx"}
    with pytest.raises(MamlaxError, match=r"holds own\.onnx.*another --out"):
        _static.write_page(folder, [saved(curve, tmp_path / "own.safetensors")], runtime)
    assert (folder / "own.onnx").read_bytes() == b"mine" and (folder / "new.onnx").is_file()


def test_a_page_that_was_interrupted_is_replaced(curve, runtime, tmp_path, monkeypatch):
    folder, of_old = tmp_path / "page", [saved(curve, tmp_path / "old.safetensors")]
    _static.write_page(folder, of_old, runtime)
    own = Path.replace

    def interrupted(path, target):
        if path.name == "main.js":
            raise KeyboardInterrupt
        return own(path, target)

    with monkeypatch.context() as changed, pytest.raises(KeyboardInterrupt):
        changed.setattr(Path, "replace", interrupted)
        _static.write_page(folder, [saved(curve, tmp_path / "new.safetensors")], runtime)
    assert (folder / "new.onnx").is_file() and (folder / "old.onnx").is_file()
    _static.write_page(folder, of_old, runtime)
    assert not (folder / "new.onnx").exists() and (folder / "old.onnx").is_file()


@pytest.mark.parametrize("names", [["../a"], [3], "a", ["/etc/passwd"]])
def test_a_list_that_leads_out_of_the_folder_removes_nothing(curve, runtime, tmp_path, names):
    (tmp_path / "a").write_text("mine")
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mamlax-page.json").write_text(json.dumps({"files": names}))
    with pytest.raises(MamlaxError, match="is not a list of the files"):
        _static.write_page(tmp_path / "page", [saved(curve, tmp_path / "a.safetensors")], runtime)
    assert (tmp_path / "a").read_text() == "mine"


def test_a_page_of_somebody_else_is_not_replaced(curve, runtime, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    with pytest.raises(MamlaxError, match=r"holds index\.html"):
        _static.write_page(tmp_path / "site", [saved(curve, tmp_path / "a.safetensors")], runtime)
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["index.html"]
