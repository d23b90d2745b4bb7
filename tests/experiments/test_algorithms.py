"""Each algorithm trains as described, and impossible settings are refused before training."""

import re
from functools import partial
from pathlib import Path
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax.config import ALGORITHMS
from mamlax.config._algorithms import InnerOptimizer, Maml
from mamlax.experiments import _train
from mamlax.experiments._evaluate import evaluate_results
from mamlax.experiments._experiment import experiment_of
from mamlax.experiments._learner import check_ways, learner_of
from mamlax.experiments._result import result_of
from mamlax.experiments._train import train, train_stage
from mamlax.experiments.problems._build import parts_of

FOR_CLASSES = ("proto-maml", "unicorn-maml", "logistic-maml")
RATE, NUM_TASKS = 0.01, 6
# of Adam, which takes steps of this size by gradients that are nothing but rounding
OUTER_RATE = 0.001


class Crash(Exception):
    """A crash."""


SETTINGS = {
    "inner_learning_rate": RATE,
    "num_inner_steps": 2,
    "outer_learning_rate": OUTER_RATE,
    "outer_schedule": "constant",
    "second_moment_decay": 0.999,
    "gradient_clip": None,
    "meta_batch_size": 2,
    "num_outer_steps": 2,
    "log_interval": 1,
    "checkpoint_interval": 1,
    "validation_interval": None,
    "num_test_tasks": NUM_TASKS,
    "num_test_inner_steps": 3,
}


@pytest.fixture
def tiny(small):
    """`tiny(algorithm, **settings)`, on waves or, where the algorithm needs them, on classes."""

    def of(algorithm, *, classes=None, **settings):
        settings = {"algorithm": algorithm, **SETTINGS, **settings}
        if algorithm in FOR_CLASSES if classes is None else classes:
            return small.omniglot(**{"rotations": False, **settings})
        return small.sinusoid(**{"shots": 3, "hidden_sizes": (4,), **settings})

    return of


@pytest.fixture
def alone(small):
    """`alone(recipe, directory)`: the experiment of a recipe without baselines."""

    def of(recipe, directory):
        changes = {}
        if hasattr(recipe.problem, "ways"):  # instead of four layers, one
            changes["init_params"] = partial(small_network, recipe.problem)
        return small.alone(recipe, directory, **changes)

    return of


def small_network(problem, key):
    return mamlax.models.mlp(key, 36, problem.ways, hidden_sizes=(8,), norm=problem.norm)


def features_of(params, batch):
    return params.features(batch.inputs, batch.reference)


def set_head(params, weight, bias):
    return params.with_head(weight, bias)


def multi_step(loss_fn, **options):
    options = {"num_multi_step_outer_steps": 1, "num_first_order_outer_steps": 2, **options}
    return mamlax.maml_plus_plus(loss_fn, initial_step_size=RATE, **options)


# settings that differ from the defaults, and the same learner written with the library
momentum, adam = optax.sgd(RATE, momentum=0.9), optax.adam(RATE, eps_root=1e-8)
BY_HAND = {
    "maml": (
        {"inner_optimizer": "momentum", "num_unrolled_steps": 1, "remat": "steps"},
        partial(mamlax.maml, inner_optimizer=momentum, num_unrolled_steps=1, remat="steps"),
    ),
    "fomaml": (
        {"inner_optimizer": "adam"},
        partial(mamlax.fomaml, inner_optimizer=optax.adam(RATE)),
    ),
    "anil": (
        {"inner_optimizer": "learned-step-sizes"},
        partial(
            mamlax.anil,
            head=lambda params: (params.weights[-1], params.biases[-1]),
            inner_optimizer=mamlax.learned_step_sizes(RATE),
        ),
    ),
    "boil": (
        {"inner_optimizer": "learned-curvature"},
        partial(
            mamlax.boil,
            head=lambda params: (params.weights[-1], params.biases[-1]),
            inner_optimizer=mamlax.learned_curvature(RATE),
        ),
    ),
    "meta-sgd": (
        {"first_order": True},
        partial(mamlax.meta_sgd, initial_step_size=RATE, first_order=True),
    ),
    "maml-plus-plus": (
        {"num_multi_step_outer_steps": 1, "num_first_order_outer_steps": 2},
        multi_step,
    ),
    "meta-curvature": (
        {"remat": "sqrt"},
        partial(mamlax.maml, inner_optimizer=mamlax.learned_curvature(RATE), remat="sqrt"),
    ),
    "imaml": (
        {"proximal_strength": 3.0, "num_conjugate_gradient_steps": 2, "damping": 4.0},
        partial(
            mamlax.imaml,
            inner_optimizer=optax.sgd(RATE),
            proximal_strength=3.0,
            num_conjugate_gradient_steps=2,
            damping=4.0,
        ),
    ),
    "reptile": (
        {"inner_optimizer": "adam-without-momentum", "inner_batch_size": 2},
        partial(mamlax.reptile, inner_optimizer=optax.adam(RATE, b1=0.0)),
    ),
    "cavia": (
        {"inner_optimizer": "sign", "first_order": True},
        partial(
            mamlax.cavia,
            context=lambda params: params.context,
            inner_optimizer=optax.sign_sgd(RATE),
            first_order=True,
        ),
    ),
    "proto-maml": (
        {},
        partial(
            mamlax.proto_maml,
            features_fn=features_of,
            set_head=set_head,
            ways=3,
            inner_optimizer=optax.sgd(RATE),
        ),
    ),
    "unicorn-maml": (
        {},
        partial(
            mamlax.unicorn_maml,
            head=lambda params: params.head,
            ways=3,
            inner_optimizer=optax.sgd(RATE),
        ),
    ),
    "logistic-maml": (
        {"ridge": 0.3, "num_solver_steps": 4},
        partial(
            mamlax.logistic_maml,
            features_fn=features_of,
            set_head=set_head,
            ways=3,
            ridge=0.3,
            num_solver_steps=4,
            inner_optimizer=optax.sgd(RATE),
        ),
    ),
    "ridge-maml": (
        {"ridge": 0.3, "inner_optimizer": "adam"},
        partial(
            mamlax.ridge_maml,
            features_fn=features_of,
            set_head=set_head,
            ridge=0.3,
            inner_optimizer=adam,
        ),
    ),
}


# each compiles several programs, so that most of them are slow tests
# imaml warns here, because two iterations of conjugate gradients are few
@pytest.mark.filterwarnings("ignore:train/residual is")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.slow
def test_an_algorithm_trains_and_resumes_as_it_does_by_hand(
    algorithm, tiny, alone, small, fake_omniglot, tmp_path
):
    """The losses and gradients of two outer steps, and adaptation by more steps than trained."""
    settings, make = BY_HAND[algorithm]
    recipe = tiny(algorithm, **settings)
    experiment = alone(recipe, tmp_path / "run")
    main = experiment.stages["main"]

    def crash(stage, line):
        raise Crash

    with pytest.raises(Crash):
        train_stage(experiment, main, crash)
    learned = result_of(experiment, main, train_stage(experiment, main))
    evaluation = evaluate_results(experiment, {"main": learned}, NUM_TASKS, 3)
    assert evaluation.algorithm == algorithm

    parts = experiment.parts
    learner = make(parts.loss_fn, num_inner_steps=2)
    trained, tasks = learner, parts.train_tasks
    size = getattr(recipe.algorithm, "inner_batch_size", None)
    if size is not None:  # in training alone
        trained = make(parts.loss_fn, num_inner_steps=2, support_per_step=True)
        tasks = mamlax.Minibatches(tasks, num_inner_steps=2, size=size)
    loop = mamlax.outer_loop(trained, optax.adam(OUTER_RATE), tasks.sample, meta_batch_size=2)
    init_key, run_key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))
    result = mamlax.run(
        loop,
        parts.init_params(init_key),
        key=run_key,
        num_outer_steps=2,
        log_interval=1,
        directory=tmp_path / "by_hand",
    )
    found, expected = (small.lines(tmp_path / name) for name in ("run", "by_hand"))
    assert [line["step"] for line in found] == [1, 2]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-6, nan_ok=True)

    @eqx.filter_jit
    def metric_by_hand(params, tasks):
        def of_one(task):
            adapted = learner.adapt(params, task.support, num_inner_steps=3).params
            return parts.metric_fn(adapted, task.query)

        return jnp.mean(jax.vmap(of_one)(tasks))

    tasks = mamlax.sample_tasks(parts.test_tasks.sample, jax.random.key(2), NUM_TASKS)
    by_hand = float(metric_by_hand(result.state.meta_params, tasks))
    assert len(evaluation.curve) == 4
    assert evaluation.curve[3].mean == pytest.approx(by_hand, rel=2e-3)


def test_each_algorithm_and_inner_optimizer_is_compared():
    assert BY_HAND.keys() == ALGORITHMS.keys()
    given = {settings.get("inner_optimizer") for settings, _ in BY_HAND.values()}
    assert given == {None, *get_args(InnerOptimizer)} - {"sgd"}


@pytest.mark.parametrize(
    "changes, options",
    [
        ({}, {"num_multi_step_outer_steps": 2}),  # a tenth of 20, and no first order
        ({"norm": "none"}, {"num_multi_step_outer_steps": 2, "per_step": None}),
        ({"per_step_normalization": False}, {"num_multi_step_outer_steps": 2, "per_step": None}),
        ({"num_multi_step_outer_steps": 0}, {"num_multi_step_outer_steps": 0}),
    ],
    ids=["normalized", "not normalized", "told not to", "told no multi-step loss"],
)
@pytest.mark.slow
def test_defaults_of_maml_plus_plus(changes, options, tiny, alone, fake_omniglot, tmp_path):
    """A multi-step loss for a tenth of training, and separate shifts for each step."""
    recipe = tiny("maml-plus-plus", classes=True, num_outer_steps=20, **changes)
    parts = alone(recipe, tmp_path).parts
    made = main_learner(recipe, parts)
    options = {"per_step": lambda params: params.shifts, **options}
    expected = multi_step(
        parts.loss_fn, num_inner_steps=2, num_first_order_outer_steps=0, **options
    )
    params = parts.init_params(jax.random.key(0))
    structures = [jax.eval_shape(learner.init, params) for learner in (made, expected)]
    assert structures[0] == structures[1]
    tasks = jax.eval_shape(
        partial(mamlax.sample_tasks, parts.train_tasks.sample, num_tasks=2), jax.random.key(0)
    )
    programs = [
        eqx.filter_make_jaxpr(learner.meta_gradient)(structures[0], tasks)[0]
        for learner in (made, expected)
    ]
    assert str(programs[0]) == str(programs[1])


def main_learner(recipe, parts):
    """As training makes it."""
    main = experiment_of(recipe, parts, Path()).stages["main"]
    steps, rate = recipe.algorithm.num_inner_steps, recipe.algorithm.inner_learning_rate
    return main.make_learner(main.train_tasks, steps, rate)


def test_losses_are_computed_in_the_chosen_type(tiny):
    parts = parts_of(tiny("fomaml"))
    programs = {}
    for dtype in ("float32", "bfloat16"):
        learner = main_learner(tiny("fomaml", compute_dtype=dtype), parts)
        params = parts.init_params(jax.random.key(0))
        support = parts.train_tasks.sample(jax.random.key(1)).support
        adapt = lambda params, support: learner.adapt(params, support).params  # noqa: B023, E731
        programs[dtype] = str(eqx.filter_make_jaxpr(adapt)(params, support)[0])
        adapted = eqx.filter_eval_shape(adapt, params, support)
        assert {leaf.dtype for leaf in jax.tree.leaves(adapted)} == {jnp.dtype("float32")}
    assert "bf16[3,4]" in programs["bfloat16"] and "bf16" not in programs["float32"]


@pytest.mark.parametrize("told, size", [({}, 5), ({"context_size": 2}, 2)])
def test_the_context_has_the_chosen_size(told, size, tiny):
    params = parts_of(tiny("cavia", **told)).init_params(jax.random.key(0))
    assert params.context.shape == (size,) and params.weights[0].shape == (1 + size, 4)


@pytest.mark.parametrize(
    "algorithm, scale",
    [("maml", 0.0), ("anil", 0.0), ("boil", 0.5), ("cavia", 0.5)],
)
def test_a_head_starts_at_zero_where_it_adapts(algorithm, scale, small, fake_omniglot):
    """With a head of zeros, gradients of the other layers would be zero. So it is 1/√channels."""
    recipe = small.omniglot(algorithm=algorithm, image_size=16)
    params = parts_of(recipe).init_params(jax.random.key(0))
    deviation = float(jnp.std(params.head_weight))
    assert deviation == pytest.approx(scale, rel=0.5) and (deviation == 0) == (scale == 0)


@pytest.mark.parametrize(
    "algorithm, settings, words",
    [
        ("ridge-maml", {"classes": True}, ["ridge-maml is for regression", "proto-maml"]),
        ("proto-maml", {"classes": False}, ["proto-maml makes a head for the classes", "none"]),
        ("unicorn-maml", {"classes": False}, ["unicorn-maml makes a head", "has none"]),
        ("maml-plus-plus", {"per_step_normalization": True}, ["per.step.normalization", "none"]),
        (
            "imaml",
            {"inner_learning_rate": 1.0, "proximal_strength": 2.0},
            ["imaml cannot converge", "a step of 1.0 .* of strength 2.0", "num.inner.steps"],
        ),
        (
            "reptile",
            {"inner_batch_size": 4},
            ["minibatch of 4", "the 3 of a support set", "inner.batch.size"],
        ),
        ("maml", {"classes": True, "test_ways": 2}, ["3 ways", "tasks of 2"]),
        (
            "proto-maml",
            {"test_ways": 2, "inner_optimizer": "learned-step-sizes"},
            ["learned-step-sizes learns for a head of 3 ways", "inner_optimizer=sgd"],
        ),
        (
            "unicorn-maml",
            {"inner_optimizer": "learned-curvature"},
            ["learned-curvature learns for a head of 3 ways", "inner_optimizer=sgd"],
        ),
    ],
)
def test_impossible_settings_are_refused_before_training(
    algorithm, settings, words, tiny, fake_omniglot, tmp_path
):
    recipe = tiny(algorithm, **settings)
    with pytest.raises(mamlax.MamlaxError) as error:
        train(recipe, directory=tmp_path / "run")
    for word in words:
        assert re.search(word, str(error.value)), str(error.value)
    assert not (tmp_path / "run").exists(), "a run directory was left behind"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_other_ways_are_refused_with_the_names_of_the_heads_that_allow_them(algorithm):
    settings = ALGORITHMS[algorithm]()
    check_ways(settings, 3, 3)
    check_ways(settings, None, None)
    if algorithm in FOR_CLASSES:
        check_ways(settings, 3, 4)
        return
    with pytest.raises(mamlax.MamlaxError) as error:
        check_ways(settings, 3, 4)
    said = str(error.value)
    assert f"{algorithm} learns a head for 3 ways" in said and "of 4." in said
    assert "proto-maml, unicorn-maml and logistic-maml" in said


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", FOR_CLASSES)
def test_heads_made_for_the_task_are_evaluated_with_other_ways(
    algorithm, tiny, alone, small, fake_omniglot, tmp_path
):
    recipe = tiny(
        algorithm,
        test_ways=4,
        norm="layer",
        validation_interval=1,
        num_validation_tasks=NUM_TASKS,
    )
    experiment = alone(recipe, tmp_path)
    main = experiment.stages["main"]
    learned = result_of(experiment, main, train_stage(experiment, main))
    evaluation = evaluate_results(experiment, {"main": learned}, NUM_TASKS, 3)
    assert all(0 <= point.mean <= 1 for point in evaluation.curve)
    assert all(0 <= line["validation/accuracy"] <= 1 for line in small.lines(tmp_path))
    task = experiment.parts.test_tasks.sample(jax.random.key(0))
    assert set(np.asarray(task.query.targets)) == {0, 1, 2, 3}
    learner = main.make_learner(main.test_tasks, 2, RATE)
    adapted = eqx.filter_eval_shape(learner.adapt, learned.params, task.support).params
    assert [leaf.shape for leaf in adapted.head] == [(8, 4), (4,)]
    # as `examples` adapts
    adapter = experiment.method.adapter(main.make_learner, main.test_tasks, learned.params, RATE)
    logits = adapter(task.support, 1)(task.query.inputs)
    assert logits.shape == (4, 4) and np.isfinite(np.asarray(logits)).all()


@pytest.mark.parametrize(
    "lines", [[], [{}], [{"train/residual": 0.05}], [{"train/residual": None}]]
)
def test_no_warning_where_the_meta_gradient_was_exact_enough(lines):
    _train._warn_of_inexact_gradients(lines)


@pytest.mark.slow
def test_a_large_residual_is_warned_of_after_training(tiny, alone, tmp_path, monkeypatch):
    """And the progress is named by the algorithm."""
    monkeypatch.setattr(_train, "_LARGE_RESIDUAL", -1.0)
    experiment, names = alone(tiny("imaml"), tmp_path), set()
    with pytest.warns(UserWarning, match=r"train/residual is .*proximal.strength"):
        train_stage(experiment, experiment.stages["main"], lambda name, line: names.add(name))
    assert names == {"imaml"}


@pytest.mark.slow
def test_divergence_of_imaml_names_settings_that_help(tiny, alone, tmp_path):
    rates = {"inner_learning_rate": 0.9, "inner_gradient_clip": None}
    recipe = tiny("imaml", num_inner_steps=300, **rates)
    experiment = alone(recipe, tmp_path)
    words = r"stationarity far below 1.*proximal.strength.* sinusoid-imaml"
    with pytest.raises(mamlax.TrainingDivergedError, match=words):
        train_stage(experiment, experiment.stages["main"])


@pytest.mark.parametrize("optimizer", ["sgd", "learned-step-sizes"])
@pytest.mark.parametrize(
    ("target", "moved", "derivative"),
    [([3.0, 4.0], [0.6, 0.8], 1.0), ([0.3, 0.4], [0.3, 0.4], 0.0), ([0.0, 0.0], [0.0, 0.0], 0.0)],
)
def test_inner_gradients_are_clipped(optimizer, target, moved, derivative):
    """One step of rate 1 on half the squared distance goes to the target, or 1 towards it."""
    algorithm = Maml(inner_learning_rate=1.0, inner_gradient_clip=1.0, inner_optimizer=optimizer)
    learner = learner_of(algorithm, lambda x, batch: 0.5 * jnp.sum((x - batch) ** 2))
    start = learner.init(jnp.zeros(2))
    adapted = learner.adapt(start, jnp.array(target)).params
    np.testing.assert_allclose(adapted, moved, atol=1e-6)
    tasks = mamlax.Task(support=jnp.array([target]), query=jnp.array([[0.0, 0.0]]))
    (gradient, *_) = jax.tree.leaves(learner.meta_gradient(start, tasks)[1])
    # beyond the limit the step turns only: (I - n n') of the sideways part remains, plus the move
    expected = (np.eye(2) - (np.eye(2) - np.outer(moved, moved)) / 5) @ moved * derivative
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
