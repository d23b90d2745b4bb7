"""Every learner keeps the same promises, for every kind of parameters, in every way of running.

A new learner is one row of `LEARNERS`, a new kind of parameters one of `KINDS`. Every pair is
traced; many also run eagerly (operation by operation, so that nothing needs compiling), and are
traced under `jit`, under `vmap` and in an outer step. Compiled programs run for a few. Where a
learner cannot keep a promise, its row says what it promises instead.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mamlax

INNER = optax.sgd(0.1)
NUM_TASKS = 3
MORE_STEPS = 5


class Kind(NamedTuple):
    """One way of writing the same linear model: params for a seed, and how they predict.

    `parts(params)` are its weight and, where it has one, its bias.
    """

    init: Callable[..., Any]
    predict: Callable[[Any, Any], Any]
    parts: Callable[[Any], list[Any]]

    def part(self, params):
        """Something to adapt alone, or not at all: the bias, or all that there is."""
        return self.parts(params)[-1]

    def with_head(self, params, *head):
        """The params with another weight and bias."""
        parts = self.parts(params)
        return eqx.tree_at(lambda p: jax.tree.leaves(self.parts(p)), params, head[: len(parts)])


class Module(eqx.Module):
    """Leaves of every sort: floats, integers, a function, and a static field."""

    weight: Any
    bias: Any
    order: Any
    activation: Callable
    scale: float = eqx.field(static=True)

    def __call__(self, x):
        return self.activation(x[:, self.order] @ self.weight + self.bias[None]) * self.scale


class Network(nnx.Module):
    def __init__(self, seed, outputs=1):
        bias = nnx.initializers.constant(0.1)
        self.linear = nnx.Linear(2, outputs, bias_init=bias, rngs=nnx.Rngs(seed))
        self.order = nnx.Variable(jnp.array([1, 0]))

    def __call__(self, x):
        kernel, bias = self.linear.kernel[...], self.linear.bias[...]
        return jnp.tanh(x[:, self.order[...]] @ kernel + bias[None])


def weights(seed, outputs=1):
    return 0.5 * jax.random.normal(jax.random.key(seed), (2, outputs)), 0.1 * jnp.ones(outputs)


def dict_params(seed, outputs=1):
    weight, bias = weights(seed, outputs)
    return {"weight": weight, "more": {"bias": bias, "order": jnp.array([1, 0])}, "none": None}


GRAPHS = {outputs: nnx.split(Network(0, outputs))[0] for outputs in (1, 2)}
KINDS = {
    "dict": Kind(
        dict_params,
        lambda p, x: jnp.tanh(x[:, p["more"]["order"]] @ p["weight"] + p["more"]["bias"][None]),
        lambda p: [p["weight"], p["more"]["bias"]],
    ),
    "tuple": Kind(weights, lambda p, x: jnp.tanh(x @ p[0] + p[1][None]), list),
    "equinox": Kind(
        lambda *args: Module(*weights(*args), jnp.array([1, 0]), jnp.tanh, 2.0),
        lambda p, x: p(x),
        lambda p: [p.weight, p.bias],
    ),
    "nnx": Kind(
        lambda *args: nnx.split(Network(*args))[1],
        lambda p, x: nnx.merge(GRAPHS[p.linear.bias[...].shape[-1]], p)(x),
        lambda p: [p["linear"]["kernel"], p["linear"]["bias"]],
    ),
    "bare": Kind(lambda *args: weights(*args)[0], lambda p, x: jnp.tanh(x @ p), lambda p: [p]),
}


class Row(NamedTuple):
    """A learner, and what is promised of it.

    Attributes:
        make: `make(loss_fn, kind) -> learner`.
        steps: inner steps in training.
        outputs: columns of the prediction; with several, targets are the numbers of classes.
        starts_elsewhere: adaptation starts not at the params given to `init`.
        loss_of_all_steps: the meta-loss is not that after the last step alone.
        no_gradient: `no_gradient(kind, params)`, what has a meta-gradient of zero.
        metrics: of an outer step, beside those of every learner.
        not_for: kinds that this learner refuses, as they leave nothing to adapt.
    """

    make: Callable[[Any, Any], mamlax.MetaLearner]
    steps: int = 2
    outputs: int = 1
    starts_elsewhere: bool = False
    loss_of_all_steps: bool = False
    no_gradient: Callable[[Any, Any], Any] = lambda kind, params: []
    metrics: frozenset[str] = frozenset()
    not_for: tuple[str, ...] = ()


def row(algorithm, steps=2, **promises):
    """A row of an algorithm that needs no more than an inner optimizer."""
    return Row(
        lambda f, kind: algorithm(f, inner_optimizer=INNER, num_inner_steps=steps),
        steps,
        **promises,
    )


def with_options(algorithm, **options):
    return functools.partial(algorithm, **options)


def plus_plus(f, kind, **options):
    return mamlax.maml_plus_plus(f, initial_step_size=0.1, num_inner_steps=2, **options)


LEARNERS = {
    "maml": row(mamlax.maml),
    "fomaml": row(mamlax.fomaml),
    "no_inner_steps": row(mamlax.maml, 0),
    "remat_steps": row(with_options(mamlax.maml, remat="steps")),
    "remat_sqrt": row(with_options(mamlax.maml, remat="sqrt"), 5),
    "truncated": row(with_options(mamlax.maml, num_unrolled_steps=1)),
    "step_weights": row(
        with_options(mamlax.maml, step_weights=[0.25, 0.75]), loss_of_all_steps=True
    ),
    "micro_batches": Row(
        lambda f, kind: mamlax.over_tasks(
            mamlax.maml(f, inner_optimizer=INNER, num_inner_steps=1), batch_size=1
        ),
        1,
    ),
    "anil": Row(
        lambda f, kind: mamlax.anil(f, head=kind.part, inner_optimizer=INNER, num_inner_steps=2)
    ),
    "boil": Row(
        lambda f, kind: mamlax.boil(f, head=kind.part, inner_optimizer=INNER, num_inner_steps=2),
        not_for=("bare",),
    ),
    "per_step": Row(
        lambda f, kind: mamlax.maml(
            f, per_step=kind.part, inner_optimizer=INNER, num_inner_steps=2
        ),
        not_for=("bare",),
    ),
    "meta_sgd": Row(lambda f, kind: mamlax.meta_sgd(f, initial_step_size=0.1, num_inner_steps=2)),
    "meta_curvature": Row(
        lambda f, kind: mamlax.meta_curvature(f, inner_learning_rate=0.1, num_inner_steps=2)
    ),
    "maml_plus_plus": Row(plus_plus),
    "maml_plus_plus_with_schedules": Row(
        with_options(plus_plus, num_multi_step_outer_steps=4, num_first_order_outer_steps=2),
        loss_of_all_steps=True,
    ),
    "cavia": Row(
        lambda f, kind: mamlax.cavia(
            f, context=kind.part, inner_optimizer=INNER, num_inner_steps=2
        ),
        starts_elsewhere=True,
        no_gradient=lambda kind, params: kind.part(params),
    ),
    "reptile": row(mamlax.reptile),
    "imaml": row(
        with_options(mamlax.imaml, proximal_strength=1.0, num_conjugate_gradient_steps=2),
        metrics=frozenset({"train/residual", "train/stationarity"}),
    ),
    "proto_maml": Row(
        lambda f, kind: mamlax.proto_maml(
            f,
            features_fn=lambda params, batch: jnp.sin(batch.inputs),
            set_head=kind.with_head,
            ways=2,
            inner_optimizer=INNER,
            num_inner_steps=2,
        ),
        outputs=2,
        starts_elsewhere=True,
        no_gradient=lambda kind, params: kind.parts(params),
    ),
    "ridge_maml": Row(
        lambda f, kind: mamlax.ridge_maml(
            f,
            features_fn=lambda params, batch: jnp.sin(batch.inputs),
            set_head=kind.with_head,
            ridge=0.5,
            inner_optimizer=INNER,
            num_inner_steps=2,
        ),
        starts_elsewhere=True,
        no_gradient=lambda kind, params: kind.parts(params),
    ),
    "logistic_maml": Row(
        lambda f, kind: mamlax.logistic_maml(
            f,
            features_fn=lambda params, batch: jnp.sin(batch.inputs),
            set_head=kind.with_head,
            ways=2,
            ridge=0.5,
            inner_optimizer=INNER,
            num_inner_steps=2,
        ),
        outputs=2,
        starts_elsewhere=True,
        no_gradient=lambda kind, params: kind.parts(params),
    ),
    "unicorn_maml": Row(
        lambda f, kind: mamlax.unicorn_maml(
            f, head=kind.parts, ways=2, inner_optimizer=INNER, num_inner_steps=2
        ),
        outputs=2,
        starts_elsewhere=True,
    ),
}

PAIRS = [
    (name, kind)
    for name, kind in itertools.product(LEARNERS, KINDS)
    if kind not in LEARNERS[name].not_for
]
OTHERS = itertools.cycle([kind for kind in KINDS if kind != "dict"])
PICKY = ("anil", "boil", "per_step", "meta_sgd", "meta_curvature", "maml_plus_plus", "cavia")
PICKY += ("reptile", "imaml", "proto_maml", "ridge_maml", "logistic_maml")
PICKY += ("unicorn_maml",)
SOME = {(name, "dict") for name in LEARNERS} | {("maml", kind) for kind in KINDS}
# compositions take their parameters apart; a second kind of them each, where there is time
SLOW = {(name, next(OTHERS)) for name in PICKY} - SOME
SLOW |= {("maml", kind) for kind in ("tuple", "bare")}
# and options of maml that change how it is computed, which other tests compare with it
SLOW |= {(name, "dict") for name in LEARNERS if name not in (*PICKY, "maml")}
SOME -= SLOW
every_pair = pytest.mark.parametrize(
    ("name", "kind"),
    [pair if pair in SOME else pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS],
    ids=str,
)
eager_pairs = pytest.mark.parametrize(
    ("name", "kind"),
    [pair for pair in PAIRS if pair in SOME]
    + [pytest.param(*pair, marks=pytest.mark.slow) for pair in PAIRS if pair in SLOW],
    ids=str,
)
compiled_pairs = pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("maml", "dict"),
        ("maml", "equinox"),
        ("remat_sqrt", "dict"),
        ("micro_batches", "dict"),
        ("maml_plus_plus_with_schedules", "equinox"),
        ("reptile", "equinox"),
        ("imaml", "equinox"),
        ("unicorn_maml", "nnx"),
    ],
    ids=str,
)


def sample_task(key):
    """Four support and five query examples of a random nonlinear function."""
    x = jax.random.uniform(key, (9, 2), minval=-2.0)
    y = jnp.sin(x[:, :1] + x[0, 1]) + 0.5
    return mamlax.Task(mamlax.Batch(x[:4], y[:4]), mamlax.Batch(x[4:], y[4:]))


def sample_classes(key):
    """The same inputs in two classes."""
    support, query = sample_task(key)
    classes = jnp.arange(9) % 2
    return mamlax.Task(support._replace(targets=classes[:4]), query._replace(targets=classes[4:]))


def sampler(name):
    return sample_task if LEARNERS[name].outputs == 1 else sample_classes


def make_tasks(name, seed):
    return mamlax.sample_tasks(sampler(name), jax.random.key(seed), NUM_TASKS)


def make_params(name, kind, seed):
    return KINDS[kind].init(seed, LEARNERS[name].outputs)


class Case(NamedTuple):
    """A learner for one kind of parameters, and how often its loss has been traced."""

    name: str
    learner: mamlax.MetaLearner
    num_traces: list[int]
    everything: Callable[[Any, Any], Any]


@functools.cache
def make_case(name, kind):
    num_traces = [0]

    def loss_fn(params, batch):
        num_traces[0] += 1
        predictions = KINDS[kind].predict(params, batch.inputs)
        if LEARNERS[name].outputs == 1:
            return jnp.mean((predictions - batch.targets) ** 2)
        return optax.softmax_cross_entropy_with_integer_labels(predictions, batch.targets).mean()

    learner = LEARNERS[name].make(loss_fn, KINDS[kind])

    def everything(params, tasks):
        """All that a learner can be asked for, in one program."""
        meta_params = learner.init(params)
        task = jax.tree.map(lambda x: x[0], tasks)

        def probe_fn(params):
            prediction = KINDS[kind].predict(params, task.query.inputs)
            return {"prediction": prediction, "mean": jnp.mean(prediction)}

        def adapt(**options):
            return learner.adapt(meta_params, task.support, **options)

        return {
            "init": meta_params,
            "adapt": adapt(),
            "more": adapt(num_inner_steps=MORE_STEPS, probe_fn=probe_fn),
            "none": adapt(num_inner_steps=0, probe_fn=probe_fn),
            "meta_gradient": learner.meta_gradient(meta_params, tasks),
        }

    return Case(name, learner, num_traces, everything)


@functools.cache
def eager_result(name, kind):
    params, tasks = make_params(name, kind, 0), make_tasks(name, 0)
    with jax.disable_jit():
        return make_case(name, kind).everything(params, tasks)


@functools.cache
def shapes(name, kind):
    params, tasks = make_params(name, kind, 0), make_tasks(name, 0)
    return eqx.filter_eval_shape(make_case(name, kind).everything, params, tasks)


def is_float_array(leaf):
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(
        leaf.dtype, jnp.floating
    )


def assert_same_kind(tree, params, *, unchanged=True):
    """The same structure, shapes and types; what is no float array is `unchanged`."""
    assert jax.tree.structure(tree) == jax.tree.structure(params)
    for (path, leaf), original in zip(
        jax.tree.leaves_with_path(tree), jax.tree.leaves(params), strict=True
    ):
        name = jax.tree_util.keystr(path)
        if not eqx.is_array_like(leaf) and not isinstance(leaf, jax.ShapeDtypeStruct):
            assert leaf is original, name
            continue
        assert (leaf.shape, leaf.dtype) == (original.shape, original.dtype), name
        if unchanged and not is_float_array(original):
            np.testing.assert_array_equal(leaf, original, err_msg=name)


def assert_close(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if isinstance(y, jax.Array):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)
        else:
            assert x is y


@every_pair
def test_structures_and_shapes(name, kind):
    params, promises = make_params(name, kind, 0), LEARNERS[name]
    result = shapes(name, kind)

    adapted = result["adapt"]
    assert_same_kind(adapted.params, params, unchanged=False)
    assert adapted.support_losses.shape == (promises.steps,)
    assert adapted.probes is None

    for adaptation, steps in ((result["more"], MORE_STEPS), (result["none"], 0)):
        assert_same_kind(adaptation.params, params, unchanged=False)
        assert adaptation.support_losses.shape == (steps,)
        assert adaptation.support_losses.dtype == jnp.float32
        assert sorted(adaptation.probes) == ["mean", "prediction"]
        assert adaptation.probes["mean"].shape == (steps + 1,)
        assert adaptation.probes["prediction"].shape == (steps + 1, 5, promises.outputs)

    (loss, info), gradient = result["meta_gradient"]
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    assert info["query_loss"].shape == (NUM_TASKS,)
    assert info["support_losses"].shape == (NUM_TASKS, promises.steps)
    expected = jax.tree.map(lambda leaf: leaf if is_float_array(leaf) else None, result["init"])
    assert_same_kind(gradient, expected)


@eager_pairs
@pytest.mark.slow
def test_what_does_not_learn_rides_along(name, kind):
    """And every result is as its shape was said to be."""
    result = eager_result(name, kind)
    assert_same_kind(shapes(name, kind), result, unchanged=False)
    params = make_params(name, kind, 0)
    for part in ("adapt", "more", "none"):
        assert_same_kind(result[part].params, params)


@eager_pairs
@pytest.mark.slow
def test_values_that_any_learner_has(name, kind):
    """Adaptation starts at the parameters, lowers the loss, and more steps continue fewer."""
    promises, make = LEARNERS[name], KINDS[kind]
    num_steps = promises.steps
    params = make_params(name, kind, 0)
    query = jax.tree.map(lambda x: x[0], make_tasks(name, 0).query)
    result = eager_result(name, kind)
    more, none = result["more"], result["none"]

    start = none.params if promises.starts_elsewhere else params
    assert_close(none.params, start)
    assert same_arrays(start, params) is not promises.starts_elsewhere
    before, after = (make.predict(p, query.inputs) for p in (start, more.params))
    np.testing.assert_allclose(none.probes["prediction"][0], before, rtol=1e-5)
    np.testing.assert_allclose(more.probes["prediction"][0], before, rtol=1e-5)
    np.testing.assert_allclose(more.probes["prediction"][-1], after, rtol=1e-5)
    assert np.all(np.diff(more.support_losses) < 0)
    losses = more.support_losses[:num_steps]
    np.testing.assert_allclose(result["adapt"].support_losses, losses, rtol=1e-5)

    (loss, info), gradient = result["meta_gradient"]
    of_last_step = info["query_loss"].mean()
    if promises.loss_of_all_steps:
        assert abs(loss - of_last_step) > 1e-3
    else:
        np.testing.assert_allclose(loss, of_last_step, rtol=1e-5)
    np.testing.assert_allclose(info["support_losses"][0], losses, rtol=1e-5)
    excepted = jax.tree.leaves(promises.no_gradient(make, gradient))
    assert all(np.array_equal(leaf, 0 * leaf) for leaf in excepted)
    excepted = {id(leaf) for leaf in excepted}
    others = [leaf for leaf in jax.tree.leaves(gradient) if id(leaf) not in excepted]
    assert all(np.abs(leaf).max() > 1e-4 for leaf in others)


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n in LEARNERS for k in LEARNERS[n].not_for], ids=str
)
def test_nothing_to_adapt_is_refused(name, kind):
    learner = make_case(name, kind).learner
    support = jax.tree.map(lambda x: x[0], make_tasks(name, 0).support)
    with pytest.raises(ValueError, match="nothing would adapt"):
        learner.adapt(learner.init(make_params(name, kind, 0)), support)


@eager_pairs
def test_traces_once_under_jit_and_vmap(name, kind):
    case = make_case(name, kind)
    first, second = ((make_params(name, kind, seed), make_tasks(name, seed)) for seed in (0, 1))
    expected = shapes(name, kind)

    compiled = eqx.filter_jit(case.everything)
    found = eqx.filter_eval_shape(compiled, *first)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    traced = case.num_traces[0]
    eqx.filter_eval_shape(compiled, *second)
    assert case.num_traces[0] == traced > 0

    over_seeds = eqx.filter_vmap(case.everything)
    stacked = [stack(*pair) for pair in zip(first, second, strict=True)]
    found = eqx.filter_eval_shape(over_seeds, *stacked)
    for one, several in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        if isinstance(one, jax.ShapeDtypeStruct):
            assert (several.shape, several.dtype) == ((2, *one.shape), one.dtype)


@eager_pairs
def test_an_outer_step_keeps_the_form_of_its_state(name, kind):
    case = make_case(name, kind)
    loop = make_loop(case)
    params = make_params(name, kind, 0)
    state = loop.init(params)
    assert_same_kind(state.meta_params, case.learner.init(params))
    after, metrics = eqx.filter_eval_shape(loop.step, jax.random.key(0), state)
    assert_same_kind(state, after, unchanged=False)
    assert all(value.shape == () for value in metrics.values())
    expected = {"train/query_loss", "train/gradient_norm"} | LEARNERS[name].metrics
    assert set(metrics) == expected | ({"train/support_loss"} if LEARNERS[name].steps else set())


@compiled_pairs
@pytest.mark.slow
def test_compiled_over_seeds_it_says_the_same(name, kind):
    case = make_case(name, kind)
    seeds = (1, 0)
    params = stack(*(make_params(name, kind, seed) for seed in seeds))
    tasks = stack(*(make_tasks(name, seed) for seed in seeds))
    parts = ("more", "meta_gradient")  # the rest is in these

    @eqx.filter_jit
    @eqx.filter_vmap
    def compiled(params, tasks):
        result = case.everything(params, tasks)
        return {part: result[part] for part in parts}

    results = compiled(params, tasks)
    # leaves that are not arrays have no axis of seeds
    last = jax.tree.map(lambda x: x[1] if eqx.is_array(x) else x, results)
    expected = eager_result(name, kind)
    assert_close(last, {part: expected[part] for part in parts})
    losses = results["meta_gradient"][0][0]
    assert abs(losses[0] - losses[1]) > 1e-4, "another seed, another result"


@pytest.mark.parametrize(("name", "kind"), [("maml", "equinox")])
def test_outer_steps(name, kind):
    case = make_case(name, kind)
    loop = make_loop(case)
    step = eqx.filter_jit(loop.step)
    start = loop.init(KINDS[kind].init(0))

    first, metrics = step(jax.random.key(0), start)
    traced = case.num_traces[0]
    again, metrics_again = step(jax.random.key(0), start)
    _, other_metrics = step(jax.random.key(1), start)
    later, _ = step(jax.random.key(1), first)
    assert case.num_traces[0] == traced, "later steps are the same program"

    assert all(np.isfinite(value) for value in metrics.values())
    assert same_arrays((again, metrics_again), (first, metrics)), "the same key, the same step"
    assert abs(metrics["train/query_loss"] - other_metrics["train/query_loss"]) > 1e-4
    assert_same_kind(later.meta_params, start.meta_params)
    for one, two in ((start, first), (first, later)):
        for before, after in zip(
            jax.tree.leaves(one.meta_params), jax.tree.leaves(two.meta_params), strict=True
        ):
            if is_float_array(before):
                assert np.abs(before - after).max() > 1e-4, "every float leaf learns"


def test_weakly_typed_params_do_not_cost_a_second_compilation():
    case = make_case("maml", "bare")
    loop = make_loop(case)
    state = loop.init(jnp.full((2, 1), 0.1))  # a Python scalar makes the array's type weak
    after, _ = eqx.filter_eval_shape(loop.step, jax.random.key(0), state)
    assert jax.typeof(state.meta_params).weak_type == after.meta_params.weak_type


def make_loop(case):
    return mamlax.outer_loop(
        case.learner, optax.adam(0.01), sampler(case.name), meta_batch_size=NUM_TASKS
    )


def stack(*trees):
    return jax.tree.map(lambda *xs: jnp.stack(xs) if eqx.is_array(xs[0]) else xs[0], *trees)


def same_arrays(one, two):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs if eqx.is_array(x))
