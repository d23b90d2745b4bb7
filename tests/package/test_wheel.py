"""The files of a release: what is in them, and whether the wheel works where nothing else is."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = ("--num-outer-steps", "20", "--log-interval", "10", "--num-test-tasks", "10")
QUICK = ("--num-baseline-steps", "0", "--validation-interval", "None")
OFFLINE = "(from versions: none)"  # pip found no version at all, not only none that fits

pytestmark = pytest.mark.slow


def run(*command, cwd=None, skip_offline=False):
    """Its output. Where a package index is not reached, the test is skipped."""
    # without what the tests set for JAX, or a user for Python
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_", "PYTHON"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=kept, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode and skip_offline and OFFLINE in said:
        pytest.skip(f"no package index was reached: {said[-300:]}")
    assert done.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The sdist and the wheel that is built from it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    # not in ROOT, where a folder `build` may be
    run(sys.executable, "-m", "build", ROOT, "--outdir", folder, cwd=folder, skip_offline=True)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel


def test_the_wheel_has_the_package_and_nothing_else(dist):
    names = set(zipfile.ZipFile(dist[1]).namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mamlax").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"mamlax/py.typed", "mamlax/__init__.pyi", "mamlax/serve/page/main.js"} <= sources
    assert {name for name in names if not name.startswith("mamlax-")} == sources


def test_the_sdist_has_what_the_tests_read_and_no_outputs(dist):
    with tarfile.open(dist[0]) as sdist:
        names = {Path(*Path(one).parts[1:]) for one in sdist.getnames()}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    listed = {one.removeprefix("/") for one in settings["targets"]["sdist"]["include"]}
    always = {".gitignore", "PKG-INFO", "pyproject.toml"}
    assert {name.parts[0] for name in names} == listed | always
    assert {Path("docs/index.md"), Path("tests/conftest.py")} <= names
    assert not [name for name in names if "__pycache__" in name.parts]


def test_the_wheel_is_installed_and_trains(dist, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    pip, mamlax = (tmp_path / "venv" / "bin" / name for name in ("pip", "mamlax"))
    run(pip, "install", f"{dist[1]}[cli]", cwd=tmp_path, skip_offline=True)
    assert "train" in run(mamlax, "--help", cwd=tmp_path)
    assert dist[1].name.split("-")[1] in run(mamlax, "doctor", cwd=tmp_path), "the version"
    run(mamlax, "train", "sinusoid", *SIZES, *QUICK, "--out", "run", cwd=tmp_path)
    assert (tmp_path / "run" / "evaluation.json").exists()
    assert (tmp_path / "run" / "figures" / "sinusoids.png").exists()
