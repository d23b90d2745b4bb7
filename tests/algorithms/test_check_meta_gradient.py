"""`check_meta_gradient` passes what is right, fails what is wrong, and says where."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mamlax

check = functools.partial(mamlax.check_meta_gradient, max_entries=4)


def tanh_network(params, inputs):
    hidden = jnp.tanh(inputs @ params["in"] + params["bias"][None])
    return hidden @ params["out"]


def squared_error(params, batch):
    return jnp.mean((tanh_network(params, batch.inputs) - batch.targets) ** 2)


def make_problem():
    rng = np.random.default_rng(0)
    shapes = {"in": (2, 3), "bias": (3,), "out": (3, 1)}
    params = {
        name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()
    }
    return params, make_tasks(rng)


def make_tasks(rng):
    def batch(num_examples):
        inputs, targets = (rng.normal(size=(2, num_examples, n)) for n in (2, 1))
        return mamlax.Batch(jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32))

    return mamlax.Task(support=batch(4), query=batch(5))


def make_learner(loss_fn=squared_error, **options):
    settings = {"inner_optimizer": optax.sgd(0.1), "num_inner_steps": 1} | options
    return mamlax.maml(loss_fn, **settings)


def wrong_in(learner, change):
    """The learner with `change(gradient)` for its meta-gradient."""

    def meta_gradient(meta_params, tasks):
        result, gradient = learner.meta_gradient(meta_params, tasks)
        return result, change(gradient)

    return learner._replace(meta_gradient=meta_gradient)


def wrong_names(report):
    return [leaf.name for leaf in report.leaves if leaf.error > report.tolerance]


@functools.cache
def right_report():
    return check(make_learner(num_inner_steps=2), *make_problem())


def test_second_order_passes():
    report = right_report()
    assert report.passed, report
    names = {leaf.name: (leaf.shape, leaf.num_checked) for leaf in report.leaves}
    assert names == {"['bias']": ((3,), 3), "['in']": ((2, 3), 4), "['out']": ((3, 1), 3)}
    assert all(0 < leaf.error < 1e-6 for leaf in report.leaves)


def test_first_order_fails():
    report = check(make_learner(first_order=True), *make_problem())
    assert not report.passed
    assert wrong_names(report) == ["['bias']", "['in']", "['out']"]
    assert max(leaf.error for leaf in report.leaves) > 1e-2


def test_first_order_without_inner_steps_passes():
    assert check(make_learner(first_order=True, num_inner_steps=0), *make_problem()).passed


@pytest.mark.parametrize(
    "change",
    [
        lambda g: 1.001 * g,
        lambda g: jnp.zeros_like(g),
        lambda g: g.at[1].set(jnp.nan),
        lambda g: jnp.roll(g, 1),
    ],
    ids=["scaled", "zero", "nan", "order"],
)
def test_the_wrong_leaf_is_named(change):
    wrong = wrong_in(make_learner(), lambda g: g | {"bias": change(g["bias"])})
    report = check(wrong, *make_problem())
    assert not report.passed
    assert wrong_names(report) == ["['bias']"]
    (line,) = (line for line in str(report).splitlines() if "WRONG" in line)
    assert line.startswith("['bias']")


def test_an_error_in_a_leaf_of_little_influence_is_found():
    """The gradient of one leaf is a millionth of the others', and wrong."""

    def loss_fn(params, batch):
        return squared_error(params, batch) + 1e-6 * jnp.sum(jnp.sin(params["small"]))

    params, tasks = make_problem()
    params = params | {"small": jnp.ones(2)}
    wrong = wrong_in(make_learner(loss_fn), lambda g: g | {"small": 1.5 * g["small"]})
    assert wrong_names(check(wrong, params, tasks)) == ["['small']"]


def test_the_report_is_a_table():
    report = mamlax.MetaGradientReport(
        (
            mamlax.LeafCheck("['bias']", (3,), 3, 2.34e-8),
            mamlax.LeafCheck(".layers[0].weight", (40, 40), 20, 0.5),
        ),
        tolerance=1e-5,
    )
    assert not report.passed
    assert str(report).splitlines() == [
        "leaf               shape          checked  relative error",
        "['bias']           [3]                  3  2.3e-08  ok",
        ".layers[0].weight  [40, 40]            20  5.0e-01  WRONG",
        "Gradient and finite differences DISAGREE (tolerance 1e-05).",
    ]
    better = report._replace(leaves=report.leaves[:1])
    assert better.passed
    assert str(better).splitlines() == [
        "leaf      shape          checked  relative error",
        "['bias']  [3]                  3  2.3e-08  ok",
        "Gradient and finite differences agree (tolerance 1e-05).",
    ]


def test_an_error_at_the_tolerance_passes():
    leaf = mamlax.LeafCheck("x", (), 1, 1e-5)
    assert mamlax.MetaGradientReport((leaf,), tolerance=1e-5).passed
    assert not mamlax.MetaGradientReport((leaf,), tolerance=0.99e-5).passed
    infinite = leaf._replace(error=math.inf)
    assert not mamlax.MetaGradientReport((leaf, infinite), tolerance=1e-5).passed


def test_float32_is_checked_in_float64_and_the_flag_restored():
    seen = set()

    def loss_fn(params, batch):
        seen.update(x.dtype for x in jax.tree.leaves((params, batch)))
        return squared_error(params, batch)

    params, tasks = make_problem()
    before = jax.tree.map(np.array, params)
    assert not jax.config.jax_enable_x64
    assert check(make_learner(loss_fn), params, tasks).passed
    assert not jax.config.jax_enable_x64
    assert seen == {np.dtype(np.float64)}
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(params))
    jax.tree.map(np.testing.assert_array_equal, params, before)


def test_the_flag_is_restored_after_an_error():
    def loss_fn(params, batch):
        raise RuntimeError("no loss today")

    with pytest.raises(RuntimeError, match="no loss today"):
        check(make_learner(loss_fn), *make_problem())
    assert not jax.config.jax_enable_x64
    with jax.enable_x64(True):
        with pytest.raises(RuntimeError, match="no loss today"):
            check(make_learner(loss_fn), *make_problem())
        assert jax.config.jax_enable_x64


def test_which_entries_depend_on_the_seed():
    """One wrong entry among many is found by some seeds only, and by all entries."""
    learner = make_learner(lambda params, x: jnp.sum(jnp.sin(params) * x), num_inner_steps=0)
    wrong = wrong_in(learner, lambda gradient: gradient.at[3].multiply(2.0))
    params, tasks = jnp.arange(6.0), mamlax.Task(jnp.ones((1, 6)), jnp.ones((1, 6)))
    passed = [check(wrong, params, tasks, max_entries=3, seed=seed).passed for seed in range(4)]
    assert set(passed) == {True, False}
    assert not check(wrong, params, tasks, max_entries=6).passed


def test_convolution():
    """The paper's network with batch moments, one block of it."""
    rng = np.random.default_rng(1)
    kernel, shift, *head = (
        jnp.asarray(rng.normal(size=shape), jnp.float32)
        for shape in ((3, 3, 1, 3), (3,), (3, 2), (2,))
    )
    model = mamlax.models.Conv4([kernel], [shift], *head, "stride", "batch")

    def loss_fn(params, batch):
        logits = params(batch.inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets).mean()

    def batch(num_examples):
        inputs = jnp.asarray(rng.normal(size=(2, num_examples, 6, 6, 1)), jnp.float32)
        return mamlax.Batch(inputs, jnp.tile(jnp.arange(num_examples) % 2, (2, 1)))

    tasks = jax.tree.map(lambda x: x[:1], mamlax.Task(batch(4), batch(4)))
    learner = make_learner(loss_fn)
    report = check(learner, model, tasks, max_entries=2)
    assert report.passed, report
    names = [".kernels[0]", ".shifts[0]", ".head_weight", ".head_bias"]
    assert [leaf.name for leaf in report.leaves] == names


def test_flax():
    class Network(nnx.Module):
        def __init__(self):
            self.linear = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
            self.head = nnx.Param(jnp.ones((3, 1)))
            self.calls = nnx.Variable(jnp.array(0))

        def __call__(self, x):
            hidden = x @ self.linear.kernel[...] + self.linear.bias[...][None]
            return jnp.tanh(hidden) @ self.head[...]

    graph, state = nnx.split(Network())

    def loss_fn(params, batch):
        return jnp.mean((nnx.merge(graph, params)(batch.inputs) - batch.targets) ** 2)

    _, tasks = make_problem()
    report = check(make_learner(loss_fn), state, tasks)
    assert report.passed, report
    assert sorted(leaf.shape for leaf in report.leaves) == [(2, 3), (3,), (3, 1)]
    assert any("kernel" in leaf.name for leaf in report.leaves)


def test_a_bare_array_is_called_params():
    tasks = mamlax.Task(jnp.ones((2, 3)), 2 * jnp.ones((2, 4)))
    learner = make_learner(lambda params, batch: jnp.mean(jnp.cos(params - batch)))
    report = check(learner, jnp.array(0.3), tasks)
    assert report.passed, report
    assert [leaf[:3] for leaf in report.leaves] == [("params", (), 1)]
