"""A recipe's settings: refused where no run could have them; to `recipe.json` and back."""

import platform
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from typing import Any

import jax

from .._errors import MamlaxError
from ._catalog import RECIPES, nearest_recipe
from ._recipe import Recipe

_SMALLEST = {
    "num_inner_steps": 0,
    "meta_batch_size": 1,
    "num_outer_steps": 1,
    "num_baseline_steps": 0,
    "num_validation_tasks": 1,
    "num_validation_inner_steps": 0,
    "num_baseline_inner_steps": 1,
    "inner_batch_size": 1,
    "log_interval": 1,
    "num_devices": 1,
    "task_batch_size": 1,
    "episodes_per_task": 1,
    "num_test_episodes": 1,
    "num_gradient_steps": 1,
    "num_conjugate_gradient_steps": 1,
    "num_unrolled_steps": 0,
    "num_multi_step_outer_steps": 0,
    "num_first_order_outer_steps": 0,
}
_POSITIVE = (
    "inner_learning_rate",
    "outer_learning_rate",
    "gradient_clip",
    "max_kl",
    "proximal_strength",
    "ridge",
    "fisher_fraction",
)
_FRACTIONS = (
    "discount",
    "gae_lambda",
    "fisher_fraction",
    "inner_learning_rate_decay",
    "max_unstable_share",
)


def check_settings(recipe: Recipe) -> None:
    """Refuse numbers that no run could have.

    Raises:
        MamlaxError: naming the setting, its value and what is allowed.
    """
    for name, least in _SMALLEST.items():
        value = getattr(recipe, name, None)
        if value is not None and value < least:
            raise MamlaxError(f"{name} must be {least} or more, got {value}.")
    for name in _POSITIVE:
        value = getattr(recipe, name, None)
        if value is not None and not 0 < value < float("inf"):
            raise MamlaxError(f"{name} must be a positive number, got {value}.")
    for name in _FRACTIONS:
        value = getattr(recipe, name, None)
        if value is not None and not 0 <= value <= 1:
            raise MamlaxError(f"{name} must be in [0, 1], got {value}.")
    decay = getattr(recipe, "second_moment_decay", None)
    if decay is not None and not 0 <= decay < 1:
        raise MamlaxError(f"second_moment_decay must be in [0, 1), got {decay}.")
    for name in ("checkpoint_interval", "validation_interval"):
        value = getattr(recipe, name)
        if value is not None and (value < 1 or value % recipe.log_interval):
            raise MamlaxError(
                f"{name}={value} must be a multiple of log_interval={recipe.log_interval}."
            )
    check_evaluation(recipe.num_test_tasks, recipe.num_test_inner_steps)


def check_evaluation(num_tasks: int, num_inner_steps: int) -> None:
    """Refuse an evaluation of nothing.

    Raises:
        MamlaxError: if there are no tasks, or a negative number of steps.
    """
    if num_tasks < 1 or num_inner_steps < 0:
        raise MamlaxError(
            f"the evaluation needs tasks and steps, got {num_tasks} tasks and "
            f"{num_inner_steps} inner steps."
        )


def description_of(recipe: Recipe, seed: int, num_seeds: int) -> dict[str, Any]:
    """Everything needed to repeat a run, as its `recipe.json` has it."""
    settings = asdict(recipe)
    del settings["name"], settings["evidence"]
    packages = ("jax", "jaxlib", "optax", "equinox", "numpy")
    return {
        "recipe": recipe.name,
        "seed": seed,
        "num_seeds": num_seeds,
        "mamlax": version("mamlax"),
        "settings": settings,
        "environment": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
            "devices": [device.device_kind for device in jax.devices()],
            "machine": platform.machine(),
        },
    }


def command_of(recipe: Recipe) -> str:
    """The command line that trains a recipe with its settings."""
    usual, words = RECIPES[recipe.name], ["mamlax train", recipe.name]
    for given, known in ((recipe, usual), (recipe.problem, usual.problem)):
        for field in fields(given):
            value, flag = getattr(given, field.name), field.name.replace("_", "-")
            if field.name in ("problem", "evidence") or value == getattr(known, field.name):
                continue
            if isinstance(value, bool):
                words.append(f"--{flag}" if value else f"--no-{flag}")
            elif isinstance(value, tuple):
                words.append(" ".join([f"--{flag}", *map(str, value)]))
            else:
                words.append(f"--{flag} {value}")
    return " ".join(words)


def recipe_from(description: dict[str, Any]) -> Recipe:
    """The recipe of a run, from its `recipe.json`.

    Raises:
        MamlaxError: if this version of mamlax has no such recipe, or not all of its settings.
    """
    try:
        name, written_by = description["recipe"], description["mamlax"]
        settings = dict(description["settings"])
        problem = dict(settings.pop("problem"))
        _ = description["seed"] + description["num_seeds"]  # two numbers
    except (KeyError, TypeError, ValueError) as error:
        raise MamlaxError(
            "the recipe.json is not one that mamlax wrote: recipe, mamlax, seed, num_seeds and "
            f"settings with a problem are expected (missing or unsound: {error}). Train again in "
            "another directory."
        ) from error
    if name not in RECIPES:
        raise MamlaxError(
            f"the run is of the recipe {name!r} of mamlax {written_by}, which mamlax "
            f"{version('mamlax')} does not have.{nearest_recipe(name)}"
        )
    known = RECIPES[name]
    for given, expected in ((settings, known), (problem, known.problem)):
        unknown = given.keys() - {field.name for field in fields(expected)}
        if unknown:
            raise MamlaxError(
                f"the run was trained by mamlax {written_by} with settings that mamlax "
                f"{version('mamlax')} does not have: {', '.join(sorted(unknown))}. Install that "
                "version, or train again."
            )
    settings, problem = (
        {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        for given in (settings, problem)
    )
    return replace(known, **settings, problem=replace(known.problem, **problem))
