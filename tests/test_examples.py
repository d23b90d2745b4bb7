"""Every example runs, with `--smoke` in seconds, and says in its header how to run it in full."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request):
    return request.param


def test_runs(example, tmp_path):
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # programs that run once: compile fast
    done = subprocess.run(
        [sys.executable, "-W", "error", example, "--smoke"],
        env=os.environ | quick,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_header_says_what_how_how_long_and_what_to_expect(example):
    header = ast.get_docstring(ast.parse(example.read_text()))
    lines = dict(line.split(maxsplit=1) for line in header.splitlines() if line[:1].strip())
    assert lines["Run"].startswith(f"python examples/{example.name}")
    assert {"What", "Takes", "Expect"} <= lines.keys()
    assert any(character.isdigit() for character in lines["Expect"])
