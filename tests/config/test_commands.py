"""The command that repeats a recipe has flags for exactly the settings that were changed."""

import shlex

import pytest

from mamlax import cli
from mamlax.cli._commands import command_of
from mamlax.config import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_as_it_is_needs_no_flags(name):
    assert command_of(RECIPES[name]) == f"mamlax train {name}"


@pytest.mark.parametrize(
    "name, changes, words",
    [
        ("sinusoid", {"shots": 3}, "--shots 3"),
        ("sinusoid", {"hidden_sizes": (4, 5)}, "--hidden-sizes 4 5"),
        ("sinusoid", {"first_order": True}, "--first-order"),
        ("omniglot-5-way-1-shot", {"rotations": False}, "--no-rotations"),
        ("navigation-2d", {"discount": 0.5, "goals": "circle"}, "--goals circle --discount 0.5"),
        # the algorithm is a subcommand, and only its changed settings are flags
        ("sinusoid", {"algorithm": "imaml"}, "imaml"),
        ("sinusoid", {"algorithm": "imaml", "damping": 2.0, "shots": 3}, "imaml --shots 3 --damp"),
        ("navigation-2d", {"algorithm": "promp", "num_gradient_steps": 2}, "promp --num-gradient-"),
        ("sinusoid-imaml", {"num_inner_steps": 16}, "--num-inner-steps 16"),
    ],
)
def test_only_changed_settings_are_flags(name, changes, words):
    command = command_of(RECIPES[name].changed(**changes))
    assert command.startswith(f"mamlax train {name} {words}")


CHANGES = [
    ("sinusoid", {"hidden_sizes": (4, 5), "gradient_clip": 1.5, "num_baseline_steps": 0}),
    ("sinusoid", {"algorithm": "maml-plus-plus", "per_step_normalization": False}),
    ("sinusoid", {"validation_interval": None, "num_validation_inner_steps": None}),
    ("sinusoid-imaml", {"inner_optimizer": "sgd", "damping": 1.0}),
    ("images", {"images": "my pictures/cats & dogs", "image_size": None, "color": False}),
    ("navigation-2d", {"algorithm": "promp", "step_weights": (1.0,), "terminate": False}),
    ("ant-velocity", {"velocities": (0.5, 1.0), "activation": "tanh"}),
]


@pytest.mark.parametrize("name, changes", CHANGES, ids=[f"{n}-{next(iter(c))}" for n, c in CHANGES])
def test_the_command_gives_the_recipe_back(name, changes, monkeypatch):
    """As the command line reads it, words split as a shell does."""
    from mamlax.experiments import _plan

    recipe, asked = RECIPES[name].changed(**changes), []

    def plan(recipe, **_):
        asked.append(recipe)
        raise SystemExit

    monkeypatch.setattr(_plan, "plan", plan)
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    _, _, *words = shlex.split(command_of(recipe))
    with pytest.raises(SystemExit):
        cli.main(["plan", *words])
    assert asked == [recipe]
