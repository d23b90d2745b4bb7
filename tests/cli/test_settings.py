"""Flags become settings, and a recipe becomes the command that gives it."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import pytest

from mamlax.cli._commands import command_of
from mamlax.config import RECIPES

from .answers import exits


@pytest.mark.parametrize(
    "arguments, directory",
    [
        ([], "runs/sinusoid/0"),
        (["--seed", "4"], "runs/sinusoid/4"),
        (["--seed", "4", "--num-seeds", "3"], "runs/sinusoid/4-6"),
        (["--out", "elsewhere"], "elsewhere"),
    ],
)
def test_flags_arrive_where_they_belong(arguments, directory, asked_for):
    flags = "anil --shots 3 --num-outer-steps 9 --gradient-clip 2.5 --first-order"
    flags += " --inner-optimizer adam --remat sqrt --data-dir data"
    assert exits(["train", "sinusoid", *flags.split(), *arguments]) == 1
    (call,) = asked_for
    assert call.recipe == RECIPES["sinusoid"].changed(
        algorithm="anil",
        shots=3,
        num_outer_steps=9,
        gradient_clip=2.5,
        first_order=True,
        inner_optimizer="adam",
        remat="sqrt",
    )
    assert call.directory == Path(directory) and call.data_dir == "data"
    assert call.seed == (4 if "--seed" in arguments else 0)
    assert call.num_seeds == (3 if "--num-seeds" in arguments else 1)


@pytest.mark.parametrize(
    "command, names",
    [
        ("sinusoid anil", ()),
        ("--track tensorboard sinusoid anil", ("tensorboard",)),
        ("sinusoid anil --track wandb --track mlflow", ("wandb", "mlflow")),
    ],
)
def test_trackers_may_stand_anywhere(command, names, asked_for):
    exits(["train", *command.split()])
    (call,) = asked_for
    assert call.trackers == names and call.recipe.algorithm.name == "anil"


FIRST = {type(recipe.problem): name for name, recipe in reversed(RECIPES.items())}.values()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in RECIPES],
)
def test_a_recipe_without_flags_is_the_recipe(name, asked_for):
    exits(["train", name])
    assert [call.recipe for call in asked_for] == [RECIPES[name]]


@pytest.mark.parametrize(
    "command, settings",
    [
        ("sinusoid --inner-learning-rate 0.05 --first-order", {"inner_learning_rate": 0.05}),
        ("sinusoid-cavia --context-size 3 --first-order", {"context_size": 3}),
        ("navigation-2d --max-kl 0.02 --first-order", {"max_kl": 0.02}),
        ("navigation-2d-promp --num-gradient-steps 2 --first-order", {"num_gradient_steps": 2}),
    ],
)
def test_flags_of_a_recipes_own_algorithm_need_no_subcommand(command, settings, asked_for):
    name, *flags = command.split()
    own = RECIPES[name].algorithm.name
    assert exits(["train", name, *flags]) == exits(["train", name, own, *flags]) == 1
    for call in asked_for:
        assert call.recipe == RECIPES[name].changed(first_order=True, **settings)


@pytest.mark.parametrize(
    "command",
    [
        "--seed 2 sinusoid imaml --shots 5 --damping 20 --hidden-sizes 8 8",
        "sinusoid --seed 2 --shots 5 --hidden-sizes 8 8 imaml --damping 20",
        "sinusoid imaml --damping=20 --hidden_sizes 8 8 --shots=5 --seed=2",
    ],
)
def test_flags_may_come_before_or_after_the_algorithm(command, asked_for):
    assert exits(["train", *command.split()]) == 1
    (call,) = asked_for
    changes = {"shots": 5, "damping": 20.0, "hidden_sizes": (8, 8)}
    assert call.recipe == RECIPES["sinusoid"].changed(algorithm="imaml", **changes)
    assert call.seed == 2


@pytest.mark.parametrize(
    "recipe, flag, given, value",
    [
        ("sinusoid", "--gradient-clip", "2.5", 2.5),
        ("sinusoid", "--num-query", "5", 5),
        ("sinusoid", "--weight-scale", "0", 0.0),
        ("sinusoid", "--validation-interval", "500", 500),
        ("sinusoid maml-plus-plus", "--per-step-normalization", "False", False),
        ("sinusoid cavia", "--context-size", "7", 7),
        ("omniglot-5-way-1-shot", "--stream", "True", True),
        ("images", "--images", "my images.zip", "my images.zip"),
        ("images", "--image-size", "32", 32),
        ("navigation-2d", "--step-weights", "0.25 0.75", (0.25, 0.75)),
        ("navigation-2d", "--sparse-radius", "0.5", 0.5),
    ],
)
def test_a_setting_that_may_be_none_is_given_as_a_value_and_as_none(
    recipe, flag, given, value, asked_for
):
    words = [given] if isinstance(value, str) else given.split()
    assert exits(["train", *recipe.split(), flag, *words]) == 1
    assert exits(["train", *recipe.split(), flag, "None"]) == 1
    values = [call.recipe.settings[flag[2:].replace("-", "_")] for call in asked_for]
    assert values == [value, None] and type(values[0]) is type(value)


def algorithms_to_ask_for(name):
    """The recipe's own algorithm and another one; over all recipes, every algorithm."""
    others = [one for one in RECIPES[name].algorithms if one != RECIPES[name].algorithm.name]
    return RECIPES[name].algorithm.name, others[list(RECIPES).index(name) % len(others)]


OFTEN = ("sinusoid", "images", "navigation-2d")  # the others are slow: tyro makes their parsers


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in RECIPES],
)
def test_the_command_of_a_recipe_gives_that_recipe(name, asked_for):
    recipe, own = RECIPES[name], RECIPES[name].algorithm.name
    assert command_of(recipe) == f"mamlax train {name}"
    for algorithm in algorithms_to_ask_for(name):
        word = [algorithm] * (algorithm != own)
        same = recipe.changed(algorithm=algorithm)
        assert command_of(same) == " ".join(["mamlax train", name, *word])
        few = same.changed(num_outer_steps=7, num_test_tasks=3)
        flags = "--num-outer-steps 7 --num-test-tasks 3"
        assert command_of(few) == " ".join(["mamlax train", name, *word, flags])
        given = [same, few, with_other_values(same)]
        for one in given:
            exits(shlex.split(command_of(one))[1:])
        assert [call.recipe for call in asked_for] == given
        asked_for.clear()


def with_other_values(recipe):
    """The recipe with another value of every setting."""
    changes = {}
    for group in recipe.groups.values():
        hints = get_type_hints(type(group), include_extras=True)
        for field in fields(group):
            value = getattr(group, field.name)
            changes[field.name] = another(value, hints[field.name])
            assert changes[field.name] != value
    changes["log_interval"] = 3 * recipe.training.log_interval
    for name in ("checkpoint_interval", "validation_interval"):  # multiples of it
        changes[name] = None if recipe.settings[name] else 2 * changes["log_interval"]
    return recipe.changed(**changes)


def another(value, hint):
    """A value of a type, different from `value`."""
    choices = get_args(hint)
    if get_origin(hint) is Annotated:
        return another(value, choices[0])
    if get_origin(hint) is Literal:
        return next(one for one in choices if one != value)
    if type(None) in choices:
        return another(None, choices[0]) if value is None else None
    if get_origin(hint) is tuple:
        return (3, 5) if choices[0] is not float else (0.25, 0.75)
    if hint is int:
        return (value or 4) + 5  # within the bounds of all
    return {bool: value is not True, str: "my images"}.get(hint, 0.625)
