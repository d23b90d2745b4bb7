"""The recipes are valid and have the papers' settings."""

import re
from typing import get_args

import pytest

from mamlax.algorithms import _inner_loop
from mamlax.config import ALGORITHMS, POLICY_ALGORITHMS, RECIPES, PolicyRecipe, SupervisedRecipe
from mamlax.config._algorithms import Remat
from mamlax.config._catalog import nearest_recipe

# recipes of Finn et al. 2017
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
SUPERVISED = [name for name, recipe in RECIPES.items() if isinstance(recipe, SupervisedRecipe)]
POLICIES = [name for name, recipe in RECIPES.items() if isinstance(recipe, PolicyRecipe)]


def test_choices_are_those_of_the_algorithms():
    """They are listed twice, because settings must not import JAX."""
    assert get_args(Remat) == get_args(_inner_loop.Remat)


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
    elif not published:  # that nothing was published is stated
        assert re.match("none published|unknown", evidence.expected)


@pytest.mark.parametrize("name", ["bandit-10-arms", "tabular-mdp"])
def test_recipes_that_are_not_in_the_paper_name_another_paper(name):
    assert "Duan et al. 2016" in RECIPES[name].evidence.paper


def test_every_recipe_is_of_one_kind():
    assert sorted(SUPERVISED + POLICIES) == sorted(RECIPES)


@pytest.mark.parametrize("name", SUPERVISED)
def test_a_recipe_is_of_the_algorithm_in_its_name(name):
    algorithm = RECIPES[name].algorithm.name
    named = [other for other in ALGORITHMS if other != "maml" and name.endswith(f"-{other}")]
    assert named == ([] if algorithm == "maml" else [algorithm])


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_recipe_is_of_the_algorithm_in_its_name(name):
    algorithm = RECIPES[name].algorithm.name
    named = [other for other in POLICY_ALGORITHMS if name.endswith(f"-{other}")]
    assert named == ([] if algorithm == "maml-trpo" else [algorithm])


def test_there_is_a_sinusoid_of_every_algorithm_for_regression():
    found = {RECIPES[name].algorithm.name for name in SINUSOID_RELATIVES}
    assert found == set(ALGORITHMS) - {"maml", "proto-maml", "unicorn-maml", "logistic-maml"}
    assert len(found) == len(SINUSOID_RELATIVES)


@pytest.mark.parametrize("name", RECIPES)
def test_intervals_and_batches_fit_together(name):
    recipe, training = RECIPES[name], RECIPES[name].training
    for interval in (training.checkpoint_interval, recipe.evaluation.validation_interval):
        assert interval is None or interval % training.log_interval == 0
    batch_size = training.task_batch_size
    fits = isinstance(batch_size, int) and training.meta_batch_size % batch_size == 0
    assert batch_size in (None, "auto") or fits


# of Finn et al. 2017, section 5.1 and appendix A.1; docs/algorithms/maml.md lists the differences
@pytest.mark.parametrize("name, shots", list(zip(SINUSOIDS, (10, 5, 20), strict=True)))
def test_sinusoid_settings_are_the_papers(name, shots):
    recipe, algorithm = RECIPES[name], RECIPES[name].algorithm
    assert recipe.problem.shots == shots and recipe.problem.hidden_sizes == (40, 40)
    assert (algorithm.inner_learning_rate, algorithm.num_inner_steps) == (0.01, 1)
    assert recipe.training.num_outer_steps == 70_000 and not algorithm.first_order


@pytest.mark.parametrize("name", OMNIGLOTS)
def test_omniglot_settings_are_the_papers(name):
    recipe = RECIPES[name]
    words = name.split("-")
    ways, shots = int(words[1]), int(words[3])
    problem = recipe.problem
    assert (problem.ways, problem.shots, problem.num_query) == (ways, shots, None)
    assert problem.network == ("fully-connected" if "connected" in name else "conv4")
    assert problem.rotations and problem.norm == "batch" and problem.channels == 64
    # with 20 ways the paper has 5 steps of 0.1; the docs explain the difference
    assert recipe.algorithm.num_inner_steps == 1
    assert recipe.training.meta_batch_size == {5: 32, 20: 16}[ways]
    assert recipe.training.num_outer_steps == 60_000
    # the paper's step size is of a loss summed over classes
    assert recipe.algorithm.inner_learning_rate == pytest.approx(0.4 * ways)


@pytest.mark.parametrize("name", SINUSOID_RELATIVES)
def test_relatives_learn_the_sinusoids_of_the_paper(name):
    """The same waves, network and outer loop: a table of them compares algorithms."""
    recipe, paper = RECIPES[name], RECIPES["sinusoid"]
    is_imaml = name == "sinusoid-imaml"  # its steps are slow
    assert recipe.problem == paper.problem
    steps = 20_000 if is_imaml else paper.training.num_outer_steps
    assert recipe.training.num_outer_steps == steps
    rate = 1e-3 if is_imaml else paper.outer_optimizer.outer_learning_rate
    assert recipe.outer_optimizer.outer_learning_rate == rate
    assert recipe.outer_optimizer.outer_schedule == paper.outer_optimizer.outer_schedule
    assert recipe.training.meta_batch_size == paper.training.meta_batch_size


@pytest.mark.parametrize("name", MINI_IMAGENETS)
def test_mini_imagenet_settings_are_the_papers(name):
    recipe, problem = RECIPES[name], RECIPES[name].problem
    assert (problem.ways, problem.shots) == (5, int(name.split("-")[4]))
    assert (problem.num_query, problem.image_size) == (15, 84)
    assert (problem.network, problem.downsample, problem.channels) == ("conv4", "pool", 32)
    assert problem.norm == "batch" and not problem.rotations
    assert recipe.training.meta_batch_size == {1: 4, 5: 2}[problem.shots]
    assert recipe.algorithm.num_inner_steps == 5
    assert recipe.evaluation.num_test_inner_steps == 10
    assert recipe.training.num_outer_steps == 60_000
    # the paper's step size is of a loss summed over classes
    assert recipe.algorithm.inner_learning_rate == pytest.approx(0.01 * 5)


@pytest.mark.parametrize("name", [PLUS_PLUS, *(n for n in PHOTOGRAPHS if "plus" in n)])
def test_maml_plus_plus_settings_are_its_papers(name):
    """Of Antoniou et al. 2019 and their code."""
    recipe, algorithm = RECIPES[name], RECIPES[name].algorithm
    assert algorithm.name == "maml-plus-plus" and algorithm.num_inner_steps == 5
    assert recipe.training.num_outer_steps == 50_000
    assert recipe.outer_optimizer.outer_schedule == "cosine"
    assert recipe.problem.downsample == "pool" and recipe.problem.norm == "batch"
    assert recipe.problem.channels == (64 if name == PLUS_PLUS else 48)
    assert algorithm.inner_learning_rate == (0.1 if name == PLUS_PLUS else 0.01)
    assert recipe.training.meta_batch_size == (8 if name == PLUS_PLUS else 2)
    assert 0 < algorithm.num_multi_step_outer_steps < recipe.training.num_outer_steps // 2


@pytest.mark.parametrize("name", NAVIGATIONS)
def test_navigation_settings_are_the_papers(name):
    """Differences are listed in docs/algorithms/rl.md."""
    recipe, algorithm, episodes = RECIPES[name], RECIPES[name].algorithm, RECIPES[name].episodes
    assert recipe.problem == RECIPES["navigation-2d"].problem
    assert recipe.problem.goals == "square" and recipe.problem.horizon == 100
    assert (algorithm.inner_learning_rate, algorithm.inner_learning_rate_decay) == (0.5, 0.5)
    assert algorithm.num_inner_steps == 1 and recipe.evaluation.num_test_inner_steps == 4
    assert (recipe.training.meta_batch_size, episodes.episodes_per_task) == (20, 20)
    assert (recipe.evaluation.num_test_tasks, episodes.num_test_episodes) == (40, 40)
    assert recipe.policy.hidden_sizes == (100, 100) and recipe.policy.activation == "relu"
    assert (episodes.discount, episodes.gae_lambda) == (0.99, 1.0)
    assert algorithm.first_order == name.endswith("first-order")
    if not name.endswith("promp"):
        assert algorithm.max_kl == 0.01


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
    """Figures do not show steps far beyond those in which adaptation works."""
    assert RECIPES[name].shown_inner_steps == steps


@pytest.mark.parametrize(
    "changes, validated, tuned",
    [
        ({}, 1, 7),  # as in training, and as in the evaluation
        ({"num_validation_inner_steps": 3}, 3, 3),
        ({"num_validation_inner_steps": 0}, 0, 7),  # no step size is best after no step
        ({"num_baseline_inner_steps": 5}, 1, 5),
        ({"num_validation_inner_steps": 3, "num_baseline_inner_steps": 5}, 3, 5),
    ],
)
def test_inner_steps_of_validation_and_tuning(changes, validated, tuned):
    """The best checkpoint, and the step size of a baseline."""
    usual = {"num_validation_inner_steps": None, "num_test_inner_steps": 7}
    recipe = RECIPES["sinusoid"].changed(**{**usual, **changes})
    assert recipe.num_validation_inner_steps == validated
    assert recipe.evaluation.num_tuning_inner_steps == tuned


@pytest.mark.parametrize("told, expected", [(None, 30), (0, 0), (7, 7)])
def test_baselines_train_as_long_as_the_recipe_by_default(told, expected):
    recipe = RECIPES["sinusoid"].changed(num_outer_steps=30, num_baseline_steps=told)
    assert recipe.num_baseline_steps == expected


@pytest.mark.parametrize(
    "name, words",
    [
        ("sinusiod", " Did you mean sinusoid?"),
        ("omniglot-5way-1shot", " Did you mean omniglot-5-way-1-shot?"),
        ("qqqqqqq", ""),
    ],
)
def test_the_nearest_recipe_is_named(name, words):
    assert nearest_recipe(name) == words
