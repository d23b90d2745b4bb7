"""From recipes to the parts of their problems: task distributions and networks."""

import equinox as eqx
import jax
import numpy as np
import pytest

import mamlax
from mamlax.config import RECIPES
from mamlax.config._algorithms import ALGORITHMS
from mamlax.datasets import _cifar, _mini_imagenet, _omniglot
from mamlax.experiments._method import draws
from mamlax.experiments._policy_search import PolicySearch
from mamlax.experiments._supervised import Supervised
from mamlax.experiments.problems._build import parts_of

SINUSOIDS = [name for name in RECIPES if name.startswith("sinusoid")]
OMNIGLOTS = [name for name in RECIPES if name.startswith("omniglot")]
PHOTOGRAPHS = [name for name in RECIPES if name.startswith(("mini-imagenet", "cifar", "fc100"))]


@pytest.mark.parametrize("name", SINUSOIDS)
def test_sinusoid_recipes(name, key):
    parts = parts_of(RECIPES[name])
    params = parts.init_params(key)
    num_context = 5 if name.endswith("cavia") else 0
    assert [weight.shape for weight in params.weights] == [(1 + num_context, 40), (40, 40), (40, 1)]
    assert (params.context is None) == (num_context == 0)
    task = jax.eval_shape(parts.train_tasks.sample, key)
    assert task.support.inputs.shape == (RECIPES[name].problem.shots, 1)
    assert parts.metric == "mse" and not parts.maximize
    assert not parts.transductive and parts.non_transductive_fn is None
    assert set(parts.baselines) == {"pretrained", "random", "oracle"}


@pytest.mark.parametrize("name", OMNIGLOTS)
def test_omniglot_recipes(name, key, monkeypatch, imitation):
    recipe = RECIPES[name]
    data = mamlax.ClassArrays.of({f"{c}": imitation(28).train.examples[:10] for c in range(20)})
    asked = []

    def fake(data_dir, *, size, split, split_seed):
        asked.append((data_dir, size, split, split_seed))
        return mamlax.Splits(data, data, data)

    monkeypatch.setattr(_omniglot, "omniglot", fake)
    parts = parts_of(recipe, "somewhere")
    assert asked == [("somewhere", 28, "characters", 1)]
    ways, shots = recipe.problem.ways, recipe.problem.shots
    assert (parts.ways, parts.test_ways, parts.maximize) == (ways, ways, True)

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


def test_held_out_characters_may_be_of_one_alphabet(key, monkeypatch):
    names = [f"part/alphabet {a}/character {c}" for a in range(3) for c in range(4 + a)]
    data = mamlax.ClassArrays.of(
        {name: np.full((2, 28, 28, 1), i, np.uint8) for i, name in enumerate(names)}
    )
    splits = mamlax.Splits(data, data, data)
    monkeypatch.setattr(_omniglot, "omniglot", lambda *_, **__: splits)
    recipe = RECIPES["omniglot-5-way-1-shot"].changed(within_alphabet=True)
    parts = parts_of(recipe)
    assert parts.train_tasks.families is None and parts.validation_tasks.families is None
    assert parts.train_tasks.rotations and not parts.test_tasks.rotations
    keys = jax.random.split(key, 50)
    drawn = jax.vmap(parts.test_tasks.sample)(keys).support.inputs[:, :, 0, 0, 0] * 255
    drawn = np.rint(np.asarray(drawn)).astype(int).tolist()
    alphabets = {tuple({names[c].split("/")[1] for c in task}) for task in drawn}
    assert alphabets == {("alphabet 1",), ("alphabet 2",)}
    with pytest.raises(mamlax.MamlaxError, match=r"takes 7 .*alphabet 2.* has 6.*split=alphabets"):
        parts_of(recipe.changed(ways=7))


@pytest.fixture(scope="module")
def few_classes():
    """Every split of photographs is sixteen classes of twenty images, nothing but large."""

    def of(*shape):
        data = mamlax.ClassArrays.of({f"{c}": np.zeros((20, *shape), np.uint8) for c in range(16)})
        return mamlax.Splits(data, data, data)

    return {"mini_imagenet": of(84, 84, 3), "cifar_fs": of(32, 32, 3), "fc100": of(32, 32, 3)}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_recipes_of_photographs(name, key, monkeypatch, few_classes):
    asked = []

    def fake(wanted):
        def find(data_dir, **options):
            asked.append((wanted, data_dir, options))
            return few_classes[wanted]

        return find

    monkeypatch.setattr(_mini_imagenet, "mini_imagenet", fake("mini_imagenet"))
    monkeypatch.setattr(_cifar, "cifar_fs", fake("cifar_fs"))
    monkeypatch.setattr(_cifar, "fc100", fake("fc100"))
    recipe = RECIPES[name]
    parts = parts_of(recipe, "somewhere")
    options = {"size": 84, "skip_broken": False} if name.startswith("mini") else {}
    assert asked == [(name.split("-5-way")[0].replace("-", "_"), "somewhere", options)]
    size, ways, shots = 84 if options else 32, recipe.problem.ways, recipe.problem.shots

    def loss_of(key):
        task, params = parts.train_tasks.sample(key), parts.init_params(key)
        return task, params, parts.loss_fn(params, task.query)

    task, params, loss = eqx.filter_eval_shape(loss_of, key)
    assert task.support.inputs.shape == (ways * shots, size, size, 3)
    assert task.query.inputs.shape == (ways * 15, size, size, 3)
    assert loss.shape == ()
    channels, edge = recipe.problem.channels, size // 16
    assert params.head_weight.shape == (channels * edge * edge, ways) and params.norm == "batch"
    assert parts.metric == "accuracy" and parts.transductive and parts.normalizes


FEATURES = ("mirrored_features", "centered_features")


def features_of(network):
    return {name for name in FEATURES if getattr(network, name)}


@pytest.mark.parametrize("asked", [{"mirrored_features"}, {"centered_features"}, set(FEATURES)])
def test_features_are_changed_after_training_alone(asked, key, monkeypatch, few_classes):
    monkeypatch.setattr(_cifar, "cifar_fs", lambda data_dir: few_classes["cifar_fs"])
    changes = {name: name in asked for name in FEATURES}
    parts = parts_of(RECIPES["cifar-fs-5-way-1-shot-proto-maml"].changed(channels=4, **changes))
    for stage in (parts, parts.baselines["random"], parts.baselines["pretrained"]):
        params = stage.init_params(key)
        finished = stage.finish(key, params)
        assert features_of(params) == set() and features_of(finished) == asked
        for one, other in zip(finished.kernels, params.kernels, strict=True):
            assert one is other


@pytest.mark.parametrize("name", FEATURES)
def test_features_of_other_networks_are_refused(name, monkeypatch, few_classes):
    monkeypatch.setattr(_cifar, "cifar_fs", lambda data_dir: few_classes["cifar_fs"])
    recipe = RECIPES["cifar-fs-5-way-1-shot"].changed(algorithm="proto-maml", **{name: True})
    with pytest.raises(mamlax.MamlaxError, match=f"{name} is for the network conv4, got fully"):
        parts_of(recipe.changed(network="fully-connected"))
    other_norm = recipe.changed(norm="group")
    if name == "centered_features":
        with pytest.raises(mamlax.MamlaxError, match="must be batch or support, got group"):
            parts_of(other_norm)
    else:
        assert parts_of(other_norm).finish is not None


@pytest.mark.parametrize("name", ["maml", "anil", "boil", "cavia", "unicorn-maml", "reptile"])
def test_a_head_that_was_learned_on_other_features_is_refused(name, monkeypatch, few_classes):
    monkeypatch.setattr(_cifar, "cifar_fs", lambda data_dir: few_classes["cifar_fs"])
    recipe = RECIPES["cifar-fs-5-way-1-shot"].changed(algorithm=name, centered_features=True)
    with pytest.raises(mamlax.MamlaxError, match=f"proto-maml and logistic-maml; got {name}"):
        parts_of(recipe)


@pytest.mark.parametrize("name", [*ALGORITHMS, "logistic-maml centered"])
def test_the_parameters_of_each_algorithm_are_finished(name, key, monkeypatch, few_classes):
    """Some learn more than the network: optimizers, step sizes, a head of one class."""
    name, _, is_centered = name.partition(" ")
    monkeypatch.setattr(_cifar, "cifar_fs", lambda data_dir: few_classes["cifar_fs"])
    recipe = RECIPES["cifar-fs-5-way-1-shot"].changed(
        algorithm=name, channels=4, mirrored_features=True, centered_features=bool(is_centered)
    )
    if name == "ridge-maml":
        pytest.skip("of numbers, not of classes")
    parts = parts_of(recipe)
    algorithm = recipe.algorithm
    learner = Supervised(recipe, parts).learner(
        parts.train_tasks, algorithm.num_inner_steps, algorithm.inner_learning_rate
    )
    meta_params = learner.init(parts.init_params(key))
    finished = parts.finish(key, meta_params)
    found = jax.tree.leaves(finished, is_leaf=lambda x: isinstance(x, mamlax.models.Conv4))
    networks = [one for one in found if isinstance(one, mamlax.models.Conv4)]
    assert networks and all(one.mirrored_features for one in networks)
    assert all(one.centered_features == bool(is_centered) for one in networks)
    jax.eval_shape(  # the parts fit one another, and adapt
        lambda params, key: learner.adapt(params, parts.test_tasks.sample(key).support),
        finished,
        key,
    )
    for one, other in zip(jax.tree.leaves(finished), jax.tree.leaves(meta_params), strict=True):
        assert one is other


def test_the_recipe_of_your_own_images_asks_for_them():
    with pytest.raises(mamlax.MamlaxError, match="--images FOLDER"):
        parts_of(RECIPES["images"])


@pytest.mark.parametrize("place", ["here", "under the data folder"])
def test_the_recipe_of_your_own_images_reads_them(place, key, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    arrays = {f"class{c:02}": random.integers(0, 256, (6, 16, 16, 3), np.uint8) for c in range(20)}
    np.savez(tmp_path / "mine.npz", **arrays)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path if place == "here" else tmp_path / "elsewhere")
    recipe = RECIPES["images"].changed(images="mine.npz", ways=2)
    parts = parts_of(recipe, None if place == "here" else str(tmp_path))
    data = [tasks.data for tasks in (parts.train_tasks, parts.validation_tasks, parts.test_tasks)]
    assert sorted(name for split in data for name in split.names) == sorted(arrays)
    task = jax.eval_shape(parts.test_tasks.sample, key)
    assert task.support.inputs.shape == (2, 16, 16, 3)
    assert task.query.inputs.shape == (2 * 5, 16, 16, 3)


CONTROL = [name for name, recipe in RECIPES.items() if hasattr(recipe, "policy")]


@pytest.mark.parametrize("name", [name for name in CONTROL if not name.startswith("ml")])
def test_recipes_of_environments(name, key):
    """The environment is the problem's, and the policy's network the recipe's."""
    if name.startswith(("half", "ant")):
        pytest.importorskip("mujoco")
        pytest.importorskip("gymnasium")
    recipe = RECIPES[name].changed(hidden_sizes=(7, 3))
    parts = parts_of(recipe)
    env = parts.train_tasks
    for setting, value in vars(recipe.problem).items():
        assert getattr(env, setting) == value
    params = parts.init_params(key)
    sizes = [leaf.shape for leaf in jax.tree.leaves(params) if eqx.is_array(leaf)]
    assert (7, 3) in sizes
    assert parts.metric == "return" and parts.maximize
    told = {"pretrained", "random", "oracle"}
    bounds = {"oracle"} if name in ("bandit-10-arms", "tabular-mdp") else set()
    assert parts.baselines.keys() == told - bounds and parts.bounds.keys() == bounds
    if not bounds:  # the oracle sees the task
        assert parts.baselines["oracle"].test_tasks.oracle and not env.oracle


def test_the_velocities_of_an_evaluation_are_the_forty_of_the_paper():
    recipe = RECIPES["half-cheetah-velocity"]
    parts = parts_of(recipe)
    method = _PolicyTasks(recipe, parts)
    goals = np.random.RandomState(1).uniform(0, 2, 40)
    informed = parts.baselines["oracle"].test_tasks
    for tasks in (parts.test_tasks, informed, parts.baselines["random"].test_tasks):
        seen = jax.vmap(lambda draw, tasks=tasks: method.task(tasks, draw))(draws(2, 40))
        np.testing.assert_allclose(seen, goals, rtol=1e-6)
    assert informed.observation_size == parts.test_tasks.observation_size + 1
    few, many = (
        jax.vmap(lambda draw: method.task(parts.test_tasks, draw))(draws(2, count))
        for count in (4, 80)
    )
    np.testing.assert_allclose(few, goals[5::10], rtol=1e-6)
    np.testing.assert_allclose(many, goals.repeat(2), rtol=1e-6)
    drawn = jax.vmap(lambda draw: method.task(parts.validation_tasks, draw))(draws(1, 40))
    assert not np.isin(np.asarray(drawn), goals.astype(np.float32)).any()


class _PolicyTasks(PolicySearch):
    """Without the simulator."""

    def __init__(self, recipe, parts):
        self.recipe, self.parts = recipe, parts
