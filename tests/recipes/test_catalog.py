"""The recipes are valid, are the paper's, and come back from JSON as they were."""

import json
import re
from dataclasses import fields, replace
from typing import Literal, get_args, get_origin, get_type_hints

import equinox as eqx
import jax
import numpy as np
import pytest

import mamlax
from mamlax.algorithms import _inner_loop
from mamlax.recipes import RECIPES, _algorithm, _recipe, _settings

# those of Finn et al. 2017, to which their paper can be held
SINUSOIDS = ["sinusoid", "sinusoid-5-shot", "sinusoid-20-shot"]
OMNIGLOTS = [
    *(f"omniglot-{ways}-way-{shots}-shot" for ways in (5, 20) for shots in (1, 5)),
    "omniglot-5-way-1-shot-fully-connected",
]
MINI_IMAGENETS = [
    f"mini-imagenet-5-way-{shots}-shot{suffix}" for suffix in ("", "-fomaml") for shots in (1, 5)
]
NAVIGATIONS = [name for name in RECIPES if name.startswith("navigation")]
OF_THE_PAPER = [*SINUSOIDS, *OMNIGLOTS, *MINI_IMAGENETS, *NAVIGATIONS]
SINUSOID_RELATIVES = [
    name for name in RECIPES if name.startswith("sinusoid-") and "shot" not in name
]
PLUS_PLUS = "omniglot-20-way-1-shot-maml-plus-plus"
PHOTOGRAPHS = [name for name in RECIPES if name.startswith(("mini-imagenet", "cifar", "fc100"))]
ALGORITHMS = get_args(_recipe.Algorithm)


def test_choices_are_those_of_the_algorithms():
    """The command line names them without importing JAX, so they stand twice."""
    assert get_args(_recipe.Remat) == get_args(_inner_loop.Remat)


def described(recipe):
    """A recipe's `recipe.json`, read back."""
    return json.loads(json.dumps(_settings.description_of(recipe, seed=0, num_seeds=1)))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_by_its_key_and_carries_evidence(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    evidence = recipe.evidence
    assert evidence.summary and evidence.expected
    assert re.search(r"[A-Z]\w+ .*\b20[012]\d\b", evidence.paper), "who, and when"
    published = any(digit in evidence.expected for digit in "0123456789")
    if name in OF_THE_PAPER:
        assert "Finn et al. 2017" in evidence.paper and published
    elif not published:  # what nobody has measured is said
        assert re.match("none published|nobody knows|not looked up", evidence.expected) or name in (
            "bandit-10-arms",
            "tabular-mdp",
        )


@pytest.mark.parametrize("name", ["bandit-10-arms", "tabular-mdp"])
def test_what_the_paper_has_not_is_credited_to_another(name):
    assert "Duan et al. 2016" in RECIPES[name].evidence.paper


SUPERVISED = [name for name, recipe in RECIPES.items() if hasattr(recipe, "algorithm")]


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_recipe_is_of_the_algorithm_in_its_name(name):
    algorithm = RECIPES[name].algorithm
    named = [other for other in ALGORITHMS if other != "maml" and name.endswith(f"-{other}")]
    assert named == ([] if algorithm == "maml" else [algorithm])
    _algorithm.check_options(RECIPES[name])


def test_there_is_a_sinusoid_of_every_algorithm_for_regression():
    found = {RECIPES[name].algorithm for name in SINUSOID_RELATIVES}
    assert found == set(ALGORITHMS) - {"maml", "proto-maml", "unicorn-maml"}
    assert len(found) == len(SINUSOID_RELATIVES)


@pytest.mark.parametrize("name", RECIPES)
def test_intervals_fit_together(name):
    recipe = RECIPES[name]
    for interval in (recipe.checkpoint_interval, recipe.validation_interval):
        assert interval is None or interval % recipe.log_interval == 0
    batch_size = recipe.task_batch_size
    assert batch_size is None or recipe.meta_batch_size % batch_size == 0


# of Finn et al. 2017, section 5.1 and appendix A.1; what differs stands in docs/algorithms/maml.md
@pytest.mark.parametrize("name, shots", list(zip(SINUSOIDS, (10, 5, 20), strict=True)))
def test_sinusoid_settings_are_the_papers(name, shots):
    recipe = RECIPES[name]
    assert recipe.problem.shots == shots and recipe.problem.hidden_sizes == (40, 40)
    assert (recipe.inner_learning_rate, recipe.num_inner_steps) == (0.01, 1)
    assert recipe.num_outer_steps == 70_000 and not recipe.first_order


@pytest.mark.parametrize("name", OMNIGLOTS)
def test_omniglot_settings_are_the_papers(name):
    recipe = RECIPES[name]
    words = name.split("-")
    ways, shots = int(words[1]), int(words[3])
    problem = recipe.problem
    assert (problem.ways, problem.shots, problem.num_query) == (ways, shots, None)
    assert problem.network == ("fully-connected" if "connected" in name else "conv4")
    assert problem.rotations and problem.norm == "batch" and problem.channels == 64
    assert recipe.num_inner_steps == 1  # with 20 ways the paper has 5 of 0.1: docs say why not
    assert recipe.meta_batch_size == {5: 32, 20: 16}[ways]
    assert recipe.num_outer_steps == 60_000
    # the paper's step size is of a loss summed over classes
    assert recipe.inner_learning_rate == pytest.approx(0.4 * ways)


@pytest.mark.parametrize("name", SINUSOID_RELATIVES)
def test_relatives_learn_the_sinusoids_of_the_paper(name):
    """The same waves, network and outer loop: a table of them compares algorithms."""
    recipe, paper = RECIPES[name], RECIPES["sinusoid"]
    assert recipe.problem == paper.problem
    steps = 20_000 if recipe.algorithm == "imaml" else paper.num_outer_steps  # its steps are dear
    assert recipe.num_outer_steps == steps
    rate = 1e-3 if recipe.algorithm == "imaml" else paper.outer_learning_rate
    assert recipe.outer_learning_rate == rate
    for setting in ("meta_batch_size", "outer_schedule"):
        assert getattr(recipe, setting) == getattr(paper, setting)
    if recipe.algorithm == "reptile":
        assert recipe.num_inner_steps > 1, "with one it is joint training"


@pytest.mark.parametrize("name", MINI_IMAGENETS)
def test_mini_imagenet_settings_are_the_papers(name):
    recipe, problem = RECIPES[name], RECIPES[name].problem
    assert (problem.ways, problem.shots) == (5, int(name.split("-")[4]))
    assert (problem.num_query, problem.image_size) == (15, 84)
    assert (problem.network, problem.downsample, problem.channels) == ("conv4", "pool", 32)
    assert problem.norm == "batch" and not problem.rotations
    assert recipe.meta_batch_size == {1: 4, 5: 2}[problem.shots]
    assert (recipe.num_inner_steps, recipe.num_test_inner_steps) == (5, 10)
    assert recipe.num_outer_steps == 60_000
    # the paper's step size is of a loss summed over classes
    assert recipe.inner_learning_rate == pytest.approx(0.01 * 5)


@pytest.mark.parametrize("name", [PLUS_PLUS, *(n for n in PHOTOGRAPHS if "plus" in n)])
def test_maml_plus_plus_settings_are_its_papers(name):
    """Of Antoniou et al. 2019 and their code."""
    recipe = RECIPES[name]
    assert recipe.algorithm == "maml-plus-plus" and recipe.num_inner_steps == 5
    assert recipe.num_outer_steps == 50_000 and recipe.outer_schedule == "cosine"
    assert recipe.problem.downsample == "pool" and recipe.problem.norm == "batch"
    assert recipe.problem.channels == (64 if name == PLUS_PLUS else 48)
    assert recipe.inner_learning_rate == (0.1 if name == PLUS_PLUS else 0.01)
    assert recipe.meta_batch_size == (8 if name == PLUS_PLUS else 2)
    assert 0 < recipe.num_multi_step_outer_steps < recipe.num_outer_steps // 2


@pytest.mark.parametrize("name", [*SINUSOIDS, *SINUSOID_RELATIVES])
def test_sinusoid_recipes_build(name, key):
    parts = RECIPES[name].build(None)
    params = parts.init_params(key)
    num_context = 5 if name.endswith("cavia") else 0
    assert [weight.shape for weight in params.weights] == [(1 + num_context, 40), (40, 40), (40, 1)]
    assert (params.context is None) == (num_context == 0)
    task = jax.eval_shape(parts.train_tasks.sample, key)
    assert task.support.inputs.shape == (RECIPES[name].problem.shots, 1)
    assert parts.metric == "mse" and not parts.transductive and parts.non_transductive_fn is None
    assert set(parts.baselines) == {"pretrained", "random", "oracle"}


@pytest.mark.parametrize("name", [*OMNIGLOTS, PLUS_PLUS])
def test_omniglot_recipes_build(name, key, monkeypatch, imitation):
    from mamlax.tasks import _omniglot

    recipe = RECIPES[name]
    data = mamlax.ClassArrays.of({f"{c}": imitation(28).train.examples[:10] for c in range(20)})
    asked = []

    def fake(data_dir, *, size, split_seed):
        asked.append((data_dir, size, split_seed))
        return mamlax.Splits(data, data, data)

    monkeypatch.setattr(_omniglot, "omniglot", fake)
    parts = recipe.problem.build("somewhere")
    assert asked == [("somewhere", 28, 1)]
    ways, shots = recipe.problem.ways, recipe.problem.shots

    def loss_and_metric(key):
        task = parts.train_tasks.sample(key)
        params = parts.init_params(key)
        return task, params, parts.loss_fn(params, task.query), parts.metric_fn(params, task.query)

    task, params, loss, metric = jax.eval_shape(loss_and_metric, key)
    assert task.support.inputs.shape == task.query.inputs.shape == (ways * shots, 28, 28, 1)
    assert loss.shape == metric.shape == ()
    sizes = sorted(leaf.shape for leaf in jax.tree.leaves(params))
    if "connected" in name:
        assert {(784, 256), (256, 128), (128, 64), (64, 64), (64, 5)} < set(sizes)
    else:
        assert sizes.count((3, 3, 64, 64)) == 3 and (64, ways) in sizes
    pretrained = parts.baselines["pretrained"]
    head = jax.eval_shape(pretrained.init_params, key)
    assert (64, 80) in [leaf.shape for leaf in jax.tree.leaves(head)], "20 classes, four turns"
    finished = jax.eval_shape(pretrained.finish, key, head)
    assert sorted(leaf.shape for leaf in jax.tree.leaves(finished)) == sizes


@pytest.fixture(scope="module")
def ten_classes():
    """Every split of photographs is ten classes of twenty images that are nothing but large."""

    def of(*shape):
        data = mamlax.ClassArrays.of({f"{c}": np.zeros((20, *shape), np.uint8) for c in range(10)})
        return mamlax.Splits(data, data, data)

    return {"mini_imagenet": of(84, 84, 3), "cifar_fs": of(32, 32, 3), "fc100": of(32, 32, 3)}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_recipes_of_photographs_build(name, key, monkeypatch, ten_classes):
    from mamlax.tasks import _cifar, _mini_imagenet

    asked = []

    def fake(wanted):
        def find(data_dir, **options):
            asked.append((wanted, data_dir, options))
            return ten_classes[wanted]

        return find

    monkeypatch.setattr(_mini_imagenet, "mini_imagenet", fake("mini_imagenet"))
    monkeypatch.setattr(_cifar, "cifar_fs", fake("cifar_fs"))
    monkeypatch.setattr(_cifar, "fc100", fake("fc100"))
    recipe = RECIPES[name]
    parts = recipe.build("somewhere")
    options = {"size": 84, "skip_broken": False} if name.startswith("mini") else {}
    assert asked == [(name.split("-5-way")[0].replace("-", "_"), "somewhere", options)]
    size, shots = 84 if options else 32, recipe.problem.shots

    def loss_of(key):
        task, params = parts.train_tasks.sample(key), parts.init_params(key)
        return task, params, parts.loss_fn(params, task.query)

    task, params, loss = eqx.filter_eval_shape(loss_of, key)
    assert task.support.inputs.shape == (5 * shots, size, size, 3)
    assert task.query.inputs.shape == (5 * 15, size, size, 3)
    assert loss.shape == ()
    channels, edge = recipe.problem.channels, size // 16
    assert params.head_weight.shape == (channels * edge * edge, 5) and params.norm == "batch"
    assert parts.metric == "accuracy" and parts.transductive and parts.normalizes


def test_the_recipe_of_your_own_images_asks_for_them():
    with pytest.raises(mamlax.MamlaxError, match="--images FOLDER"):
        RECIPES["images"].build(None)


@pytest.mark.parametrize("place", ["here", "under the data folder"])
def test_the_recipe_of_your_own_images_reads_them(place, key, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    arrays = {f"class{c:02}": random.integers(0, 256, (6, 16, 16, 3), np.uint8) for c in range(20)}
    np.savez(tmp_path / "mine.npz", **arrays)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path if place == "here" else tmp_path / "elsewhere")
    recipe = RECIPES["images"]
    recipe = replace(recipe, problem=replace(recipe.problem, images="mine.npz", ways=2))
    parts = recipe.build(None if place == "here" else str(tmp_path))
    data = [tasks.data for tasks in (parts.train_tasks, parts.validation_tasks, parts.test_tasks)]
    assert sorted(name for split in data for name in split.names) == sorted(arrays)
    task = jax.eval_shape(parts.test_tasks.sample, key)
    assert task.support.inputs.shape == (2, 16, 16, 3)
    assert task.query.inputs.shape == (2 * 5, 16, 16, 3)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_its_description(name):
    assert _settings.recipe_from(described(RECIPES[name])) == RECIPES[name]


OTHER = {int: 7, float: 0.125, str: "other", type(None): 3, tuple: (3, 5, 7)}
CHOICES = {
    "step_weights": (1.0,),
    "weight_scale": 0.5,
    "gradient_clip": 0.5,
    "proximal_strength": 0.5,
    "ridge": 0.5,
    "images": "folder",
    "stream": True,
    "per_step_normalization": True,
    "velocities": (1.0, 2.5),
}


def another(name, old, hint):
    """Another value of a setting than the one it has."""
    choices = [
        choice
        for option in (hint, *get_args(hint))
        for choice in get_args(option)
        if get_origin(option) is Literal
    ]
    if choices:
        return next(choice for choice in choices if choice != old)
    if isinstance(old, bool):
        return not old
    return CHOICES.get(name) or OTHER[type(old)]


ONE_OF_EACH_PROBLEM = [
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
]


def test_each_problem_has_a_recipe_whose_settings_are_all_changed():
    every = {type(recipe.problem) for recipe in RECIPES.values()}
    assert {type(RECIPES[name].problem) for name in ONE_OF_EACH_PROBLEM} == every


@pytest.mark.parametrize("name", ONE_OF_EACH_PROBLEM)
def test_every_setting_comes_back_from_its_description(name):
    """Each field is changed, so that none can be forgotten on the way."""

    def changed(value):
        hints, changes = get_type_hints(type(value)), {}
        for field in fields(value):
            if field.name in ("name", "evidence", "problem"):
                continue
            old = getattr(value, field.name)
            changes[field.name] = another(field.name, old, hints[field.name])
            assert changes[field.name] != old
        return replace(value, **changes)

    recipe = changed(replace(RECIPES[name], problem=changed(RECIPES[name].problem)))
    assert _settings.recipe_from(described(recipe)) == recipe


def test_a_recipe_that_no_longer_exists_is_explained():
    description = {**described(RECIPES["sinusoid"]), "recipe": "sinusoids-of-old"}
    with pytest.raises(mamlax.MamlaxError, match="sinusoids-of-old"):
        _settings.recipe_from(description)


@pytest.mark.parametrize("where", ["settings", "problem"])
def test_a_setting_of_another_version_is_explained(where):
    description = described(RECIPES["sinusoid"])
    settings = description["settings"]
    (settings if where == "settings" else settings["problem"])["curvature"] = 2
    with pytest.raises(mamlax.MamlaxError, match="curvature"):
        _settings.recipe_from(description)


def test_the_description_says_how_to_repeat_the_run():
    description = described(RECIPES["sinusoid"])
    assert description["recipe"] == "sinusoid" and description["seed"] == 0
    assert description["mamlax"] == "0.1.0"
    assert {"python", "jax", "jaxlib", "optax", "equinox", "numpy", "devices", "machine"} <= set(
        description["environment"]
    )
    assert "name" not in description["settings"] and "evidence" not in description["settings"]


@pytest.mark.parametrize("name", NAVIGATIONS)
def test_navigation_settings_are_the_papers(name):
    """What differs stands in docs/algorithms/rl.md."""
    recipe = RECIPES[name]
    assert recipe.problem == RECIPES["navigation-2d"].problem
    assert recipe.problem.goals == "square" and recipe.problem.horizon == 100
    assert (recipe.inner_learning_rate, recipe.inner_learning_rate_decay) == (0.5, 0.5)
    assert (recipe.num_inner_steps, recipe.num_test_inner_steps) == (1, 4)
    assert (recipe.meta_batch_size, recipe.episodes_per_task) == (20, 20)
    assert (recipe.num_test_tasks, recipe.num_test_episodes) == (40, 40)
    assert recipe.hidden_sizes == (100, 100) and recipe.activation == "relu"
    assert (recipe.discount, recipe.gae_lambda, recipe.max_kl) == (0.99, 1.0, 0.01)
    assert recipe.first_order == name.endswith("first-order")
    assert (recipe.outer_algorithm == "promp") == name.endswith("promp")


@pytest.mark.parametrize(
    "name, steps",
    [
        ("sinusoid", (0, 1, 10)),
        ("sinusoid-meta-sgd", (0, 1)),
        ("sinusoid-imaml", (0, 1, 32)),
        ("omniglot-5-way-1-shot", (0, 1, 3)),
        ("omniglot-20-way-5-shot", (0, 1)),
        ("navigation-2d", (0, 1, 3)),
        ("half-cheetah-direction", (0, 1, 3)),
    ],
)
def test_figures_show_what_a_recipe_is_judged_after(name, steps):
    """Not steps in which adaptation has long gone astray."""
    assert RECIPES[name].shown_inner_steps == steps
