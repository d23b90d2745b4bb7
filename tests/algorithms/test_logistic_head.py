"""Heads by logistic regression of the support, from where θ's head is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

import mamlax

FEATURES, RIDGE = 3, 0.4


def features_fn(params, batch):
    return jnp.tanh(batch.inputs @ params["body"])


def offset_fn(params, batch):
    return jnp.sin(batch.inputs[:, :1]) * jnp.arange(params["bias"].shape[0])[None]


def loss_fn(params, batch):
    logits = features_fn(params, batch) @ params["weight"] + params["bias"][None]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
    return jnp.mean(losses)


def make_learner(ways, **options):
    settings = dict(
        features_fn=features_fn,
        set_head=lambda params, weight, bias: params | {"weight": weight, "bias": bias},
        head=lambda params: (params["weight"], params["bias"]),
        ways=ways,
        ridge=RIDGE,
        num_solver_steps=400,
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=0,
    )
    return mamlax.logistic_maml(loss_fn, **{**settings, **options})


def make_params(ways):
    rng = np.random.default_rng(0)
    shapes = {"body": (4, FEATURES), "weight": (FEATURES, ways), "bias": (ways,)}
    return {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}


def make_batch(examples, ways, weights=None, seed=1):
    rng = np.random.default_rng(seed)
    inputs, targets = rng.normal(size=(examples, 4)), rng.integers(0, ways, examples)
    weights = None if weights is None else jnp.asarray(weights, float)
    return mamlax.Batch(jnp.asarray(inputs), jnp.asarray(targets), weights=weights)


def objective_of(params, batch, before, offset):
    """What the head minimizes, as a function of all its numbers."""
    features = np.asarray(features_fn(params, batch))
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    weights = np.ones(len(features)) if batch.weights is None else np.asarray(batch.weights)

    def objective(flat):
        head = flat.reshape(before.shape)
        logs = log_softmax(features @ head + offset, axis=1)
        of_rows = -logs[np.arange(len(logs)), np.asarray(batch.targets)]
        return weights @ of_rows + RIDGE / 2 * np.sum((head - before) ** 2)

    return objective


def flat_head(params):
    return np.concatenate([params["weight"], params["bias"][None]]).ravel()


@pytest.mark.parametrize(
    ("examples", "ways", "weights", "prior", "is_offset"),
    [
        (2, 2, None, True, False),
        (3, 4, [0.2, 3.0, 1.0], True, True),
        (7, 3, [0.2, 3.0, 0.0, 1.0, 0.5, 2.0, 1.0], False, True),
        (9, 2, None, False, False),
    ],
)
@jax.enable_x64(True)
def test_the_head_is_where_the_penalized_cross_entropy_is_least(
    examples, ways, weights, prior, is_offset
):
    """With fewer examples than features and with more."""
    params, batch = make_params(ways), make_batch(examples, ways, weights)
    options = {} if prior else {"head": None}
    if is_offset:
        options["offset_fn"] = offset_fn
    adapted = jax.jit(make_learner(ways, **options).adapt)(params, batch).params
    before = flat_head(params).reshape(-1, ways) * prior
    offset = np.asarray(offset_fn(params, batch)) * is_offset
    objective = objective_of(params, batch, before, offset)
    found = minimize(objective, before.ravel(), options={"gtol": 1e-8}).x
    np.testing.assert_allclose(flat_head(adapted), found, atol=1e-5)
    assert np.array_equal(adapted["body"], params["body"])


@jax.enable_x64(True)
def test_every_step_of_the_solver_comes_nearer():
    params, batch = make_params(3), make_batch(6, 3)
    before = flat_head(params).reshape(-1, 3)
    objective = objective_of(params, batch, before, 0.0)
    found = [objective(before.ravel())]
    for steps in (1, 2, 3, 10, 100):
        adapted = make_learner(3, num_solver_steps=steps).adapt(params, batch).params
        found.append(objective(flat_head(adapted)))
    assert np.all(np.diff(found) < 0)
    assert found[-2] - found[-1] < 0.02 * (found[0] - found[-1])  # ten steps are most of the way


@jax.enable_x64(True)
def test_a_rare_class_takes_the_solver_more_steps():
    """An intercept alone, of 1,000 rows of which 2 % are of a class expected in 0.2 %."""
    batch = mamlax.Batch(jnp.zeros((1000, 1)), jnp.arange(1000) // 980)
    expected = jnp.log(jnp.array([0.998, 0.002]))

    def share(steps):
        learner = mamlax.logistic_maml(
            lambda params, batch: jnp.sum(params),
            features_fn=lambda params, batch: batch.inputs,
            set_head=lambda params, weight, bias: bias,
            offset_fn=lambda params, batch: jnp.tile(expected, (len(batch.inputs), 1)),
            ways=2,
            ridge=5.0,
            num_solver_steps=steps,
            inner_optimizer=optax.sgd(0.1),
            num_inner_steps=0,
        )
        bias = learner.adapt(jnp.zeros(2), batch).params
        return float(jax.nn.softmax(expected + bias)[1])

    assert share(10) < 0.005 and 0.0145 < share(300) < 0.02


@pytest.mark.parametrize("weights", [[], [0, 0, 0]], ids=["no_rows", "no_weight"])
@jax.enable_x64(True)
def test_a_support_of_nothing_leaves_the_head(weights):
    params, support = make_params(2), make_batch(len(weights), 2, weights)
    adapted = make_learner(2).adapt(params, support).params
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-14), adapted, params)


@jax.enable_x64(True)
def test_classes_without_examples_become_less_likely():
    params, batch = make_params(3), make_batch(4, 3)._replace(targets=jnp.array([0, 1, 0, 1]))
    adapted = make_learner(3).adapt(params, batch).params

    def chances(params):
        logits = features_fn(params, batch) @ params["weight"] + params["bias"][None]
        return jax.nn.softmax(logits)

    assert np.all(chances(adapted)[:, 2] < chances(params)[:, 2])


@pytest.mark.parametrize("examples", [2, 6])
@jax.enable_x64(True)
def test_its_meta_gradient_is_that_of_its_loss(examples):
    learner = make_learner(3, num_solver_steps=5, offset_fn=offset_fn, num_inner_steps=1)
    task = mamlax.Task(make_batch(examples, 3), make_batch(5, 3, seed=2))
    tasks = jax.tree.map(lambda x: x[None], task)
    mamlax.check_meta_gradient(learner, make_params(3), tasks)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ways": 0}, "ways must be positive, got 0"),
        ({"ridge": 0.0}, "ridge must be a positive number, got 0.0"),
        ({"num_solver_steps": 0}, "num_solver_steps must be positive, got 0"),
    ],
)
def test_what_is_not_positive_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        make_learner(**{"ways": 2, **options})


def test_targets_that_are_no_classes_are_refused():
    batch = make_batch(3, 2)._replace(targets=jnp.zeros((3, 2), int))
    with pytest.raises(ValueError, match=r"logistic_maml needs features \[examples"):
        make_learner(2).adapt(make_params(2), batch)


@pytest.mark.parametrize("examples", [2, 12])
def test_an_accelerator_solves_with_all_bits_of_a_number(examples):
    """Ten bits, as TensorFloat-32 has, give other heads where λ is small."""
    learner = make_learner(
        2, features_fn=lambda params, batch: batch.inputs, ridge=1e-3, num_solver_steps=3
    )
    params, batch = make_params(2) | {"weight": jnp.ones((4, 2))}, make_batch(examples, 2)
    program = jax.jit(lambda *args: learner.adapt(*args).params)
    text = jax.export.export(program, platforms=["cuda"])(params, batch).mlir_module()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) >= 5 and all("[HIGHEST, HIGHEST]" in line for line in products)
