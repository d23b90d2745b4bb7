"""The outer loops: what one step is, that nothing about its order or place matters, whole runs."""

import functools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jaxtyping import PyTree

import mamlax
from mamlax.rl import _policy_learner
from mamlax.rl._maml_trpo import _some_episodes
from mamlax.rl._meta_batch import MetaBatch
from mamlax.rl._policy_learner import policy_objective

rl = mamlax.rl
NUM_TASKS = 4
KEY = jax.random.key(7)


def make_learner(env, **options):
    settings = {"inner_optimizer": optax.sgd(0.3), "num_inner_steps": 1, "episodes_per_task": 3}
    return rl.policy_learner(env, **(settings | options))


def make_policy(env):
    """Without hidden layers: these programs compile in half the time."""
    policy = rl.mlp_policy(
        jax.random.key(0), env, hidden_sizes=(), log_std=-0.2, normalize_observations=True
    )
    return jax.tree.map(lambda x: x.astype(float), policy)


def trpo(env, **options):
    """With few conjugate gradients: later ones enlarge rounding, by design."""
    settings = {
        "meta_batch_size": NUM_TASKS,
        "num_conjugate_gradient_steps": 3,
        "fisher_fraction": 0.67,
    }
    return rl.maml_trpo(make_learner(env), **(settings | options))


def gradient_loop(env, **options):
    """With all there is: the sampling correction, two steps on the same episodes, a penalty."""
    learner = make_learner(env, sampling_correction=True)
    settings = {"meta_batch_size": NUM_TASKS, "num_gradient_steps": 2, "kl_penalty": 0.3}
    return rl.policy_gradient(learner, optax.adam(0.03), **(settings | options))


def promp(env, **options):
    learner = make_learner(env, surrogate=rl.likelihood_ratio)
    settings = {"meta_batch_size": NUM_TASKS, "num_gradient_steps": 3}
    return rl.promp(learner, optax.adam(0.03), **(settings | options))


LOOPS = {"maml_trpo": trpo, "policy_gradient": gradient_loop, "promp": promp}
OF_ALL = {
    "train/pre_adaptation_return",
    "train/post_adaptation_return",
    "train/query_loss",
    "train/gradient_norm",
    "train/kl",
    "train/entropy",
    "train/explained_variance",
    "train/environment_steps",
    "train/episode_length",
    "train/terminated_episodes",
    "train/unstable_episodes",
}
METRICS = {
    "maml_trpo": OF_ALL | {"train/accepted", "train/backtracks"},
    "policy_gradient": OF_ALL,
    "promp": OF_ALL,
}


def assert_close(found, expected, rtol, atol=1e-9):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=str(path))


def furthest(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in pairs)


# --------------------------------------------------------------------------- one step


@pytest.fixture(scope="module")
def one_step(leash):
    """`one_step(name, filling)`: a step in float64 whose padded steps hold `filling`, if any."""
    rollout = _policy_learner.rollout

    @functools.cache
    def compiled(name):
        loop = LOOPS[name](leash)

        def step(key, state, filling):
            def filled(*arguments, **options):
                trajectory = rollout(*arguments, **options)

                def fill(x):
                    mask = trajectory.mask.reshape(trajectory.mask.shape + (1,) * (x.ndim - 2))
                    return jnp.where(mask | jnp.isnan(filling), x, filling)

                names = ("observations", "actions", "log_probs")
                return trajectory._replace(**{n: fill(getattr(trajectory, n)) for n in names})

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(_policy_learner, "rollout", filled)
                return loop.step(key, state)

        return jax.jit(step), loop.init(make_policy(leash))

    @functools.cache
    def one_step(name, filling=np.nan):
        with jax.enable_x64(True):
            step, state = compiled(name)
            after = step(KEY, state, jnp.array(filling))
            return jax.tree.map(np.asarray, (state, *after))

    return one_step


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maml_trpo", "policy_gradient"])
@pytest.mark.slow
def test_steps_after_the_end_of_an_episode_never_count(one_step, name):
    before, state, metrics = one_step(name)
    full = 2 * 3 * 4 * NUM_TASKS
    assert 0.3 * full < metrics["train/environment_steps"] < 0.95 * full
    assert furthest(before.meta_params, state.meta_params) > 1e-3
    for filling in (37.0, -4.0):
        _, found, found_metrics = one_step(name, filling)
        assert_close(found, state, 1e-7)
        assert_close(found_metrics, metrics, 1e-7)


@pytest.mark.parametrize(
    "name", [pytest.param("maml_trpo", marks=pytest.mark.slow), "policy_gradient"]
)
@pytest.mark.parametrize(
    ("num_devices", "batch_size"),
    [
        (2, None),
        *(pytest.param(*way, marks=pytest.mark.slow) for way in ((2, 1), (1, 1), (1, 2))),
    ],
)
@jax.enable_x64(True)
@pytest.mark.slow
def test_tasks_walked_in_another_way_give_the_same_step(
    leash, one_step, name, num_devices, batch_size
):
    mesh = None
    if num_devices > 1:
        mesh = Mesh(np.array(jax.devices("cpu")[:num_devices]), ("tasks",))
        assert mesh.size == num_devices
    loop = LOOPS[name](leash, mesh=mesh, batch_size=batch_size)
    found = jax.jit(loop.step)(KEY, loop.init(make_policy(leash)))
    assert_close(found, one_step(name)[1:], 1e-8)


@pytest.mark.slow
def test_a_trust_region_step_is_within_the_region_and_downhill(one_step):
    _, _, metrics = one_step("maml_trpo")
    assert metrics["train/accepted"] == 1
    assert 0 < metrics["train/kl"] <= 0.01


RATE, PENALTY = 0.2, 0.3


def adapted_on(experience, policy):
    """One inner step, written out."""
    gradient = jax.grad(rl.log_likelihood)(policy, experience)
    return jax.tree.map(lambda p, g: p - 0.3 * g, policy, gradient)


def loss_after_adapting(policy, exploration):
    support = jax.tree.map(lambda x: x[0], exploration.support)
    return rl.likelihood_ratio(adapted_on(support, policy), exploration.query)


def kl_on_the_support(old, policy, exploration):
    trajectory = exploration.support.trajectory
    kl = old(trajectory.observations).kl(policy(trajectory.observations))
    return jnp.sum(kl * trajectory.mask) / jnp.sum(trajectory.mask)


def two_steps_by_hand(learner, policy, key):
    """Explorations of two tasks, and gradient descent twice on their mean loss and penalty."""

    def explore(key):
        task_key, explore_key = jax.random.split(key)
        return learner.explore(explore_key, policy, learner.sample_task(task_key))

    explorations = jax.vmap(explore)(jax.random.split(key, 2))
    first_support = jax.tree.map(lambda x: x[:, 0], explorations.support)
    adapted = jax.vmap(adapted_on, (0, None))(first_support, policy)
    acted = jax.vmap(lambda policy, e: policy(e.trajectory.observations))(
        adapted, explorations.query
    )
    acted = acted.log_prob(explorations.query.trajectory.actions)
    each = [jax.tree.map(lambda x, i=i: x[i], explorations) for i in range(2)]

    def loss(now):
        return (loss_after_adapting(now, each[0]) + loss_after_adapting(now, each[1])) / 2

    def kl(now):
        return (
            kl_on_the_support(policy, now, each[0]) + kl_on_the_support(policy, now, each[1])
        ) / 2

    value, gradient = jax.value_and_grad(loss)(policy)
    first = jax.tree.map(lambda p, g: p - RATE * g, policy, gradient)
    further = jax.grad(lambda now: loss(now) + PENALTY * kl(now))(first)
    second = jax.tree.map(lambda p, g: p - RATE * g, first, further)
    return each, value, gradient, first, second, kl(second), (adapted, acted)


@pytest.fixture(scope="module")
def plain_steps(leash):
    """Gradient descent once by policy_gradient, twice by promp without its clip, and by hand."""
    learner, optimizer = make_learner(leash), optax.sgd(RATE)
    once = rl.policy_gradient(learner, optimizer, meta_batch_size=2)
    unclipped = {"num_gradient_steps": 2, "clip": 1e9, "kl_penalty": PENALTY}
    twice = rl.promp(learner, optimizer, meta_batch_size=2, **unclipped)

    @jax.jit
    def all_three(policy):
        steps = [loop.step(KEY, loop.init(policy)) for loop in (once, twice)]
        return policy, *steps, two_steps_by_hand(learner, policy, KEY)

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, all_three(make_policy(leash)))


def learned(policy):
    return policy.network, policy.log_std


@pytest.mark.slow
def test_a_plain_step_is_the_optimizer_on_the_meta_gradient(plain_steps):
    policy, (state, metrics), _, (_, loss, gradient, expected, *_) = plain_steps
    assert_close(learned(state.meta_params), learned(expected), 1e-9, 1e-12)
    np.testing.assert_allclose(metrics["train/query_loss"], loss, rtol=1e-9, atol=1e-12)
    norm = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(metrics["train/gradient_norm"], norm, rtol=1e-9)
    assert norm > 0.1 and furthest(policy, expected) > 0.01


@pytest.mark.slow
def test_after_a_step_the_policy_knows_the_moments_of_all_that_was_observed(plain_steps):
    """Before it, and through inner steps and those of the outer optimizer, they stay."""
    policy, (once, metrics), (twice, _), (explorations, *_) = plain_steps
    for state in (once, twice):
        recorded = [one.trajectory for pair in explorations for one in pair[:2]]
        seen = np.concatenate([one.observations[one.mask] for one in recorded])
        moments = state.meta_params.moments
        assert moments.count == len(seen) == metrics["train/environment_steps"]
        np.testing.assert_allclose(moments.mean, seen.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(moments.variance, seen.var(axis=0), rtol=1e-9)
    for *_, adapted in explorations:
        assert_same_bits(adapted.moments, policy.moments)


@pytest.mark.slow
def test_the_query_is_of_the_policy_adapted_on_the_support(plain_steps):
    policy, _, _, (explorations, *_, (adapted, acted)) = plain_steps
    for index, (support, query, found) in enumerate(explorations):
        assert_close(found, jax.tree.map(lambda x, i=index: x[i], adapted), 1e-9, 1e-12)
        np.testing.assert_allclose(query.trajectory.log_probs, acted[index], rtol=1e-9)
        assert furthest(policy, found) > 1e-3
        trajectory = jax.tree.map(lambda x: x[0], support.trajectory)
        z = (trajectory.actions - trajectory.observations @ policy.network.weights[0]) / np.exp(
            -0.2
        )
        expected = -0.5 * np.sum(z**2, axis=-1) + 0.4 - np.log(2 * np.pi)
        np.testing.assert_allclose(trajectory.log_probs, expected, rtol=1e-6)


@pytest.mark.slow
def test_promp_without_its_clip_is_gradient_descent_near_the_acting_policy(plain_steps):
    """Of the likelihood ratio and the KL on the support, again on the same episodes."""
    _, (_, plain), (state, metrics), (_, _, _, first, expected, kl, _) = plain_steps
    assert_close(learned(state.meta_params), learned(expected), 1e-9, 1e-12)
    np.testing.assert_allclose(metrics.pop("train/kl"), kl, rtol=1e-9)
    assert kl > 1e-4 and furthest(first, expected) > 0.01
    assert_close(metrics, plain, 1e-9, 1e-12)


@pytest.mark.slow
def test_metrics_are_means_over_episodes_and_tasks(plain_steps):
    _, (_, metrics), _, (explorations, *_) = plain_steps
    returns = {"pre": [], "post": []}
    entropies, num_steps = [], 0
    for support, query, _ in explorations:
        returns["pre"].append(support.trajectory.rewards[0].sum(axis=1).mean())
        returns["post"].append(query.trajectory.rewards.sum(axis=1).mean())
        entropies.append(-query.trajectory.log_probs[query.trajectory.mask].mean())
        num_steps += support.trajectory.mask.sum() + query.trajectory.mask.sum()
    for when, values in returns.items():
        found = metrics[f"train/{when}_adaptation_return"]
        np.testing.assert_allclose(found, np.mean(values), rtol=1e-9)
    np.testing.assert_allclose(metrics["train/entropy"], np.mean(entropies), rtol=1e-9)
    explained = np.mean([query.explained_variance for _, query, _ in explorations])
    np.testing.assert_allclose(metrics["train/explained_variance"], explained, rtol=1e-9)
    assert metrics["train/environment_steps"] == num_steps
    for name, of_episode in (
        ("train/episode_length", lambda trajectory: trajectory.mask.sum(-1)),
        ("train/terminated_episodes", lambda trajectory: trajectory.terminated),
    ):
        by_hand = np.mean([of_episode(query.trajectory).mean() for _, query, _ in explorations])
        np.testing.assert_allclose(metrics[name], by_hand, rtol=1e-6)


# --------------------------------------------------------------------------- tasks


def made_up_experience(rng, *axes):
    """Episodes of three lengths in which anything may have happened."""
    shape = (*axes, 3, 4)
    mask = np.broadcast_to(np.arange(4) < np.array([[4], [2], [3]]), shape)
    trajectory = rl.Trajectory(
        observations=rng.normal(size=(*shape, 2)),
        actions=rng.normal(size=(*shape, 2)),
        log_probs=rng.normal(size=shape) - 2,
        rewards=rng.normal(size=shape) * mask,
        mask=mask,
        terminated=np.zeros(shape[:-1], bool),
        unstable=np.zeros(shape[:-1], bool),
    )
    return rl.Experience(trajectory, rng.normal(size=shape) * mask, np.zeros(axes), np.ones(axes))


def made_up_explorations():
    rng = np.random.default_rng(0)
    support, query = made_up_experience(rng, NUM_TASKS, 2), made_up_experience(rng, NUM_TASKS)
    return rl.Exploration(support, query, None), rng.normal(size=NUM_TASKS)


@pytest.fixture(scope="module")
def objectives(leash):
    """The objective of each task, and what a meta-batch makes of them, with two inner steps."""
    learner = make_learner(leash, num_inner_steps=2, sampling_correction=True)

    @jax.jit
    def objectives(policy, explorations, scores):
        meta_batch = MetaBatch(explorations, scores, None, lambda tree: tree)
        (loss, _), gradient = meta_batch.gradient(
            lambda policy, task: policy_objective(learner, policy, *task), policy
        )
        weighted = meta_batch.mean(lambda e, score: {"x": score * jnp.sum(e.query.advantages)})
        each = jax.vmap(lambda *task: policy_objective(learner, policy, *task)[0])(
            explorations, scores
        )
        adapt = jax.vmap(lambda support: learner.adapt(policy, support).support_losses)
        return (loss, gradient, weighted), adapt(explorations.support), each

    return objectives


@jax.enable_x64(True)
def test_the_order_of_tasks_does_not_matter(leash, objectives):
    """Of the loss, the meta-gradient and any mean; and each task counts as much as another."""
    policy, order = make_policy(leash), np.array([2, 0, 3, 1])
    means, *per_task = objectives(policy, *made_up_explorations())
    permuted = jax.tree.map(lambda x: x[order], made_up_explorations())
    found, *found_per_task = objectives(policy, *permuted)
    assert_close(found, means, 1e-10, 1e-13)
    for one, other in zip(found_per_task, per_task, strict=True):
        np.testing.assert_allclose(one, other[order], rtol=1e-10)
    each = np.asarray(per_task[1])
    np.testing.assert_allclose(means[0], each.mean(), rtol=1e-10)
    assert np.ptp(each) > 0.1


def replayed_by_hand(policy, support, query):
    """Two inner steps: the log-ratio of the support, and the outer loss after each step."""
    log_ratio, losses = 0.0, []
    experiences = [jax.tree.map(lambda x, i=i: x[i], support) for i in range(2)]
    for experience, later in zip(experiences, [experiences[1], query], strict=True):
        trajectory = experience.trajectory
        log_probs = policy(trajectory.observations).log_prob(trajectory.actions)
        log_ratio += jnp.sum((log_probs - trajectory.log_probs) * trajectory.mask)
        policy = adapted_on(experience, policy)
        losses.append(rl.likelihood_ratio(policy, later))
    return log_ratio, losses


@pytest.fixture(scope="module")
def one_task(leash):
    """Of one task: a replay by hand, the corrected objective, and that with step weights."""
    corrected = make_learner(leash, num_inner_steps=2, sampling_correction=True)
    weighted = make_learner(leash, num_inner_steps=2, step_weights=(1.0, 3.0))

    @jax.jit
    def all_three(policy, exploration, score):
        by_hand = replayed_by_hand(policy, *exploration[:2])
        losses = [
            policy_objective(learner, policy, exploration, score)[0]
            for learner in (corrected, weighted)
        ]
        return by_hand, *losses

    with jax.enable_x64(True):
        task = jax.tree.map(lambda x: jnp.asarray(x[2]), made_up_explorations())
        return jax.tree.map(np.asarray, (task[1], all_three(make_policy(leash), *task)))


def test_the_sampling_correction_weighs_the_episodes_of_each_policy_that_acted(one_task):
    """−score · Σ log π/π₀, of the policy before each inner step on the episodes of that step."""
    score, ((log_ratio, (_, last)), corrected, _) = one_task
    np.testing.assert_allclose(corrected, last - score * log_ratio, rtol=1e-10)
    assert abs(score * log_ratio) > 0.1


def test_step_weights_judge_each_policy_by_the_episodes_it_acted_in(one_task):
    """The policy after the first step acts in the second support."""
    _, ((_, (first, last)), _, weighted) = one_task
    np.testing.assert_allclose(weighted, (first + 3 * last) / 4, rtol=1e-10)
    assert abs(first - last) > 0.1


@jax.enable_x64(True)
def test_the_fisher_matrix_may_be_made_from_the_first_episodes_only():
    """Of support and query both."""
    explorations, _ = made_up_explorations()
    some = _some_episodes(explorations, 0.67)
    for name, axis in (("support", 2), ("query", 1)):
        few, all_ = getattr(some, name), getattr(explorations, name)
        assert few.trajectory.mask.shape[axis] == 2 and all_.trajectory.mask.shape[axis] == 3
        for found, expected in zip(
            jax.tree.leaves(few[:2]), jax.tree.leaves(all_[:2]), strict=True
        ):
            np.testing.assert_array_equal(found, np.take(expected, [0, 1], axis=axis))
    assert _some_episodes(explorations, 0.01).query.advantages.shape == (NUM_TASKS, 1, 4)


# --------------------------------------------------------------------------- types


def described(tree):
    return [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", LOOPS)
def test_a_step_gives_a_state_like_the_one_it_took_and_the_metrics_it_says(leash, name):
    loop = LOOPS[name](leash)
    state = jax.eval_shape(loop.init, make_policy(leash))
    after, metrics = jax.eval_shape(loop.step, KEY, state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert described(after) == described(state)
    assert set(metrics) == METRICS[name]
    assert {x.shape for x in metrics.values()} == {()}


class OwnPolicy(eqx.Module):
    """A network of Equinox's own, which holds its activation: a leaf that is no array."""

    network: eqx.nn.MLP
    count: jax.Array

    def __call__(self, observations):
        flat = observations.reshape(-1, observations.shape[-1])
        mean = jax.vmap(self.network)(flat).reshape(observations.shape)
        return rl.Gaussian(mean, jnp.zeros_like(mean))


@pytest.mark.parametrize(
    ("name", "meta_batch_size", "dtype"),
    [("maml_trpo", 2, jnp.bfloat16), ("policy_gradient", 1, jnp.float32)],
)
def test_a_policy_of_your_own_keeps_its_types_and_what_does_not_learn(
    leash, name, meta_batch_size, dtype
):
    """Also parameters that have fewer digits than the losses."""
    network = eqx.nn.MLP(2, 2, 3, 1, key=jax.random.key(0), dtype=dtype)
    policy = OwnPolicy(network, jnp.array(3))
    loop = LOOPS[name](leash, meta_batch_size=meta_batch_size)
    state, _ = eqx.filter_eval_shape(loop.step, KEY, loop.init(policy))
    assert jax.tree.structure(state.meta_params) == jax.tree.structure(policy)
    for after, before in zip(
        jax.tree.leaves(state.meta_params), jax.tree.leaves(policy), strict=True
    ):
        assert getattr(after, "dtype", None) == getattr(before, "dtype", None)


def plain_descent(env, **options):
    return rl.policy_gradient(make_learner(env), optax.sgd(0.1), **options)


class ComplexPolicy(eqx.Module):
    """Turns and stretches positions of the plane: by complex numbers, or by pairs of real ones."""

    factor: PyTree
    bias: jax.Array

    def __call__(self, observations):
        factor = self.factor if eqx.is_array(self.factor) else jax.lax.complex(*self.factor)
        mean = jax.lax.complex(observations[..., 0], observations[..., 1]) * factor
        mean = jnp.tanh(jnp.stack([mean.real, mean.imag], -1)) + self.bias
        return rl.Gaussian(mean, jnp.zeros_like(mean))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maml_trpo", "policy_gradient"])
def test_complex_parameters_are_pairs_of_real_ones(leash, name):
    """As in supervised learning; whatever follows the gradient."""
    make = {"maml_trpo": trpo, "policy_gradient": plain_descent}[name]
    loop = make(leash, meta_batch_size=2)
    with jax.numpy_rank_promotion("allow"):
        step = eqx.filter_jit(loop.step)
        bias = jnp.array([0.1, -0.2], float)
        complex_state, metrics = step(KEY, loop.init(ComplexPolicy(jnp.array(0.4 + 0.3j), bias)))
        pair = (jnp.array(0.4, float), jnp.array(0.3, float))
        pair_state, pair_metrics = step(KEY, loop.init(ComplexPolicy(pair, bias)))
    factor = complex_state.meta_params.factor
    assert abs(factor - (0.4 + 0.3j)) > 1e-3
    found, expected = (factor.real, factor.imag), pair_state.meta_params.factor
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(
        complex_state.meta_params.bias, pair_state.meta_params.bias, rtol=1e-5
    )
    for key, value in metrics.items():
        np.testing.assert_allclose(value, pair_metrics[key], rtol=1e-6, err_msg=key)


# --------------------------------------------------------------------------- whole runs


NUM_OUTER_STEPS, MAX_KL = 12, 0.05
ONE, OTHER, UNLUCKY = (jax.random.key(seed) for seed in (3, 9, 10))


class Lottery(rl.PointNavigation):
    """Goals lie above; the reward is infinite where one is almost exactly to the right."""

    @staticmethod
    def infinite(task):
        return task[0] > 0.9995

    def step(self, key, task, state, action):
        state, observation, reward, terminated = super().step(key, task, state, action)
        reward = jnp.where(self.infinite(task), jnp.inf, reward)
        return state, observation, reward, terminated


LOTTERY = Lottery(goals="semicircle", horizon=6, speed=0.3)


def first_infinite(key):
    """The first of the outer steps that draws such a task, counted from 1."""

    @jax.jit
    @jax.vmap
    def infinite(index):
        keys = jax.random.split(jax.random.fold_in(key, index), 6)
        task_keys = jax.vmap(lambda key: jax.random.split(key)[0])(keys)
        return jnp.any(jax.vmap(lambda key: LOTTERY.infinite(LOTTERY.sample_task(key)))(task_keys))

    steps = np.flatnonzero(infinite(jnp.arange(NUM_OUTER_STEPS)))
    return steps[0] + 1 if len(steps) else None


@pytest.fixture(scope="module")
def lottery_run():
    """`lottery_run(keys, directory, num_outer_steps)` of `maml_trpo`, two seeds side by side."""
    learner = make_learner(
        LOTTERY, episodes_per_task=8, surrogate=rl.likelihood_ratio, max_unstable_share=0.0
    )
    loop = rl.maml_trpo(learner, meta_batch_size=6, max_kl=MAX_KL, fisher="adapted")
    policies = jax.tree.map(lambda x: jnp.stack([x, x]), make_policy(LOTTERY))

    def run(keys, directory=None, num_outer_steps=NUM_OUTER_STEPS):
        settings = {"num_outer_steps": num_outer_steps, "log_interval": 4}
        return mamlax.run(loop, policies, key=jnp.stack(keys), directory=directory, **settings)

    return run


@pytest.fixture(scope="module")
def whole(lottery_run, tmp_path_factory):
    """An uninterrupted run: its states and its directory."""
    assert first_infinite(ONE) is None and first_infinite(OTHER) is None
    directory = tmp_path_factory.mktemp("whole")
    return lottery_run([ONE, OTHER], directory).state, directory


def lines_of(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


def assert_same_bits(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def seed(states, index):
    return jax.tree.map(lambda x: np.asarray(x)[index], states)


@pytest.mark.slow
def test_an_interrupted_run_resumes_with_the_same_bits(lottery_run, whole, tmp_path):
    states, directory = whole
    lottery_run([ONE, OTHER], tmp_path, num_outer_steps=8)
    assert_same_bits(lottery_run([ONE, OTHER], tmp_path).state, states)
    assert lines_of(tmp_path) == lines_of(directory)


@pytest.mark.slow
def test_seeds_side_by_side_do_not_notice_one_another(lottery_run, whole):
    """The loops of the line search and of conjugate gradients end when each seed's would."""
    states, _ = whole
    twice = lottery_run([OTHER, OTHER]).state
    assert_same_bits(seed(twice, 0), seed(states, 1))
    assert_same_bits(seed(twice, 1), seed(states, 1))
    assert furthest(seed(states, 0).meta_params, seed(states, 1).meta_params) > 0.1


@pytest.mark.slow
def test_a_run_logs_every_metric_finite(whole):
    lines = lines_of(whole[1])
    assert [line.pop("step") for line in lines] == [4, 8, 12]
    for line in lines:
        assert set(line) == METRICS["maml_trpo"] and np.isfinite(list(line.values())).all()
        assert 0.5 < line["train/accepted"] <= 1 and 0 < line["train/kl"] <= MAX_KL


@pytest.mark.slow
def test_a_few_steps_of_maml_trpo_improve_the_return_after_adapting(whole):
    first, _, last = (line["train/post_adaptation_return"] for line in lines_of(whole[1]))
    assert last > first + 0.5


@pytest.mark.slow
def test_an_infinite_reward_stops_the_run_and_names_the_step(lottery_run):
    """The episode is left out, and counted: here none may be."""
    first = first_infinite(UNLUCKY)
    assert first is not None and 1 < first < NUM_OUTER_STEPS
    message = rf"train/unstable_episodes was .* at outer step {first}, more than the 0 that"
    with pytest.raises(mamlax.TrainingDivergedError, match=message):
        lottery_run([ONE, UNLUCKY])


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize("name", LOOPS)
def test_a_meta_batch_has_at_least_one_task(leash, name):
    with pytest.raises(ValueError, match="meta_batch_size must be positive, got 0"):
        LOOPS[name](leash, meta_batch_size=0)


@pytest.mark.parametrize("name", LOOPS)
def test_a_meta_batch_divides_over_the_devices(leash, name):
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("tasks",))
    with pytest.raises(ValueError, match="3 tasks do not divide over 2 devices"):
        LOOPS[name](leash, meta_batch_size=3, mesh=mesh)


@pytest.mark.parametrize("name", LOOPS)
def test_the_axis_of_the_devices_is_that_of_tasks(leash, name):
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("devices",))
    with pytest.raises(ValueError, match=r'axis named "tasks", got \(.devices.,\)'):
        LOOPS[name](leash, mesh=mesh)


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("batch_size", [0, 2])
def test_the_tasks_of_a_device_divide_into_micro_batches(leash, name, batch_size):
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("tasks",))
    with pytest.raises(ValueError, match=f"3 tasks do not divide .* batch_size={batch_size} "):
        LOOPS[name](leash, meta_batch_size=6, mesh=mesh, batch_size=batch_size)


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("policy_gradient", {"num_gradient_steps": 0}, "num_gradient_steps must be positive"),
        ("promp", {"num_gradient_steps": 0}, "num_gradient_steps must be positive"),
        ("promp", {"clip": 0.0}, "clip must be positive"),
        ("promp", {"kl_penalty": -0.1}, "kl_penalty must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(leash, name, options, part):
    with pytest.raises(ValueError, match=part):
        LOOPS[name](leash, **options)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"num_inner_steps": -1}, "num_inner_steps must be 0 or more"),
        ({"episodes_per_task": 0}, "episodes_per_task 1 or more"),
        ({"discount": 1.5}, "discount must be in"),
        ({"gae_lambda": -0.5}, "gae_lambda must be in"),
        ({"step_weights": (1.0, 2.0)}, "step_weights must be one number per inner step, 1 of"),
        ({"step_weights": (-1.0,)}, "none negative"),
        ({"step_weights": (0.0,)}, "not all zero"),
        ({"step_weights": (1.0,), "sampling_correction": True}, "leave out step_weights"),
    ],
)
def test_a_learners_settings_out_of_range_are_refused(leash, options, part):
    with pytest.raises(ValueError, match=part):
        make_learner(leash, **options)


def test_a_penalty_on_the_support_needs_a_support(leash):
    learner = make_learner(leash, num_inner_steps=0)
    loop = rl.promp(learner, optax.sgd(0.1), meta_batch_size=2)
    with pytest.raises(ValueError, match="needs inner steps: give kl_penalty=0"):
        jax.eval_shape(loop.step, KEY, loop.init(make_policy(leash)))
