"""Messages about unknown commands, recipes, algorithms, flags and values."""

import inspect
import re
import shlex
from typing import get_type_hints

import pytest

from mamlax import MamlaxError
from mamlax.cli import _COMMANDS
from mamlax.cli._job import joined
from mamlax.config import RECIPES
from mamlax.config._job import Job
from mamlax.config._settings import is_bounded

from .answers import exits, words_of
from .test_help import ABOUT_MODELS, COMMANDS


@pytest.mark.parametrize(
    "command, near",
    [
        ("train sinusiod", "sinusoid"),
        ("train Sinusoid", "sinusoid"),
        ("train sinusoid_5_shot", "sinusoid-5-shot"),
        ("train sinusoid-5shot", "sinusoid-5-shot"),
        ("train omniglot-20-way-1shot", "omniglot-20-way-1-shot"),
        ("train omniglot-5way-5shot", "omniglot-5-way-5-shot"),
        ("train sinusiod --seed 1", "sinusoid"),
        ("train sinusiod imaml --damping 20", "sinusoid"),
        ("train sinusiod --algorithm imaml", "sinusoid"),
        ("plan sinusiod --memory 6GB", "sinusoid"),
        ("train mini-imagenet-5way-1shot", "mini-imagenet-5-way-1-shot"),
    ],
)
def test_the_most_similar_recipe_is_suggested(command, near, capsys):
    assert exits(command.split()) == 1
    text = capsys.readouterr().err
    assert repr(command.split()[1]) in text and f"Did you mean {near}?" in text
    assert "mamlax recipes" in text and "Traceback" not in text


@pytest.mark.parametrize(
    "arguments",
    [["--seed", "1", "sinusiod"], ["--out=x", "sinusiod"], ["--out", "images-2", "sinusiod"]],
)
def test_the_most_similar_recipe_is_suggested_after_flags(arguments, capsys):
    assert exits(["train", *arguments]) != 0
    assert "Did you mean sinusoid?" in words_of(capsys.readouterr().err)


def test_no_recipe_is_suggested_if_none_is_similar(capsys):
    assert exits(["train", "qqqqqqq"]) == 1
    text = capsys.readouterr().err
    assert "Did you mean" not in text and "mamlax recipes" in text


@pytest.mark.parametrize(
    "command, hint",
    [
        ("trian x", "Did you mean train?"),
        ("plots x", "Did you mean plot?"),
        ("evalute x", "Did you mean evaluate?"),
        ("sinusoid", "It is a recipe: mamlax train sinusoid."),
        ("xyz", "It has recipes,"),
    ],
)
def test_an_unknown_command_is_answered_with_the_nearest(command, hint, capsys):
    assert exits(command.split()) == 1
    text = words_of(capsys.readouterr().err)
    assert f"no command '{command.split()[0]}'" in text and hint in text
    assert all(name in text for name in (*COMMANDS, *ABOUT_MODELS))


@pytest.mark.parametrize(
    "command, near",
    [
        # by spelling
        ("train omniglot-5-way-1-shot --chanels 3", "--channels"),
        ("train sinusoid --num-outer-step 3", "--num-outer-steps"),
        ("train sinusoid --inner_learnin_rate=3", "--inner-learning-rate"),
        ("train sinusoid imaml --dampin 3", "--damping"),
        ("train sinusoid --sed 3", "--seed"),
        ("evaluate run --num-task 3", "--num-tasks"),
        ("compare run other --ou x", "--out"),
        ("fit table.csv --target-colum y", "--target-column"),
        ("train sinusoid --no-frist-order", "--no-first-order"),
        # by spelling, of a word that other programs use
        ("train sinusoid --stpes 5", "--num-outer-steps or --num-inner-steps"),
        ("fit table.csv --epohcs 3", "--num-outer-steps"),
        # by some of its words
        ("train sinusoid --inner-stpes 5", "--num-inner-steps"),
        ("train sinusoid --learning-rte 1", "--inner-learning-rate or --outer-learning-rate"),
        ("evaluate run --task 3", "--num-tasks"),
        # by meaning
        ("train sinusoid --lr 3", "--inner-learning-rate or --outer-learning-rate"),
        ("train navigation-2d --lr 3", "--inner-learning-rate"),  # a trust region has no other
        ("plan sinusoid --epochs 3", "--num-outer-steps"),
        ("train sinusoid --steps=3", "--num-outer-steps or --num-inner-steps"),
        ("evaluate run --steps 3", "--num-inner-steps"),
        ("train sinusoid --batch-size 3", "--meta-batch-size"),
        ("fit table.csv --epochs 3", "--num-outer-steps"),
        ("fit table.csv --random-state 3", "--seed"),
        # not at all
        ("train sinusoid --momentum 3", None),
        ("train sinusoid --xyz", None),
        ("fit table.csv --lr 3", None),
        ("evaluate run --seed 3", None),
        ("plan sinusoid --seed 3", None),
    ],
)
def test_the_nearest_flags_are_suggested(command, near, capsys, asked_for):
    assert exits(command.split()) == 1
    assert not asked_for
    text = words_of(capsys.readouterr().err)
    start, flag = command.split(" --")
    flag = re.match(r"[\w-]+", flag)[0].replace("_", "-")
    assert re.search(rf"mamlax {start.split(' run')[0].split(' table')[0]} has no --{flag}\.", text)
    assert (f"Did you mean {near}?" in text) if near else ("Did you mean" not in text)


def test_flags_that_exist_are_not_answered(capsys, asked_for):
    for flags in ("maml --no-first-order", "--first_order", "--hidden_sizes 3 4 --seed=1", "-h"):
        assert exits(["train", "sinusoid", *flags.split()]) == (0 if flags == "-h" else 1)
    assert len(asked_for) == 3 and "has no" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "recipe, word, near",
    [("sinusoid", "mamal", "maml"), ("navigation-2d", "imaml", "maml-trpo")],
)
def test_an_unknown_algorithm_is_refused(recipe, word, near, capsys, asked_for):
    assert exits(["train", recipe, word, "--seed", "1"]) == 1
    assert not asked_for
    text = words_of(capsys.readouterr().err)
    assert f"there is no algorithm '{word}' for {recipe}" in text
    assert f"Did you mean {near}?" in text
    for algorithm in RECIPES[recipe].algorithms:
        assert algorithm in text


@pytest.mark.slow  # tyro makes its parsers again
def test_a_second_algorithm_is_refused(capsys, asked_for):
    assert exits(["train", "sinusoid", "imaml", "maml"]) == 2
    assert "Unrecognized options: maml" in words_of(capsys.readouterr().err)


@pytest.mark.parametrize(
    "flag, of, command",
    [
        ("--damping", "imaml", "train sinusoid --damping 20"),
        ("--first-order", "maml, ", "train sinusoid imaml --first-order"),
        ("--inner-batch-size", "maml, ", "train sinusoid ridge-maml --inner-batch-size 3"),
        ("--remat", "maml, ", "train sinusoid reptile --remat steps"),
        ("--max-kl", "maml-trpo", "train navigation-2d promp --max-kl 0.1"),
    ],
)
def test_a_flag_of_another_algorithm_is_refused_with_its_algorithm(
    flag, of, command, capsys, asked_for
):
    assert exits(command.split()) == 1
    assert not asked_for
    text = words_of(capsys.readouterr().err)
    assert f"mamlax {command.split(' --')[0]} has no {flag}. It is for {of}" in text
    having = of.strip(", ")
    assert text.endswith(f": mamlax train {command.split()[1]} {having} --help. ")


@pytest.mark.parametrize(
    "before, today",
    [
        ("train sinusoid --algorithm imaml --damping 20", "train sinusoid imaml --damping 20"),
        ("train sinusoid --algorithm=imaml", "train sinusoid imaml"),
        ("train --seed 3 --algorithm imaml sinusoid", "train --seed 3 sinusoid imaml"),
        ("train sinusoid --shots=5 --algorithm anil", "train sinusoid anil --shots 5"),
        ("train sinusoid --algorithm anil --out 'my runs'", "train sinusoid anil --out 'my runs'"),
        ("train navigation-2d --outer-algorithm promp", "train navigation-2d promp"),
        ("train navigation-2d --outer_algorithm=promp", "train navigation-2d promp"),
        ("train navigation-2d --outer-algorithm trust-region", "train navigation-2d maml-trpo"),
        ("train bandit-10-arms --outer-algorithm adam", "train bandit-10-arms policy-gradient"),
        ("plan sinusoid --algorithm cavia --memory 6GB", "plan sinusoid cavia --memory 6GB"),
    ],
)
def test_an_algorithm_given_as_a_flag_is_answered_with_todays_command(
    before, today, capsys, asked_for
):
    assert exits(shlex.split(before)) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and text.endswith(f": mamlax {today}\n")
    assert not asked_for
    if today.startswith("train"):  # the suggested command works
        assert exits(shlex.split(today)) == 1
        (call,) = asked_for
        words = today.split()
        assert call.recipe.algorithm.name == words[words.index(call.recipe.name) + 1]


@pytest.mark.parametrize(
    "command, words",
    [
        ("sinusoid --num-outer-steps many", ["--num-outer-steps", "many"]),
        ("sinusoid --num-outer-steps None", ["--num-outer-steps", "None"]),
        ("sinusoid --num-outer-steps", ["--num-outer-steps"]),
        ("sinusoid --outer-schedule linear", ["--outer-schedule", "linear", "constant", "cosine"]),
        ("sinusoid --inner-optimizer newton", ["--inner-optimizer", "newton", "momentum"]),
        ("navigation-2d --surrogate best", ["--surrogate", "best", "likelihood-ratio", "dice"]),
        ("sinusoid imaml --inner-optimizer learned-step-sizes", ["--inner-optimizer", "'sign'"]),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(command, words, capsys):
    assert exits(["train", *command.split()]) == 2
    text = words_of(capsys.readouterr().err)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--shots 0", ["shots must be a whole number, 1 or more, got 0"]),
        ("--shots -1", ["shots must be a whole number, 1 or more, got -1"]),
        (
            "--hidden-sizes 4 0",
            ["--hidden-sizes must be a tuple, each value a whole number, 1 or more"],
        ),
        ("--num-seeds 0", ["--num-seeds must be a whole number, 1 or more, got 0"]),
        ("--meta-batch-size 0", ["--meta-batch-size must be a whole number, 1 or more, got 0"]),
        ("--num-inner-steps -1", ["--num-inner-steps must be a whole number, 1 or more", "got -1"]),
        ("--num-inner-steps 0", ["--num-inner-steps must be", "nothing would adapt", "got 0"]),
        ("--seed -1", ["--seed must be a whole number from 0 to 4294967295, got -1"]),
        ("--seed 4294967296", ["--seed must be a whole number from 0 to 4294967295, got 42949"]),
        ("--seed 4294967295 --num-seeds 2", ["--num-seeds 2", "4294967295"]),
        ("--inner-learning-rate nan", ["--inner-learning-rate must be a positive number, got nan"]),
        ("--gradient-clip inf", ["--gradient-clip must be a positive number, got inf"]),
        ("--checkpoint-interval 7", ["--checkpoint-interval 7", "--log-interval 500"]),
        ("--validation-interval 7", ["--validation-interval 7", "--log-interval 500"]),
        ("--log-interval 0", ["--log-interval must be a whole number, 1 or more, got 0"]),
        ("--num-devices 99 --hidden-sizes 4", ["--num-devices 99"]),
        ("imaml --num-inner-steps 1", ["2 or more for imaml", "sinusoid-imaml", "got 1"]),
        ("reptile --num-inner-steps 1", ["2 or more for reptile", "joint training", "got 1"]),
        ("proto-maml --hidden-sizes 4", ["proto-maml"]),
    ],
)
def test_bad_settings_are_errors_without_a_traceback(flags, words, capsys):
    assert exits(["train", "sinusoid", *flags.split()]) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and "Traceback" not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "command, words",
    [
        ("train sinusoid --num-processes 0", "--num-processes must be a whole number, 1 or more"),
        ("train sinusoid --process-id -1", "--process-id must be a whole number, 0 or more"),
        ("plan sinusoid --num-inner-steps 0", "--num-inner-steps must be a whole number, 1 or"),
        ("plan sinusoid --memory 2", "--memory must have a unit"),
        ("evaluate run --num-tasks 0", "--num-tasks must be a whole number, 1 or more, got 0"),
        ("evaluate run --num-inner-steps -1", "--num-inner-steps must be a whole number, 0 or"),
        ("evaluate run --ways 1", "--ways must be a whole number, 2 or more, got 1"),
        ("evaluate run --shots 0", "--shots must be a whole number, 1 or more, got 0"),
        ("evaluate run --num-query 0", "--num-query must be a whole number, 1 or more, got 0"),
        ("fit a --task-column b --target-column c --seed -1", "--seed must be a whole number"),
        ("fit a --task-column b --target-column c --max-support 0", "--max-support must be a"),
        ("fit a --task-column b --target-column c --num-outer-steps 0", "--num-outer-steps must"),
        ("adapt m --support a --query b --interval 1", "--interval must be a number above 0 and"),
        (
            "predict m a --interval 0",
            "--interval must be a number above 0 and below 1, such as 0.9, got 0.0",
        ),
        ("score m a --seed 4294967296", "--seed must be a whole number from 0 to 4294967295"),
        ("serve m --port 65536", "--port must be a whole number from 0 to 65535, got 65536"),
        ("serve m --most-rows 0", "--most-rows must be a whole number, 1 or more, got 0"),
    ],
)
def test_values_of_a_commands_own_flags_have_bounds(command, words, capsys):
    assert exits(command.split()) == 1
    said = words_of(capsys.readouterr().err)
    assert said.startswith("error: ") and words in said


WITHOUT_BOUNDS = {("score", "support_sizes")}
"""Refused by the command, which says more."""


def test_every_number_of_a_command_has_bounds():
    for command in _COMMANDS:
        hints = get_type_hints(command, include_extras=True)
        for name in inspect.signature(command).parameters:
            plain = str(get_type_hints(command)[name])
            if (
                re.search(r"\b(int|float)\b", plain)
                and (command.__name__, name) not in WITHOUT_BOUNDS
            ):
                assert is_bounded(hints[name]), f"{command.__name__} --{name}"


def test_a_coordinator_without_a_port_is_refused():
    job = Job(coordinator="localhost", num_processes=2, process_id=0)
    with pytest.raises(MamlaxError, match="must be HOST:PORT, got 'localhost'"), joined(job):
        pass
