"""The trust region in float64: Fisher products, the longest step, the line search, and plain TRPO.

Fisher products go through adaptation: they are of the adapted policies, as functions of θ.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
from jax.flatten_util import ravel_pytree

import mamlax
from mamlax.rl._trust_region import fisher_vector_product, line_search, longest_step

rl = mamlax.rl


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


ENVIRONMENTS = {
    "gaussian": rl.PointNavigation(),
    "categorical": rl.TabularMDP(num_states=3, num_actions=2),
}


def small_policy(env):
    """About twenty parameters, none of them zero."""
    policy = rl.mlp_policy(
        jax.random.key(0), env, hidden_sizes=(3,), activation="tanh", log_std=-0.2
    )
    flat, unravel = ravel_pytree(policy)
    policy = unravel(flat + 0.1 * jax.random.normal(jax.random.key(5), flat.shape))
    return jax.tree.map(lambda x: x.astype(jnp.float64), policy)


def make_learner(env, **options):
    settings = {"inner_optimizer": optax.sgd(0.5), "num_inner_steps": 1, "episodes_per_task": 4}
    return rl.policy_learner(env, **(settings | options))


class Region(NamedTuple):
    """The distributions of adapted policies on their query, and the weight of each."""

    distributions_fn: Any
    weights: Any
    flat: Any
    old: Any

    def mean_kl(self, flat):
        return jnp.sum(self.weights * self.old.kl(self.distributions_fn(flat)))

    def product(self, damping=0.0):
        return fisher_vector_product(
            self.distributions_fn, self.weights, self.flat, damping=damping
        )


def made_up_experience(env, rng, *axes):
    """Episodes of three lengths in which anything may have happened."""
    shape = (*axes, 3, 4)
    box = isinstance(env.action, rl.Box)
    actions = rng.normal(size=(*shape, 2)) if box else rng.integers(2, size=shape)
    mask = np.broadcast_to(np.arange(4) < np.array([[4], [2], [3]]), shape)
    trajectory = rl.Trajectory(
        observations=rng.normal(size=(*shape, env.observation_size)),
        actions=actions,
        log_probs=rng.normal(size=shape) - 1,
        rewards=np.zeros(shape),
        mask=mask,
        terminated=np.zeros(shape[:-1], bool),
        unstable=np.zeros(shape[:-1], bool),
    )
    experience = rl.Experience(
        trajectory, rng.normal(size=shape) * mask, np.zeros(axes), np.ones(axes)
    )
    return jax.tree.map(jnp.asarray, experience)


@functools.cache
def region(kind, first_order=False):
    env = ENVIRONMENTS[kind]
    learner, rng = make_learner(env), np.random.default_rng(0)
    flat, unravel = ravel_pytree(small_policy(env))
    support, query = made_up_experience(env, rng, 2, 1), made_up_experience(env, rng, 2)

    def distributions_fn(flat):
        def of_task(support, observations):
            adapted = learner.adapt(unravel(flat), support, first_order=first_order).params
            return adapted(observations)

        return jax.vmap(of_task)(support, query.trajectory.observations)

    mask = np.asarray(query.trajectory.mask)
    weights = jnp.asarray(mask / mask.sum(axis=(1, 2), keepdims=True) / len(mask))
    return Region(distributions_fn, weights, flat, jax.jit(distributions_fn)(flat))


def fisher_by_hand(here, jacobian):
    """E[∇log π ∇log πᵀ], from the derivatives of the means and deviations, or of the logits."""
    weights = np.asarray(here.weights)
    if isinstance(jacobian, rl.Gaussian):
        mean, log_std = (np.asarray(x) for x in jacobian)
        precisions = np.exp(-2 * np.asarray(here.old.log_std))
        matrix = np.einsum("teh,tehi,tehix,tehiy->xy", weights, precisions, mean, mean)
        return matrix + 2 * np.einsum("teh,tehix,tehiy->xy", weights, log_std, log_std)
    p, logits = scipy.special.softmax(here.old.logits, axis=-1), np.asarray(jacobian.logits)
    scores = logits - np.einsum("teha,tehax->tehx", p, logits)[..., None, :]
    return np.einsum("teh,teha,tehax,tehay->xy", weights, p, scores, scores)


@pytest.mark.parametrize("kind", ENVIRONMENTS)
@pytest.mark.slow
def test_fisher_products_are_hessian_products_of_the_kl_of_adapted_policies(kind):
    """And products of a matrix made entry by entry, of about twenty parameters."""
    here, damping = region(kind), 0.01
    assert 15 <= len(here.flat) <= 25

    @jax.jit
    def both(vectors):
        products = jax.vmap(here.product(damping))(vectors)
        gradient_fn = jax.grad(here.mean_kl)
        hessian_product = lambda v: jax.jvp(gradient_fn, (here.flat,), (v,))[1]  # noqa: E731
        return (
            products,
            jax.vmap(hessian_product)(vectors),
            jax.jacfwd(here.distributions_fn)(here.flat),
        )

    vectors = np.random.default_rng(1).normal(size=(3, len(here.flat)))
    found, curved, jacobian = both(jnp.asarray(vectors))
    np.testing.assert_allclose(found, curved + damping * vectors, rtol=1e-10, atol=1e-12)
    expected = vectors @ fisher_by_hand(here, jacobian) + damping * vectors
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_adaptation_bends_the_fisher_matrix():
    """Guards the test above: of a first-order inner loop it is another matrix."""
    here, there = region("gaussian"), region("gaussian", first_order=True)
    np.testing.assert_array_equal(here.old.mean, there.old.mean)
    every = jnp.eye(len(here.flat))
    exact, plain = jax.jit(lambda: [jax.vmap(one.product())(every) for one in (here, there)])()
    np.testing.assert_allclose(exact, exact.T, rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(exact - plain) > 0.05 * np.linalg.norm(exact)


def test_the_kl_grows_along_the_step():
    here = region("gaussian")
    step = jnp.asarray(np.random.default_rng(2).normal(size=len(here.flat)))
    scales = jnp.linspace(0, 0.2, 11)
    kl, curved = jax.jit(
        lambda: (
            jax.vmap(lambda s: here.mean_kl(here.flat + s * step))(scales),
            here.product()(step),
        )
    )()
    assert abs(kl[0]) < 1e-14 and (np.diff(kl) > 0).all()
    np.testing.assert_allclose(kl[1] / (0.5 * scales[1] ** 2 * (step @ curved)), 1, atol=0.1)


# --------------------------------------------------------------------------- the longest step


def random_problem(size=12):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(size, size))
    return root @ root.T + 0.1 * np.eye(size), rng.normal(size=size)


@pytest.mark.parametrize("max_kl", [0.01, 2.0])
def test_the_longest_step_solves_for_the_direction_and_spends_the_kl(max_kl):
    matrix, gradient = random_problem()
    step = longest_step(
        lambda v: jnp.asarray(matrix) @ v,
        jnp.asarray(gradient),
        max_kl=max_kl,
        num_iterations=100,
    )
    direction = np.linalg.solve(matrix, gradient)
    expected = -np.sqrt(2 * max_kl / (direction @ matrix @ direction)) * direction
    np.testing.assert_allclose(step, expected, rtol=1e-6)
    np.testing.assert_allclose(0.5 * step @ matrix @ step, max_kl, rtol=1e-10)
    assert gradient @ np.asarray(step) < 0, "downhill"


def test_few_iterations_give_less_but_spend_the_kl_too():
    """Of all steps as long, the natural one falls most; one iteration is the gradient itself."""
    matrix, gradient = random_problem()
    falls = []
    for num_iterations in (1, 4, 12):
        step = longest_step(
            lambda v: jnp.asarray(matrix) @ v,
            jnp.asarray(gradient),
            max_kl=0.01,
            num_iterations=num_iterations,
        )
        np.testing.assert_allclose(0.5 * step @ matrix @ step, 0.01, rtol=1e-10)
        falls.append(-gradient @ np.asarray(step))
        if num_iterations == 1:
            ratio = np.asarray(step) / gradient
            np.testing.assert_allclose(ratio, ratio[0], rtol=1e-10)
    assert falls[0] < falls[1] < falls[2]


def test_no_gradient_no_step():
    """Here the parameters are a tree."""
    matrix, gradient = random_problem()
    zeros = {"a": jnp.zeros(4), "b": (jnp.zeros((4, 2)),)}
    _, unravel = ravel_pytree(zeros)

    @jax.jit
    def step_along(gradient):
        def product(tree):
            return unravel(jnp.asarray(matrix) @ ravel_pytree(tree)[0])

        return longest_step(product, gradient, max_kl=0.01, num_iterations=50)

    step = step_along(zeros)
    assert jax.tree.structure(step) == jax.tree.structure(zeros)
    np.testing.assert_array_equal(ravel_pytree(step)[0], np.zeros(12))
    direction = np.asarray(ravel_pytree(step_along(unravel(jnp.asarray(gradient))))[0])
    expected = -np.linalg.solve(matrix, gradient)
    norms = np.linalg.norm(direction) * np.linalg.norm(expected)
    np.testing.assert_allclose(direction @ expected, norms, rtol=1e-8)


def test_the_longest_step_ends_where_there_is_no_curvature():
    """As by rounding: what was found until then stays."""
    matrix, gradient = jnp.diag(jnp.array([1.0, 1e-3, -1e-4])), jnp.ones(3)
    steps = [
        longest_step(lambda v: matrix @ v, gradient, max_kl=0.01, num_iterations=number)
        for number in (2, 3, 4, 10)
    ]
    for step in steps[1:]:
        np.testing.assert_array_equal(step, steps[0])


# --------------------------------------------------------------------------- the line search


PARAMS = {"a": np.array([0.1, 0.2], np.float32), "b": np.array(0.3, np.float32)}
STEP = {"a": np.array([1.0, 0.0], np.float32), "b": np.array(0.5, np.float32)}


def along(params):
    """How far `params` is along the step, in steps."""
    return (params["b"] - 0.3) / 0.5


def search(evaluate_fn, **options):
    settings = {"loss": 1.0, "max_kl": 0.01, **options}
    with jax.enable_x64(False):
        settings["loss"] = jnp.asarray(settings["loss"])
        find = functools.partial(line_search, evaluate_fn, **settings)
        return jax.jit(find)(PARAMS, STEP)


def assert_kept(search):
    assert not search.accepted and search.kl == 0
    for found, before in zip(jax.tree.leaves(search.params), jax.tree.leaves(PARAMS), strict=True):
        assert found.dtype == before.dtype
        assert np.asarray(found).tobytes() == np.asarray(before).tobytes()


def test_a_step_that_is_good_at_once_is_taken_whole():
    found = search(lambda params: (1 - along(params), 0.005 * along(params) ** 2))
    assert found.accepted and found.num_backtracks == 0
    np.testing.assert_allclose(found.params["a"], [1.1, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found.params["b"], 0.8, rtol=1e-6)
    np.testing.assert_allclose(found.kl, 0.005, rtol=1e-6)


@pytest.mark.parametrize("excess", [1.1, 4.0, 2e4])
def test_a_step_beyond_the_trust_region_is_shortened_into_it(excess):
    """At once, where the KL is quadratic; but by no more than a factor of ten at a time."""
    found = search(lambda params: (1 - along(params), 0.01 * excess * along(params) ** 2))
    assert found.accepted and 0 < found.kl <= 0.01
    assert found.num_backtracks == (3 if excess == 2e4 else 1)
    np.testing.assert_allclose(found.kl, 0.01 * excess * along(found.params) ** 2, rtol=1e-5)
    assert found.kl > 0.005, "not shorter than need be"


def test_a_step_is_shortened_until_the_loss_falls():
    """It falls only below 0.3 of the step; shortened by half each time that is a quarter."""
    found = search(lambda params: (1 + along(params) - 0.3, 0.0 * along(params)), backtrack=0.5)
    assert found.accepted and found.num_backtracks == 2
    np.testing.assert_allclose(along(found.params), 0.25, rtol=1e-5)


def test_a_loss_no_lower_is_not_lower():
    assert_kept(search(lambda params: (jnp.array(1.0), 0.0 * along(params))))


@pytest.mark.parametrize(
    "evaluate_fn",
    [
        lambda params: (1 + along(params), 0.0 * along(params)),
        lambda params: (jnp.nan * along(params), 0.0 * along(params)),
        lambda params: (1 - along(params), jnp.nan * along(params)),
        lambda params: (1 - along(params), jnp.array(jnp.inf)),
        lambda params: (1 - along(params), jnp.array(1.0)),
    ],
    ids=["rises", "nan_loss", "nan_kl", "infinite_kl", "always_too_far"],
)
def test_a_refused_step_leaves_every_bit(evaluate_fn):
    found = search(evaluate_fn, max_backtracks=6)
    assert_kept(found)
    assert found.num_backtracks == 6


def test_a_nan_far_away_is_backed_out_of():
    def evaluate_fn(params):
        far = along(params) > 0.05
        return jnp.where(far, jnp.nan, 1 - along(params)), jnp.where(far, jnp.nan, 0.001)

    found = search(evaluate_fn)
    assert found.accepted and along(found.params) <= 0.05


def test_a_loss_that_is_nan_to_begin_with_moves_nothing():
    evaluate_fn = lambda params: (1 - along(params), 0.0 * along(params))  # noqa: E731
    assert_kept(search(evaluate_fn, loss=jnp.nan))


def test_parameters_keep_their_type_where_the_loss_has_more_digits():
    """Else the state after an outer step would be another than before."""
    evaluate_fn = lambda params: (1 - along(params).astype(float), 0.001)  # noqa: E731
    with jax.enable_x64(True):
        found = line_search(evaluate_fn, PARAMS, STEP, loss=jnp.array(1.0), max_kl=0.01)
    assert {x.dtype for x in jax.tree.leaves(found.params)} == {np.dtype(np.float32)}


def test_no_backtracks_try_the_whole_step_only():
    found = search(lambda params: (1 - along(params), 0.02 * along(params)), max_backtracks=0)
    assert_kept(found)
    assert found.num_backtracks == 0


# --------------------------------------------------------------------------- plain TRPO


MAX_KL, DAMPING = 0.003, 0.02


def without_adaptation(env):
    """One step of `maml_trpo` on one task without inner steps, and what it explored."""
    learner, policy = make_learner(env, num_inner_steps=0, episodes_per_task=8), small_policy(env)
    loop = rl.maml_trpo(
        learner,
        meta_batch_size=1,
        max_kl=MAX_KL,
        num_conjugate_gradient_steps=200,
        damping=DAMPING,
    )

    @jax.jit
    def step_and_explore(key, policy):
        state, metrics = loop.step(key, loop.init(policy))
        task_key, explore_key = jax.random.split(jax.random.split(key, 1)[0])
        task = learner.sample_task(task_key)
        return state, metrics, learner.explore(explore_key, policy, task).query

    return policy, *step_and_explore(jax.random.key(4), policy)


def trpo_by_hand(policy, query):
    """Schulman et al. 2015: a matrix, a solve, a step."""
    flat, unravel = ravel_pytree(policy)
    mask = np.asarray(query.trajectory.mask)
    observations, actions = (
        jnp.asarray(np.asarray(x)[mask])
        for x in (query.trajectory.observations, query.trajectory.actions)
    )
    advantages = jnp.asarray(np.asarray(query.advantages)[mask])

    def act(flat):
        policy = unravel(flat)
        (first, last), (b, c) = policy.network.weights, policy.network.biases
        return jnp.tanh(observations @ first + b[None]) @ last + c[None], policy.log_std[None]

    def log_prob(flat):
        mean, log_std = act(flat)
        density = jnp.exp(-0.5 * ((actions - mean) / jnp.exp(log_std)) ** 2 - log_std)
        return jnp.sum(jnp.log(density / math.sqrt(2 * math.pi)), axis=1)

    acted = log_prob(flat)

    def loss(flat):
        return -jnp.mean(jnp.exp(log_prob(flat) - acted) * advantages)

    mean_before, log_std_before = act(flat)

    def kl(flat):
        mean, log_std = act(flat)
        away = (mean - mean_before) ** 2 + jnp.exp(2 * log_std_before)
        each = log_std - log_std_before + away / (2 * jnp.exp(2 * log_std)) - 0.5
        return jnp.mean(jnp.sum(each, axis=1))

    before, gradient, hessian = jax.jit(
        lambda x: (*jax.value_and_grad(loss)(x), jax.hessian(kl)(x))
    )(flat)
    matrix = np.asarray(hessian) + DAMPING * np.eye(len(flat))
    direction = np.linalg.solve(matrix, gradient)
    after = flat - math.sqrt(2 * MAX_KL / (gradient @ direction)) * direction
    return {
        "params": after,
        "train/query_loss": before,
        "train/gradient_norm": np.linalg.norm(gradient),
        "train/kl": kl(after),
        "fall": before - loss(after),
    }


@pytest.mark.slow
def test_without_adaptation_it_is_plain_trpo(leash):
    policy, state, metrics, query = without_adaptation(leash)
    assert not query.trajectory.mask.all()
    expected = trpo_by_hand(policy, query)
    assert expected["train/kl"] <= MAX_KL and expected["fall"] > 0, "needs no line search"
    assert metrics["train/accepted"] == 1 and metrics["train/backtracks"] == 0
    np.testing.assert_allclose(
        ravel_pytree(state.meta_params)[0], expected["params"], rtol=1e-7, atol=1e-9
    )
    for name in ("train/query_loss", "train/gradient_norm", "train/kl"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=1e-7, atol=1e-12)
    assert metrics["train/kl"] > 0.0003
    moved = ravel_pytree(policy)[0] - expected["params"]
    assert np.abs(moved).max() > 0.01


@pytest.mark.slow
def test_without_adaptation_both_fisher_matrices_are_one():
    """The same program, in fact; with adaptation they are two."""
    env, key = rl.BernoulliBandit(num_arms=2), jax.random.key(0)
    policy = rl.mlp_policy(key, env, hidden_sizes=())
    for num_inner_steps, same in ((0, True), (1, False)):
        learner = make_learner(env, num_inner_steps=num_inner_steps)
        programs = set()
        for fisher in ("exact", "adapted"):
            loop = rl.maml_trpo(learner, meta_batch_size=2, fisher=fisher)
            programs.add(jax.jit(loop.step).lower(key, loop.init(policy)).as_text())
        assert (len(programs) == 1) == same


@pytest.mark.parametrize(
    "options",
    [
        {"max_kl": 0.0},
        {"damping": -1.0},
        {"fisher_fraction": 0.0},
        {"fisher_fraction": 1.5},
        {"backtrack": 1.0},
        {"backtrack": 0.0},
        {"num_conjugate_gradient_steps": 0},
        {"max_backtracks": -1},
        {"meta_batch_size": 0},
    ],
)
def test_settings_out_of_range_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        rl.maml_trpo(make_learner(ENVIRONMENTS["gaussian"]), **({"meta_batch_size": 2} | options))
