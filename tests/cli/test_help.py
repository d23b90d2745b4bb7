"""The help of every command: its text, its settings, and its speed."""

import re
import subprocess
import sys

import jax
import pytest

import mamlax
from mamlax import cli
from mamlax.cli import _doctor
from mamlax.config import RECIPES

from .answers import exits, flags_of, words_of

COMMANDS = ["recipes", "train", "plan", "evaluate", "plot", "film", "compare"]
ABOUT_MODELS = ["fit", "adapt", "predict", "score", "inspect", "export"]
OF_TRAIN = {"--help", "--seed", "--num-seeds", "--out", "--data-dir", "--track"}
OF_A_JOB = {"--coordinator", "--num-processes", "--process-id"}
MOST_FLAGS = 26


@pytest.mark.parametrize(
    "command, expected",
    [
        ("", [*COMMANDS, *ABOUT_MODELS]),
        ("recipes", ["List the recipes"]),
        ("train", [*RECIPES, "--seed", "--num-seeds", "--out", "--data-dir", "MAMLAX_DATA"]),
        ("train sinusoid", ["--num-outer-steps", "--shots", "70000", "Step size α", "imaml"]),
        ("train sinusoid imaml", ["--damping", "--shots", "70000", "the implicit gradient"]),
        ("plan", [*RECIPES, "--memory", "6GB", "512MiB", "--data-dir"]),
        ("evaluate", ["--num-tasks", "--num-inner-steps", "The run directory."]),
        ("plot", ["The run directory."]),
        ("film", ["The run directory.", "main (what the recipe trained), or pretrained"]),
        ("compare", ["Two run directories or more.", "--out", "(default: comparison)", "paired"]),
    ],
)
def test_help_is_given_for_every_command(command, expected, capsys):
    assert exits([*command.split(), "--help"]) == 0
    text = words_of(capsys.readouterr().out)
    assert "usage: mamlax" in text
    for words in expected:
        assert words in text


def test_without_a_command_a_screen_says_what_to_type_next(capsys):
    assert cli.main([]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 100
    typed = [line.split()[1] for line in lines if line.startswith("  mamlax ")]
    assert typed[0] == "train" and {"fit", "adapt", "serve", "doctor"} <= set(typed)


def test_the_doctor_says_what_is_there_and_what_is_missing(capsys, monkeypatch, tmp_path):
    (tmp_path / "omniglot" / "images_background").mkdir(parents=True)
    (tmp_path / "cifar-100").mkdir()  # as a broken download leaves it
    (tmp_path / "miniImageNet.tar").touch()
    monkeypatch.setenv("MAMLAX_DATA", str(tmp_path))
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))
    is_installed = _doctor._is_installed
    monkeypatch.setattr(
        _doctor, "_is_installed", lambda one: one.name != "gymnasium" and is_installed(one)
    )
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"mamlax   {mamlax.__version__}" in text and f"jax {jax.__version__}" in text
    assert f"omniglot: in {tmp_path / 'omniglot'}" in text and "cifar-100: not there" in text
    assert f"mini-imagenet: in {tmp_path / 'miniImageNet.tar'}" in text
    assert "cli: ready" in text and "gym: missing gymnasium>=1.1" in text
    assert "mjx: missing gymnasium>=1.1" in text, "an extra within an extra counts"
    assert f"{tmp_path / 'cache'} (" in text and "not made yet" in text
    assert "dev:" not in text


def test_the_doctor_also_tells_of_what_cannot_be_used(capsys, monkeypatch, tmp_path):
    (tmp_path / "data").touch()
    monkeypatch.setenv("MAMLAX_DATA", str(tmp_path / "data"))

    def no_devices():
        raise RuntimeError("Unable to initialize backend 'cuda'.\nmore")

    monkeypatch.setattr(jax, "devices", no_devices)
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "devices  none (Unable to initialize backend 'cuda'.)" in text
    assert f"{tmp_path / 'data'} is a file" in text


def algorithms_to_ask_for(name):
    """None for the recipe's own algorithm; also all others for the first recipe of each problem.

    The flags depend on the kind of problem and on the algorithm, not on numbers.
    """
    kind = type(RECIPES[name].problem)
    first = next(other for other, recipe in RECIPES.items() if type(recipe.problem) is kind)
    return [None, *(RECIPES[name].algorithms if name == first else ())]


OFTEN = ("sinusoid", "navigation-2d")  # the others are slow: tyro makes their parsers


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in RECIPES],
)
def test_help_shows_few_flags_and_help_all_every_setting(name, capsys):
    for algorithm in algorithms_to_ask_for(name):
        words = ["train", name] + [algorithm] * (algorithm is not None)
        assert exits([*words, "--help"]) == 0
        text = capsys.readouterr().out
        assert "(default: " in text
        short = flags_of(text)
        assert exits([*words, "--help-all"]) == 0
        text = capsys.readouterr().out
        long = flags_of(text)

        assert short > OF_TRAIN and len(short) <= MOST_FLAGS, words
        recipe = RECIPES[name] if algorithm is None else RECIPES[name].with_algorithm(algorithm)
        settings = recipe.settings.keys() - {"algorithm"}  # a subcommand, not a flag
        assert long == OF_TRAIN | OF_A_JOB | {f"--{one.replace('_', '-')}" for one in settings}, (
            words
        )
        assert short <= long, words
        without_words = re.findall(r"(--[a-z-]+)(?: [A-Z{[.][^ ]*)* \(default: ", words_of(text))
        assert not without_words, "a setting without a description"


def test_help_shows_the_usual_settings(capsys):
    exits(["train", "sinusoid", "--help"])
    most = {"--shots", "--num-outer-steps", "--meta-batch-size", "--inner-learning-rate"}
    flags = flags_of(capsys.readouterr().out)
    assert flags >= {*most, "--num-inner-steps", "--outer-learning-rate", "--hidden-sizes"}


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_of_train_says_how_to_see_more(word, capsys):
    assert exits(["train", "sinusoid", word]) == 0
    text = words_of(capsys.readouterr().out)
    assert "--help-all lists every setting" in text
    for algorithm in RECIPES["sinusoid"].algorithms:
        assert f"• {algorithm} " in text


def test_the_defaults_in_help_are_those_of_the_recipe(capsys):
    """For other algorithms, settings that both have are kept where allowed."""
    recipe = RECIPES["sinusoid-anil"]
    for algorithm in ("anil", "boil", "imaml"):
        exits(["train", recipe.name, algorithm, "--help-all"])
        text = words_of(capsys.readouterr().out)
        for name, value in recipe.with_algorithm(algorithm).settings.items():
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
            flag = name.replace("_", "-")
            if name != "algorithm":
                pattern = rf"--{flag}[ ,](?:(?!\(default: ).)*\(default: {re.escape(str(shown))}\)"
                assert re.search(pattern, text), name


def test_recipes_are_listed_with_published_results(capsys):
    assert exits(["recipes"]) == 0
    text = capsys.readouterr().out
    for name, recipe in RECIPES.items():
        assert re.search(rf"^{re.escape(name)}$", text, re.MULTILINE), f"{name} is broken"
        assert recipe.evidence.expected.split()[0] in text
    assert "mamlax train RECIPE" in text


@pytest.mark.parametrize("width", ["60", "200"])
def test_recipe_names_can_be_copied_at_any_width(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    assert exits(["recipes"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in RECIPES)


def test_the_version_is_printed(capsys):
    assert exits(["--version"]) == 0
    assert capsys.readouterr().out == f"mamlax {mamlax.__version__}\n"


LIGHT = """
import sys
from mamlax.cli import main
try:
    status = main(sys.argv[1:])
except SystemExit as exit:
    status = exit.code
heavy = {"jax", "jaxlib", "optax", "equinox", "orbax", "matplotlib", "PIL", "scipy", "flax"}
print("status", status, "heavy", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments, status",
    [
        (["--help"], 0),
        (["train", "--help"], 0),
        (["train", "sinusoid", "imaml", "--help-all"], 0),
        (["recipes"], 0),
        (["train", "sinusiod"], 1),
        (["plan", "--help"], 0),
    ],
)
def test_help_and_hints_do_not_import_jax(arguments, status):
    command = [sys.executable, "-c", LIGHT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == f"status {status} heavy []", done.stderr


def test_sentences_of_the_help_are_broken_by_its_width_alone(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert exits(["fit", "--help"]) == 0
    text = capsys.readouterr().out
    assert "held out together. Name what tasks share and new tasks will not" in text
    assert "(default: )" not in text and "(default: None)" not in text


@pytest.mark.parametrize(
    "words, given",
    [([], None), (["--on"], True), (["--on", "True"], True), (["--on", "false"], False)],
)
def test_a_switch_that_may_be_left_alone_takes_a_word_or_none(words, given, monkeypatch):
    found = []

    def switch(*, on: bool | None = None, other: int = 0) -> None:
        """A command.

        Args:
            on: A switch.
            other: A number.
        """
        found.append((on, other))

    monkeypatch.setattr(cli, "_COMMANDS", (switch, *cli._COMMANDS[:1]))
    assert cli.main(["switch", *words, "--other", "3"]) == 0
    assert found == [(given, 3)]


@pytest.mark.parametrize("words", [["perhaps"], ["True", "False"]])
def test_a_switch_says_which_words_it_takes(words, capsys):
    assert exits(["evaluate", "runs/x", "--mirrored-features", *words]) != 0
    said = words_of("".join(capsys.readouterr()))
    assert f"say True, False or None after it, or nothing for True; got {' '.join(words)}." in said


def test_an_algorithm_may_come_after_a_switch(capsys):
    recipe = ["train", "images", "--images", "nowhere"]
    for words in (["--stream"], ["--stream", "False"]):
        assert cli.main([*recipe, *words, "proto-maml"]) == 1
        assert "nowhere does not exist" in "".join(capsys.readouterr())
