"""`check_meta_gradient` passes every learner whose direction is a gradient, and no other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

pytestmark = pytest.mark.slow  # compiles a program for each case

SGD = optax.sgd(0.1)


def loss_fn(params, batch):
    hidden = jnp.tanh(batch.inputs @ params["in"] + params["bias"][None])
    return jnp.mean((hidden @ params["out"] - batch.targets) ** 2)


def logits_fn(params, batch):
    return jnp.tanh(batch.inputs @ params["in"]) @ params["out"] + params["bias"][None]


def class_loss(params, batch):
    logits = logits_fn(params, batch)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets).mean()


def make_problem(classes=False):
    rng = np.random.default_rng(0)
    shapes = {"in": (2, 3), "bias": (2 if classes else 3,), "out": (3, 2 if classes else 1)}
    params = {k: jnp.asarray(rng.normal(size=s), jnp.float32) for k, s in shapes.items()}

    def batch(size):
        inputs, targets = (jnp.asarray(rng.normal(size=(2, size, n))) for n in (2, 1))
        if classes:
            targets = jnp.tile(jnp.arange(size) % 2, (2, 1))
        return mamlax.Batch(inputs, targets)

    return params, mamlax.Task(batch(4), batch(5))


def make(algorithm, loss_fn=loss_fn, **options):
    return algorithm(loss_fn, **{"inner_optimizer": SGD, "num_inner_steps": 2, **options})


def plus_plus(outer_step):
    learner = mamlax.maml_plus_plus(
        loss_fn,
        initial_step_size=0.1,
        num_inner_steps=2,
        num_multi_step_outer_steps=2,
        num_first_order_outer_steps=1,
        per_step=lambda p: p["bias"],
    )
    meta_gradient = functools.partial(learner.meta_gradient, outer_step=outer_step)
    return learner._replace(meta_gradient=meta_gradient)


OUT = {"head": lambda p: p["out"]}
EXACT = {  # learner, how many leaves its meta-parameters have, whether it is one of classes
    "anil": (lambda: make(mamlax.anil, **OUT), 3),
    "boil": (lambda: make(mamlax.boil, **OUT), 3),
    "cavia": (lambda: make(mamlax.cavia, context=lambda p: p["bias"]), 3),
    "per_step": (lambda: make(mamlax.maml, per_step=lambda p: p["bias"]), 3),
    "step_weights": (lambda: make(mamlax.maml, step_weights=[0.3, 0.7], remat="sqrt"), 3),
    "meta_sgd": (lambda: mamlax.meta_sgd(loss_fn, initial_step_size=0.1, num_inner_steps=2), 6),
    "meta_curvature": (
        lambda: mamlax.meta_curvature(loss_fn, inner_learning_rate=0.1, num_inner_steps=2),
        3 + 5,
    ),
    "maml_plus_plus_multi_step": (lambda: plus_plus(1), 5),
    "maml_plus_plus_last_step": (lambda: plus_plus(2), 5),
    "proto_maml": (
        lambda: make(
            mamlax.proto_maml,
            class_loss,
            features_fn=lambda p, batch: jnp.tanh(batch.inputs @ p["in"]),
            set_head=lambda p, weight, bias: p | {"out": weight, "bias": bias},
            ways=2,
        ),
        3,
    ),
    "unicorn_maml": (
        lambda: make(mamlax.unicorn_maml, class_loss, head=lambda p: (p["out"], p["bias"]), ways=2),
        3,
    ),
    "imaml": (
        lambda: make(
            mamlax.imaml,
            inner_optimizer=optax.sgd(0.2),
            num_inner_steps=300,
            proximal_strength=1.0,
            num_conjugate_gradient_steps=20,
        ),
        3,
    ),
    "imaml_of_a_part": (
        lambda: make(
            mamlax.imaml,
            inner_optimizer=optax.sgd(0.2),
            num_inner_steps=300,
            proximal_strength=1.0,
            num_conjugate_gradient_steps=20,
            where=lambda p: p["out"],
        ),
        3,
    ),
}
INEXACT = {
    "fomaml": lambda: make(mamlax.fomaml),
    "truncated": lambda: make(mamlax.maml, num_unrolled_steps=1),
    "maml_plus_plus_first_order": lambda: plus_plus(0),
    "reptile": lambda: make(mamlax.reptile),
    "imaml_with_few_conjugate_gradients": lambda: make(
        mamlax.imaml,
        inner_optimizer=optax.sgd(0.2),
        num_inner_steps=300,
        proximal_strength=1.0,
        num_conjugate_gradient_steps=1,
    ),
    "imaml_with_few_inner_steps": lambda: make(
        mamlax.imaml,
        num_inner_steps=2,
        proximal_strength=1.0,
        num_conjugate_gradient_steps=20,
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_passes(name):
    """At meta-parameters that have moved from where they start: there errors could hide."""
    make_learner, num_leaves = EXACT[name]
    learner = make_learner()

    def init(params):
        leaves, structure = jax.tree.flatten(learner.init(params))
        leaves = [
            leaf * (1 + 0.1 * jnp.cos(jnp.arange(leaf.size) + i)).reshape(leaf.shape) + 0.01
            for i, leaf in enumerate(leaves)
        ]
        return jax.tree.unflatten(structure, leaves)

    problem = make_problem(classes=name in ("proto_maml", "unicorn_maml"))
    report = mamlax.check_meta_gradient(learner._replace(init=init), *problem, max_entries=2)
    assert report.passed, report
    assert len(report.leaves) == num_leaves


@pytest.mark.parametrize("name", INEXACT)
def test_fails(name):
    report = mamlax.check_meta_gradient(INEXACT[name](), *make_problem(), max_entries=2)
    assert not report.passed
    assert any(leaf.verdict(report.tolerance) == "WRONG" for leaf in report.leaves), report
    assert max(leaf.error for leaf in report.leaves) > 1e-3
