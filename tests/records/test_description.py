"""recipe.json is read as it was written; a directory belongs to one run."""

import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from mamlax import MamlaxError
from mamlax.config import RECIPES
from mamlax.records import RunDescription, read_run
from mamlax.records._description import environment, open_run

ENVIRONMENT = {"jax": "0.10.2", "devices": ["cpu"]}


def description(recipe="sinusoid", *, seed=0, num_seeds=1, mamlax="0.1.0", **settings):
    return RunDescription(RECIPES[recipe].changed(**settings), seed, num_seeds, mamlax, ENVIRONMENT)


DESCRIPTION = description()


class TestReadingWhatWasWritten:
    @pytest.mark.parametrize("name", RECIPES)
    def test_a_recipe(self, name, tmp_path):
        open_run(tmp_path, description(name, seed=3, num_seeds=2))
        assert read_run(tmp_path) == description(name, seed=3, num_seeds=2)

    ONE_OF_EACH_PROBLEM = (
        "sinusoid",
        "omniglot-5-way-1-shot",
        "mini-imagenet-5-way-1-shot",
        "cifar-fs-5-way-1-shot",
        "images",
        "navigation-2d",
        "bandit-10-arms",
        "tabular-mdp",
        "half-cheetah-direction",
        "ant-direction",
        "ml1-reach",
    )

    def test_each_problem_has_a_recipe_whose_settings_are_all_changed(self):
        every = {type(recipe.problem) for recipe in RECIPES.values()}
        assert {type(RECIPES[name].problem) for name in self.ONE_OF_EACH_PROBLEM} == every

    @pytest.mark.parametrize("name", ONE_OF_EACH_PROBLEM)
    def test_every_setting(self, name, tmp_path):
        """Every field of every algorithm is changed, so that none is forgotten."""
        for algorithm in RECIPES[name].algorithms:
            recipe = RECIPES[name].with_algorithm(algorithm)
            groups = {group: all_changed(value) for group, value in recipe.groups.items()}
            written = replace(DESCRIPTION, recipe=replace(recipe, **groups))
            open_run(tmp_path / algorithm, written)
            assert read_run(tmp_path / algorithm) == written

    @pytest.mark.parametrize(
        "name, settings",
        [
            ("mini-imagenet-5-way-1-shot", {"num_query": None}),
            ("images", {"image_size": None, "images": "some/folder"}),
            ("sinusoid", {"num_devices": None, "validation_interval": None}),
        ],
    )
    def test_none_where_the_default_is_not_none(self, name, settings, tmp_path):
        open_run(tmp_path, description(name, **settings))
        assert read_run(tmp_path) == description(name, **settings)


def all_changed(settings):
    """Another value of every setting."""
    hints, changes = get_type_hints(type(settings)), {}
    for field in fields(settings):
        old = getattr(settings, field.name)
        changes[field.name] = another(field.name, old, hints[field.name])
        assert changes[field.name] != old
    return replace(settings, **changes)


OTHER = {int: 7, float: 0.125, str: "other", type(None): 7, tuple: (3, 5, 7)}
CHOICES = {
    "step_weights": (1.0,),
    "weight_scale": 0.5,
    "head_scale": 0.5,
    "gradient_clip": 0.5,
    "sparse_radius": 0.5,
    "images": "folder",
    "init_from": "weights",
    "stream": True,
    "task_batch_size": 7,
    "per_step_normalization": True,
    "velocities": (1.0, 2.5),
    "gray_bits": 12,
}


def another(name, old, hint):
    choices = [
        choice
        for option in (hint, *get_args(hint))
        for choice in get_args(option)
        if get_origin(option) is Literal
    ]
    others = [choice for choice in choices if choice != old]
    if others:
        return others[0]
    if isinstance(old, bool):
        return not old
    return CHOICES.get(name) or OTHER[type(old)]


def test_the_file_says_how_to_repeat_the_run(tmp_path):
    open_run(tmp_path, replace(DESCRIPTION, environment=environment()))
    written = json.loads((tmp_path / "recipe.json").read_text())
    assert written["recipe"] == "sinusoid" and written["seed"] == 0 and written["num_seeds"] == 1
    assert written["mamlax"] == "0.1.0"
    settings = written["settings"]
    assert settings["algorithm"]["name"] == "maml"
    assert settings["algorithm"]["inner_learning_rate"] == 0.01
    assert settings["problem"]["shots"] == 10
    assert settings["training"]["num_outer_steps"] == 70_000
    assert {"python", "jax", "jaxlib", "optax", "equinox", "numpy", "devices", "machine"} <= set(
        written["environment"]
    )


class TestADirectoryBelongsToOneRun:
    def test_the_same_run_opens_it_again(self, tmp_path):
        open_run(tmp_path / "run", DESCRIPTION)
        before = (tmp_path / "run" / "recipe.json").read_bytes()
        open_run(tmp_path / "run", DESCRIPTION)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.json"]
        assert (tmp_path / "run" / "recipe.json").read_bytes() == before

    def test_an_empty_directory_may_be_used(self, tmp_path):
        open_run(tmp_path, DESCRIPTION)
        assert read_run(tmp_path).recipe.name == "sinusoid"

    @pytest.mark.parametrize(
        "other, lines",
        [
            ({"recipe": "sinusoid-5-shot", "shots": 10}, ["recipe: 'sinusoid' there, 'sinusoid-5"]),
            ({"seed": 1}, ["seed: 0 there, 1 now"]),
            ({"num_seeds": 2}, ["num_seeds: 1 there, 2 now"]),
            ({"mamlax": "0.2.0"}, ["mamlax: '0.1.0' there, '0.2.0' now"]),
            ({"num_inner_steps": 5}, ["num_inner_steps: 1 there, 5 now"]),
            (
                {"shots": 5, "hidden_sizes": (9,)},
                [
                    "hidden_sizes: [40, 40] there, [9] now",
                    "shots: 10 there, 5 now",
                ],
            ),
            # settings that may grow in reinforcement learning may not grow here
            (
                {"num_outer_steps": 80_000},
                ["num_outer_steps: 70000 there, 80000 now"],
            ),
            (
                {"algorithm": "fomaml"},
                ["algorithm: 'maml' there, 'fomaml' now"],
            ),
        ],
    )
    def test_another_run_is_refused_with_what_differs(self, tmp_path, other, lines):
        open_run(tmp_path, DESCRIPTION)
        before = (tmp_path / "recipe.json").read_bytes()
        with pytest.raises(MamlaxError) as error:
            open_run(tmp_path, description(**other))
        message = str(error.value)
        assert str(tmp_path) in message and "holds another run" in message
        said = [text.strip() for text in message.splitlines() if " there, " in text]
        assert len(said) == len(lines), "something else is said to differ"
        for one, line in zip(said, lines, strict=True):
            assert one.startswith(line)
        assert (tmp_path / "recipe.json").read_bytes() == before

    def test_another_machine_may_resume(self, tmp_path):
        open_run(tmp_path, DESCRIPTION)
        open_run(tmp_path, replace(DESCRIPTION, environment={"jax": "0.11", "devices": ["gpu"]}))
        assert read_run(tmp_path).environment == ENVIRONMENT, "the first record stays"

    @pytest.mark.parametrize(
        "name, steps", [("num_outer_steps", 200), ("num_baseline_steps", None)]
    )
    def test_settings_that_may_grow_are_updated(self, tmp_path, name, steps):
        """In reinforcement learning no learning rate depends on the number of outer steps."""
        usual = {"num_outer_steps": 100, "num_baseline_steps": 50}
        first = description("navigation-2d", **usual)
        longer = description("navigation-2d", **{**usual, name: steps})
        open_run(tmp_path, first)
        with pytest.raises(MamlaxError, match="horizon: 100 there, 20 now") as error:
            open_run(tmp_path, description("navigation-2d", **{**usual, name: steps}, horizon=20))
        assert name not in str(error.value)
        assert read_run(tmp_path) == first
        open_run(tmp_path, longer)
        assert read_run(tmp_path) == longer
        with pytest.raises(MamlaxError, match=name):
            open_run(tmp_path, first)
        assert read_run(tmp_path) == longer

    @pytest.mark.parametrize("name, value", [("num_devices", 2), ("task_batch_size", 1)])
    def test_settings_of_the_machine_may_be_other_ones(self, tmp_path, name, value):
        open_run(tmp_path, DESCRIPTION)
        open_run(tmp_path, description(**{name: value}))
        assert read_run(tmp_path) == DESCRIPTION, "the first record stays"

    def test_a_directory_with_files_of_a_killed_process_can_be_used(self, tmp_path, monkeypatch):
        class Killed(BaseException):
            pass

        def killed(*_, **__):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            patch.setattr(Path, "unlink", killed)
            with pytest.raises(Killed):
                open_run(tmp_path, DESCRIPTION)
        assert [path.name for path in tmp_path.iterdir()] != []
        open_run(tmp_path, DESCRIPTION)
        assert read_run(tmp_path) == DESCRIPTION

    def test_a_directory_of_something_else_is_refused(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(MamlaxError, match=r"not a run directory.*--out"):
            open_run(tmp_path, DESCRIPTION)
        with pytest.raises(MamlaxError, match="not a run directory"):
            open_run(tmp_path / "thesis.tex", DESCRIPTION)
        assert (tmp_path / "thesis.tex").read_text() == "years of work"

    def test_a_directory_that_cannot_be_made_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(MamlaxError, match=r"file/run/recipe\.json could not be written"):
            open_run(tmp_path / "file" / "run", DESCRIPTION)

    def test_a_damaged_description_is_not_written_over(self, tmp_path):
        (tmp_path / "recipe.json").write_text('{"recipe": "sinu')
        with pytest.raises(MamlaxError, match=r"recipe\.json is damaged"):
            open_run(tmp_path, DESCRIPTION)
        assert (tmp_path / "recipe.json").read_text() == '{"recipe": "sinu'


def test_reading_another_directory_suggests_a_run_in_it(tmp_path):
    with pytest.raises(MamlaxError, match=r"not a run directory.*recipe\.json is missing\.$"):
        read_run(tmp_path)
    open_run(tmp_path / "a" / "7", DESCRIPTION)
    with pytest.raises(MamlaxError, match=f"missing. Did you mean {tmp_path}/a/7\\?"):
        read_run(tmp_path / "a")


def changed_file(directory, change):
    """A `recipe.json` with one change in its JSON."""
    open_run(directory, DESCRIPTION)
    path = directory / "recipe.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
    return str(path)


def test_a_recipe_that_does_not_exist_is_explained(tmp_path):
    changed_file(tmp_path, lambda value: value.update(recipe="sinusoid-7-shot", mamlax="9.9"))
    with pytest.raises(MamlaxError) as error:
        read_run(tmp_path)
    for words in (str(tmp_path), "'sinusoid-7-shot'", "of mamlax 9.9", "Did you mean sinusoid-"):
        assert words in str(error.value)


@pytest.mark.parametrize("group", ["problem", "algorithm", "training", "evaluation"])
def test_a_setting_that_does_not_exist_is_named(group, tmp_path):
    path = changed_file(tmp_path, lambda value: value["settings"][group].update(curvature=2))
    with pytest.raises(MamlaxError) as error:
        read_run(tmp_path)
    for words in (path, "settings that mamlax", "does not have: curvature.", "Train again"):
        assert words in str(error.value)


@pytest.mark.parametrize("name", ["mamml", "promp", None, 3, ["maml"], {}])
def test_an_algorithm_that_does_not_exist_is_named(name, tmp_path):
    path = changed_file(tmp_path, lambda value: value["settings"]["algorithm"].update(name=name))
    with pytest.raises(MamlaxError) as error:
        read_run(tmp_path)
    assert path in str(error.value) and f"names the algorithm {name!r}" in str(error.value)
    assert "there are maml, fomaml" in str(error.value)
