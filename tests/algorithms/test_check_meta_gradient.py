"""`check_meta_gradient` passes what is right, fails what is wrong, and says where."""

import collections
import functools
import math
import re

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
    return [leaf.name for leaf in report.leaves if leaf.verdict(report.tolerance) == "WRONG"]


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


def test_the_report_says_what_was_not_checked():
    report = mamlax.MetaGradientReport(
        (
            mamlax.LeafCheck("a", (3,), 2, 1e-8, num_kinks=1),
            mamlax.LeafCheck("b", (3,), 3, 2e-3, noise=3e-3),
            mamlax.LeafCheck("c", (3,), 0, 0.0, num_kinks=3),
            mamlax.LeafCheck("d", (3,), 3, 0.5, noise=0.9),
            mamlax.LeafCheck("e", (0,), 0, 0.0),
        ),
        tolerance=1e-5,
        remarks=("Something else.",),
    )
    assert not report.passed
    assert str(report).splitlines()[1:] == [
        "a     [3]                  2  1.0e-08  ok (1 on a kink, skipped)",
        "b     [3]                  3  2.0e-03  ok (rounding 3e-03)",
        "c     [3]                  0  0.0e+00  NOT CHECKED (3 on a kink, skipped)",
        "d     [3]                  3  5.0e-01  NOT CHECKED (rounding 9e-01)",
        "e     [0]                  0  0.0e+00  ok",
        "Gradient and finite differences agree where checked (tolerance 1e-05).",
        "Something else.",
    ]
    assert report._replace(leaves=report.leaves[:2]).passed


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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_what_init_adds_is_converted():
    """Meta-SGD in small: the learner brings a step size of its own, in float32."""
    alpha = jnp.asarray(0.01, jnp.float32)

    def objective(meta_params, task):
        params, alpha = meta_params
        gradient = jax.grad(squared_error)(params, task.support)
        adapted = jax.tree.map(lambda p, g: p - alpha * g, params, gradient)
        return squared_error(adapted, task.query), {}

    learner = make_learner()._replace(
        init=lambda params: (params, alpha), meta_gradient=mamlax.mean_gradient(objective)
    )
    report = check(learner, *make_problem())
    assert report.passed, report
    assert report.leaves[-1].name == "[1]"
    assert report.leaves[-1].error < 1e-7


def cast_in_scan(x, dtype):
    return jax.lax.scan(lambda carry, _: (cast(carry, dtype), None), x, length=2)[0]


def cast_in_custom_vjp(x, dtype):
    identity = jax.custom_vjp(lambda x: cast(x, dtype))
    identity.defvjp(lambda x: (cast(x, dtype), None), lambda _, g: (g,))
    return identity(x)


def cast(x, dtype):
    return x.astype(dtype).astype(x.dtype)


@pytest.mark.parametrize(
    "cast",
    [
        cast,
        cast_in_scan,
        cast_in_custom_vjp,
        lambda x, dtype: jax.jit(lambda x: cast(x, dtype))(x),
        lambda x, dtype: jax.checkpoint(lambda x: cast(x, dtype))(x),
        lambda x, dtype: jax.lax.cond(x[0, 0] < 9, lambda x: cast(x, dtype), lambda x: x, x),
        lambda x, dtype: jax.lax.dot(
            x, jnp.eye(x.shape[1], dtype=x.dtype), preferred_element_type=dtype
        ),
    ],
    ids=["bare", "scan", "custom_vjp", "jit", "checkpoint", "cond", "dot"],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.slow
def test_a_loss_in_low_precision_is_named(cast, dtype):
    def loss_fn(params, batch):
        return squared_error(params | {"in": cast(params["in"], dtype)}, batch)

    report = check(make_learner(loss_fn, num_inner_steps=0), *make_problem(), max_entries=1)
    assert not report.passed
    name = jnp.dtype(dtype).name
    assert f"The loss computes in {name} somewhere; the check needs float64" in str(report)


HELD = jnp.ones((1, 2, 3), jnp.float32)


def convolved(params, inputs):
    """A kernel that is held, and convolutions take arrays of one type alone."""
    return jax.lax.conv(inputs[None], HELD, (1,), "SAME") * jnp.sum(params["bias"])


def made_in_a_scan(params, inputs):
    start = jnp.zeros(3, jnp.float32)
    return jax.lax.scan(lambda x, _: (x + params["bias"], None), start, length=2)[0]


@pytest.mark.parametrize("predict", [convolved, made_in_a_scan])
def test_what_a_loss_holds_or_makes_in_float32_is_found(predict):
    """It works as it is used; the line that fails in float64 is said."""

    def loss_fn(params, batch):
        return squared_error(params, batch) + jnp.mean(predict(params, batch.inputs.T))

    learner, (params, tasks) = make_learner(loss_fn, num_inner_steps=0), make_problem()
    jax.eval_shape(learner.meta_gradient, params, tasks)
    with pytest.raises(TypeError, match="and not in float64") as error:
        check(learner, params, tasks)
    name = "jax.lax.conv(" if predict is convolved else "jax.lax.scan("
    assert "test_check_meta_gradient.py:" in str(error.value) and name in str(error.value)


def test_what_fails_in_any_type_is_not_blamed_on_float64():
    learner = make_learner(lambda params, batch: jnp.sum(params["in"] @ batch.inputs))
    with pytest.raises(TypeError, match=r"dot_general") as error:
        check(learner, *make_problem())
    assert "float64, which the check needs" not in str(error.value)


def test_the_line_of_a_cast_is_said():
    def loss_fn(params, batch):
        return squared_error(params | {"in": cast(params["in"], jnp.float32)}, batch)

    report = check(make_learner(loss_fn, num_inner_steps=0), *make_problem(), max_entries=1)
    assert re.search(r"See test_check_meta_gradient\.py:\d+:\d+ \(cast\)", str(report)), report


def test_a_gradient_that_is_not_finite_is_explained():
    learner = make_learner(
        lambda params, batch: squared_error(params, batch) + jnp.linalg.norm(0 * params["bias"]),
        num_inner_steps=0,
    )
    report = check(learner, *make_problem(), max_entries=1)
    assert not report.passed
    assert "a norm or a square root at zero" in str(report)


def test_a_cast_that_does_not_matter_is_not_mentioned():
    def loss_fn(params, batch):
        return squared_error(params, batch._replace(targets=cast(batch.targets, jnp.float32)))

    report = check(make_learner(loss_fn), *make_problem())
    assert report.passed
    assert not report.remarks


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_loss_that_is_not_float64_is_refused(dtype):
    learner = make_learner(lambda params, batch: squared_error(params, batch).astype(dtype))
    with pytest.raises(TypeError, match=rf"float64 scalar.*{jnp.dtype(dtype).name}\[\].*cast"):
        check(learner, *make_problem())


def test_a_loss_that_is_not_finite_is_refused():
    learner = make_learner(lambda p, batch: squared_error(p, batch) / 0, num_inner_steps=0)
    with pytest.raises(ValueError, match="meta-loss is inf"):
        check(learner, *make_problem())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g | {"bias": None}, r"missing: \['bias'\] \[3\]; extra: none"),
        (lambda g: {"in": g["in"]}, r"missing: \['bias'\] \[3\], \['out'\] \[3, 1\]; extra: none"),
        (lambda g: g | {"more": g["bias"]}, r"missing: none; extra: \['more'\] \[3\]"),
        (lambda g: g | {"bias": g["out"]}, r"\['bias'\] \[3\]; extra: \['bias'\] \[3, 1\]"),
        (lambda g: None, r"missing: \['bias'\] .*; extra: none"),
    ],
    ids=["none", "lacking", "extra", "shape", "nothing"],
)
def test_a_gradient_of_another_structure_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check(wrong_in(make_learner(), change), *make_problem())


def test_leaves_are_paired_by_name():
    """A gradient in another order of leaves is still the right one."""
    right = make_learner(lambda params, batch: squared_error(dict(params), batch))

    def init(params):
        return collections.OrderedDict((name, params[name]) for name in ("out", "in", "bias"))

    def meta_gradient(meta_params, tasks):
        result, gradient = right.meta_gradient(dict(meta_params), tasks)
        return result, dict(sorted(gradient.items()))

    report = check(right._replace(init=init, meta_gradient=meta_gradient), *make_problem())
    assert report.passed, report
    assert [leaf.name for leaf in report.leaves] == ["['out']", "['in']", "['bias']"]


@pytest.mark.parametrize("offset", [1e6, pytest.param(-1e6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("first_order", [False, True])
def test_rounding_of_a_large_loss(offset, first_order):
    """Rounding is allowed for, and does not hide what is wrong."""
    learner = make_learner(lambda p, b: squared_error(p, b) + offset, first_order=first_order)
    report = check(learner, *make_problem())
    assert report.passed is not first_order, report
    assert all(1e-5 < leaf.noise < 0.1 for leaf in report.leaves)
    assert "rounding" in str(report)


def test_rounding_that_drowns_the_gradient_does_not_pass():
    learner = make_learner(lambda params, batch: squared_error(params, batch) + 1e12)
    report = check(learner, *make_problem())
    assert not report.passed
    assert not wrong_names(report)
    assert {leaf.verdict(report.tolerance) for leaf in report.leaves} == {"NOT CHECKED"}


def test_large_parameters():
    tasks = mamlax.Task(jnp.ones((2, 1)), jnp.ones((2, 1)))
    learner = make_learner(lambda p, batch: jnp.mean(jnp.log(p) * batch), num_inner_steps=0)
    report = check(learner, jnp.array([1e7, 2e8]), tasks)
    assert report.passed, report


def with_a_zero_among_the_inputs(seed):
    model = mamlax.models.mlp(jax.random.key(seed), 1, 1, hidden_sizes=(8, 8))
    inputs = jax.random.normal(jax.random.key(seed + 1), (2, 2, 5, 1)).at[:, :, 0].set(0.0)
    support, query = (mamlax.Batch(x, jnp.sin(x) + 1) for x in inputs)
    return model, mamlax.Task(support, query)


def model_error(params, batch):
    return jnp.mean((params(batch.inputs) - batch.targets) ** 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_units_on_their_kink(seed):
    """Zero biases and a zero among the inputs: the gradient is the one to the left."""
    report = check(make_learner(model_error), *with_a_zero_among_the_inputs(seed), max_entries=8)
    assert report.passed, report


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_kinks_do_not_hide_a_first_order_gradient(seed):
    problem = with_a_zero_among_the_inputs(seed)
    report = check(make_learner(model_error, first_order=True), *problem, max_entries=8)
    assert not report.passed
    assert set(wrong_names(report)) >= {".weights[1]", ".weights[2]", ".biases[2]"}, report


def at_a_kink(value_and_gradient, params):
    """A report on a loss and gradient given by hand."""

    def meta_gradient(params, tasks):
        loss, gradient = value_and_gradient(params)
        return (loss, {}), gradient

    tasks = mamlax.Task(jnp.ones((1, 1)), jnp.ones((1, 1)))
    return check(make_learner()._replace(meta_gradient=meta_gradient), params, tasks)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_the_sides_of_a_kink_and_their_mean_are_right(slope):
    report = at_a_kink(lambda p: (jnp.sum(jax.nn.relu(p)), jnp.full(2, slope)), jnp.zeros(2))
    assert report.passed, report
    assert report.leaves[0].num_checked == 2


def test_a_leaf_on_kinks_alone_does_not_pass():
    report = at_a_kink(lambda p: (jnp.sum(jax.nn.relu(p)), jnp.full(2, 0.3)), jnp.zeros(2))
    assert not report.passed
    assert not wrong_names(report)
    assert report.leaves[0][2:5] == (0, 0.0, 2)
    assert "NOT CHECKED (2 on a kink, skipped)" in str(report)


def test_kinks_are_skipped_entry_by_entry():
    def value_and_gradient(p):
        return jnp.sum(jax.nn.relu(p)), jnp.where(p == 0, 0.3, 1.0)

    report = at_a_kink(value_and_gradient, jnp.array([0.0, 1.0, 2.0]))
    assert report.passed, report
    assert (report.leaves[0].num_checked, report.leaves[0].num_kinks) == (2, 1)


@pytest.mark.parametrize("params", [0.0, 3e-7, -5e-7, 1e-6, 1.5e-6])
@pytest.mark.parametrize("jump", [0.0, 0.1])
def test_a_gradient_is_not_wrong_near_a_kink_or_a_jump(params, jump):
    def loss(p):
        return jnp.sin(p + 1) + jnp.where(p > 0, 2 * p + jump, 0.0)

    report = at_a_kink(jax.value_and_grad(loss), jnp.array(params))
    assert not wrong_names(report), report


@pytest.mark.parametrize("size", [1e-3, 1e-2])
def test_a_kink_smaller_than_the_error_does_not_excuse_it(size):
    """The gradient is 5 % wrong, the kink explains less."""

    def value_and_gradient(p):
        return jnp.sin(p + 1) + size * jax.nn.relu(p), 1.05 * jnp.cos(p + 1)

    assert wrong_names(at_a_kink(value_and_gradient, jnp.array(0.0))) == ["params"]


@pytest.mark.parametrize("factor", [1.0001, 0.0, -1.0, jnp.nan, jnp.inf])
def test_curvature_does_not_excuse_an_error(factor):
    """A strongly curved loss at its steepest and at its most curved point."""
    for params in 0.0, 0.015:

        def value_and_gradient(p):
            return jnp.sin(100 * p), factor * 100 * jnp.cos(100 * p)

        assert wrong_names(at_a_kink(value_and_gradient, jnp.array(params))) == ["params"]


def test_a_loss_that_ends_beside_the_parameters():
    """Losses to the left are NaN; the difference to the right is still there."""
    report = at_a_kink(jax.value_and_grad(lambda p: jnp.sqrt(p + 1) ** 3), jnp.array(-1 + 1e-6))
    assert not report.passed
    report = at_a_kink(
        lambda p: (jnp.where(p < 0, jnp.nan, jnp.sin(p)), jnp.cos(p)), jnp.array(0.0)
    )
    assert report.passed, report


def test_keys_and_empty_leaves_ride_along():
    def loss_fn(params, batch):
        noise = jax.random.normal(params["key"], ())
        return squared_error(params, batch) * jnp.exp(noise) + jnp.sum(params["empty"])

    params, tasks = make_problem()
    params = params | {"key": jax.random.key(0), "empty": jnp.zeros((0, 2))}
    report = check(make_learner(loss_fn), params, tasks)
    assert report.passed, report
