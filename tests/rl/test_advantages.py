"""Returns, baselines and advantages against plain loops; and what is after the end never counts."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax
from mamlax.rl._advantages import masked_mean, masked_variance
from mamlax.rl._baseline import _slopes

rl = mamlax.rl
LENGTHS = np.array([7, 3, 1, 7, 5])
EPISODES, HORIZON = len(LENGTHS), 7


def make_trajectory(seed=0, lengths=LENGTHS, num_features=2, observations=None):
    """Episodes of the given lengths, anything in them, on the host in float64."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths))
    mask = np.arange(shape[1])[None] < lengths[:, None]
    if observations is None:
        observations = rng.normal(size=(*shape, num_features))
    return rl.Trajectory(
        observations=observations,
        actions=rng.normal(size=(*shape, 2)),
        log_probs=-3 + 0.3 * rng.normal(size=shape),
        rewards=np.where(mask, rng.normal(size=shape), 0),
        mask=mask,
        terminated=lengths < shape[1],
        unstable=jnp.zeros(shape[:1], bool),
    )


def on_device(tree, dtype=None):
    """Floating-point numbers as `dtype`."""
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype if np.issubdtype(x.dtype, np.floating) else None), tree
    )


@functools.cache
def estimate(**options):
    return jax.jit(functools.partial(rl.estimate_advantages, normalize=False, **options))


def returns_by_loop(rewards, discount):
    returns = np.zeros_like(rewards)
    for episode in range(len(rewards)):
        later = 0.0
        for time in reversed(range(rewards.shape[1])):
            later = returns[episode, time] = rewards[episode, time] + discount * later
    return returns


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
@jax.enable_x64(True)
def test_discounted_returns(discount):
    rewards = np.random.default_rng(0).normal(size=(3, 6))
    found = rl.discounted_returns(jnp.asarray(rewards), discount)
    np.testing.assert_allclose(found, returns_by_loop(rewards, discount), rtol=1e-12)
    stacked = rl.discounted_returns(jnp.asarray(rewards)[None], discount)
    np.testing.assert_array_equal(stacked[0], found)


def some_values(observations, time, returns, weights):
    """A baseline that says something after the end, too."""
    return jnp.sin(jnp.sum(3 * observations, axis=-1)) + 0.1 * returns


def fitted(trajectory, returns, **options):
    """The linear baseline of an episode a row."""
    given = (trajectory.observations, trajectory.time[:, :-1], returns, trajectory.mask)
    return rl.linear_baseline(*given, **options)


def advantages_by_loop(trajectory, values, discount, gae_lambda):
    """Σₖ (γλ)ᵏ δₜ₊ₖ, summed as it is written."""
    advantages = np.zeros((EPISODES, HORIZON))
    for episode, length in enumerate(LENGTHS):
        for time in range(length):
            for later in range(time, length):
                following = values[episode, later + 1] if later + 1 < length else 0.0
                reward = trajectory.rewards[episode, later]
                error = reward + discount * following - values[episode, later]
                advantages[episode, time] += (discount * gae_lambda) ** (later - time) * error
    return advantages


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("baseline_fn", [some_values, None], ids=["baseline", "none"])
@jax.enable_x64(True)
def test_generalized_advantages(gae_lambda, baseline_fn):
    trajectory, discount = make_trajectory(), 0.8
    found = estimate(discount=discount, gae_lambda=gae_lambda, baseline_fn=baseline_fn)(
        on_device(trajectory)
    )
    returns = returns_by_loop(trajectory.rewards, discount)
    values = np.zeros_like(returns)
    if baseline_fn is not None:
        observations = jnp.asarray(trajectory.observations)
        values = np.asarray(some_values(observations, None, jnp.asarray(returns), None))
    expected = advantages_by_loop(trajectory, values, discount, gae_lambda)
    np.testing.assert_allclose(found.advantages, expected, rtol=1e-10, atol=1e-12)
    if gae_lambda == 1:
        difference = np.where(trajectory.mask, returns - values, 0)
        np.testing.assert_allclose(found.advantages, difference, rtol=1e-10, atol=1e-12)
    mask = trajectory.mask
    explained = 1 - np.var((returns - values)[mask]) / np.var(returns[mask])
    np.testing.assert_allclose(found.explained_variance, explained, rtol=1e-10, atol=1e-12)


@jax.enable_x64(True)
def test_normalized_advantages_have_mean_zero_and_standard_deviation_one():
    trajectory = make_trajectory()
    plain = estimate(baseline_fn=None)(on_device(trajectory)).advantages
    experience = jax.jit(functools.partial(rl.estimate_advantages, baseline_fn=None))(
        on_device(trajectory)
    )
    counted = np.asarray(experience.advantages)[trajectory.mask]
    assert abs(counted.mean()) < 1e-12
    # less by a thousandth of the returns, so that misfit of the baseline is not blown up
    before = np.asarray(plain)[trajectory.mask]
    rms = np.sqrt(np.mean(before**2))  # without a baseline the advantages are the returns
    np.testing.assert_allclose(counted.std(), before.std() / (before.std() + 1e-3 * rms), rtol=1e-7)
    np.testing.assert_allclose(experience.scale, before.std() + 1e-3 * rms, rtol=1e-7)
    assert (np.asarray(experience.advantages)[~trajectory.mask] == 0).all()
    assert not 0.8 < before.std() < 1.2, "variance and deviation must differ here"
    expected = (before - before.mean()) / experience.scale
    np.testing.assert_allclose(counted, expected, rtol=1e-7)


def test_masked_moments():
    trajectory = make_trajectory()
    values, mask = jnp.asarray(trajectory.observations[..., 0]), jnp.asarray(trajectory.mask)
    counted = np.asarray(values)[trajectory.mask]
    np.testing.assert_allclose(masked_mean(values, mask), counted.mean(), rtol=1e-5)
    np.testing.assert_allclose(masked_variance(values, mask), counted.var(), rtol=1e-5)


@pytest.mark.parametrize(
    ("length", "reward"), [(3, 0.0), (1, 1.0)], ids=["no_rewards", "one_for_all"]
)
def test_where_all_do_equally_well_there_is_no_advantage(length, reward):
    """And no division by the deviation 0."""
    trajectory = make_trajectory(lengths=np.array([length, length]))
    trajectory = trajectory._replace(rewards=np.full((2, length), reward))
    experience = jax.jit(rl.estimate_advantages)(on_device(trajectory, jnp.float32))
    np.testing.assert_allclose(experience.advantages, 0, atol=1e-5)
    assert np.isfinite(experience.explained_variance)


@pytest.mark.parametrize("options", [{"discount": 1.1}, {"discount": -0.1}, {"gae_lambda": 2.0}])
def test_discount_and_lambda_must_be_shares(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"{name} must be in \[0, 1\], got {options[name]}"):
        rl.estimate_advantages(on_device(make_trajectory(), jnp.float32), **options)


def test_a_baseline_of_another_shape_is_refused():
    trajectory = on_device(make_trajectory(), jnp.float32)
    with pytest.raises(ValueError, match=r"shape of the returns, \[5, 7\], got \[5\]"):
        rl.estimate_advantages(
            trajectory, baseline_fn=lambda seen, time, returns, weights: jnp.mean(returns, axis=1)
        )


# --------------------------------------------------------------------------- linear baseline


def features_by_hand(trajectory):
    observations = np.clip(np.asarray(trajectory.observations, np.float64), -10, 10)
    time = np.broadcast_to(
        np.arange(observations.shape[1])[None, :, None] / 100, (*observations.shape[:2], 1)
    )
    parts = [observations, observations**2, time, time**2, time**3, np.ones_like(time)]
    return np.concatenate(parts, axis=-1)[np.asarray(trajectory.mask)]


def explained_by_least_squares(trajectory, returns):
    """Of a float64 fit without any penalty."""
    features, targets = features_by_hand(trajectory), returns[np.asarray(trajectory.mask)]
    features = features / np.maximum(np.abs(features).max(axis=0), 1e-300)
    solution = np.linalg.lstsq(features, targets, rcond=1e-10)[0]
    return 1 - np.var(targets - features @ solution) / np.var(targets)


@functools.cache
def navigation():
    """What a random network does in the paper's 2D navigation."""
    env = rl.PointNavigation()
    policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(20,))
    act = jax.jit(functools.partial(rl.rollout, env=env, num_episodes=20))
    trajectory = act(jax.random.key(1), task=jnp.array([0.3, -0.2]), policy=policy)
    return jax.tree.map(np.asarray, trajectory)


def with_observations(change):
    trajectory = navigation()
    return trajectory._replace(observations=change(trajectory.observations).astype(np.float32))


def redundant(observations):
    """Copies, sums, constants and zeros beside what there is."""
    one = np.ones_like(observations[..., :1])
    both = observations.sum(-1, keepdims=True)
    parts = [observations, observations, 3 * observations, both, one, 7 * one, 0 * one]
    return np.concatenate(parts, axis=-1)


def one_hot_cells(observations):
    """Which of nine cells, as tables of states are observed: columns that sum to one."""
    cell = np.digitize(observations, [-0.3, 0.3])
    return np.eye(9)[cell[..., 0] * 3 + cell[..., 1]]


DATA = {
    "navigation": lambda x: x,
    "redundant": redundant,
    "one_hot": one_hot_cells,
    "far_away": lambda x: 5 + x,
    "huge": lambda x: 1e6 * x,
    "tiny": lambda x: 1e-6 * x,
}


@pytest.mark.parametrize("change", DATA.values(), ids=DATA)
def test_the_linear_baseline_explains_as_much_as_least_squares_in_float64(change):
    trajectory = with_observations(change)
    experience = estimate()(on_device(trajectory))
    assert experience.advantages.dtype == jnp.float32
    returns = returns_by_loop(trajectory.rewards.astype(np.float64), 0.99)
    expected = explained_by_least_squares(trajectory, returns)
    assert expected > 0.2
    np.testing.assert_allclose(experience.explained_variance, expected, atol=1e-4)


@jax.enable_x64(True)
def test_the_linear_baselines_values_are_those_of_least_squares():
    """With next to no penalty, value by value."""
    trajectory = make_trajectory(lengths=np.array([9, 4, 9, 6, 2, 9]))
    returns = returns_by_loop(trajectory.rewards, 0.9)
    fit = jax.jit(functools.partial(fitted, ridge=1e-13))
    found = np.asarray(fit(on_device(trajectory), jnp.asarray(returns)))
    features, mask = features_by_hand(trajectory), trajectory.mask
    expected = features @ np.linalg.lstsq(features, returns[mask], rcond=None)[0]
    np.testing.assert_allclose(found[mask], expected, rtol=1e-6, atol=1e-8)


@jax.enable_x64(True)
def test_the_penalty_is_relative_to_a_features_variance():
    """So the units of an observation do not matter, and a heavy penalty leaves the mean."""
    trajectory = make_trajectory()
    returns = jnp.asarray(returns_by_loop(trajectory.rewards, 0.9))
    fit = jax.jit(fitted, static_argnames="ridge")
    small = trajectory._replace(observations=0.001 * trajectory.observations)
    found = fit(on_device(trajectory), returns, ridge=0.1)
    same = fit(on_device(small), returns, ridge=0.1)
    np.testing.assert_allclose(found, same, rtol=1e-8, atol=1e-10)
    mask = trajectory.mask
    heavy = np.asarray(fit(on_device(trajectory), returns, ridge=1e9))
    np.testing.assert_allclose(heavy[mask], np.asarray(returns)[mask].mean(), rtol=1e-6)
    assert np.asarray(found)[mask].std() > 0.1


def test_features_that_rounding_makes_singular_take_a_larger_penalty():
    """A covariance with an eigenvalue of −2e-4 cannot be factorized with 1e-5."""
    covariance = jnp.ones((50, 50)) - 2e-4 * jnp.eye(50)
    correlation = jnp.ones(50)
    slopes = _slopes(covariance, correlation, jnp.array(1e-5))
    expected = np.linalg.solve(np.asarray(covariance, float) + 1e-3 * np.eye(50), np.ones(50))
    np.testing.assert_allclose(slopes, expected, rtol=0.01)
    assert not np.isfinite(_slopes(jnp.full((3, 3), jnp.nan), jnp.ones(3), jnp.array(1e-5))).any()


# --------------------------------------------------------------------------- after the end


SURROGATES = {
    "log_likelihood": rl.log_likelihood,
    "likelihood_ratio": rl.likelihood_ratio,
    "clipped": functools.partial(rl.clipped_likelihood_ratio, clip=0.2),
    "dice": rl.dice,
}


def policy_for_two():
    rng = np.random.default_rng(3)
    sizes = ((2, 3), (3, 2))
    weights = [jnp.asarray(0.5 * rng.normal(size=size)) for size in sizes]
    biases = [jnp.asarray(0.1 * rng.normal(size=size[1])) for size in sizes]
    network = mamlax.models.MLP(weights, biases, "none", "tanh")
    return rl.GaussianPolicy(network, jnp.asarray([-0.1, 0.2]))


@jax.jit
def everything(policy, trajectory, rewards):
    """All that is made of episodes; `rewards` after the baseline is fitted."""
    experience = rl.estimate_advantages(trajectory, gae_lambda=0.9)
    values = fitted(trajectory, trajectory.rewards)
    found = {"values": jnp.where(trajectory.mask, values, 0.0)}
    found["advantages"], found["explained"] = experience.advantages, experience.explained_variance
    experience = experience._replace(trajectory=trajectory._replace(rewards=rewards))
    ones = jax.tree.map(jnp.ones_like, policy)
    for name, surrogate in SURROGATES.items():
        gradient_fn = jax.grad(lambda p, fn=surrogate: fn(p, experience))
        found[name] = surrogate(policy, experience)
        found[f"{name} derivatives"] = jax.jvp(gradient_fn, (policy,), (ones,))
    old = policy(trajectory.observations)
    new = jax.tree.map(lambda x: 1.1 * x, policy)(trajectory.observations)
    found["kl"] = masked_mean(old.kl(new), trajectory.mask)
    found["entropy"] = masked_mean(old.entropy(), trajectory.mask)
    return found


def assert_same(found, expected, **tolerance):
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(x, y, err_msg=str(path), **tolerance)


@jax.enable_x64(True)
def test_what_is_after_the_end_never_counts():
    """Whatever it is, so long as it is finite: also where ratios of probabilities overflow."""
    trajectory = make_trajectory()
    rng = np.random.default_rng(9)

    def garbage(x):
        mask = trajectory.mask.reshape(*trajectory.mask.shape, *[1] * (x.ndim - 2))
        return np.where(mask, x, rng.uniform(-50, 50, size=x.shape))

    names = ("observations", "actions", "log_probs")
    other = trajectory._replace(**{name: garbage(getattr(trajectory, name)) for name in names})
    never = np.where(trajectory.mask, trajectory.log_probs, -1e4)
    expected = everything(policy_for_two(), on_device(trajectory), jnp.asarray(trajectory.rewards))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(expected))
    assert np.abs(expected["likelihood_ratio"] - expected["clipped"]) > 1e-3
    rewards = jnp.asarray(garbage(trajectory.rewards))
    for one in (other, trajectory._replace(log_probs=never)):
        found = everything(policy_for_two(), on_device(one), rewards)
        assert_same(found, expected, rtol=1e-12, atol=1e-13)


@jax.enable_x64(True)
def test_the_order_of_episodes_does_not_matter():
    trajectory, order = make_trajectory(), np.array([3, 0, 4, 2, 1])
    permuted = jax.tree.map(lambda x: x[order], trajectory)
    rewards = jnp.asarray(trajectory.rewards)
    expected = everything(policy_for_two(), on_device(trajectory), rewards)
    found = everything(policy_for_two(), on_device(permuted), rewards[order])
    for name in ("values", "advantages"):
        expected[name] = expected[name][order]
    assert_same(found, expected, rtol=1e-9, atol=1e-11)


@jax.enable_x64(True)
def test_surrogates_are_means_over_the_steps_that_count():
    """Against loops over episodes and steps, with a policy that has moved since it acted."""
    trajectory, policy = make_trajectory(), policy_for_two()
    distribution = policy(jnp.asarray(trajectory.observations))
    log_probs = np.asarray(distribution.log_prob(jnp.asarray(trajectory.actions)))
    experience = estimate(baseline_fn=None)(on_device(trajectory))
    advantages, count = np.asarray(experience.advantages), LENGTHS.sum()
    sums = dict.fromkeys(SURROGATES, 0.0)
    for episode, length in enumerate(LENGTHS):
        product = 1.0
        for time in range(length):
            log_prob, advantage = log_probs[episode, time], advantages[episode, time]
            ratio = np.exp(log_prob - trajectory.log_probs[episode, time])
            clipped = min(max(ratio, 0.8), 1.2)
            sums["log_likelihood"] -= log_prob * advantage
            sums["likelihood_ratio"] -= ratio * advantage
            sums["clipped"] -= min(ratio * advantage, clipped * advantage)
            sums["dice"] -= (product * ratio - product) * advantage
            product *= ratio
    for name, surrogate in SURROGATES.items():
        np.testing.assert_allclose(surrogate(policy, experience), sums[name] / count, rtol=1e-11)


@jax.enable_x64(True)
def test_all_surrogates_have_one_gradient_at_the_policy_that_acted():
    trajectory, policy = make_trajectory(), policy_for_two()
    distribution = policy(jnp.asarray(trajectory.observations))
    log_probs = distribution.log_prob(jnp.asarray(trajectory.actions))
    found = everything(
        policy,
        on_device(trajectory._replace(log_probs=np.asarray(log_probs))),
        jnp.asarray(trajectory.rewards),
    )
    expected = found["log_likelihood derivatives"][0]
    for name in SURROGATES:
        assert_same(found[f"{name} derivatives"][0], expected, rtol=1e-10, atol=1e-13)
    curved = [found[f"{name} derivatives"][1].log_std for name in SURROGATES]
    assert np.abs(curved[0] - curved[1]).max() > 1e-3 and np.abs(curved[1] - curved[3]).max() > 1e-3


@pytest.mark.slow
def test_many_baselines_are_fitted_one_after_another():
    """Else devices of a processor could wait for one another forever: `mamlax._linear_systems`."""
    one = on_device(make_trajectory(), jnp.float32)
    several = jax.tree.map(lambda x: jnp.stack([x, x, x]), one)
    text = jax.jit(jax.vmap(fitted)).lower(several, several.rewards).as_text()
    axes = re.findall(r'_potrf.*num_batch_dims = "(\d)"', text)
    assert axes and set(axes) == {"0"}
    found = jax.vmap(fitted)(several, several.rewards)
    np.testing.assert_allclose(found[1], fitted(one, one.rewards), rtol=1e-4, atol=1e-5)
