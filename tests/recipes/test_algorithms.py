"""`--algorithm`: each name trains what it says, and what it cannot do is refused beforehand."""

import json
from dataclasses import replace
from functools import partial
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax.recipes import _algorithm, _classification, _experiment, _recipe, _sinusoid

ALGORITHMS = get_args(_recipe.Algorithm)
FOR_CLASSES = ("proto-maml", "unicorn-maml")
RATE, NUM_TASKS = 0.05, 6


class Crash(Exception):
    """A crash."""


@pytest.fixture(scope="module", autouse=True)
def nothing_to_compare_with():
    """No baselines and no examples, which are others' to test."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for problem in (_sinusoid.SinusoidProblem, _classification.ClassificationProblem):

            def build(self, *args, _build=problem.build, **options):
                parts = _build(self, *args, **options)
                if hasattr(self, "ways"):
                    parts = parts._replace(init_params=partial(small_network, self))
                return parts._replace(baselines={}, examples=lambda adapters, steps: {})

            monkeypatch.setattr(problem, "build", build)
        yield


def small_network(problem, key):
    """Instead of four layers, one."""
    return mamlax.models.mlp(key, 36, problem.ways, hidden_sizes=(8,), norm=problem.norm)


SETTINGS = {
    "inner_learning_rate": RATE,
    "num_inner_steps": 2,
    "outer_learning_rate": 0.01,
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

    def of(algorithm, problem=None, *, classes=None, **settings):
        settings = {"algorithm": algorithm, **SETTINGS, **settings}
        if algorithm in FOR_CLASSES if classes is None else classes:
            return small.omniglot({"rotations": False, **(problem or {})}, **settings)
        return small.sinusoid({"shots": 3, "hidden_sizes": (4,), **(problem or {})}, **settings)

    return of


def features_of(params, batch):
    return params.features(batch.inputs, batch.reference)


def set_head(params, weight, bias):
    return params.with_head(weight, bias)


def multi_step(loss_fn, **options):
    options = {"num_multi_step_outer_steps": 1, "num_first_order_outer_steps": 2, **options}
    return mamlax.maml_plus_plus(loss_fn, initial_step_size=RATE, **options)


# settings that are none of the defaults, and the same learner written with the library
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


def metrics_in(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


# each compiles several programs: one of them always, the others where there is time
QUICK = ("reptile",)


@pytest.mark.parametrize(
    "algorithm",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS],
)
def test_an_algorithm_trains_and_resumes_as_it_does_by_hand(
    algorithm, tiny, fake_omniglot, tmp_path
):
    """The losses and gradients of two outer steps, and adaptation by more steps than trained."""
    settings, make = BY_HAND[algorithm]
    recipe = tiny(algorithm, **settings)

    def crash(stage, line):
        raise Crash

    with pytest.raises(Crash):
        _experiment.train(recipe, directory=tmp_path / "run", report=crash)
    evaluation = _experiment.train(recipe, directory=tmp_path / "run")
    assert evaluation["algorithm"] == algorithm

    parts = recipe.build(None)
    learner = make(parts.loss_fn, num_inner_steps=2)
    trained, tasks = learner, parts.train_tasks
    if recipe.inner_batch_size is not None:  # in training alone
        trained = make(parts.loss_fn, num_inner_steps=2, support_per_step=True)
        tasks = mamlax.Minibatches(tasks, num_inner_steps=2, size=recipe.inner_batch_size)
    loop = mamlax.outer_loop(trained, optax.adam(0.01), tasks.sample, meta_batch_size=2)
    init_key, run_key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))
    result = mamlax.run(
        loop,
        parts.init_params(init_key),
        key=run_key,
        num_outer_steps=2,
        log_interval=1,
        directory=tmp_path / "by_hand",
    )
    found, expected = (metrics_in(tmp_path / name) for name in ("run", "by_hand"))
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
    assert len(evaluation["curve"]) == 4
    assert evaluation["curve"][3]["mean"] == pytest.approx(by_hand, rel=2e-3)


def test_each_algorithm_and_inner_optimizer_is_compared():
    assert BY_HAND.keys() == set(ALGORITHMS)
    given = {settings.get("inner_optimizer") for settings, _ in BY_HAND.values()}
    assert given == {None, *get_args(_recipe.InnerOptimizer)} - {"sgd"}


@pytest.mark.parametrize(
    "changes, options",
    [
        ({}, {"num_multi_step_outer_steps": 2}),  # a tenth of 20, and no first order
        ({"norm": "none"}, {"num_multi_step_outer_steps": 2, "per_step": None}),
    ],
    ids=["normalized", "not normalized"],
)
def test_what_maml_plus_plus_does_unasked(changes, options, tiny, fake_omniglot):
    """A multi-step loss for a tenth of training, and shifts of their own for each step."""
    recipe = tiny("maml-plus-plus", changes, classes=True, num_outer_steps=20)
    parts = recipe.build(None)
    made = learner_of(recipe, parts)
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


def learner_of(recipe, parts):
    steps = recipe.num_inner_steps
    return recipe.method(parts).learner(parts.train_tasks, steps, RATE, fine_tuned=False)


def test_losses_are_computed_in_the_type_asked_for(tiny):
    recipe = tiny("fomaml", compute_dtype="bfloat16")
    parts = recipe.build(None)
    programs = {}
    for dtype in ("float32", "bfloat16"):
        learner = learner_of(replace(recipe, compute_dtype=dtype), parts)
        params = parts.init_params(jax.random.key(0))
        support = parts.train_tasks.sample(jax.random.key(1)).support
        adapt = lambda params, support: learner.adapt(params, support).params  # noqa: B023, E731
        programs[dtype] = str(eqx.filter_make_jaxpr(adapt)(params, support)[0])
        adapted = eqx.filter_eval_shape(adapt, params, support)
        assert {leaf.dtype for leaf in jax.tree.leaves(adapted)} == {jnp.dtype("float32")}
    assert "bf16[3,4]" in programs["bfloat16"] and "bf16" not in programs["float32"]


# options, a value of each, and the algorithms that have a use for it
OF_MAML = {"maml", "anil", "boil", "cavia", "proto-maml", "unicorn-maml", "ridge-maml"}
DIFFERENTIATED = OF_MAML | {"meta-sgd", "meta-curvature"}
USERS = {
    "inner_optimizer": ("sgd", OF_MAML | {"fomaml", "imaml", "reptile"}),
    "first_order": (True, DIFFERENTIATED),
    "inner_batch_size": (
        2,
        set(ALGORITHMS) - {"imaml", "proto-maml", "unicorn-maml", "ridge-maml"},
    ),
    "num_unrolled_steps": (1, DIFFERENTIATED | {"maml-plus-plus"}),
    "remat": ("steps", DIFFERENTIATED | {"maml-plus-plus"}),
    "num_multi_step_outer_steps": (1, {"maml-plus-plus"}),
    "num_first_order_outer_steps": (0, {"maml-plus-plus"}),
    "per_step_normalization": (False, {"maml-plus-plus"}),
    "proximal_strength": (2.0, {"imaml"}),
    "num_conjugate_gradient_steps": (5, {"imaml"}),
    "damping": (0.0, {"imaml"}),
    "ridge": (0.1, {"ridge-maml"}),
}


@pytest.mark.parametrize("option", USERS)
def test_an_option_is_for_the_algorithms_that_have_a_use_for_it(option, tiny):
    value, users = USERS[option]
    for algorithm in ALGORITHMS:
        recipe = tiny(algorithm, **{option: value})
        assert _algorithm.uses(algorithm, option) == (algorithm in users)
        if algorithm in users:
            _algorithm.check_options(recipe)
            continue
        with pytest.raises(mamlax.MamlaxError) as error:
            _algorithm.check_options(recipe)
        said, named = str(error.value).split("it is for ")
        flag = "--" + option.replace("_", "-")
        assert said == f"--algorithm {algorithm} has no use for {flag} (got {value}); "
        assert set(named.rstrip(".").split(", ")) == users


@pytest.mark.parametrize(
    "algorithm, settings, words",
    [
        ("fomaml", {"ridge": 0.5}, ["fomaml has no use for --ridge (got 0.5)", "ridge-maml"]),
        ("ridge-maml", {"classes": True}, ["ridge-maml is for regression", "proto-maml"]),
        ("proto-maml", {"classes": False}, ["proto-maml makes a head for the classes", "sinusoid"]),
        ("unicorn-maml", {"classes": False}, ["unicorn-maml makes a head", "has none"]),
        ("imaml", {"inner_optimizer": "learned-step-sizes"}, ["learned"]),
        ("reptile", {"inner_optimizer": "learned-curvature"}, ["learned"]),
        ("reptile", {"num_inner_steps": 0}, ["num_inner_steps", "1 or more"]),
        ("maml-plus-plus", {"per_step_normalization": True}, ["--per-step-normalization", "none"]),
        ("imaml", {"proximal_strength": 0.0}, ["proximal_strength", "positive", "0.0"]),
        ("imaml", {"num_conjugate_gradient_steps": 0}, ["num_conjugate_gradient_steps", "1"]),
        ("imaml", {"num_inner_steps": 1}, ["imaml with one inner step", "16", "sinusoid-imaml"]),
        ("reptile", {"num_inner_steps": 1}, ["reptile with one inner step", "5 or more"]),
        (
            "reptile",
            {"inner_batch_size": 4},
            ["minibatch of 4", "the 3 of a support set", "--inner-batch-size"],
        ),
        ("reptile", {"inner_batch_size": 0}, ["inner_batch_size must be 1 or more", "0"]),
        ("ridge-maml", {"ridge": -1.0}, ["ridge", "positive", "-1.0"]),
        ("maml", {"num_unrolled_steps": -1}, ["num_unrolled_steps", "-1"]),
        ("maml-plus-plus", {"num_multi_step_outer_steps": -1}, ["num_multi_step", "-1"]),
        ("maml-plus-plus", {"num_first_order_outer_steps": -1}, ["num_first_order", "-1"]),
        ("maml", {"classes": True, "problem": {"test_ways": 2}}, ["3 ways", "tasks of 2"]),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    algorithm, settings, words, tiny, fake_omniglot, tmp_path
):
    with pytest.raises(mamlax.MamlaxError) as error:
        _experiment.train(tiny(algorithm, **settings), directory=tmp_path / "run")
    for word in words:
        assert word in str(error.value), str(error.value)
    assert not (tmp_path / "run").exists(), "a run directory was left behind"


@pytest.mark.parametrize("algorithm", sorted(set(ALGORITHMS) - {*FOR_CLASSES, "ridge-maml"}))
def test_other_ways_are_refused_with_the_names_of_the_heads_that_allow_them(
    algorithm, tiny, fake_omniglot
):
    recipe = tiny(algorithm, {"test_ways": 4}, classes=True)
    with pytest.raises(mamlax.MamlaxError) as error:
        learner_of(recipe, recipe.build(None))
    said = str(error.value)
    assert f"--algorithm {algorithm} learns a head for 3 ways" in said and "of 4." in said
    assert "--algorithm proto-maml or unicorn-maml" in said
    learner_of(same := tiny(algorithm, {"test_ways": 3}, classes=True), same.build(None))


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", FOR_CLASSES)
def test_heads_made_for_the_task_are_evaluated_with_other_ways(
    algorithm, tiny, fake_omniglot, tmp_path
):
    recipe = tiny(
        algorithm,
        {"test_ways": 4, "norm": "layer"},
        validation_interval=1,
        num_validation_tasks=NUM_TASKS,
    )
    evaluation = _experiment.train(recipe, directory=tmp_path)
    assert all(0 <= point["mean"] <= 1 for point in evaluation["curve"])
    assert all(0 <= line["validation/accuracy"] <= 1 for line in metrics_in(tmp_path))
    loaded = mamlax.load_run(tmp_path)
    task = loaded.parts.test_tasks.sample(jax.random.key(0))
    assert set(np.asarray(task.query.targets)) == {0, 1, 2, 3}
    adapted = eqx.filter_eval_shape(loaded.learner.adapt, loaded.params, task.support).params
    assert [leaf.shape for leaf in adapted.head] == [(8, 4), (4,)]
    # as `examples` adapts
    adapter = recipe.method(loaded.parts).adapter(
        loaded.parts.test_tasks, loaded.params, RATE, fine_tuned=False
    )
    logits = adapter(task.support, 1)(task.query.inputs)
    assert logits.shape == (4, 4) and np.isfinite(np.asarray(logits)).all()


@pytest.mark.parametrize("line", [{}, {"train/residual": 0.05}, {"train/residual": None}])
def test_no_warning_where_the_meta_gradient_was_exact_enough(line):
    _algorithm.warn_of(line)


def test_a_large_residual_is_warned_of_after_training(tiny, tmp_path, monkeypatch):
    """And the progress is named by the algorithm."""
    monkeypatch.setattr(_algorithm, "_LARGE_RESIDUAL", -1.0)
    names = set()
    with pytest.warns(UserWarning, match=r"train/residual is .* --proximal-strength"):
        _experiment.train(
            tiny("imaml"), directory=tmp_path, report=lambda name, line: names.add(name)
        )
    assert names == {"imaml"}


def test_an_implicit_training_that_diverged_says_what_helps(tiny, tmp_path):
    recipe = tiny("imaml", num_inner_steps=300, inner_learning_rate=0.9)
    words = r"stationarity far below 1.* --proximal-strength.* sinusoid-imaml"
    with pytest.raises(mamlax.MamlaxError, match=words):
        _experiment.train(recipe, directory=tmp_path)
