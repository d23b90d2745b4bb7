"""The documentation keeps its word: its code runs, its commands parse, its tables are complete."""

import functools
import json
import re
import shlex
from pathlib import Path

import griffe
import jax
import pytest

import mamlax
from mamlax import cli
from mamlax.config import RECIPES
from mamlax.config._serving import Serving
from mamlax.experiments import _train
from mamlax.serve._interface import interface_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FROM_EXAMPLE = re.compile(r"# from (examples/\w+\.py)\n")
INCLUDED = re.compile(r'--8<-- "(.+?)(?::(\w+))?"')


def blocks(page, language):
    """The fenced blocks of a page."""
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", page.read_text(), re.M | re.S)


def pages_with(language):
    pages = [page for page in PAGES if blocks(page, language)]
    # of the family each page compiles a learner of its own
    slow = [
        page
        for page in pages
        if language == "python"
        and (
            page.parent.name == "algorithms"
            or page.name in ("tables.md", "memory.md", "bring-your-own.md", "trackers.md")
        )
    ]
    return pytest.mark.parametrize(
        "page",
        [pytest.param(page, marks=pytest.mark.slow if page in slow else ()) for page in pages],
        ids=lambda page: str(page.relative_to(ROOT)),
    )


@pages_with("python")
def test_python_runs(page, monkeypatch, tmp_path):
    """The blocks of a page, one after another."""
    if page.name in ("quickstart.md", "rl.md"):
        pytest.skip("reads a run: see test_a_run_is_as_described, and test_policy_experiment.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mamlax, "run", functools.partial(_run_briefly, mamlax.run))
    _execute(page)


def _run_briefly(run, *args, num_outer_steps, **options):
    return run(*args, num_outer_steps=min(num_outer_steps, 2), **options)


def _execute(page):
    namespace = {}
    with jax.numpy_rank_promotion("allow"):
        for code in blocks(page, "python"):
            if FROM_EXAMPLE.match(code):
                continue  # it is run with the example
            exec(compile(code, str(page), "exec"), namespace)


@pages_with("python")
def test_python_from_an_example_stands_there(page):
    for code in blocks(page, "python"):
        if found := FROM_EXAMPLE.match(code):
            assert code.removeprefix(found[0]) in (ROOT / found[1]).read_text()


@pages_with("{.python}")  # a language that ruff leaves alone: it would format the include
def test_other_python_is_included_from_a_tested_example(page):
    for code in blocks(page, "{.python}"):
        path, section = INCLUDED.fullmatch(code.strip()).groups()
        assert path.startswith("examples/") and section


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_includes_and_links_exist(page):
    text = page.read_text()
    for path, section in INCLUDED.findall(text):
        source = (ROOT / path).read_text()
        marks = (f"[start:{section}]", f"[end:{section}]") if section else ()
        assert all(mark in source for mark in marks), section
    for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(
        r"`((?:examples|benchmarks|docs|tests|mamlax)/[\w/.-]+\.(?:py|md))`", text
    ):
        assert (ROOT / path).exists() or "your" in path, path


@pages_with("sh")
def test_commands_parse(page, monkeypatch):
    called = []
    stubs = [
        functools.wraps(command)(lambda *_, name=command.__name__, **__: called.append(name))
        for command in cli._COMMANDS
    ]
    monkeypatch.setattr(cli, "_COMMANDS", stubs)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    commands = [
        shlex.split(line, comments=True)
        for line in "".join(blocks(page, "sh")).replace("\\\n", "").splitlines()
    ]
    for command in filter(None, commands):
        if command[0] == "make":
            assert set(command[1:]) <= set(targets), command
        elif command[0] == "mamlax":
            if "--help" in command:
                with pytest.raises(SystemExit, match="0"):
                    cli.main(command[1:])
            else:
                assert cli.main(command[1:]) == 0, command
                assert called.pop() == command[1]
        elif command[0].startswith(".venv/bin/"):
            paths = [word for word in command[1:] if "/" in word]
            assert all((ROOT / path.split("::")[0]).exists() for path in paths), command
        elif command[0] == "curl":
            path = re.sub(
                "(?<=/models/)[a-z]+", "{name}", command[1].removeprefix("localhost:8000")
            )
            assert path in interface_of(Serving())["paths"], command
            assert isinstance(json.loads(command[command.index("-d") + 1]), dict)
        else:
            assert command[0] in ("pip", "npm", "python", "python3", "."), command


@pytest.mark.slow
def test_a_run_is_as_described(tmp_path, monkeypatch):
    """Every file of a run directory, every metric and every key; and the code that reads it."""
    sizes = {"meta_batch_size": 2, "num_test_tasks": 2, "num_validation_tasks": 2}
    steps = {"num_outer_steps": 1, "log_interval": 1, "validation_interval": 1}
    small = {"hidden_sizes": (4,), "num_test_inner_steps": 1}
    directory = tmp_path / "runs" / "sinusoid" / "0"
    with jax.numpy_rank_promotion("allow"):
        _train.train(RECIPES["sinusoid"].changed(**sizes, **steps, **small), directory=directory)
    monkeypatch.chdir(tmp_path)
    _execute(ROOT / "docs" / "quickstart.md")

    page = (ROOT / "docs" / "quickstart.md").read_text()
    assert {path.name for path in directory.iterdir() if path.name not in page} == set()

    page = (ROOT / "docs" / "metrics.md").read_text()
    line = json.loads((directory / "metrics.jsonl").read_text())
    evaluation = json.loads((directory / "evaluation.json").read_text())
    description = json.loads((directory / "recipe.json").read_text())
    names = {*line, *evaluation, *evaluation["curve"][0], *evaluation["baselines"], *description}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_every_module_is_in_the_tree():
    page = (ROOT / "docs" / "developer" / "design.md").read_text()
    modules = {path.name for path in (ROOT / "mamlax").rglob("*.py*") if path.suffix != ".pyc"}
    assert {name for name in modules - {"__init__.py"} if name not in page} == set()


def test_every_recipe_is_among_the_results():
    page = "".join(path.read_text() for path in (ROOT / "docs" / "algorithms").glob("*.md"))
    assert {name for name in RECIPES if f"`{name}`" not in page} == set()


API = griffe.load("mamlax", search_paths=[ROOT], try_relative_path=False)
PACKAGES = ("config", "models", "onnx", "plots", "records", "rl", "trackers")


def public_names():
    """Each with where it is defined: those of `mamlax/__init__.pyi` and of the public packages."""
    for package in ("", *PACKAGES):
        listed = sorted((ROOT / "mamlax" / package).glob("__init__.py*"))  # .pyi: imported lazily
        for name in re.findall(r" as (\w+)$", listed[-1].read_text(), re.M):
            if package or name not in PACKAGES:
                item = API[f"{package}.{name}".lstrip(".")]
                yield (
                    f"mamlax.{package}.{name}".replace("..", "."),
                    item.final_target if item.is_alias else item,
                )


PUBLIC = dict(public_names())


def test_every_public_name_is_on_a_page_of_the_api():
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    shown = re.findall(r"^::: (\S+)$", pages, re.M)
    assert len(shown) == len(set(shown))
    assert PUBLIC.keys() - set(shown) == set(), "add `::: name` to a page under docs/api/"


def test_every_public_name_and_method_has_a_docstring():
    methods = {
        f"{name}.{member.name}": member
        for name, item in PUBLIC.items()
        if item.is_class
        for member in item.members.values()
        if member.is_function and not member.name.startswith("_")
    }
    assert len(PUBLIC) > 100 and len(methods) > 50
    assert {name for name, item in (PUBLIC | methods).items() if not item.has_docstring} == set()
