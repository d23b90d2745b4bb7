"""Every tutorial runs from top to bottom, as a script and as cells."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[2] / "examples" / "tutorials").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_runs(tutorial, tmp_path):
    # Agg says that it cannot show a figure
    warnings = ("-W", "error::UserWarning", "-W", "ignore:FigureCanvasAgg")
    done = subprocess.run(
        [sys.executable, *warnings, tutorial],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_is_cells_that_open_as_a_notebook(tutorial):
    """Jupytext's percent format: a title first, code that parses, and text that is comments."""
    text = tutorial.read_text()
    first, *cells = re.split(r"^# %%", text, flags=re.M)
    assert first == "" and cells[0].startswith(" [markdown]\n# # ")
    for cell in cells:
        kind, _, content = cell.partition("\n")
        if kind == " [markdown]":
            assert all(line.startswith("#") for line in content.splitlines() if line), content
        else:
            assert kind == "" and ast.parse(content).body, content
    assert "pip install 'mamlax[" in text and "plt.show()" in text
