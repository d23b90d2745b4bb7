"""The command lines that repeat a recipe and a run."""

import shlex
from dataclasses import fields
from pathlib import Path

from ..config._catalog import RECIPES
from ..config._recipe import Recipe
from ..records._description import RunDescription


def command_of_run(run: RunDescription, directory: Path) -> str:
    """The command that resumes a run."""
    words = [command_of(run.recipe)]
    words += [f"--seed {run.seed}"] * (run.seed != 0)
    words += [f"--num-seeds {run.num_seeds}"] * (run.num_seeds != 1)
    return " ".join([*words, f"--out {shlex.quote(str(directory))}"])


def command_of(recipe: Recipe) -> str:
    """The command that trains a recipe, with flags for settings that differ from the catalog's."""
    default, words = RECIPES[recipe.name], ["mamlax train", recipe.name]
    if recipe.algorithm.name != default.algorithm.name:
        default = default.with_algorithm(recipe.algorithm.name)
        words.append(recipe.algorithm.name)
    for group, known in default.groups.items():
        given = recipe.groups[group]
        for field in fields(given):
            value, flag = getattr(given, field.name), field.name.replace("_", "-")
            if value == getattr(known, field.name):
                continue
            if isinstance(field.default, bool):  # a boolean that may be None takes a value
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif isinstance(value, tuple):
                words.append(" ".join([f"--{flag}", *map(str, value)]))
            else:
                words.append(f"--{flag} {shlex.quote(str(value))}")
    return " ".join(words)
