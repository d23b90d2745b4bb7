"""Heads made for the task at hand: any number of ways, and no class that is the first."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

pytestmark = pytest.mark.slow  # compiles a program for each case

FEATURES, TRAIN_WAYS = 3, 4


def features_fn(params, batch):
    return jnp.tanh(batch.inputs @ params["body"])


def logits_fn(params, batch):
    head = params["head"]
    return features_fn(params, batch) @ head["weight"] + head["bias"][None]


def loss_fn(params, batch):
    logits = logits_fn(params, batch)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets).mean()


def make_params(ways=TRAIN_WAYS):
    rng = np.random.default_rng(0)
    body, weight, bias = (
        jnp.asarray(rng.normal(size=s)) for s in ((2, FEATURES), (FEATURES, ways), ways)
    )
    return {"body": body, "head": {"weight": weight, "bias": bias}}


def make_task(ways, seed=1):
    """Two examples of each class to adapt on, in no order, and three to judge on."""
    rng = np.random.default_rng(seed)

    def batch(shots):
        targets = rng.permutation(np.tile(np.arange(ways), shots))
        return mamlax.Batch(
            jnp.asarray(rng.normal(size=(ways * shots, 2))), jnp.asarray(targets, jnp.int32)
        )

    return mamlax.Task(batch(2), batch(3))


def set_head(params, weight, bias):
    return params | {"head": {"weight": weight, "bias": bias}}


HEADS = {
    "proto_maml": functools.partial(
        mamlax.proto_maml, loss_fn, features_fn=features_fn, set_head=set_head
    ),
    "unicorn_maml": functools.partial(mamlax.unicorn_maml, loss_fn, head=lambda p: p["head"]),
}


def make_learner(name, ways, **options):
    settings = {"inner_optimizer": optax.sgd(0.3), "num_inner_steps": 2, **options}
    return HEADS[name](ways=ways, **settings)


@pytest.mark.parametrize("ways", [3, 5, 20])
@pytest.mark.parametrize("name", HEADS)
def test_other_ways_with_the_same_meta_params(name, ways):
    meta_params = make_learner(name, TRAIN_WAYS).init(make_params())
    task = make_task(ways)
    learner = make_learner(name, ways)
    adaptation = jax.jit(learner.adapt)(meta_params, task.support)
    assert adaptation.params["head"]["weight"].shape == (FEATURES, ways)
    assert logits_fn(adaptation.params, task.query).shape == (3 * ways, ways)
    assert np.all(np.diff(adaptation.support_losses) < 0)
    tasks = jax.tree.map(lambda x: x[None], task)
    gradient = jax.eval_shape(learner.meta_gradient, meta_params, tasks)[1]
    shapes = jax.tree.map(jnp.shape, gradient), jax.tree.map(jnp.shape, meta_params)
    assert shapes[0] == shapes[1], "the gradient is that of the same meta-parameters"


@pytest.mark.parametrize("name", HEADS)
@jax.enable_x64(True)
def test_names_of_classes_do_not_matter(name):
    """Classes called otherwise are predicted as before, under their other names."""
    ways = 5
    learner = make_learner(name, ways)
    meta_params, task = learner.init(make_params()), make_task(ways)
    names = jnp.array([3, 0, 4, 1, 2])
    renamed = task.support._replace(targets=names[task.support.targets])
    adapt = jax.jit(learner.adapt)
    logits, other = (
        logits_fn(adapt(meta_params, support).params, task.query)
        for support in (task.support, renamed)
    )
    np.testing.assert_allclose(other[:, names], logits, rtol=1e-10)
    assert np.abs(other - logits).max() > 1e-2

    plain = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.3), num_inner_steps=2)
    logits, other = (
        logits_fn(plain.adapt(make_params(ways), support).params, task.query)
        for support in (task.support, renamed)
    )
    assert np.abs(other[:, names] - logits).max() > 1e-2, "a head of its own for each class"


@jax.enable_x64(True)
def test_prototypes_are_a_classifier_by_distance():
    """Before the first step, classes are as likely as a softmax of −‖f − μ_c‖² says."""
    ways = 3
    learner = make_learner("proto_maml", ways)
    params, task = make_params(), make_task(ways)
    adapted = learner.adapt(params, task.support, num_inner_steps=0).params
    f, query = features_fn(params, task.support), features_fn(params, task.query)
    means = np.stack([np.mean(f[task.support.targets == c], axis=0) for c in range(ways)])
    distances = np.sum((query[:, None] - means[None]) ** 2, axis=2)
    np.testing.assert_allclose(
        jax.nn.softmax(logits_fn(adapted, task.query)), jax.nn.softmax(-distances), rtol=1e-11
    )
    assert np.array_equal(adapted["body"], params["body"])


@jax.enable_x64(True)
def test_prototypes_of_shots_that_differ_and_a_class_that_is_absent():
    support = mamlax.Batch(jnp.ones((4, 2)), jnp.array([0, 2, 2, 2]))
    head = make_learner("proto_maml", 3).adapt(make_params(), support, num_inner_steps=0)
    weight, bias = head.params["head"]["weight"], head.params["head"]["bias"]
    f = features_fn(make_params(), support)[0]
    np.testing.assert_allclose(weight, np.stack([2 * f, 0 * f, 2 * f], axis=1), rtol=1e-12)
    np.testing.assert_allclose(bias, [-f @ f, 0, -f @ f], rtol=1e-12)


@pytest.mark.parametrize("first_order", [False, True])
@jax.enable_x64(True)
def test_the_body_learns_through_the_prototypes(first_order):
    """By hand: also first order differentiates where the inner loop starts."""
    ways, params = 3, make_params()
    task = make_task(ways)
    one_hot = jax.nn.one_hot(task.support.targets, ways, dtype=float)

    def meta_loss(params):
        means = one_hot.T @ features_fn(params, task.support) / 2
        params = set_head(params, 2 * means.T, -jnp.sum(means**2, axis=1))
        for _ in range(2):
            gradient = jax.grad(loss_fn)(params, task.support)
            gradient = jax.lax.stop_gradient(gradient) if first_order else gradient
            params = jax.tree.map(lambda p, g: p - 0.3 * g, params, gradient)
        return loss_fn(params, task.query)

    learner = make_learner("proto_maml", ways, first_order=first_order)
    tasks = jax.tree.map(lambda x: x[None], task)
    (loss, _), gradient = jax.jit(learner.meta_gradient)(params, tasks)
    expected_loss, expected = jax.jit(jax.value_and_grad(meta_loss))(params)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-12)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-9), gradient, expected)
    assert not np.any(gradient["head"]["weight"]), "the head of the parameters is not used"


@jax.enable_x64(True)
def test_one_vector_for_all_classes():
    """It starts as the mean of the heads given, and its gradient is the sum over classes."""
    learner = make_learner("unicorn_maml", 3)
    params, task = make_params(), make_task(3)
    meta_params = learner.init(params)
    weight = meta_params["head"]["weight"]
    np.testing.assert_allclose(weight[:, 0], params["head"]["weight"].mean(1), rtol=1e-14)
    start = learner.adapt(meta_params, task.support, num_inner_steps=0).params
    assert np.array_equal(start["head"]["weight"], np.tile(weight, (1, 3)))

    plain = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.3), num_inner_steps=2)
    tasks = jax.tree.map(lambda x: x[None], task)
    found, expected = (
        jax.jit(algorithm.meta_gradient)(p, tasks)[1]
        for algorithm, p in ((learner, meta_params), (plain, start))
    )
    np.testing.assert_allclose(
        found["head"]["weight"], expected["head"]["weight"].sum(1, keepdims=True), rtol=1e-10
    )
    np.testing.assert_allclose(found["body"], expected["body"], rtol=1e-10)


def test_prototypes_of_the_first_batch_where_each_step_has_its_own():
    learner = make_learner("proto_maml", 3, support_per_step=True)
    one, two = make_task(3).support, make_task(3, seed=2).support
    support = jax.tree.map(lambda *x: jnp.stack(x), one, two)
    starts = [
        learner.adapt(make_params(), support, probe_fn=lambda p: p["head"]["bias"]).probes[0],
        make_learner("proto_maml", 3)
        .adapt(make_params(), one, num_inner_steps=0)
        .params["head"]["bias"],
    ]
    np.testing.assert_allclose(*starts, rtol=1e-6)
