"""Commands on a run directory with one damaged file name it, without a traceback."""

import random
import shutil

import pytest

import mamlax
from mamlax import cli

FILES = ["recipe.json", "metrics.jsonl", "evaluation.json", "curves.npz", "examples.npz"]


@pytest.fixture(scope="module")
def run(tiny_sinusoid, tmp_path_factory):
    """A small run."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    mamlax.train(tiny_sinusoid, directory=directory)
    return directory


def damaged(content, seed):
    """Damaged contents of a file."""
    draw = random.Random(seed)
    yield from (b"", content[: len(content) // 2], b"\x00\xff junk", b"null\n", b"[1]\n", None)
    for _ in range(4):
        flipped = bytearray(content)
        for _ in range(3):
            flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        yield bytes(flipped)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the command line prints warnings
@pytest.mark.parametrize("command", ["plot", "compare", "evaluate", "export"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named(run, name, command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    words = {
        "plot": [],
        "compare": [str(run), "--out", str(tmp_path / "compared")],
        "evaluate": ["--num-tasks", "2"],
        "export": ["--out", str(tmp_path / "model.safetensors")],
    }
    for content in damaged((run / name).read_bytes(), FILES.index(name)):
        copy = tmp_path / "copy"
        shutil.copytree(run, copy)
        (copy / name).unlink()
        if content is None:
            (copy / name).mkdir()
        else:
            (copy / name).write_bytes(content)
        status = cli.main([command, str(copy), *words[command]])
        said = capsys.readouterr().err
        assert "Traceback" not in said and "allow_pickle" not in said
        assert status == 0 or str(copy / name) in said.replace("\n", ""), (content, said)
        shutil.rmtree(copy)
        (tmp_path / "model.safetensors").unlink(missing_ok=True)
