"""Heads by regression from where θ's head is, of examples that do not all count alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax.algorithms._solved_heads import _ridge_solution
from mamlax.estimators._posterior import posterior_variance

FEATURES, OUTPUTS, RIDGE = 3, 2, 0.7


def features_fn(params, batch):
    return jnp.tanh(batch.inputs @ params["body"])


def predict(params, batch):
    return features_fn(params, batch) @ params["weight"] + params["bias"][None]


def loss_fn(params, batch):
    return jnp.mean((predict(params, batch) - batch.targets) ** 2)


def set_head(params, weight, bias):
    return params | {"weight": weight, "bias": bias}


def make_learner(**options):
    settings = dict(
        features_fn=features_fn,
        set_head=set_head,
        head=lambda params: (params["weight"], params["bias"]),
        ridge=RIDGE,
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=0,
    )
    return mamlax.ridge_maml(loss_fn, **{**settings, **options})


def adapted_by(learner, batch):
    return jax.jit(learner.adapt)(make_params(), batch).params


def make_params():
    rng = np.random.default_rng(0)
    shapes = {"body": (4, FEATURES), "weight": (FEATURES, OUTPUTS), "bias": (OUTPUTS,)}
    return {name: jnp.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}


def make_batch(examples, weights=None, seed=1):
    rng = np.random.default_rng(seed)
    inputs, targets = rng.normal(size=(examples, 4)), rng.normal(size=(examples, OUTPUTS))
    weights = None if weights is None else jnp.asarray(weights, float)
    return mamlax.Batch(jnp.asarray(inputs), jnp.asarray(targets), weights=weights)


def solution(params, batch, weights, before):
    """The minimum of Σ w ‖f W − y‖² + λ ‖W − W₀‖², by its normal equations in the parameters."""
    features = np.asarray(features_fn(params, batch))
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    gram = features.T @ (weights[:, None] * features) + RIDGE * np.eye(FEATURES + 1)
    moment = features.T @ (weights[:, None] * np.asarray(batch.targets)) + RIDGE * before
    return np.linalg.solve(gram, moment)


def assert_head(params, expected, rtol=1e-10):
    np.testing.assert_allclose(params["weight"], expected[:-1], rtol=rtol)
    np.testing.assert_allclose(params["bias"], expected[-1], rtol=rtol)


@pytest.mark.parametrize(
    "examples, weights, prior",
    [
        (2, None, True),
        (2, [0.2, 3.0], False),
        (5, [0.2, 3.0, 0.0, 1.0, 0.5], True),
        (5, None, False),
    ],
)
@jax.enable_x64(True)
def test_the_head_is_the_regression_in_closed_form(examples, weights, prior):
    """With fewer examples than features and with more."""
    params = make_params()
    batch = make_batch(examples, weights)
    learner = make_learner() if prior else make_learner(head=None)
    adapted = adapted_by(learner, batch)
    before = np.concatenate([params["weight"], params["bias"][None]]) * prior
    assert_head(adapted, solution(params, batch, np.array(weights or [1.0] * examples), before))
    assert np.array_equal(adapted["body"], params["body"])


@pytest.mark.slow
@jax.enable_x64(True)
def test_the_regression_is_where_the_penalized_error_is_least():
    """What it says it minimizes has no slope there."""
    params, batch = make_params(), make_batch(5, [0.2, 3.0, 0.0, 1.0, 0.5])
    adapted = adapted_by(make_learner(), batch)

    def objective(head):
        errors = predict(params | head, batch) - batch.targets
        moved = sum(jnp.sum((head[name] - params[name]) ** 2) for name in head)
        return jnp.sum(batch.weights[:, None] * errors**2) + RIDGE * moved

    slope = jax.grad(objective)({name: adapted[name] for name in ("weight", "bias")})
    for leaf in jax.tree.leaves(slope):
        np.testing.assert_allclose(leaf, np.zeros(leaf.shape), atol=1e-12)


@pytest.mark.parametrize("weights", [[], [0, 0, 0]], ids=["no_rows", "no_weight"])
@jax.enable_x64(True)
def test_a_support_of_nothing_leaves_the_head(weights):
    params, support = make_params(), make_batch(len(weights), weights)
    adapted = adapted_by(make_learner(), support)
    jax.tree.map(np.testing.assert_array_equal, adapted, params)


LEARNERS = {
    "ridge_with_prior": make_learner,
    "ridge": functools.partial(make_learner, head=None),
}


@pytest.mark.parametrize("name", LEARNERS)
@jax.enable_x64(True)
def test_an_example_of_no_weight_is_not_there(name):
    batch = make_batch(5, [1, 0, 1, 1, 0])
    kept = jax.tree.map(lambda x: x[jnp.array([0, 2, 3])], batch)
    one, other = (adapted_by(LEARNERS[name](), x) for x in (batch, kept))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10), one, other)


@pytest.mark.parametrize("name", LEARNERS)
@jax.enable_x64(True)
def test_an_example_of_weight_three_is_there_three_times(name):
    batch = make_batch(3, [1, 3, 2])
    repeated = jax.tree.map(lambda x: x[jnp.array([0, 1, 1, 1, 2, 2])], batch)
    repeated = repeated._replace(weights=None)
    one, other = (adapted_by(LEARNERS[name](), x) for x in (batch, repeated))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10), one, other)


@pytest.mark.slow
@jax.enable_x64(True)
def test_the_head_learns_where_regressions_start():
    """The gradient is that of the closed form: to the head too, and none without a prior."""
    params, support, query = make_params(), make_batch(2), make_batch(4, seed=2)

    def meta_loss(params):
        features = features_fn(params, support)
        features = jnp.concatenate([features, jnp.ones((2, 1))], axis=1)
        before = jnp.concatenate([params["weight"], params["bias"][None]])
        gram = features.T @ features + RIDGE * jnp.eye(FEATURES + 1)
        head = jnp.linalg.solve(gram, features.T @ support.targets + RIDGE * before)
        return loss_fn(set_head(params, head[:-1], head[-1]), query)

    tasks = jax.tree.map(lambda x: x[None], mamlax.Task(support, query))
    (loss, _), gradient = make_learner().meta_gradient(params, tasks)
    expected_loss, expected = jax.value_and_grad(meta_loss)(params)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-11)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-8), gradient, expected)
    _, without = make_learner(head=None).meta_gradient(params, tasks)
    assert np.all(expected["weight"]) and not np.any(without["weight"])


@jax.enable_x64(True)
def test_class_means_are_weighted():
    """Prototypes: weight 0 as if not there, weight 2 as if there twice, any weight by hand."""
    rng = np.random.default_rng(3)
    weights = np.array([0.5, 2.0, 0.0, 1.5, 1.0])
    labels = np.array([0, 1, 0, 1, 1])
    inputs = rng.normal(size=(5, 4))
    learner = mamlax.proto_maml(
        loss_fn,
        features_fn=features_fn,
        set_head=set_head,
        ways=2,
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=0,
    )

    def head(rows, weights=None):
        weights = None if weights is None else jnp.asarray(weights, float)
        batch = mamlax.Batch(jnp.asarray(inputs[rows]), jnp.asarray(labels[rows]), weights=weights)
        return adapted_by(learner, batch)

    features = features_fn(make_params(), mamlax.Batch(jnp.asarray(inputs), None))
    means = np.stack(
        [np.average(features[labels == c], axis=0, weights=weights[labels == c]) for c in (0, 1)]
    )
    found = head(np.arange(5), weights)
    np.testing.assert_allclose(found["weight"], 2 * means.T, rtol=1e-11)
    np.testing.assert_allclose(found["bias"], -np.sum(means**2, axis=1), rtol=1e-11)
    one, other = head(np.arange(5), [1, 2, 0, 1, 1]), head([0, 1, 1, 3, 4])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-11), one, other)


def test_one_output_without_its_axis_is_explained():
    batch = mamlax.Batch(jnp.zeros((3, 4)), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"\[examples, outputs\].*\[3\].*targets\[:, None\]"):
        make_learner().adapt(make_params(), batch)


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("inf"), float("nan")])
def test_a_ridge_that_is_not_positive_is_refused(ridge):
    with pytest.raises(ValueError, match=f"ridge must be a positive number, got {ridge}"):
        make_learner(ridge=ridge)


def test_more_examples_than_features_have_the_same_solution():
    """A system of equations of examples, or of features, whichever is smaller."""
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(4, 3)), random.normal(size=(4, 2))
    for number in (3, 4):
        f, y = features[:number], targets[:number]
        found = _ridge_solution(jnp.asarray(f), jnp.asarray(y), 0.3)
        expected = np.linalg.solve(f.T @ f + 0.3 * np.eye(3), f.T @ y)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_posterior_is_that_of_a_gaussian_process():
    """k(x, x) − k(x, X) (K + I)⁻¹ k(X, x) with the kernel f fᵀ / λ, in units of the noise."""
    random = np.random.default_rng(0)
    support, queries, ridge = random.normal(size=(4, 6)), random.normal(size=(5, 6)), 0.7
    found = posterior_variance(support, queries, ridge=ridge)
    between, gram = queries @ support.T / ridge, support @ support.T / ridge + np.eye(4)
    expected = queries @ queries.T / ridge - between @ np.linalg.solve(gram, between.T)
    np.testing.assert_allclose(found, np.diag(expected), rtol=1e-10)


def test_without_a_support_the_posterior_is_the_prior():
    queries = np.random.default_rng(0).normal(size=(5, 6))
    found = posterior_variance(np.zeros((0, 6)), queries, ridge=0.5)
    np.testing.assert_allclose(found, np.sum(queries**2, axis=1) / 0.5, rtol=1e-10)


def test_of_many_rows_that_are_alike_the_posterior_does_not_grow():
    support, queries = np.random.default_rng(0).normal(size=(2, 1, 20))
    found = [
        posterior_variance(np.sqrt(number) * support, queries, ridge=5.0)[0]
        for number in (1, 100, 10_000, 200_000)
    ]
    assert np.all(np.diff(found) < 0)
