"""Members of the family that are one another: the same float64 numbers, asked for in two ways."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

RATE = 0.1
NUM_TASKS = 2
SGD = optax.sgd(RATE)


def squared_error(params, batch):
    hidden = jnp.tanh(batch.inputs @ params["in"] + params["bias"][None])
    return jnp.mean((hidden @ params["out"] - batch.targets) ** 2)


def make_params():
    rng = np.random.default_rng(0)
    shapes = {"in": (2, 3), "bias": (3,), "out": (3, 1)}
    return {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}


def make_tasks(*before):
    """Tasks whose support has the leading axes `before` after the one of tasks."""
    rng = np.random.default_rng(1)

    def batch(*axes):
        inputs, targets = (rng.normal(size=(NUM_TASKS, *axes, n)) for n in (2, 1))
        return mamlax.Batch(jnp.asarray(inputs), jnp.asarray(targets))

    return mamlax.Task(batch(*before, 4), batch(5))


def result_of(learner, meta_params=None, tasks=None, **options):
    """Loss, info and gradient, compiled; the meta-parameters are those at the start."""
    meta_params = learner.init(make_params()) if meta_params is None else meta_params
    tasks = make_tasks() if tasks is None else tasks
    return jax.jit(functools.partial(learner.meta_gradient, **options))(meta_params, tasks)


@functools.cache
def maml_result(num_inner_steps=2, first_order=False):
    with jax.enable_x64(True):
        learner = maml(num_inner_steps=num_inner_steps, first_order=first_order)
        return result_of(learner)


def maml(**options):
    return mamlax.maml(squared_error, **{"inner_optimizer": SGD, "num_inner_steps": 2, **options})


def assert_same(found, expected, rtol=1e-11):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype == np.float64
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-13)


def differ(one, two):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return max(float(np.abs(x - y).max()) for x, y in pairs) > 1e-3


def gradient_by_hand(adapted_by_hand, params=None, tasks=None):
    """The mean over tasks of the query loss, and its gradient, where tasks are mapped by a loop."""
    tasks = make_tasks() if tasks is None else tasks

    def meta_loss(params):
        each = [jax.tree.map(lambda x, i=i: x[i], tasks) for i in range(NUM_TASKS)]
        losses = [squared_error(adapted_by_hand(params, task), task.query) for task in each]
        return jnp.mean(jnp.stack(losses))

    return jax.jit(jax.value_and_grad(meta_loss))(make_params() if params is None else params)


def descend(params, batch, rate=RATE, constant=False, only=("in", "bias", "out")):
    gradient = jax.grad(squared_error)(params, batch)
    gradient = jax.lax.stop_gradient(gradient) if constant else gradient
    return params | {name: params[name] - rate * gradient[name] for name in only}


SAME_AS_MAML = {
    "one_hot_weights": lambda: maml(step_weights=[0.0, 1.0]),
    "one_hot_schedule": lambda: maml(step_weights=lambda outer_step: jnp.array([0.0, 1.0])),
    "anil_of_everything": lambda: mamlax.anil(
        squared_error, head=lambda p: p, inner_optimizer=SGD, num_inner_steps=2
    ),
    "boil_of_nothing": lambda: mamlax.boil(
        squared_error, head=lambda p: [], inner_optimizer=SGD, num_inner_steps=2
    ),
    "where_everything_in_parts": lambda: maml(where=lambda p: [p["out"], (p["in"], p["bias"])]),
    "unrolled_all": lambda: maml(num_unrolled_steps=2),
    "unrolled_more_than_all": lambda: maml(num_unrolled_steps=7),
    "start_at_params": lambda: maml(start_fn=lambda params, support: params),
}


@pytest.mark.parametrize("name", SAME_AS_MAML)
@jax.enable_x64(True)
def test_what_is_maml(name):
    assert_same(result_of(SAME_AS_MAML[name]()), maml_result())


LEARNED = {
    "entry": mamlax.learned_step_sizes(RATE),
    "leaf": mamlax.learned_step_sizes(RATE, per="leaf"),
    "entry_and_step": mamlax.learned_step_sizes(RATE, num_steps=2),
    "leaf_and_step": mamlax.learned_step_sizes(RATE, per="leaf", num_steps=2),
    "fewer_than_steps": mamlax.learned_step_sizes(RATE, num_steps=1),
    "curvature": mamlax.learned_curvature(RATE),
}


@pytest.mark.parametrize(
    "name",
    ["entry", "curvature"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in list(LEARNED)[1:-1]],
)
@jax.enable_x64(True)
def test_what_is_maml_before_it_has_learned(name):
    """And once the optimizer's own parameters have moved, it is not."""
    learner = maml(inner_optimizer=LEARNED[name])
    start = learner.init(make_params())
    result, gradient = result_of(learner)
    expected, expected_gradient = maml_result()
    assert_same(result, expected)
    assert_same(gradient.params, expected_gradient)
    assert jax.tree.structure(gradient.optimizer) == jax.tree.structure(start.optimizer)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(gradient.optimizer))
    moved = start._replace(optimizer=jax.tree.map(lambda x: 2 * x, start.optimizer))
    support = jax.tree.map(lambda x: x[0], make_tasks().support)
    assert differ(learner.adapt(moved, support).params, learner.adapt(start, support).params)


@pytest.mark.parametrize("per", ["entry", "leaf"])
@jax.enable_x64(True)
def test_step_sizes_of_each_step_by_hand(per):
    """Each step has its own, and those beyond the last have the last one's."""
    optimizer = mamlax.learned_step_sizes(RATE, per=per, num_steps=2)
    learner = maml(inner_optimizer=optimizer)
    params = make_params()
    rng = np.random.default_rng(3)
    sizes = jax.tree.map(
        lambda x: jnp.asarray(rng.uniform(0.05, 0.2, x.shape)), learner.init(params).optimizer
    )
    assert sizes["in"].shape == ((2, 2, 3) if per == "entry" else (2,))
    support = jax.tree.map(lambda x: x[0], make_tasks().support)
    adaptation = learner.adapt(mamlax.WithOptimizer(params, sizes), support, num_inner_steps=4)
    for index in (0, 1, 1, 1):
        gradient = jax.grad(squared_error)(params, support)
        params = jax.tree.map(lambda p, a, g, i=index: p - a[i] * g, params, sizes, gradient)
    assert_same(adaptation.params, params)


@jax.enable_x64(True)
@pytest.mark.slow
def test_first_order_still_learns_step_sizes():
    """∂φ/∂α = −Σ gᵢ with gᵢ constant."""
    learner = mamlax.meta_sgd(
        squared_error, initial_step_size=RATE, num_inner_steps=2, first_order=True
    )
    gradient = result_of(learner)[1]
    assert_same(gradient.params, maml_result(first_order=True)[1])
    tasks, params = make_tasks(), make_params()
    expected = []
    for i in range(NUM_TASKS):
        task = jax.tree.map(lambda x, i=i: x[i], tasks)
        adapted, total = params, jax.tree.map(jnp.zeros_like, params)
        for _ in range(2):
            g = jax.grad(squared_error)(adapted, task.support)
            adapted, total = descend(adapted, task.support), jax.tree.map(jnp.add, total, g)
        slope = jax.grad(squared_error)(adapted, task.query)
        expected.append(jax.tree.map(lambda s, t: -s * t, slope, total))
    assert_same(gradient.optimizer, jax.tree.map(lambda *x: sum(x) / NUM_TASKS, *expected))


@jax.enable_x64(True)
def test_curvature_by_hand():
    """G ×₁ M₁ ×₂ M₂ ×₃ M₃ in indices, with matrices that are not symmetric."""
    optimizer = mamlax.learned_curvature(RATE)
    rng = np.random.default_rng(4)
    shapes = {"tensor": (2, 3, 4), "vector": (3,), "scalar": ()}
    g = {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}
    matrices = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), optimizer.init(g))
    assert [m.shape for m in matrices["tensor"]] == [(2, 2), (3, 3), (4, 4)]
    assert matrices["scalar"][0].shape == ()
    built = optimizer.build(matrices)
    updates, _ = built.update(g, built.init(g))
    a, b, c = matrices["tensor"]
    expected = {
        "tensor": -RATE * jnp.einsum("ijk,ai,bj,ck->abc", g["tensor"], a, b, c),
        "vector": -RATE * matrices["vector"][0] @ g["vector"],
        "scalar": -RATE * matrices["scalar"][0] * g["scalar"],
    }
    assert_same(updates, expected)


@jax.enable_x64(True)
def test_fomaml():
    learner = mamlax.fomaml(squared_error, inner_optimizer=SGD, num_inner_steps=2)
    assert_same(result_of(learner), maml_result(first_order=True))
    assert_same(result_of(maml(num_unrolled_steps=0)), maml_result(first_order=True))
    assert differ(maml_result(first_order=True)[1], maml_result()[1])


@pytest.mark.parametrize(("num_steps", "unrolled"), [(4, 2), (2, 1)])
@jax.enable_x64(True)
@pytest.mark.slow
def test_truncated_unrolling(num_steps, unrolled):
    def adapted_by_hand(params, task):
        for index in range(num_steps):
            params = descend(params, task.support, constant=index < num_steps - unrolled)
        return params

    found = result_of(maml(num_inner_steps=num_steps, num_unrolled_steps=unrolled))
    (loss, _), gradient = found
    assert_same((loss, gradient), gradient_by_hand(adapted_by_hand))
    for first_order in (False, True):
        assert differ(gradient, maml_result(num_steps, first_order)[1])


PARTS = {
    "anil": (mamlax.anil, ("bias", "out")),
    "boil": (mamlax.boil, ("in",)),
}


@pytest.mark.parametrize("name", PARTS)
@jax.enable_x64(True)
@pytest.mark.slow
def test_a_part_that_adapts(name):
    """The rest stays, has a gradient all the same, and does not enter the optimizer."""
    algorithm, adapting = PARTS[name]
    seen = []

    def update(gradient, state, params=None):
        seen.append(sorted(k for k, leaf in gradient.items() if leaf is not None))
        return jax.tree.map(lambda g: -RATE * g, gradient), state

    optimizer = optax.GradientTransformation(lambda params: (), update)
    learner = algorithm(
        squared_error,
        head=lambda p: {"a": p["bias"], "b": [p["out"]]},
        inner_optimizer=optimizer,
        num_inner_steps=2,
    )

    def adapted_by_hand(params, task):
        for _ in range(2):
            params = descend(params, task.support, only=adapting)
        return params

    (loss, _), gradient = result_of(learner)
    assert_same((loss, gradient), gradient_by_hand(adapted_by_hand))
    assert seen and all(names == sorted(adapting) for names in seen)
    support = jax.tree.map(lambda x: x[0], make_tasks().support)
    params, adapted = make_params(), learner.adapt(make_params(), support).params
    unchanged = {name for name in params if np.array_equal(params[name], adapted[name])}
    assert unchanged == set(params) - set(adapting)


@jax.enable_x64(True)
def test_step_weights_by_hand():
    weights = jnp.array([0.2, 0.0, 0.5])

    def meta_loss(params, task):
        losses = []
        for _ in range(3):
            params = descend(params, task.support)
            losses.append(squared_error(params, task.query))
        return weights @ jnp.stack(losses), losses[-1]

    def mean(params):
        losses, last = jax.vmap(meta_loss, (None, 0))(params, make_tasks())
        return losses.mean(), last

    (loss, last), gradient = jax.jit(jax.value_and_grad(mean, has_aux=True))(make_params())
    found = result_of(maml(num_inner_steps=3, step_weights=weights.tolist()))
    assert_same((found[0][0], found[0][1]["query_loss"], found[1]), (loss, last, gradient))


@jax.enable_x64(True)
def test_one_step_reptile_is_joint_training_on_supports():
    tasks, params = make_tasks(), make_params()
    joint = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), tasks.support)
    joint_gradient = jax.grad(squared_error)(params, joint)
    learner = mamlax.reptile(squared_error, inner_optimizer=SGD, num_inner_steps=1)
    (loss, info), gradient = result_of(learner)
    assert_same(gradient, jax.tree.map(lambda g: RATE * g, joint_gradient))
    (maml_loss, maml_info), maml_gradient = maml_result(1)
    assert_same((loss, info), (maml_loss, maml_info))
    assert differ(gradient, maml_gradient)


@pytest.mark.parametrize("per_step", [False, True])
@jax.enable_x64(True)
def test_reptile_by_hand(per_step):
    """θ − φ after three steps, on one batch or on a minibatch each; a part of θ, where asked."""
    tasks, params = make_tasks(3) if per_step else make_tasks(), make_params()
    displacements = []
    for i in range(NUM_TASKS):
        task, adapted = jax.tree.map(lambda x, i=i: x[i], tasks), params
        for step in range(3):
            support = task.support
            batch = jax.tree.map(lambda x, i=step: x[i], support) if per_step else support
            adapted = descend(adapted, batch, only=("in", "out"))
        displacements.append(jax.tree.map(jnp.subtract, params, adapted))
    learner = mamlax.reptile(
        squared_error,
        inner_optimizer=SGD,
        num_inner_steps=3,
        where=lambda p: (p["in"], p["out"]),
        support_per_step=per_step,
    )
    gradient = result_of(learner, tasks=tasks)[1]
    assert_same(gradient, jax.tree.map(lambda *x: sum(x) / NUM_TASKS, *displacements))
    assert np.array_equal(gradient["bias"], np.zeros(3))


@jax.enable_x64(True)
def test_cavia_by_hand():
    """The context starts at zero, whatever the parameters have there."""
    learner = mamlax.cavia(
        squared_error, context=lambda p: p["bias"], inner_optimizer=SGD, num_inner_steps=2
    )

    def adapted_by_hand(params, task):
        params = params | {"bias": jnp.zeros(3)}
        for _ in range(2):
            params = descend(params, task.support, only=("bias",))
        return params

    (loss, _), gradient = result_of(learner)
    assert_same((loss, gradient), gradient_by_hand(adapted_by_hand))
    assert np.array_equal(gradient["bias"], np.zeros(3))
    assert np.abs(make_params()["bias"]).min() > 0
    support = jax.tree.map(lambda x: x[0], make_tasks().support)
    start = learner.adapt(make_params(), support, num_inner_steps=0).params
    assert_same(start, make_params() | {"bias": jnp.zeros(3)})


def per_step_learner(**options):
    return maml(per_step=lambda p: p["bias"], **options)


@jax.enable_x64(True)
def test_equal_arrays_of_each_step_are_maml():
    """Whose gradient is the sum over the steps; those that are not adapted by it."""
    learner = per_step_learner()
    start = learner.init(make_params())
    assert start["bias"].shape == (2, 3)
    result, gradient = result_of(learner)
    expected, expected_gradient = result_of(maml(where=lambda p: (p["in"], p["out"])))
    assert_same(result, expected)
    assert_same(gradient | {"bias": gradient["bias"].sum(0)}, expected_gradient)
    assert all(np.abs(gradient["bias"]).max(1) > 1e-4)


@jax.enable_x64(True)
@pytest.mark.slow
def test_arrays_of_each_step_by_hand():
    """The loss of step i sees those at i, and so does the query after it; later steps the last."""
    weights = jnp.array([0.3, 0.7])
    learner = per_step_learner(step_weights=weights.tolist())
    rng = np.random.default_rng(5)
    meta_params = make_params() | {"bias": jnp.asarray(rng.normal(size=(2, 3)))}

    def adapted_by_hand(params, task, num_steps=2):
        stacked = params["bias"]
        for step in range(num_steps):
            seen = params | {"bias": stacked[min(step, 1)]}
            params = descend(seen, task.support, only=("in", "out"))
        return params | {"bias": stacked[min(max(num_steps - 1, 0), 1)]}

    (loss, _), gradient = result_of(per_step_learner(), meta_params)
    last = gradient_by_hand(adapted_by_hand, meta_params)
    assert_same((loss, gradient), last)
    first = gradient_by_hand(functools.partial(adapted_by_hand, num_steps=1), meta_params)
    (loss, _), gradient = result_of(learner, meta_params)
    both = jax.tree.map(lambda one, two: weights[0] * one + weights[1] * two, first, last)
    assert_same((loss, gradient), both)

    task = jax.tree.map(lambda x: x[0], make_tasks())
    adaptation = learner.adapt(
        meta_params, task.support, num_inner_steps=4, probe_fn=lambda params: params["bias"]
    )
    assert_same(adaptation.params, adapted_by_hand(meta_params, task, 4))
    assert_same(adaptation.probes, meta_params["bias"][jnp.array([0, 0, 1, 1, 1])])
    for num_steps in (0, 1):
        fewer = learner.adapt(meta_params, task.support, num_inner_steps=num_steps).params
        assert_same(fewer, adapted_by_hand(meta_params, task, num_steps))


@jax.enable_x64(True)
def test_a_start_of_its_own_sees_the_arrays_of_the_first_step():
    """And what it makes of them is not kept: they are those of the steps."""
    seen = []

    def start_fn(params, support):
        seen.append(params["bias"].shape)
        return params | {"out": 2 * params["out"], "bias": jnp.zeros(3)}

    doubled = per_step_learner(start_fn=start_fn)
    meta_params = doubled.init(make_params())
    task = jax.tree.map(lambda x: x[0], make_tasks())
    found = doubled.adapt(meta_params, task.support).params
    by_hand = meta_params | {"out": 2 * meta_params["out"]}
    assert_same(found, per_step_learner().adapt(by_hand, task.support).params)
    assert seen == [(3,)]


@jax.enable_x64(True)
def test_compositions_compose():
    """ANIL with learned step sizes, a weighted loss and a start of its own, by hand."""
    learner = mamlax.anil(
        squared_error,
        head=lambda p: p["out"],
        inner_optimizer=mamlax.learned_step_sizes(RATE, per="leaf"),
        num_inner_steps=2,
        step_weights=[0.3, 0.7],
        start_fn=lambda params, support: params | {"out": 2 * params["out"]},
        remat="steps",
    )
    start = learner.init(make_params())
    assert len(jax.tree.leaves(start.optimizer)) == 1

    def objective(meta_params, task):
        params, rate = meta_params.params, meta_params.optimizer["out"]
        params = params | {"out": 2 * params["out"]}
        total = 0.0
        for weight in (0.3, 0.7):
            params = descend(params, task.support, rate, only=("out",))
            total += weight * squared_error(params, task.query)
        return total

    def mean(meta_params):
        return jax.vmap(objective, (None, 0))(meta_params, make_tasks()).mean()

    (loss, _), gradient = result_of(learner)
    assert_same((loss, gradient), jax.jit(jax.value_and_grad(mean))(start))
