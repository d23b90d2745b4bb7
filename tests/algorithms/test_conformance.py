"""Every learner keeps the same promises, for every kind of parameters, in every way of running.

A new learner is one line in `LEARNERS`; a new kind of parameters is one line in `KINDS`. Every pair
runs eagerly (operation by operation, so that nothing needs compiling) and is traced under `jit` and
under `vmap`, and so is its outer step. Compiled programs run for fewer pairs.
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
LEARNERS = {  # name: (loss_fn -> learner, inner steps in training)
    "maml": (lambda f: mamlax.maml(f, inner_optimizer=INNER, num_inner_steps=2), 2),
    "first_order": (
        lambda f: mamlax.maml(f, inner_optimizer=INNER, num_inner_steps=2, first_order=True),
        2,
    ),
    "no_inner_steps": (lambda f: mamlax.maml(f, inner_optimizer=INNER, num_inner_steps=0), 0),
    "remat": (
        lambda f: mamlax.maml(f, inner_optimizer=INNER, num_inner_steps=2, remat="steps"),
        2,
    ),
    "micro_batches": (
        lambda f: mamlax.over_tasks(
            mamlax.maml(f, inner_optimizer=INNER, num_inner_steps=1), batch_size=1
        ),
        1,
    ),
}

NUM_TASKS = 3
MORE_STEPS = 4


class Kind(NamedTuple):
    """One way of writing the same linear model: params for a seed, and how they predict."""

    init: Callable[[int], Any]
    predict: Callable[[Any, Any], Any]


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
    def __init__(self, seed):
        self.linear = nnx.Linear(2, 1, rngs=nnx.Rngs(seed))
        self.order = nnx.Variable(jnp.array([1, 0]))

    def __call__(self, x):
        kernel, bias = self.linear.kernel[...], self.linear.bias[...]
        return jnp.tanh(x[:, self.order[...]] @ kernel + bias[None])


def weights(seed):
    return 0.5 * jax.random.normal(jax.random.key(seed), (2, 1)), 0.1 * jnp.ones(1)


def dict_params(seed):
    weight, bias = weights(seed)
    return {"weight": weight, "more": {"bias": bias, "order": jnp.array([1, 0])}, "none": None}


GRAPH = nnx.split(Network(0))[0]
KINDS = {
    "dict": Kind(
        dict_params,
        lambda p, x: jnp.tanh(x[:, p["more"]["order"]] @ p["weight"] + p["more"]["bias"][None]),
    ),
    "tuple": Kind(weights, lambda p, x: jnp.tanh(x @ p[0] + p[1][None])),
    "equinox": Kind(
        lambda seed: Module(*weights(seed), jnp.array([1, 0]), jnp.tanh, 2.0), lambda p, x: p(x)
    ),
    "nnx": Kind(lambda seed: nnx.split(Network(seed))[1], lambda p, x: nnx.merge(GRAPH, p)(x)),
    "bare": Kind(lambda seed: weights(seed)[0], lambda p, x: jnp.tanh(x @ p)),
}

every_pair = pytest.mark.parametrize(
    ("name", "kind"), list(itertools.product(LEARNERS, KINDS)), ids=str
)
compiled_pairs = pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "dict") for name in LEARNERS] + [("maml", "equinox")],
    ids=str,
)


def sample_task(key):
    """Four support and five query examples of a random nonlinear function."""
    x = jax.random.uniform(key, (9, 2), minval=-2.0)
    y = jnp.sin(x[:, :1] + x[0, 1]) + 0.5
    return mamlax.Task(mamlax.Batch(x[:4], y[:4]), mamlax.Batch(x[4:], y[4:]))


def make_tasks(seed):
    return mamlax.sample_tasks(sample_task, jax.random.key(seed), NUM_TASKS)


class Case(NamedTuple):
    """A learner for one kind of parameters, and how often its loss has been traced."""

    learner: mamlax.MetaLearner
    num_traces: list[int]
    everything: Callable[[Any, Any], Any]


@functools.cache
def make_case(name, kind):
    num_traces = [0]

    def loss_fn(params, batch):
        num_traces[0] += 1
        return jnp.mean((KINDS[kind].predict(params, batch.inputs) - batch.targets) ** 2)

    learner = LEARNERS[name][0](loss_fn)

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

    return Case(learner, num_traces, everything)


@functools.cache
def eager_result(name, kind):
    params, tasks = KINDS[kind].init(0), make_tasks(0)
    with jax.disable_jit():
        return make_case(name, kind).everything(params, tasks)


def is_float_array(leaf):
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


def assert_same_kind(tree, params, *, unchanged=True):
    """The same structure, shapes and types; what is no float array is `unchanged`."""
    assert jax.tree.structure(tree) == jax.tree.structure(params)
    for (path, leaf), original in zip(
        jax.tree.leaves_with_path(tree), jax.tree.leaves(params), strict=True
    ):
        name = jax.tree_util.keystr(path)
        if not isinstance(leaf, jax.Array):
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
    params = KINDS[kind].init(0)
    num_steps = LEARNERS[name][1]
    result = eager_result(name, kind)

    adapted = result["adapt"]
    assert_same_kind(adapted.params, params)
    assert adapted.support_losses.shape == (num_steps,)
    assert adapted.probes is None

    for adaptation, steps in ((result["more"], MORE_STEPS), (result["none"], 0)):
        assert_same_kind(adaptation.params, params)
        assert adaptation.support_losses.shape == (steps,)
        assert adaptation.support_losses.dtype == jnp.float32
        assert sorted(adaptation.probes) == ["mean", "prediction"]
        assert adaptation.probes["mean"].shape == (steps + 1,)
        assert adaptation.probes["prediction"].shape == (steps + 1, 5, 1)

    (loss, info), gradient = result["meta_gradient"]
    assert (loss.shape, loss.dtype) == ((), jnp.float32)
    assert info["query_loss"].shape == (NUM_TASKS,)
    assert info["support_losses"].shape == (NUM_TASKS, num_steps)
    expected = jax.tree.map(lambda leaf: leaf if is_float_array(leaf) else None, result["init"])
    assert_same_kind(gradient, expected)


@every_pair
def test_values_that_any_learner_has(name, kind):
    """Adaptation starts at the parameters, lowers the loss, and more steps continue fewer."""
    num_steps = LEARNERS[name][1]
    params, query = KINDS[kind].init(0), jax.tree.map(lambda x: x[0], make_tasks(0).query)
    result = eager_result(name, kind)
    more, none = result["more"], result["none"]

    assert_close(none.params, params)
    before, after = (KINDS[kind].predict(p, query.inputs) for p in (params, more.params))
    np.testing.assert_allclose(none.probes["prediction"][0], before, rtol=1e-5)
    np.testing.assert_allclose(more.probes["prediction"][0], before, rtol=1e-5)
    np.testing.assert_allclose(more.probes["prediction"][-1], after, rtol=1e-5)
    assert np.all(np.diff(more.support_losses) < 0)
    losses = more.support_losses[:num_steps]
    np.testing.assert_allclose(result["adapt"].support_losses, losses, rtol=1e-5)

    (loss, info), gradient = result["meta_gradient"]
    np.testing.assert_allclose(loss, info["query_loss"].mean(), rtol=1e-5)
    np.testing.assert_allclose(info["support_losses"][0], losses, rtol=1e-5)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(gradient))


@every_pair
def test_traces_once_under_jit_and_vmap(name, kind):
    case = make_case(name, kind)
    first, second = ((KINDS[kind].init(seed), make_tasks(seed)) for seed in (0, 1))
    expected = eager_result(name, kind)

    compiled = eqx.filter_jit(case.everything)
    assert_same_kind(expected, eqx.filter_eval_shape(compiled, *first), unchanged=False)
    traced = case.num_traces[0]
    eqx.filter_eval_shape(compiled, *second)
    assert case.num_traces[0] == traced > 0

    over_seeds = eqx.filter_vmap(case.everything)
    stacked = (stack(*pair) for pair in zip(first, second, strict=True))
    shapes = eqx.filter_eval_shape(over_seeds, *stacked)
    assert_same_kind(stack(expected, expected), shapes, unchanged=False)


@every_pair
def test_an_outer_step_keeps_the_form_of_its_state(name, kind):
    case = make_case(name, kind)
    loop = make_loop(case)
    params = KINDS[kind].init(0)
    state = loop.init(params)
    assert_same_kind(state.meta_params, case.learner.init(params))
    after, metrics = eqx.filter_eval_shape(loop.step, jax.random.key(0), state)
    assert_same_kind(state, after, unchanged=False)
    assert all(value.shape == () for value in metrics.values())
    expected = {"train/query_loss", "train/gradient_norm"}
    assert set(metrics) == expected | ({"train/support_loss"} if LEARNERS[name][1] else set())


@compiled_pairs
def test_compiled_over_seeds_it_says_the_same(name, kind):
    case = make_case(name, kind)
    seeds = (1, 0)
    params, tasks = stack(*map(KINDS[kind].init, seeds)), stack(*map(make_tasks, seeds))
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
    return mamlax.outer_loop(case.learner, optax.adam(0.01), sample_task, meta_batch_size=NUM_TASKS)


def stack(*trees):
    return jax.tree.map(lambda *xs: jnp.stack(xs) if eqx.is_array(xs[0]) else xs[0], *trees)


def same_arrays(one, two):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs if eqx.is_array(x))
