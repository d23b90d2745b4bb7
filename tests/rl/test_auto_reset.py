"""Auto-reset: another episode begins where one ended, and nothing crosses an end."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax

rl = mamlax.rl
ROWS, HORIZON = 8, 9
TASK = {"hazard": jnp.array(0.3)}


class Hazard:
    """Shows how long the episode has gone on and where it began; ends by chance.

    The reward of a step is one more than the step, and NaN in the step after `broken`.
    """

    observation_size = 2
    action = rl.Box(1)
    horizon = HORIZON

    def __init__(self, broken=99):
        self.broken = broken

    def sample_task(self, key):
        return TASK

    def reset(self, key, task):
        state = jnp.array([0.0, jax.random.uniform(key)])
        return state, state

    def step(self, key, task, state, action):
        state = state + jnp.array([1.0, 0.0])
        reward = jnp.where(state[0] > self.broken, jnp.nan, state[0])
        return state, state, reward, jax.random.bernoulli(key, task["hazard"])


def policy(observations):
    mean = observations[..., :1]
    return rl.Gaussian(mean, jnp.zeros_like(mean))


@functools.cache
def rollout(env, auto_reset=True, rows=ROWS):
    options = {"num_episodes": rows, "auto_reset": auto_reset}
    act = functools.partial(rl.rollout, env=env, policy=policy, **options)
    found = jax.jit(lambda key: act(key, task=TASK))(jax.random.key(3))
    return jax.tree.map(np.asarray, found)


HAZARD = Hazard()


def episodes(trajectory):
    """`(row, first step, one after its last)` of each episode, by the observed time."""
    found = []
    for row, seen in enumerate(trajectory.observations[..., 0]):
        starts = [*np.flatnonzero(seen == 0), HORIZON]
        found += [(row, *both) for both in itertools.pairwise(starts)]
    return found


def test_another_episode_begins_where_one_has_ended():
    trajectory = rollout(HAZARD)
    assert trajectory.mask.all()
    seen, time = trajectory.observations, trajectory.restarts.time
    np.testing.assert_array_equal(seen[..., 0], time[:, :-1])
    np.testing.assert_array_equal(trajectory.restarts.following[:, 0], time[:, -1])
    np.testing.assert_array_equal(trajectory.rewards, time[:, :-1] + 1)
    assert len(episodes(trajectory)) > 2 * ROWS
    places = {tuple(set(seen[row, start:stop, 1])) for row, start, stop in episodes(trajectory)}
    began = seen[:, 0, 1]
    assert places <= {(place,) for place in began}, "one place an episode, of those drawn"
    later = [seen[row, start, 1] == began[row] for row, start, _ in episodes(trajectory) if start]
    assert not all(later) and len(places) > 3


def test_the_first_episodes_are_those_of_whole_rows_in_length_and_return():
    trajectory, whole = rollout(HAZARD), rollout(HAZARD, auto_reset=False)
    np.testing.assert_array_equal(trajectory.first, whole.mask)
    np.testing.assert_array_equal(trajectory.terminated, whole.terminated)
    for described in (rl.total_rewards, mamlax.rl._rollout.episode_lengths):
        np.testing.assert_array_equal(described(trajectory), described(whole))
    assert whole.restarts is None and (whole.first == whole.mask).all()


def test_a_step_that_breaks_down_does_not_count_and_another_episode_begins():
    trajectory = rollout(Hazard(broken=3))
    time = trajectory.restarts.time
    assert time.max() == 3 and trajectory.unstable.any()
    np.testing.assert_array_equal(trajectory.mask, time[:, :-1] < 3)
    assert (
        np.isfinite(trajectory.rewards).all() and (trajectory.rewards[~trajectory.mask] == 0).all()
    )
    broke = trajectory.first.sum(1) == 3
    assert not (trajectory.terminated & broke & ~trajectory.mask[:, 3]).any()


def values_of(observations, time, returns, weights):
    return 2 + jnp.sin(observations[..., 0] + 3 * observations[..., 1])


def advantages_by_loop(trajectory, values, last, discount, gae_lambda):
    """Episode by episode; `last` is the value of what a row saw last."""
    found = np.zeros((ROWS, HORIZON))
    for row, start, stop in episodes(trajectory):
        goes_on = stop == HORIZON and 0 < trajectory.restarts.time[row, -1] < HORIZON
        following = last[row] if goes_on else 0.0
        later = 0.0
        for time in reversed(range(start, stop)):
            error = trajectory.rewards[row, time] + discount * following - values[row, time]
            later = found[row, time] = error + discount * gae_lambda * later
            following = values[row, time]
    return found


@pytest.mark.parametrize("gae_lambda", [0.0, 0.8, 1.0])
@jax.enable_x64(True)
def test_advantages_do_not_cross_an_end_and_go_on_where_a_row_cuts(gae_lambda):
    trajectory = rollout(HAZARD)
    found = jax.jit(
        functools.partial(
            rl.estimate_advantages,
            discount=0.9,
            gae_lambda=gae_lambda,
            baseline_fn=values_of,
            normalize=False,
        )
    )(jax.tree.map(jnp.asarray, trajectory))
    values = np.asarray(values_of(jnp.asarray(trajectory.observations), None, None, None))
    last = np.asarray(values_of(jnp.asarray(trajectory.restarts.following), None, None, None))
    expected = advantages_by_loop(trajectory, values, last, 0.9, gae_lambda)
    np.testing.assert_allclose(found.advantages, expected, rtol=1e-5)
    cut = trajectory.restarts.time[:, -1] > 0
    assert cut.any() and not cut.all()


@pytest.mark.slow
def test_where_no_episode_ends_early_it_changes_nothing():
    """Also where the baseline's values lie beyond the returns: only others' are brought within."""
    task = {"hazard": jnp.array(0.0)}
    found = []
    for auto_reset in (True, False):
        trajectory = rl.rollout(
            jax.random.key(3), HAZARD, task, policy, num_episodes=3, auto_reset=auto_reset
        )
        found.append(rl.estimate_advantages(trajectory, baseline_fn=values_of))
    assert found[0].trajectory.mask.all()
    np.testing.assert_allclose(found[0].advantages, found[1].advantages, rtol=1e-6)


def test_the_baseline_is_fitted_to_the_episodes_that_had_the_whole_horizon():
    """It then knows the returns exactly: they are a polynomial of the time that is left."""
    trajectory, given = rollout(HAZARD), {}

    def seen(observations, time, returns, weights):
        given.update(time=time, returns=returns, weights=weights)
        return jnp.zeros_like(returns)

    rl.estimate_advantages(jax.tree.map(jnp.asarray, trajectory), baseline_fn=seen)
    np.testing.assert_array_equal(given["time"], trajectory.restarts.time)
    np.testing.assert_array_equal(given["weights"][:, :-1], trajectory.first)
    assert not given["weights"][:, -1].any()
    whole = rollout(HAZARD, auto_reset=False)
    expected = rl.discounted_returns(jnp.asarray(whole.rewards), 0.99)
    first = trajectory.first
    np.testing.assert_allclose(given["returns"][:, :-1][first], expected[first], rtol=1e-6)


@pytest.mark.slow
def test_ratios_of_dice_are_of_one_episode():
    """The loss of a row of episodes is that of the same episodes in rows of their own."""
    trajectory = rollout(HAZARD)
    rng = np.random.default_rng(0)
    trajectory = trajectory._replace(
        log_probs=trajectory.log_probs + rng.normal(size=trajectory.log_probs.shape) * 0.3
    )
    advantages = rng.normal(size=trajectory.mask.shape)
    pieces = episodes(trajectory)

    def apart(x):
        rows = np.zeros((len(pieces), HORIZON, *x.shape[2:]), x.dtype)
        for index, (row, start, stop) in enumerate(pieces):
            rows[index, : stop - start] = x[row, start:stop]
        return jnp.asarray(rows)

    names = ("observations", "actions", "log_probs", "rewards", "mask")
    none = jnp.zeros(len(pieces), bool)
    separate = rl.Trajectory(*(apart(getattr(trajectory, name)) for name in names), none, none)
    one = jnp.ones(())
    together = rl.Experience(
        jax.tree.map(jnp.asarray, trajectory), jnp.asarray(advantages, jnp.float32), one, one
    )
    expected = rl.dice(policy, rl.Experience(separate, apart(advantages), one, one))
    np.testing.assert_allclose(rl.dice(policy, together), expected, rtol=2e-5)


def test_without_a_baseline_they_are_refused():
    trajectory = jax.tree.map(jnp.asarray, rollout(HAZARD))
    with pytest.raises(ValueError, match="need a baseline"):
        rl.estimate_advantages(trajectory, baseline_fn=None)


def test_a_learner_without_a_baseline_is_refused_before_it_runs():
    with pytest.raises(ValueError, match="auto_reset=True needs a baseline"):
        rl.policy_learner(
            HAZARD,
            inner_optimizer=optax.sgd(0.1),
            num_inner_steps=1,
            episodes_per_task=2,
            baseline_fn=None,
            auto_reset=True,
        )


@pytest.mark.slow
def test_values_stay_within_the_returns_that_were_seen():
    """Also of an episode that lives longer than every first one: a cubic in time would explode."""
    rng = np.random.default_rng(0)
    whole = rng.geometric(0.2, size=6).clip(1, 12)
    time = np.zeros((6, 61), int)
    for row, length in enumerate(whole):  # then one episode to the end
        time[row, :length] = np.arange(length)
        time[row, length:] = np.arange(61 - length)
    shape = (6, 60)
    trajectory = rl.Trajectory(
        observations=jnp.zeros((*shape, 1)),
        actions=jnp.zeros((*shape, 1)),
        log_probs=jnp.zeros(shape),
        rewards=jnp.ones(shape),
        mask=jnp.ones(shape, bool),
        terminated=jnp.ones(6, bool),
        unstable=jnp.zeros(6, bool),
        restarts=rl.Restarts(jnp.asarray(time), jnp.zeros((6, 1))),
    )
    found = rl.estimate_advantages(trajectory, gae_lambda=0.0, normalize=False)
    later = found.advantages[~np.asarray(trajectory.first)]
    assert np.abs(later).max() <= 1 + 12, "reward, and two values within the returns"


def test_an_environment_that_keeps_its_states_cannot_be_auto_reset():
    class Keeping(Hazard):
        keeps_state = True

    with pytest.raises(ValueError, match="Keeping keeps the states of its episodes to itself"):
        rl.rollout(jax.random.key(0), Keeping(), TASK, policy, num_episodes=2, auto_reset=True)
