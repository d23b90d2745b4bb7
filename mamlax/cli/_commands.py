"""The command lines that repeat a recipe and a run."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..config._catalog import RECIPES
from ..config._job import Job
from ..config._recipe import Recipe
from ..records._description import RunDescription


def command_of_run(
    run: RunDescription,
    directory: Path,
    *,
    data_dir: str | None = None,
    track: Sequence[str] = (),
    job: Job | None = None,
) -> str:
    """The command that resumes a run.

    Args:
        run: the run.
        directory: where it is.
        data_dir: where data sets are, which a run does not record; nor the following.
        track: names of trackers.
        job: the processes that train it.
    """
    words = [command_of(run.recipe)]
    words += [f"--seed {run.seed}"] * (run.seed != 0)
    words += [f"--num-seeds {run.num_seeds}"] * (run.num_seeds != 1)
    words += [f"--out {shlex.quote(str(directory))}"]
    words += [f"--track {shlex.quote(one)}" for one in track]
    given = {} if job is None else {one.name: getattr(job, one.name) for one in fields(job)}
    return " ".join(words) + flags_of({"data_dir": data_dir, **given})


def flags_of(given: Mapping[str, Any]) -> str:
    """Flags with values other than None, each after a space, to append to a command."""
    return "".join(
        f" --{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in given.items()
        if value is not None
    )


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
