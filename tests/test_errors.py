"""What is said shows what is there: nothing in a file's name moves the cursor of a terminal."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mamlax
from mamlax._errors import collected_warnings, printable, warn
from mamlax.records._metrics import read_metrics


@pytest.mark.parametrize(
    "text, shown",
    [
        ("plain", "plain"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("φ − θ, 10\N{NO-BREAK SPACE}%, 日本, é", "φ − θ, 10\N{NO-BREAK SPACE}%, 日本, é"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\rb\x00\x9b31m", "a\\rb\\x00\\x9b31m"),
        ("gnp.\N{RIGHT-TO-LEFT OVERRIDE}exe", "gnp.\\u202eexe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_would_move_the_cursor_is_escaped(text, shown):
    assert printable(text) == shown
    assert str(mamlax.MamlaxError(text)) == shown
    assert str(mamlax.TrainingInterruptedError(text)) == shown


def test_a_warning_of_a_file_escapes_its_name(tmp_path):
    path = tmp_path / "metrics\x1b[2J.jsonl"
    path.write_text("{\n{\n")
    with pytest.warns(UserWarning, match=r"metrics\\x1b\[2J\.jsonl is damaged"):
        assert read_metrics(path) == []


def test_all_warnings_are_given_by_the_function_that_escapes():
    package = Path(mamlax.__file__).parent
    direct = [path for path in package.rglob("*.py") if "warnings.warn(" in path.read_text()]
    assert direct == [package / "_errors.py"]


def test_the_command_line_escapes_what_it_says(capsys):
    from mamlax import cli

    assert cli.main(["plot", "run\x1b[2J"]) == 1
    said = capsys.readouterr().err
    assert "\x1b" not in said and "run\\x1b[2J" in said


def test_warnings_are_collected_in_their_own_thread():
    both_collect = threading.Barrier(2)

    def collect(name):
        with collected_warnings() as found:
            both_collect.wait(10)
            warn(name, stacklevel=1)
            both_collect.wait(10)
        return found

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(collect, ["one", "two"])) == [["one"], ["two"]]
    with pytest.warns(UserWarning, match="three"):
        warn("three", stacklevel=1)
