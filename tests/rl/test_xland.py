"""Grid worlds of XLand-MiniGrid: rule sets are the task, and a goal that is reached ends it."""

import importlib
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mamlax import MamlaxError, rl

FORWARD = 0
SIZE, HORIZON = 7, 12


def test_without_it_a_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "xminigrid", None)
    with pytest.raises(MamlaxError, match="pip install xminigrid"):
        rl.XLandTasks(object(), object(), sample_task=lambda key: key)


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("xminigrid", reason="XLand-MiniGrid is installed by itself")


@pytest.fixture(scope="module")
def balls(library):
    """Balls of three colors in a room; the goal is to be near one of them."""
    kinds = importlib.import_module("xminigrid.core.constants")
    goals = importlib.import_module("xminigrid.core.goals")
    none = importlib.import_module("xminigrid.core.rules").EmptyRule().encode()[None]
    colors = jnp.array([kinds.Colors.RED, kinds.Colors.GREEN, kinds.Colors.BLUE])
    every = kinds.TILES_REGISTRY[kinds.Tiles.BALL, colors]

    def rules(number):
        goal = goals.AgentNearGoal(every[number]).encode()
        return library.types.RuleSet(goal=goal, rules=none, init_tiles=every)

    env, params = library.make("XLand-MiniGrid-R1-9x9", height=SIZE, width=SIZE, max_steps=HORIZON)
    return SimpleNamespace(env=env, params=params, rules=rules)


@pytest.fixture(scope="module")
def tasks(balls):
    def sample_task(key):
        return balls.rules(jax.random.randint(key, (), 0, 3))

    return rl.XLandTasks(balls.env, balls.params, sample_task=sample_task)


@pytest.fixture(scope="module")
def played(tasks):
    """Sixteen episodes of a walk: forward with probability 0.7, a turn otherwise."""

    def walk(observations):
        logits = jnp.log(jnp.array([0.7, 0.3, 1e-9, 1e-9, 1e-9, 1e-9]))
        return rl.Categorical(jnp.broadcast_to(logits, (*observations.shape[:-1], 6)))

    act = jax.jit(lambda key, task: rl.rollout(key, tasks, task, walk, num_episodes=16))
    return lambda task: jax.tree.map(np.asarray, act(jax.random.key(0), task))


def test_it_plays_what_the_library_plays(balls, tasks, played):
    rl.check_environment(tasks)
    assert (tasks.observation_size, tasks.horizon) == (5 * 5 * (13 + 12), HORIZON)
    assert tasks.action == rl.Discrete(6)
    trajectory = played(balls.rules(1))

    @jax.jit
    def replayed(actions):
        params = balls.params.replace(ruleset=balls.rules(1))
        keys = jax.random.split(jax.random.split(jax.random.key(0))[0], 16)
        now = jax.vmap(lambda key: balls.env.reset(params, key))(keys)

        def step(now, action):
            after = jax.vmap(lambda now, action: balls.env.step(params, now, action))(now, action)
            return after, (now.observation, after.reward, after.discount, after.last())

        return jax.lax.scan(step, now, actions.T)[1]

    found = [np.moveaxis(np.asarray(x), 0, 1) for x in replayed(trajectory.actions)]
    for row, (seen, rewards, discounts, last) in enumerate(zip(*found, strict=True)):
        end = last.argmax()
        cells = trajectory.observations[row, : end + 1].reshape(end + 1, 5, 5, 25)
        np.testing.assert_array_equal(cells[..., :13].argmax(-1), seen[: end + 1, ..., 0])
        np.testing.assert_array_equal(cells[..., 13:].argmax(-1), seen[: end + 1, ..., 1])
        assert (cells.sum(-1) == 2).all()
        np.testing.assert_array_equal(trajectory.mask[row], np.arange(HORIZON) <= end)
        np.testing.assert_allclose(trajectory.rewards[row, : end + 1], rewards[: end + 1])
        assert trajectory.terminated[row] == trajectory.solved[row, end] == (discounts[end] == 0)
    assert 0 < trajectory.terminated.sum() < 16, "some reach the goal, some run out of time"


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_goal_reached_in_the_last_step_is_told_from_the_end_of_the_time(balls, tasks, wanted):
    state, _ = tasks.reset(jax.random.key(0), balls.rules(wanted))
    floor = jnp.array([1, 7], jnp.uint8)
    grid = state.state.grid.at[1:-1, 1:-1].set(floor)
    grid = grid.at[2, 3].set(balls.rules(0).init_tiles[0])
    agent = state.state.agent.replace(position=jnp.array([3, 3]), direction=jnp.asarray(0))
    late = state.state.replace(grid=grid, agent=agent, step_num=jnp.asarray(HORIZON - 1))
    after, _, reward, ended = tasks.step(
        jax.random.key(0), balls.rules(wanted), state.replace(state=late), jnp.int32(FORWARD)
    )
    assert after.last()
    assert ended == tasks.solved(after) == (wanted == 0), "the red ball alone is near"
    assert reward == pytest.approx(0.1 if wanted == 0 else 0)


def test_tasks_differ_only_in_what_is_hidden(balls, tasks, played):
    red, blue = played(balls.rules(0)), played(balls.rules(2))
    np.testing.assert_array_equal(red.observations[:, 0], blue.observations[:, 0])
    assert np.abs(red.rewards - blue.rewards).max() > 0
    drawn = jax.vmap(tasks.sample_task)(jax.random.split(jax.random.key(0), 50))
    assert len(np.unique(drawn.goal, axis=0)) == 3


def test_wrappers_add_to_the_observation(balls):
    wrappers = importlib.import_module("xminigrid.wrappers")
    env = wrappers.DirectionObservationWrapper(balls.env)
    env = wrappers.RulesAndGoalsObservationWrapper(env)
    tasks = rl.XLandTasks(env, balls.params, sample_task=lambda key: balls.rules(0))
    rl.check_environment(tasks)
    state, seen = tasks.reset(jax.random.key(0), balls.rules(1))
    direction = np.eye(4)[int(state.state.agent.direction)]
    shown = np.concatenate([direction, balls.rules(1).goal, np.ravel(balls.rules(1).rules)])
    np.testing.assert_array_equal(seen[5 * 5 * 25 :], shown)


def test_an_environment_without_rule_sets_is_refused(library):
    with pytest.raises(TypeError, match=r"Empty.* has no rule sets"):
        rl.XLandTasks(*library.make("MiniGrid-Empty-5x5"), sample_task=lambda key: key)


@pytest.mark.slow
def test_a_policy_learns_its_tasks(tasks):
    learner = rl.policy_learner(
        tasks,
        inner_optimizer=optax.sgd(0.1),
        num_inner_steps=1,
        episodes_per_task=4,
        auto_reset=True,
    )
    loop = rl.policy_gradient(learner, optax.sgd(0.1), meta_batch_size=2)
    state = loop.init(rl.mlp_policy(jax.random.key(0), tasks, hidden_sizes=(4,)))
    _, metrics = jax.jit(loop.step)(jax.random.key(1), state)
    assert np.isfinite(metrics["train/post_adaptation_return"])
    assert metrics["train/environment_steps"] == 2 * 2 * 4 * HORIZON
    assert 0 <= metrics["train/post_adaptation_success_rate"] <= 1
