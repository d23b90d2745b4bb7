"""The recipes are valid, are the paper's, and come back from JSON as they were."""

import json
from dataclasses import fields, replace

import jax
import pytest

import mamlax
from mamlax.recipes import RECIPES, _settings

SINUSOIDS = [name for name in RECIPES if name.startswith("sinusoid")]
SMALL_CONTROL = ["bandit-10-arms", "tabular-mdp"]
NAVIGATIONS = [name for name in RECIPES if name.startswith("navigation")]
OMNIGLOTS = [name for name in RECIPES if name.startswith("omniglot")]


def described(recipe):
    """A recipe's `recipe.json`, read back."""
    return json.loads(json.dumps(_settings.description_of(recipe, seed=0, num_seeds=1)))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_named_by_its_key_and_carries_evidence(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    if name in SMALL_CONTROL:  # which the paper has not
        assert "Duan et al. 2016" in recipe.evidence.paper
        return
    assert "Finn et al. 2017" in recipe.evidence.paper
    assert any(digit in recipe.evidence.expected for digit in "0123456789")


@pytest.mark.parametrize("name", RECIPES)
def test_intervals_fit_together(name):
    recipe = RECIPES[name]
    for interval in (recipe.checkpoint_interval, recipe.validation_interval):
        assert interval is None or interval % recipe.log_interval == 0
    batch_size = recipe.task_batch_size
    assert batch_size is None or recipe.meta_batch_size % batch_size == 0


# of Finn et al. 2017, section 5.1 and appendix A.1; what differs stands in docs/algorithms/maml.md
@pytest.mark.parametrize("name, shots", [(SINUSOIDS[0], 10), (SINUSOIDS[1], 5), (SINUSOIDS[2], 20)])
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
    assert recipe.num_inner_steps == {5: 1, 20: 5}[ways]
    assert recipe.meta_batch_size == {5: 32, 20: 16}[ways]
    assert recipe.num_outer_steps == 60_000
    # the paper's step size is of a loss summed over classes
    assert recipe.inner_learning_rate == pytest.approx({5: 0.4 * 5, 20: 0.1 * 20}[ways])


@pytest.mark.parametrize("name", SINUSOIDS)
def test_sinusoid_recipes_build(name, key):
    parts = RECIPES[name].problem.build()
    params = parts.init_params(key)
    assert [weight.shape for weight in params.weights] == [(1, 40), (40, 40), (40, 1)]
    task = jax.eval_shape(parts.train_tasks, key)
    assert task.support.inputs.shape == (RECIPES[name].problem.shots, 1)
    assert parts.metric == "mse" and not parts.transductive
    assert set(parts.baselines) == {"pretrained", "random", "oracle"}


@pytest.mark.parametrize("name", OMNIGLOTS)
def test_omniglot_recipes_build(name, key, monkeypatch, small):
    from mamlax.tasks import _omniglot

    recipe = RECIPES[name]
    data = mamlax.ClassArrays.of(
        {f"{c}": small.imitation(28).train.examples[:10] for c in range(20)}
    )
    asked = []

    def fake(data_dir, *, size, split_seed):
        asked.append((data_dir, size, split_seed))
        return mamlax.Splits(data, data, data)

    monkeypatch.setattr(_omniglot, "omniglot", fake)
    parts = recipe.problem.build("somewhere")
    assert asked == [("somewhere", 28, 1)]
    ways, shots = recipe.problem.ways, recipe.problem.shots

    def loss_and_metric(key):
        task = parts.train_tasks(key)
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


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_comes_back_from_its_description(name):
    assert _settings.recipe_from(described(RECIPES[name])) == RECIPES[name]


OTHER = {int: 7, float: 0.125, type(None): 3, tuple: (3, 5, 7)}
CHOICES = {
    "outer_schedule": "constant",
    "network": "fully-connected",
    "norm": "layer",
    "goals": "circle",
    "outer_algorithm": "promp",
    "surrogate": "dice",
    "activation": "tanh",
    "baseline": "none",
    "fisher": "adapted",
    "step_weights": (1.0,),
}


@pytest.mark.parametrize("name", ["sinusoid", "omniglot-5-way-1-shot", "navigation-2d"])
def test_every_setting_comes_back_from_its_description(name):
    """Each field is changed, so that none can be forgotten on the way."""

    def changed(value):
        changes = {}
        for field in fields(value):
            old = getattr(value, field.name)
            if field.name in ("name", "evidence", "problem"):
                continue
            if isinstance(old, bool):
                changes[field.name] = not old
            else:
                changes[field.name] = CHOICES.get(field.name) or OTHER[type(old)]
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
