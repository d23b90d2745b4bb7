"""The built-in environments are what they say; others are checked before anything is compiled."""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

import mamlax

rl = mamlax.rl
NUM_DRAWS = 4000


def many(fn, num_draws=NUM_DRAWS, seed=0):
    """`fn(key)` for many keys, on the host."""
    drawn = jax.jit(jax.vmap(fn))(jax.random.split(jax.random.key(seed), num_draws))
    return jax.tree.map(np.asarray, drawn)


def assert_mean(values, mean, std, axis=0):
    """Means over `axis` within five standard errors: 1 in 10⁶ fails."""
    error = std / math.sqrt(values.shape[axis])
    np.testing.assert_array_less(np.abs(values.mean(axis) - mean), 5 * error + 1e-6)


def assert_shares(values, shares):
    """`values` `[draws]` take the keys of `shares`, as often as it says."""
    assert set(values) <= {value for value, share in shares.items() if share > 0}
    for value, share in shares.items():
        assert_mean(values == value, share, math.sqrt(share * (1 - share)))


# --------------------------------------------------------------------------- 2D navigation


@pytest.mark.parametrize(("size", "half"), [(None, 0.5), (2.0, 2.0)])
def test_goals_on_the_square(size, half):
    goals = many(rl.PointNavigation(size=size).sample_task)
    assert goals.shape == (NUM_DRAWS, 2)
    assert -half <= goals.min() < -0.99 * half and 0.99 * half < goals.max() <= half
    assert_mean(goals, 0, half / math.sqrt(3))
    assert_mean(goals**2, half**2 / 3, half**2 * math.sqrt(1 / 5 - 1 / 9))
    assert_mean(goals[:, 0] * goals[:, 1], 0, half**2 / 3)


@pytest.mark.parametrize(("size", "radius"), [(None, 1.0), (0.5, 0.5)])
def test_goals_on_the_circle(size, radius):
    goals = many(rl.PointNavigation(goals="circle", size=size).sample_task)
    np.testing.assert_allclose(np.linalg.norm(goals, axis=1), radius, rtol=1e-5)
    turns = np.arctan2(goals[:, 1], goals[:, 0]) / (2 * np.pi) % 1
    assert_mean(turns, 1 / 2, math.sqrt(1 / 12))
    assert_mean((turns - 1 / 2) ** 2, 1 / 12, math.sqrt(1 / 80 - 1 / 144))


def test_goals_on_the_semicircle():
    goals = many(rl.PointNavigation(goals="semicircle").sample_task)
    np.testing.assert_allclose(np.linalg.norm(goals, axis=1), 1, rtol=1e-5)
    assert goals[:, 1].min() >= -1e-6
    turns = np.arctan2(goals[:, 1], goals[:, 0]) / np.pi
    assert turns.min() < 0.01 and turns.max() > 0.99
    assert_mean(turns, 1 / 2, math.sqrt(1 / 12))
    assert_mean((turns - 1 / 2) ** 2, 1 / 12, math.sqrt(1 / 80 - 1 / 144))


@pytest.mark.parametrize(("size", "side"), [(None, 2.0), (0.25, 0.25)])
def test_goals_in_the_corners(size, side):
    goals = many(rl.PointNavigation(goals="corners", size=size).sample_task)
    corners = {corner: 1 / 4 for corner in itertools.product((-side, side), repeat=2)}
    found = np.array([str((float(x), float(y))) for x, y in goals])
    assert_shares(found, {str(corner): share for corner, share in corners.items()})


NAVIGATIONS = {
    "paper": {},
    "fast": {"speed": 0.3, "goals": "circle"},
    "sparse": {"sparse_radius": 0.2},
    "endless": {"terminate": False},
    "oracle": {"oracle": True},
}


@pytest.mark.parametrize("options", NAVIGATIONS.values(), ids=NAVIGATIONS)
def test_a_navigation_step_is_that_of_numpy(options):
    """From positions at, near and far from the goal, with actions within and beyond the box."""
    rng = np.random.default_rng(0)
    goals = rng.uniform(-0.5, 0.5, size=(600, 2))
    actions = 2 * rng.normal(size=(600, 2))
    speed = options.get("speed", 0.1)
    scale = np.repeat([0.005, 0.1, 1.0], 200)[:, None]
    moves = speed * np.clip(actions, -1, 1)
    positions = goals - moves + scale * rng.normal(size=(600, 2))

    env = rl.PointNavigation(**options)
    step = jax.jit(jax.vmap(env.step, (None, 0, 0, 0)))
    arguments = (jnp.asarray(x, jnp.float32) for x in (goals, positions, actions))
    state, observation, reward, terminated = step(jax.random.key(0), *arguments)

    after = positions + moves
    np.testing.assert_allclose(state, after, atol=1e-6)
    seen = np.concatenate([after, goals], axis=1) if env.oracle else after
    np.testing.assert_allclose(observation, seen, atol=1e-6)
    distance = np.sqrt(np.sum((after - goals) ** 2, axis=1))
    expected = -distance
    if env.sparse_radius is not None:
        expected = np.where(distance <= env.sparse_radius, 1 - distance, 0)
        assert 0.1 < np.mean(expected == 0) < 0.9
    np.testing.assert_allclose(reward, expected, atol=1e-6)
    arrived = (np.abs(after - goals) < 0.01).all(axis=1)
    assert 0.1 < arrived.mean() < 0.9
    np.testing.assert_array_equal(terminated, arrived & env.terminate)


@pytest.mark.parametrize("oracle", [False, True])
def test_navigation_begins_at_the_origin(oracle):
    env, goal = rl.PointNavigation(oracle=oracle), jnp.array([0.25, -0.5])
    state, observation = env.reset(jax.random.key(0), goal)
    np.testing.assert_array_equal(state, [0, 0])
    np.testing.assert_array_equal(observation, [0, 0, 0.25, -0.5] if oracle else [0, 0])
    assert observation.shape == (env.observation_size,)


def standard_normal(observations):
    zeros = jnp.zeros_like(observations)
    return rl.Gaussian(zeros, zeros)


def random_walks(num_walks):
    """Returns of clipped Gaussian steps towards no goal, in NumPy."""
    rng = np.random.default_rng(0)
    goals = rng.uniform(-0.5, 0.5, size=(num_walks, 2))
    steps = 0.1 * np.clip(rng.normal(size=(100, num_walks, 2)), -1, 1)
    positions = np.cumsum(steps, axis=0)
    rewards = -np.sqrt(np.sum((positions - goals) ** 2, axis=-1))
    arrived = (np.abs(positions - goals) < 0.01).all(axis=-1)
    ended = np.cumsum(arrived, axis=0) - arrived > 0
    return np.sum(np.where(ended, 0, rewards), axis=0)


@pytest.mark.slow
def test_what_knowing_only_the_direction_of_the_goal_returns():
    """The number in docs/algorithms/rl.md: walking to the median distance, towards the goal."""
    env = rl.PointNavigation()
    goals = many(env.sample_task, 100_000)
    distances = np.linalg.norm(goals, axis=1, keepdims=True)
    target = goals / distances * np.median(distances)

    def episode(goal, target):
        def act(position, _):
            action = (target - position) / env.speed
            position, _, reward, _ = env.step(None, goal, position, action)
            return position, reward

        return jnp.sum(jax.lax.scan(act, jnp.zeros(2), None, length=env.horizon)[1])

    returns = np.asarray(jax.jit(jax.vmap(episode))(goals, target))
    assert f"{returns.mean():.1f}" == "-11.9"
    assert f"{1.96 * returns.std() / math.sqrt(40):.1f}" == "2.5", "on forty goals"


def test_what_pulling_each_arm_ten_times_and_then_the_best_returns():
    """The other number there."""
    random = np.random.default_rng(0)
    payouts = random.random((200_000, 10))
    paid = random.binomial(10, payouts) + 1e-6 * random.random(payouts.shape)
    chosen = np.take_along_axis(payouts, paid.argmax(1)[:, None], axis=1)
    assert f"{chosen.mean():.2f}" == "0.87"


@pytest.mark.slow
def test_a_random_walk_returns_what_numpy_says():
    env = rl.PointNavigation()

    def one(key):
        task_key, key = jax.random.split(key)
        task = env.sample_task(task_key)
        return rl.total_rewards(rl.rollout(key, env, task, standard_normal, num_episodes=1))[0]

    found, expected = many(one, 8000), random_walks(20000)
    error = math.sqrt(found.var() / len(found) + expected.var() / len(expected))
    assert error < 0.5
    assert abs(found.mean() - expected.mean()) < 4 * error
    assert abs(expected.mean() + 71.1) < 1 and abs(found.mean() + 71.1) < 1


@pytest.mark.slow
def test_random_networks_return_about_what_the_paper_reports():
    """−82.7 there, for a network or a few; networks differ by about 7."""
    env = rl.PointNavigation()

    def one(key):
        policy_key, task_key, key = jax.random.split(key, 3)
        policy = rl.mlp_policy(policy_key, env)
        tasks = jax.vmap(env.sample_task)(jax.random.split(task_key, 20))

        def walk(key, task):
            return rl.total_rewards(rl.rollout(key, env, task, policy, num_episodes=1))[0]

        return jnp.mean(jax.vmap(walk)(jax.random.split(key, 20), tasks))

    returns = many(one, 40)
    assert -80 < returns.mean() < -71
    assert 4 < returns.std() < 11


# --------------------------------------------------------------------------- bandit


@pytest.mark.parametrize("oracle", [False, True])
def test_an_arm_pays_as_often_as_the_task_says(oracle):
    env, task = rl.BernoulliBandit(num_arms=3, oracle=oracle), jnp.array([0.0, 0.25, 0.9])
    state, observation = env.reset(jax.random.key(0), task)
    np.testing.assert_array_equal(observation, task if oracle else [1.0])
    assert env.horizon == 1 and env.optimal_return(task) == jnp.max(task)

    def pull(key):
        one = lambda arm: env.step(key, task, state, arm)  # noqa: E731
        return jax.vmap(one)(jnp.arange(3))[1:]

    observations, rewards, terminated = many(pull)
    assert terminated.all() and set(np.unique(rewards)) == {0, 1}
    np.testing.assert_array_equal(
        observations[0], np.broadcast_to(observation, (3, len(observation)))
    )
    p = np.asarray(task)
    assert_mean(rewards, p, np.sqrt(p * (1 - p)))


def test_arms_are_uniform():
    probabilities = many(rl.BernoulliBandit(num_arms=4).sample_task)
    assert probabilities.shape == (NUM_DRAWS, 4)
    assert probabilities.min() >= 0 and probabilities.max() <= 1
    assert_mean(probabilities, 1 / 2, math.sqrt(1 / 12))
    assert_mean((probabilities - 1 / 2) ** 2, 1 / 12, math.sqrt(1 / 80 - 1 / 144))


# --------------------------------------------------------------------------- tabular MDP


@pytest.mark.slow
def test_mdps_are_drawn_as_they_say():
    num_draws = 1000
    sample_task = rl.TabularMDP(num_states=4, num_actions=2).sample_task
    transitions, mean_rewards = many(sample_task, num_draws)
    assert transitions.shape == (num_draws, 4, 2, 4) and mean_rewards.shape == (num_draws, 4, 2)
    np.testing.assert_allclose(transitions.sum(-1), 1, rtol=1e-5)
    # each probability of a flat Dirichlet is Beta(1, 3)
    assert_mean(transitions, 1 / 4, math.sqrt(3 / 80))
    assert_mean((transitions < 0.5), 7 / 8, math.sqrt(7 / 64))
    assert_mean(mean_rewards, 1, 1)
    assert_mean((mean_rewards - 1) ** 2, 1, math.sqrt(2))


def tabular(num_states=3, num_actions=2, horizon=4):
    env = rl.TabularMDP(num_states=num_states, num_actions=num_actions, horizon=horizon)
    rng = np.random.default_rng(0)
    transitions = rng.dirichlet(np.ones(num_states), size=(num_states, num_actions))
    rewards = rng.normal(1, 1, size=(num_states, num_actions))
    return env, rl.MDP(jnp.asarray(transitions, jnp.float32), jnp.asarray(rewards, jnp.float32))


def test_transitions_and_rewards_are_as_frequent_as_the_task_says():
    env, task = tabular()
    states, actions = (jnp.asarray(x) for x in np.indices((3, 2)).reshape(2, -1))

    def one(key):
        keys = jax.random.split(key, len(states))
        return jax.vmap(env.step, (0, None, 0, 0))(keys, task, states, actions)

    after, observations, rewards, terminated = many(one)
    assert not terminated.any()
    assert set(np.unique(after)) == {0, 1, 2}
    np.testing.assert_array_equal(observations, np.eye(3)[after])
    p = np.asarray(task.transitions).reshape(6, 3)
    assert_mean(observations, p, np.sqrt(p * (1 - p)))
    mean = np.asarray(task.mean_rewards).ravel()
    assert_mean(rewards, mean, 1)
    assert_mean((rewards - mean) ** 2, 1, math.sqrt(2))
    # rewards tell nothing of the next state
    assert_mean((rewards - mean)[..., None] * (observations - p), 0, np.sqrt(p * (1 - p)))


@pytest.mark.slow
def test_the_return_of_a_policy_is_that_of_dynamic_programming():
    env, task = tabular()
    logits = jnp.array([[0.5, -0.5], [1.0, 0.0], [-1.0, 1.0]])

    def policy(observations):
        return rl.Categorical(observations @ logits)

    probabilities = scipy.special.softmax(np.asarray(logits, np.float64), axis=1)
    mean_rewards, transitions = np.asarray(task.mean_rewards), np.asarray(task.transitions)
    values = np.zeros(3)
    for _ in range(env.horizon):
        values = np.sum(probabilities * (mean_rewards + transitions @ values), axis=1)
    walk = jax.jit(lambda key: rl.rollout(key, env, task, policy, num_episodes=NUM_DRAWS))
    trajectory = walk(jax.random.key(0))
    np.testing.assert_array_equal(trajectory.observations[:, 0], np.eye(3)[[0] * NUM_DRAWS])
    returns = np.asarray(rl.total_rewards(trajectory))
    assert abs(returns.mean() - values[0]) < 4 * returns.std() / math.sqrt(len(returns))
    assert values[0] < env.optimal_return(task) - 0.2


def test_the_optimal_return_is_the_best_of_all_deterministic_policies():
    """All 64 rules that give an action for each time and state."""
    env, task = tabular(num_states=2, num_actions=2, horizon=3)
    mean_rewards, transitions = np.asarray(task.mean_rewards), np.asarray(task.transitions)
    returns = []
    for rules in itertools.product(range(2), repeat=6):
        values = np.zeros(2)
        for rule in np.reshape(rules, (3, 2)):
            values = np.array(
                [
                    mean_rewards[state, action] + transitions[state, action] @ values
                    for state, action in enumerate(rule)
                ]
            )
        returns.append(values[0])
    np.testing.assert_allclose(env.optimal_return(task), max(returns), rtol=1e-6)
    assert np.ptp(returns) > 1


# --------------------------------------------------------------------------- grid world


def test_walls_stop_and_every_other_move_is_one_cell():
    side, goal = 4, (2, 3)
    env = rl.GridWorld(side=side)
    cells = list(itertools.product(range(side), range(side), range(5)))
    moves = {0: (0, 0), 1: (0, 1), 2: (1, 0), 3: (0, -1), 4: (-1, 0)}
    expected = []
    for column, row, action in cells:
        right, up = moves[action]
        inside = 0 <= column + right < side and 0 <= row + up < side
        expected.append((column + right, row + up) if inside else (column, row))
    positions, actions = jnp.array([cell[:2] for cell in cells]), jnp.array([c[2] for c in cells])
    step = jax.jit(jax.vmap(env.step, (None, None, 0, 0)))
    state, observation, reward, terminated = step(
        jax.random.key(0), jnp.array(goal), positions, actions
    )
    np.testing.assert_array_equal(state, expected)
    indices = [row * side + column for column, row in expected]
    np.testing.assert_array_equal(observation, np.eye(side**2)[indices])
    np.testing.assert_allclose(reward, [1.0 if cell == goal else -0.1 for cell in expected])
    assert not terminated.any()
    state, observation = env.reset(jax.random.key(0), jnp.array(goal))
    np.testing.assert_array_equal(state, [0, 0])
    np.testing.assert_array_equal(observation, np.eye(side**2)[0])


def test_goals_are_the_cells_not_adjacent_to_the_start():
    goals = many(rl.GridWorld(side=4).sample_task)
    far = [c for c in itertools.product(range(4), repeat=2) if max(c) > 1]
    found = np.array([f"{column},{row}" for column, row in goals])
    assert_shares(found, {f"{column},{row}": 1 / len(far) for column, row in far})


@pytest.mark.parametrize(("side", "horizon"), [(3, 15), (5, 15), (5, 6)])
def test_the_shortest_way_is_that_of_value_iteration(side, horizon):
    env = rl.GridWorld(side=side, horizon=horizon)
    optimal_return = jax.jit(env.optimal_return)
    cells = list(itertools.product(range(side), repeat=2))
    positions = jnp.repeat(jnp.array(cells), 5, axis=0)
    actions = jnp.tile(jnp.arange(5), len(cells))
    step = jax.jit(jax.vmap(env.step, (None, None, 0, 0)))
    goals = [cell for cell in cells if max(cell) > 1]
    reached = []
    for goal in goals:
        after, _, reward, _ = step(jax.random.key(0), jnp.array(goal), positions, actions)
        following = np.asarray(after[:, 0] * side + after[:, 1])
        values = np.zeros(len(cells))
        for _ in range(horizon):
            values = np.max(np.reshape(reward + values[following], (-1, 5)), axis=1)
        np.testing.assert_allclose(optimal_return(jnp.array(goal)), values[0], rtol=1e-5)
        reached.append(values[0] > -0.1 * horizon + 0.01)
    assert all(reached) == (horizon >= 2 * (side - 1))


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (lambda: rl.PointNavigation(goals="triangle"), "goals must be one of"),
        (lambda: rl.PointNavigation(size=0.0), "size must be a positive number"),
        (lambda: rl.PointNavigation(speed=-0.1), "speed must be a positive number"),
        (lambda: rl.PointNavigation(horizon=0), "horizon must be a positive number"),
        (lambda: rl.PointNavigation(sparse_radius=0.0), "sparse_radius must be a positive number"),
        (lambda: rl.PointNavigation(size=float("inf")), "size must be a positive number, got inf"),
        (lambda: rl.BernoulliBandit(num_arms=1), "num_actions must be 2 or more"),
        (lambda: rl.TabularMDP(num_states=0), "num_states must be positive"),
        (lambda: rl.TabularMDP(num_actions=1), "num_actions must be 2 or more"),
        (lambda: rl.TabularMDP(horizon=0), "horizon must be positive"),
        (lambda: rl.GridWorld(side=2), "side must be 3 or more"),
        (lambda: rl.GridWorld(horizon=0), "horizon 1 or more"),
        (lambda: rl.Box(0), "positive size"),
        (lambda: rl.Box(2, low=1.0, high=1.0), "low < high"),
        (lambda: rl.Discrete(1), "num_actions must be 2 or more"),
    ],
)
def test_settings_out_of_range_are_refused(build, part):
    with pytest.raises(Exception) as caught:
        build()
    # the type checker of the tests is first where a Literal is given something else
    assert part in str(caught.value) or "triangle" in str(caught.value)


# --------------------------------------------------------------------------- your own


class Slope:
    """An environment as a user would write it: no base class, three functions."""

    observation_size = 3
    action = rl.Box(2)
    horizon = 4

    def sample_task(self, key):
        return {"slope": jax.random.normal(key, (2,))}

    def reset(self, key, task):
        position = jax.random.normal(key, (2,))
        return (position, jnp.array(0)), self.see(position, 0)

    def step(self, key, task, state, action):
        position, time = state
        position = position + action
        after = (position, time + 1)
        terminated = jnp.any(jnp.abs(position) > 3)
        return after, self.see(position, time + 1), position @ task["slope"], terminated

    @staticmethod
    def see(position, time):
        return jnp.append(position, time)


def like_slope(**parts):
    """An instance of `Slope` with other parts; None takes one away."""
    kept = {name: value for name, value in vars(Slope).items() if name[:2] != "__"} | parts
    return type("Mine", (), {name: value for name, value in kept.items() if value is not None})()


def changed(name, change):
    """`Slope` with another result of `name`."""
    original = getattr(Slope(), name)
    return {name: lambda self, *arguments: change(original(*arguments))}


class Described(NamedTuple):
    name: str
    slope: jax.Array


def test_an_environment_of_three_functions_is_enough():
    env = Slope()
    assert isinstance(env, rl.TaskEnv)
    rl.check_environment(env)
    learner = rl.policy_learner(
        env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=2
    )
    policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=())
    task = learner.sample_task(jax.random.key(1))
    explored = jax.eval_shape(learner.explore, jax.random.key(2), policy, task)
    trajectory = explored.query.trajectory
    assert trajectory.observations.shape == (2, 4, 3) and trajectory.actions.shape == (2, 4, 2)


@pytest.mark.parametrize(
    "env", [rl.PointNavigation(), rl.BernoulliBandit(), rl.TabularMDP(), rl.GridWorld()]
)
def test_the_built_in_environments_keep_to_their_declaration(env):
    assert isinstance(env, rl.TaskEnv)
    rl.check_environment(env)


def test_sizes_may_be_numpys():
    env = like_slope(horizon=np.int64(4), observation_size=np.int32(3))
    rl.check_environment(env)


def test_a_class_is_no_environment():
    with pytest.raises(TypeError, match="got the class PointNavigation: call it"):
        rl.check_environment(rl.PointNavigation)


def double(x):
    return jax.tree.map(lambda x: jnp.concatenate([x, x]), x)


BAD_PARTS = {
    "no_step": ({"step": None}, TypeError, "it lacks step"),
    "no_task": ({"sample_task": None, "reset": None}, TypeError, "lacks sample_task, reset"),
    "no_horizon": ({"horizon": None}, TypeError, "it lacks horizon"),
    "no_size": ({"observation_size": None}, TypeError, "it lacks observation_size"),
    "horizon_zero": ({"horizon": 0}, ValueError, "horizon must be a positive integer, got 0"),
    "horizon_float": ({"horizon": 4.0}, ValueError, "positive integer, got 4.0"),
    "horizon_bool": ({"horizon": True}, ValueError, "positive integer, got True"),
    "size_zero": ({"observation_size": 0}, ValueError, "observation_size must be a positive"),
    "size_wrong": (
        {"observation_size": 2},
        ValueError,
        "Mine.reset: observation must be floating-point of shape [2], got float32 of shape [3]",
    ),
    "action_number": ({"action": 2}, TypeError, "must be a Box or a Discrete, got 2"),
    "action_class": ({"action": rl.Box}, TypeError, "must be a Box or a Discrete"),
    "task_empty": (changed("sample_task", lambda _: {}), TypeError, "at least one array, got {}"),
    "task_none": (changed("sample_task", lambda _: None), TypeError, "at least one array"),
    "task_text": (
        changed("sample_task", lambda task: Described("left", task["slope"])),
        TypeError,
        "Mine.sample_task must return arrays",
    ),
    "task_object": (changed("sample_task", lambda _: object()), TypeError, "must return arrays"),
    "reset_one": (changed("reset", lambda r: r[1]), TypeError, "(state, observation), got Shape"),
    "reset_three": (changed("reset", lambda r: (*r, {})), TypeError, "got 3 values"),
    "reset_list": (changed("reset", list), TypeError, "(state, observation), got list"),
    "reset_integers": (
        changed("reset", lambda r: (r[0], r[1].astype(int))),
        ValueError,
        "reset: observation must be floating-point of shape [3], got int32 of shape [3]",
    ),
    "reset_dict": (changed("reset", lambda r: (r[0], {"a": r[1]})), TypeError, "be an array"),
    "step_three": (
        changed("step", lambda s: s[:3]),
        TypeError,
        "Mine.step must return (state, observation, reward, terminated), got 3 values",
    ),
    "step_five": (changed("step", lambda s: (*s, {})), TypeError, "got 5 values"),
    "step_observation": (
        changed("step", lambda s: (s[0], double(s[1]), *s[2:])),
        ValueError,
        "Mine.step: observation must be floating-point of shape [3], got float32 of shape [6]",
    ),
    "step_reward_integer": (
        changed("step", lambda s: (*s[:2], jnp.array(1), s[3])),
        ValueError,
        "Mine.step: reward must be floating-point of shape [], got int32 of shape []",
    ),
    "step_reward_vector": (
        changed("step", lambda s: (*s[:2], s[2][None], s[3])),
        ValueError,
        "reward must be floating-point of shape [], got float32 of shape [1]",
    ),
    "step_terminated_number": (
        changed("step", lambda s: (*s[:3], s[3].astype(float))),
        ValueError,
        "terminated must be boolean of shape [], got float32 of shape []",
    ),
    "step_terminated_swapped": (
        changed("step", lambda s: (*s[:2], s[3], s[2])),
        ValueError,
        "reward must be floating-point of shape [], got bool",
    ),
    "state_grows": (
        changed("step", lambda s: (double(s[0][0]), *s[1:])),
        ValueError,
        "Mine.step must return a state like the one that reset began with",
    ),
    "state_dtype": (
        changed("step", lambda s: ((s[0][0], s[0][1].astype(float)), *s[1:])),
        ValueError,
        "[1] float32[]",
    ),
    "state_shape": (
        changed("step", lambda s: ((double(s[0][0]), s[0][1]), *s[1:])),
        ValueError,
        "[0] float32[4]",
    ),
    # these would fail inside of jax.lax.scan, with a message of its own
    "state_kind": (changed("step", lambda s: (list(s[0]), *s[1:])), ValueError, "state like"),
    "observation_dtype": (
        changed("reset", lambda r: (r[0], r[1].astype(jnp.float16))),
        ValueError,
        "float16",
    ),
}


@pytest.mark.parametrize(("parts", "error", "message"), BAD_PARTS.values(), ids=BAD_PARTS)
def test_an_environment_that_is_none_is_refused(parts, error, message):
    env = like_slope(**parts)
    with pytest.raises(error) as caught:
        rl.check_environment(env)
    assert message in str(caught.value)
    with pytest.raises(error):
        rl.policy_learner(
            env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=2
        )


def test_an_error_of_the_environments_own_is_not_hidden():
    def step(self, key, task, state, action):
        raise TypeError("my own mistake")

    with pytest.raises(TypeError, match="my own mistake"):
        rl.check_environment(like_slope(step=step))


# --------------------------------------------------------------------------- who acts in it


def linear(num_outputs, num_inputs):
    """All zeros, from NumPy: nothing is compiled to collect these tests."""
    weight, bias = np.zeros((num_inputs, num_outputs), np.float32), np.zeros(num_outputs)
    return mamlax.models.MLP([jnp.asarray(weight)], [jnp.asarray(bias, jnp.float32)], "none")


CORNER = rl.TabularMDP(num_states=4, num_actions=3)
BAD_POLICIES = {
    "discrete_for_box": (rl.PointNavigation(), rl.CategoricalPolicy(linear(2, 2)), ValueError),
    "box_for_discrete": (CORNER, rl.GaussianPolicy(linear(3, 4), jnp.zeros(3)), ValueError),
    "too_many_numbers": (
        rl.PointNavigation(),
        rl.GaussianPolicy(linear(3, 2), jnp.zeros(3)),
        ValueError,
    ),
    "too_few_numbers": (
        rl.PointNavigation(),
        rl.GaussianPolicy(linear(1, 2), jnp.zeros(1)),
        ValueError,
    ),
    # indices beyond an array's end would be clamped
    "too_many_actions": (CORNER, rl.CategoricalPolicy(linear(5, 4)), ValueError),
    "too_few_actions": (CORNER, rl.CategoricalPolicy(linear(2, 4)), ValueError),
    "network": (CORNER, linear(3, 4), TypeError),
}


@pytest.mark.parametrize(("env", "policy", "error"), BAD_POLICIES.values(), ids=BAD_POLICIES)
def test_a_policy_that_does_not_fit_is_refused(env, policy, error):
    learner = rl.policy_learner(
        env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=2
    )
    loop = rl.maml_trpo(learner, meta_batch_size=2)
    with pytest.raises(error, match=r"TabularMDP|PointNavigation|must return a distribution"):
        loop.init(policy)


@pytest.mark.parametrize("env", [rl.PointNavigation(oracle=True), CORNER], ids=["box", "discrete"])
def test_a_policy_built_for_the_environment_fits(env):
    learner = rl.policy_learner(
        env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=2
    )
    policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(5,), log_std=-0.5)
    state = rl.maml_trpo(learner, meta_batch_size=2).init(policy)
    assert jax.tree.structure(state.meta_params) == jax.tree.structure(policy)
    if isinstance(policy, rl.GaussianPolicy):
        np.testing.assert_array_equal(policy.log_std, [-0.5, -0.5])
    first, last = policy.network.weights
    assert first.shape == (4, 5) and last.shape == (5, 3 if env is CORNER else 2)
    # Glorot and Bengio: uniform up to √(6 / (inputs + outputs))
    assert 0.5 < jnp.max(jnp.abs(first)) / math.sqrt(6 / 9) <= 1
    assert not any(jnp.any(bias) for bias in policy.network.biases)


def test_hidden_sizes_must_be_positive():
    with pytest.raises(ValueError, match="hidden_sizes must be positive"):
        rl.mlp_policy(jax.random.key(0), CORNER, hidden_sizes=(4, 0))
