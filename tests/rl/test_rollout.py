"""Episodes are recorded as they happened: who acted, what was seen, and where it ended."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

rl = mamlax.rl
NUM_EPISODES, HORIZON = 8, 7


class Clock:
    """Shows the action it was given and the time; ends by chance from the second step on.

    The reward is noise that nothing else depends on. The episode begins in a random place.
    """

    observation_size = 4
    action = rl.Box(2, low=-0.5, high=0.75)
    horizon = HORIZON

    def sample_task(self, key):
        return {"hazard": jax.random.uniform(key, (), minval=0.1, maxval=0.3)}

    def reset(self, key, task):
        place = jax.random.uniform(key)
        return {"time": jnp.array(0), "place": place}, self.see(jnp.zeros(2), 0, place)

    def step(self, key, task, state, action):
        end_key, reward_key = jax.random.split(key)
        state = {"time": state["time"] + 1, "place": state["place"]}
        terminated = jax.random.bernoulli(end_key, task["hazard"]) & (state["time"] > 1)
        reward = jax.random.normal(reward_key)
        return state, self.see(action, state["time"], state["place"]), reward, terminated

    @staticmethod
    def see(action, time, place):
        return jnp.append(action, jnp.stack([time, place]))


CLOCK = Clock()
TASK = {"hazard": jnp.array(0.2)}


def standard_normal(observations):
    zeros = jnp.zeros_like(observations[..., :2])
    return rl.Gaussian(zeros, zeros)


@functools.cache
def policy_of(env):
    return rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(6,), log_std=-0.2)


@functools.cache
def compiled(env, greedy=False):
    return jax.jit(functools.partial(rl.rollout, env=env, greedy=greedy, num_episodes=8))


def recorded(seed=1, greedy=False):
    rollout = compiled(CLOCK, greedy)
    return rollout(jax.random.key(seed), task=TASK, policy=policy_of(CLOCK))


@pytest.fixture(scope="module")
def trajectory():
    return jax.tree.map(np.asarray, recorded())


def test_axes_are_episodes_then_time(trajectory):
    shape = (NUM_EPISODES, HORIZON)
    assert trajectory.observations.shape == (*shape, 4) and trajectory.actions.shape == (*shape, 2)
    for name in ("log_probs", "rewards", "mask"):
        assert getattr(trajectory, name).shape == shape, name
    assert trajectory.terminated.shape == (NUM_EPISODES,)
    time = trajectory.observations[..., 2]
    assert (time[trajectory.mask] == np.indices(shape)[1][trajectory.mask]).all()
    place = trajectory.observations[..., 3]
    assert (place == place[:, :1]).all() and len(set(place[:, 0])) == NUM_EPISODES


def test_a_discrete_action_is_one_integer_per_step():
    env = rl.TabularMDP(num_states=3, num_actions=2, horizon=5)
    task = rl.MDP(jnp.full((3, 2, 3), 1 / 3), jnp.zeros((3, 2)))
    trajectory = compiled(env)(jax.random.key(0), task=task, policy=policy_of(env))
    assert trajectory.actions.shape == (8, 5) and trajectory.actions.dtype == jnp.int32
    assert set(np.unique(trajectory.actions)) == {0, 1}
    assert trajectory.mask.all() and not trajectory.terminated.any()
    log_probs = policy_of(env)(trajectory.observations).log_prob(trajectory.actions)
    np.testing.assert_allclose(trajectory.log_probs, log_probs, rtol=1e-5)


def test_the_mask_is_true_up_to_the_last_step_and_no_further(trajectory):
    lengths = trajectory.mask.sum(axis=1)
    np.testing.assert_array_equal(trajectory.mask, np.arange(HORIZON)[None] < lengths[:, None])
    assert lengths.min() < HORIZON == lengths.max(), "some should end early, some should not"


def test_terminated_says_which_episodes_ended_by_themselves(trajectory):
    lengths = trajectory.mask.sum(axis=1)
    assert trajectory.terminated[lengths < HORIZON].all()
    assert not trajectory.terminated[lengths == HORIZON].all()


def test_an_end_at_the_very_last_step_is_an_end():
    class Short(Clock):
        horizon = 3

        def step(self, key, task, state, action):
            state, observation, reward, _ = super().step(key, task, state, action)
            return state, observation, reward, state["time"] == 3

    rollout = eqx.filter_jit(rl.rollout)
    trajectory = rollout(jax.random.key(0), Short(), TASK, standard_normal, num_episodes=4)
    assert trajectory.mask.shape == (4, 3)
    assert trajectory.mask.all() and trajectory.terminated.all()


def test_after_the_end_nothing_changes_and_nothing_counts(trajectory):
    """No reset either: time does not start again."""
    over = ~trajectory.mask
    assert over.any() and (trajectory.rewards[over] == 0).all()
    assert (trajectory.rewards[trajectory.mask] != 0).all()
    for observations, mask in zip(trajectory.observations, trajectory.mask, strict=True):
        length = mask.sum()
        assert (observations[length:] == observations[length - 1]).all()
        assert observations[length - 1, 2] == length - 1, "what it saw before its last action"


def test_the_environment_is_given_the_nearest_action_within_the_box(trajectory):
    mask = trajectory.mask[:, :-1] & trajectory.mask[:, 1:]
    given = trajectory.observations[:, 1:, :2][mask]
    nearest = np.clip(trajectory.actions[:, :-1][mask], -0.5, 0.75)
    np.testing.assert_allclose(given, nearest, rtol=1e-6, atol=1e-6)
    assert {-0.5, 0.75} < set(np.unique(given).tolist())


def test_log_probs_are_those_of_the_actions_as_they_were_drawn(trajectory):
    distribution = policy_of(CLOCK)(trajectory.observations)
    log_probs = distribution.log_prob(trajectory.actions)
    np.testing.assert_allclose(trajectory.log_probs, log_probs, rtol=2e-5)
    clipped = distribution.log_prob(jnp.clip(trajectory.actions, -0.5, 0.75))
    assert np.abs(trajectory.log_probs - clipped).max() > 0.5


def test_actions_are_as_spread_as_the_policy_says():
    rollout = eqx.filter_jit(rl.rollout)
    trajectory = rollout(jax.random.key(0), CLOCK, TASK, standard_normal, num_episodes=800)
    actions = np.asarray(trajectory.actions)[:, 0].ravel()
    assert abs(actions.mean()) < 5 / np.sqrt(1600)
    assert abs(actions.var() - 1) < 5 * np.sqrt(2 / 1600)


def test_the_same_key_gives_the_same_episodes(trajectory):
    again = recorded()
    for found, expected in zip(again, trajectory, strict=True):
        np.testing.assert_array_equal(found, expected)
    other = recorded(seed=2)
    assert not np.isin(other.actions, trajectory.actions).any()


def test_without_exploring_the_likeliest_action_is_taken():
    trajectory = recorded(greedy=True)
    mode = policy_of(CLOCK)(trajectory.observations).mean
    np.testing.assert_allclose(trajectory.actions, mode, atol=1e-6)
    expected = -2 * -0.2 - np.log(2 * np.pi)
    np.testing.assert_allclose(trajectory.log_probs, expected, rtol=1e-5)
    assert len(np.unique(trajectory.rewards[:, 0])) == NUM_EPISODES, "the rest is still random"


def test_total_rewards_do_not_discount(trajectory):
    found = rl.total_rewards(jax.tree.map(jnp.asarray, trajectory))
    np.testing.assert_allclose(found, trajectory.rewards.sum(axis=1), rtol=1e-5, atol=1e-6)


def test_nothing_is_differentiated():
    def loss(policy, task):
        trajectory = rl.rollout(jax.random.key(0), CLOCK, task, policy, num_episodes=2)
        return jnp.sum(trajectory.log_probs) + jnp.sum(trajectory.actions)

    gradient = jax.jit(jax.grad(loss, (0, 1)))(policy_of(CLOCK), TASK)
    assert all((x == 0).all() for x in jax.tree.leaves(gradient))


@pytest.mark.parametrize("num_episodes", [0, -1])
def test_episodes_must_be_positive(num_episodes):
    with pytest.raises(ValueError, match=f"num_episodes must be positive, got {num_episodes}"):
        rl.rollout(jax.random.key(0), CLOCK, TASK, standard_normal, num_episodes=num_episodes)


@pytest.fixture(scope="module")
def explorations():
    """Of three tasks, by a policy that an inner rate of 0 leaves a standard normal one."""
    network = mamlax.models.mlp(jax.random.key(0), 4, 2, hidden_sizes=())
    policy = jax.tree.map(jnp.zeros_like, rl.GaussianPolicy(network, jnp.zeros(2)))
    learner = rl.policy_learner(
        CLOCK,
        inner_optimizer=optax.sgd(0.0),
        num_inner_steps=2,
        episodes_per_task=5,
        baseline_fn=None,
    )
    explore = jax.jit(jax.vmap(learner.explore, (0, None, None)))
    return explore(jax.random.split(jax.random.key(0), 3), policy, TASK)


@pytest.mark.slow
def test_every_step_of_every_task_has_its_own_noise(explorations):
    """Support and query, tasks, episodes and times share no random number."""
    support, query = explorations.support.trajectory, explorations.query.trajectory
    assert support.actions.shape == (3, 2, 5, HORIZON, 2)
    assert query.actions.shape == (3, 5, HORIZON, 2)

    def rows(of):
        return np.concatenate([np.reshape(of(x), (-1, 2)) for x in (support, query)])

    actions = rows(lambda x: x.actions)
    assert len(np.unique(actions, axis=0)) == len(actions) == 3 * 3 * 5 * HORIZON
    # reward at a step, and where its episode began
    chance = rows(lambda x: jnp.stack([x.rewards, x.observations[..., 3]], -1))
    taken = chance[chance[:, 0] != 0]
    assert len(np.unique(taken[:, 0])) == len(taken) > 100
    assert len(np.unique(taken[:, 1])) == 3 * 3 * 5, "each episode begins elsewhere"
    assert not np.isin(taken[:, 0], actions).any(), "actions and rewards share noise"


def test_what_was_recorded_says_who_acted(explorations):
    """The policy is unchanged, so all log-probabilities are those of the standard normal."""
    for trajectory in (explorations.support.trajectory, explorations.query.trajectory):
        expected = -0.5 * jnp.sum(trajectory.actions**2, -1) - jnp.log(2 * jnp.pi)
        np.testing.assert_allclose(trajectory.log_probs, expected, rtol=1e-5)


def halves(key):
    """A key's 64 bits as numbers that single precision holds: `[..., 4]`."""
    data = jax.random.key_data(key)
    return jnp.concatenate([data >> 16, data & 0xFFFF], axis=-1).astype(jnp.float32)


def as_keys(halves):
    high, low = np.split(np.asarray(halves).astype(np.uint32), 2, axis=-1)
    return jax.random.wrap_key_data(jnp.asarray(high << 16 | low))


class Witness:
    """Shows the key it was given; its policy acts the key it was given."""

    observation_size = 4
    action = rl.Box(4, low=0.0, high=2.0**16)
    horizon = 5

    def sample_task(self, key):
        return halves(key)

    def reset(self, key, task):
        return (), halves(key)

    def step(self, key, task, state, action):
        return (), halves(key), jnp.zeros(()), jnp.array(False)


class Disclosing(rl.Gaussian):
    def sample(self, key):
        return jnp.broadcast_to(halves(key), self.mean.shape)


def test_no_random_key_is_used_twice_nor_split_after_it_was_used():
    """By the environment's beginnings and steps, and by the policy, in three episodes."""
    rollout = eqx.filter_jit(rl.rollout)
    policy = lambda x: Disclosing(x, jnp.zeros_like(x))  # noqa: E731
    trajectory = rollout(jax.random.key(0), Witness(), jnp.zeros(1), policy, num_episodes=3)
    acted = trajectory.actions
    assert (acted == acted[:1]).all(), "one key for the actions of all episodes at a time"
    given = jnp.concatenate([trajectory.observations.reshape(-1, 4), acted[0]])
    used = {tuple(row) for row in np.asarray(given)}
    assert len(used) == len(given) == 3 * 5 + 5
    children = {
        tuple(row)
        for count in (2, 3, 5)
        for row in np.asarray(
            halves(jax.vmap(lambda k, n=count: jax.random.split(k, n))(as_keys(given)))
        ).reshape(-1, 4)
    }
    assert children.isdisjoint(used)
    # guards the line above: it would know the children of a key
    (reset_key, _), rows = jax.random.split(jax.random.key(0)), np.asarray(given)
    assert tuple(np.asarray(halves(jax.random.split(reset_key, 3)))[0]) in used
    np.testing.assert_array_equal(halves(as_keys(rows)), rows)
