"""Hints for mistakes in a command that tyro does not explain; flags in error messages."""

import inspect
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from .._errors import MamlaxError
from ..config._algorithms import ALGORITHMS
from ..config._catalog import RECIPES, nearest_recipe
from ..config._job import Job
from ..config._policies import OLD_NAMES, POLICY_ALGORITHMS
from ..config._serving import Serving
from ..config._settings import Settings, hints_of
from ..config._spelling import distance, errors_allowed, nearest

_RATES = ("inner-learning-rate", "outer-learning-rate")
_BY_MEANING = {
    **dict.fromkeys(("lr", "learning-rate", "step-size"), _RATES),
    **dict.fromkeys(("alpha", "inner-lr", "fast-lr"), _RATES[:1]),
    **dict.fromkeys(("beta", "outer-lr", "meta-lr"), _RATES[1:]),
    **dict.fromkeys(("epochs", "num-epochs"), ("num-outer-steps",)),
    **dict.fromkeys(("steps", "num-steps"), ("num-outer-steps", "num-inner-steps")),
    **dict.fromkeys(("iterations", "num-iterations", "max-steps"), ("num-outer-steps",)),
    **dict.fromkeys(("batch-size", "batch", "tasks-per-batch"), ("meta-batch-size",)),
    **dict.fromkeys(("adaptation-steps", "inner-steps", "num-updates"), ("num-inner-steps",)),
    **dict.fromkeys(("random-state", "random-seed"), ("seed",)),
    **dict.fromkeys(("seeds", "runs"), ("num-seeds",)),
    **dict.fromkeys(("output", "output-dir", "dir", "directory", "save"), ("out",)),
    **dict.fromkeys(("data", "data-path", "dataset-dir"), ("data-dir", "images")),
    **dict.fromkeys(("gpus", "devices"), ("num-devices",)),
    **dict.fromkeys(("nodes", "hosts", "world-size"), ("num-processes",)),
    **dict.fromkeys(("rank", "node-rank"), ("process-id",)),
    **dict.fromkeys(("master-addr", "coordinator-address"), ("coordinator",)),
    **dict.fromkeys(("way", "n-way", "num-ways"), ("ways",)),
    **dict.fromkeys(("k-shot", "num-shots", "n-shot"), ("shots",)),
    **dict.fromkeys(("group", "groups", "task"), ("task-column",)),
    **dict.fromkeys(("label", "target", "y"), ("target-column",)),
}
"""What flags of other programs are called here."""


def suggest_command(arguments: list[str], commands: Collection[str]) -> None:
    """Raise an error that names the nearest command if there is no such one."""
    word = arguments[0]
    if word in commands or word.startswith("-"):
        return
    near = nearest(word, commands)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    if word in RECIPES:
        hint = f" It is a recipe: mamlax train {word}."
    raise MamlaxError(f"mamlax has no command {word!r}.{hint} It has {', '.join(commands)}.")


def suggest_flag(arguments: list[str], commands: Mapping[str, Callable[..., Any]]) -> None:
    """Raise an error that names the nearest flags if the command has no such flag."""
    words = arguments[1:]
    if arguments[:1] not in ([name] for name in commands) or {"-h", "--help"} & set(words):
        return
    parameters = inspect.signature(commands[arguments[0]]).parameters
    known = set()
    for name, one in parameters.items():
        if isinstance(one.default, Settings):
            known |= {field.name for field in fields(one.default)}
        elif one.kind is one.KEYWORD_ONLY:
            known.add(name)
    command, recipe = f"mamlax {arguments[0]}", None
    if "recipe" in parameters:
        if (place := place_of_recipe(arguments)) is None:
            return
        recipe = RECIPES[arguments[place]]
        command += f" {recipe.name}"
        # such a word may be the value of a flag: what any of them has is let through
        chosen = [word for word in arguments[place + 1 :] if word in recipe.algorithms]
        command = " ".join([command, *chosen])
        for algorithm in chosen or [recipe.algorithm.name]:
            known |= recipe.with_algorithm(algorithm).settings.keys() - {"algorithm"}
    known = {name.replace("_", "-") for name in known}
    for word in words:
        name = word.split("=")[0].removeprefix("--").replace("_", "-")
        of_tyro = name == "help-all" or name.startswith("tyro-")
        if not word.startswith("--") or of_tyro or {name, name.removeprefix("no-")} & known:
            continue
        near = _nearest_flags(name, known)
        hint = f" Did you mean {' or '.join(f'--{one}' for one in near)}?" if near else ""
        others = {} if recipe is None else recipe.algorithms
        having = [one for one, kind in others.items() if name.replace("-", "_") in hints_of(kind)]
        every = f"{command} {'--help-all' if recipe else '--help'} lists its flags."
        if recipe and having:
            hint = f" It is for {', '.join(having)}:"
            every = f"mamlax {arguments[0]} {recipe.name} {having[0]} --help."
        raise MamlaxError(f"{command} has no --{name}.{hint} {every}")


def _nearest_flags(name: str, known: set[str]) -> list[str]:
    """The flags that a flag which does not exist may stand for: by meaning, or by spelling."""
    negation = "no-" * name.startswith("no-")
    name = name.removeprefix("no-")
    meanings = {
        other: [flag for flag in flags if flag in known] for other, flags in _BY_MEANING.items()
    }
    meanings = {other: flags for other, flags in meanings.items() if flags}
    errors = {other: distance(name, other) for other in (*sorted(known), *meanings)}
    likely = min(errors, key=lambda other: errors[other])
    if likely in meanings and errors[likely] <= errors_allowed(name):
        near = meanings[likely]
    else:
        near = nearest(name, sorted(known))
    return [negation + flag for flag in near]


def suggest_recipe(arguments: list[str]) -> None:
    """Raise an error that names the most similar recipe or algorithm if a word is neither."""
    if arguments[:1] not in (["train"], ["plan"]):
        return
    place = place_of_recipe(arguments)
    if place is not None:
        following = arguments[place + 1 : place + 2]
        if following and not following[0].startswith("-"):
            RECIPES[arguments[place]].with_algorithm(following[0])  # raises if there is none
        return
    words = [pair for pair in pairwise(arguments) if not pair[1].startswith("-")]
    # after a flag, a word is most often its value
    for before, word in sorted(words, key=lambda pair: pair[0].startswith("--")):
        near = nearest_recipe(word)
        if near or before == arguments[0]:
            raise MamlaxError(f"there is no recipe {word!r}.{near} mamlax recipes lists them all.")


def place_of_recipe(arguments: list[str]) -> int | None:
    """The index of the recipe's name: the first one that is not the value of a flag."""
    for place, (before, word) in enumerate(pairwise(arguments), start=1):
        is_value = before.startswith("--") and "=" not in before
        if word in RECIPES and not is_value:
            return place
    return None


def suggest_order(arguments: list[str]) -> None:
    """Raise an error if the table follows an option that takes several words and would take it."""
    several = ("--task-column", "--target-column", "--features", "--split-column")
    option = ""
    command = arguments[0] if arguments else ""
    for word in arguments[1:] if command in ("fit", "predict", "score") else []:
        if word.startswith("-"):
            option = word.replace("_", "-")
        elif option in several and Path(word).suffix in (".csv", ".tsv", ".parquet", ".gz"):
            words = [one for one in arguments[1:] if one != word]
            words.insert(int(command != "fit"), word)  # elsewhere a model stands before it
            raise MamlaxError(
                f"{option} takes several words, and so would take {word}. The table comes first: "
                f"mamlax {command} {shlex.join(words)}"
            )


def suggest_algorithm(arguments: list[str]) -> None:
    """Raise an error with today's command if the algorithm is given as a flag, as in 0.1.0."""
    parts = (word.split("=", 1) if word.startswith("--") else [word] for word in arguments)
    words = [part for one in parts for part in one]
    flags = [word.replace("_", "-") for word in words[:-1]]
    for flag in ("--algorithm", "--outer-algorithm"):
        if arguments[:1] not in (["train"], ["plan"]) or flag not in flags:
            continue
        place = flags.index(flag)
        algorithm = OLD_NAMES.get(words[place + 1], words[place + 1])
        del words[place : place + 2]
        found = place_of_recipe(words)
        at = len(words) if found is None else found + 1
        if at < len(words) and words[at] in {**ALGORITHMS, **POLICY_ALGORITHMS}:
            del words[at]
        words.insert(at, algorithm)
        raise MamlaxError(
            f"the algorithm is a word after the recipe, without {flag}: mamlax {shlex.join(words)}"
        )


def in_flags(message: str) -> str:
    """Replace arguments and settings in a message by flags of the command line.

    >>> in_flags("checkpoint_interval=15 must be a multiple of log_interval=10.")
    '--checkpoint-interval 15 must be a multiple of --log-interval 10.'
    >>> in_flags("To go on without broken images: skip_broken=True.")
    'To go on without broken images: --skip-broken.'
    >>> in_flags("the table has no column 'image_size'.")  # a user's own word
    "the table has no column 'image_size'."
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], match[2]
        words = [f"--{name.replace('_', '-')}", *([value] if value not in (None, "True") else [])]
        return " ".join(words)

    names = "|".join(sorted(_names(), key=len, reverse=True))
    return re.sub(rf"(?<![\w.\-/'\"])({names})(?:=([\w.\-]*\w))?(?![\w/])", flag, message)


def _names() -> set[str]:
    """Names of settings and arguments that cannot be mistaken for ordinary words."""
    names = {name for recipe in RECIPES.values() for name in recipe.settings}
    for recipe in RECIPES.values():
        names |= {field.name for one in recipe.algorithms.values() for field in fields(one)}
    names |= {field.name for kind in (Job, Serving) for field in fields(kind)}
    return {name for name in names if "_" in name} | {"data_dir", "num_seeds"}
