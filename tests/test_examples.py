"""Every example runs, with `--smoke` in seconds, and says in its header how to run it in full."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
OFTEN = ("maml_in_one_file", "table_of_machines")  # the others are slow: compiled for long
NEEDED = {"grid_worlds": "xminigrid", "search_with_optuna": "optuna"}


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(path, marks=() if path.stem in OFTEN else pytest.mark.slow, id=path.stem)
        for path in EXAMPLES
    ],
)
def test_runs(example, tmp_path):
    if example.stem in NEEDED:
        pytest.importorskip(NEEDED[example.stem])
    done = subprocess.run(
        [sys.executable, "-W", "error", example, "--smoke"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_header_says_what_how_how_long_and_what_to_expect(example):
    header = ast.get_docstring(ast.parse(example.read_text()))
    lines = dict(line.split(maxsplit=1) for line in header.splitlines() if line[:1].strip())
    assert lines["Run"].startswith(f"python examples/{example.name}")
    assert {"What", "Takes", "Expect"} <= lines.keys()
    assert any(character.isdigit() for character in lines["Expect"])


@pytest.mark.slow
def test_a_model_of_the_made_up_table_predicts_a_new_machine(tmp_path):
    """By the commands that the example prints, which are those of README."""
    pd = pytest.importorskip("pandas")

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    said = run(ROOT / "examples" / "table_of_machines.py")
    commands = [line for line in said.splitlines() if line.startswith("mamlax ")]
    readme = (ROOT / "README.md").read_text()
    assert len(commands) == 2 and all(line in readme for line in commands)
    for command in commands:
        run("-m", *command.split())
    found = pd.read_csv(tmp_path / "predictions.csv")
    error = ((found["predicted wear"] - found["wear"]) ** 2).mean() ** 0.5
    assert len(found) == 32 and error < 0.4 * found["wear"].std()
