"""Anybody's environments of Gymnasium, as tasks."""

import functools
import gc
import inspect
import multiprocessing
import os
import re
import signal
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax.rl.envs.gymnasium import _sessions

gymnasium = pytest.importorskip("gymnasium")

rl = mamlax.rl


class Navigation(gymnasium.Env):
    """The paper's navigation, written as a user of Gymnasium would."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    goal = np.zeros(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = np.zeros(2, np.float32)
        return self.position, {}

    def step(self, action):
        self.position = self.position + np.float32(0.1) * np.clip(action, -1, 1)
        distance = np.linalg.norm(self.position - self.goal)
        arrived = bool(np.all(np.abs(self.position - self.goal) < 0.01))
        return self.position.astype(np.float32), -float(distance), arrived, False, {}


def set_goal(env, goal):
    env.unwrapped.goal = goal


def navigation(horizon=10, **settings):
    settings = {"sample_task": rl.PointNavigation().sample_task, "set_task": set_goal, **settings}
    return rl.GymnasiumTasks(Navigation, horizon=horizon, **settings)


def cart_pole(**settings):
    """Poles of different lengths, on a cart that starts somewhere."""

    def set_length(env, length):
        env.unwrapped.length = float(length)

    return rl.GymnasiumTasks(
        lambda: gymnasium.make("CartPole-v1"),
        sample_task=lambda key: jax.random.uniform(key, (), minval=0.3, maxval=1.0),
        set_task=set_length,
        **{"horizon": 30, **settings},
    )


def act(env, num_tasks=3, num_episodes=4, seed=0, greedy=False):
    """Trajectories of an untrained policy in several tasks, in one program."""
    policy = rl.mlp_policy(jax.random.key(7), env)
    keys = jax.random.split(jax.random.key(seed), num_tasks)
    tasks = jax.vmap(env.sample_task)(keys)

    def one(key, task):
        return rl.rollout(key, env, task, policy, num_episodes=num_episodes, greedy=greedy)

    return jax.jit(jax.vmap(one))(keys, tasks)


@pytest.mark.slow
def test_it_is_the_same_as_an_environment_of_ours():
    ours, theirs = act(rl.PointNavigation(horizon=10)), act(navigation())
    for name, one, other in zip(ours._fields, ours, theirs, strict=True):
        if one is None:
            assert other is None
        else:
            np.testing.assert_allclose(one, other, atol=1e-5, err_msg=name)


def test_it_keeps_to_its_declaration():
    rl.check_environment(navigation())
    env = cart_pole()
    rl.check_environment(env)
    assert env.observation_size == 4 and env.action == rl.Discrete(2) and env.horizon == 30


@pytest.mark.slow
def test_episodes_of_one_key_are_the_same_and_others_are_not():
    env = cart_pole()
    first, again, other = act(env), act(env), act(env, seed=1)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.observations[:, :, 0] != other.observations[:, :, 0]).any()
    # every episode starts somewhere of its own
    starts = np.asarray(first.observations[:, :, 0]).reshape(-1, 4)
    assert len(np.unique(starts, axis=0)) == len(starts)


def test_episodes_that_end_are_masked():
    trajectory = act(cart_pole(), num_tasks=4, num_episodes=8)
    lengths = np.asarray(trajectory.mask.sum(axis=-1))
    assert trajectory.terminated.any() and lengths.min() < 30
    np.testing.assert_array_equal(np.asarray(rl.total_rewards(trajectory)), lengths)


def test_one_episode_without_any_map():
    env = cart_pole()
    state, seen = env.reset(jax.random.key(0), jnp.array(0.5))
    assert seen.shape == (4,)
    state, seen, reward, ended = env.step(jax.random.key(1), jnp.array(0.5), state, jnp.array(1))
    assert reward == 1.0 and not ended


class Scored(Navigation):
    """Says whether it is to the right of the goal."""

    def step(self, action):
        seen, reward, *ended, _ = super().step(action)
        return seen, reward, *ended, {"is_right": float(seen[0] > self.goal[0])}


@pytest.mark.slow
def test_what_an_environment_says_of_success_is_recorded_after_each_step():
    env = rl.GymnasiumTasks(
        Scored,
        sample_task=rl.PointNavigation().sample_task,
        set_task=set_goal,
        horizon=6,
        success_key="is_right",
    )
    rl.check_environment(env)
    trajectory = act(env, num_tasks=3, num_episodes=8)
    keys = jax.random.split(jax.random.key(0), 3)
    goals = jax.vmap(env.sample_task)(keys)
    moved = 0.1 * np.cumsum(np.clip(np.asarray(trajectory.actions)[..., 0], -1, 1), axis=-1)
    is_right = moved > np.asarray(goals)[:, None, None, 0]
    np.testing.assert_array_equal(trajectory.solved, is_right & trajectory.mask)
    found = rl.successes(trajectory)
    np.testing.assert_array_equal(found, np.asarray(trajectory.solved).any(axis=-1))
    assert 0 < found.mean() < 1
    learner = rl.policy_learner(
        env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=2
    )
    loop = rl.maml_trpo(learner, meta_batch_size=2)
    state = jax.eval_shape(loop.init, rl.mlp_policy(jax.random.key(0), env))
    _, metrics = jax.eval_shape(loop.step, jax.random.key(0), state)
    assert {f"train/{when}_adaptation_success_rate" for when in ("pre", "post")} <= set(metrics)


class Ending(Scored):
    """Ends at its third step, which solves it."""

    def reset(self, **options):
        self.count = 0
        return super().reset(**options)[0], {"is_right": False}

    def step(self, action):
        self.count += 1
        seen, reward, *_ = super().step(action)
        return seen, reward, self.count == 3, False, {"is_right": self.count == 3}


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP"])
def test_success_in_the_last_step_counts_however_environments_are_reset(mode):
    def set_goals(vector, goals):
        for env, goal in zip(vector.envs, goals, strict=True):
            env.goal = goal

    env = rl.GymnasiumTasks(
        make_vector_env=lambda number: gymnasium.vector.SyncVectorEnv(
            [Ending] * number, autoreset_mode=gymnasium.vector.AutoresetMode[mode]
        ),
        sample_task=rl.PointNavigation().sample_task,
        set_task=set_goals,
        horizon=5,
        success_key="is_right",
    )
    solved = act(env, num_tasks=1, num_episodes=2).solved
    np.testing.assert_array_equal(solved, np.broadcast_to([0, 0, 1, 0, 0], (1, 2, 5)))


def test_a_success_key_that_no_info_has_is_noticed():
    with pytest.warns(UserWarning, match=r"success_key='success'; they had: is_right"):
        rl.GymnasiumTasks(
            Scored,
            sample_task=rl.PointNavigation().sample_task,
            set_task=set_goal,
            horizon=3,
            success_key="success",
        )


def test_where_an_environment_says_nothing_of_success_there_is_no_rate():
    with pytest.raises(ValueError, match="does not say when a task is solved"):
        rl.successes(act(navigation(), num_tasks=1, num_episodes=1))


class Drawn(Navigation):
    """A picture with one bright pixel, where the point is."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    render_mode = "rgb_array"

    def render(self):
        picture = np.zeros((21, 21, 3), np.uint8)
        column, row = np.clip(np.round(10 + 10 * self.position), 0, 20).astype(int)
        picture[row, column] = 255
        return picture


@pytest.mark.slow
def test_pictures_of_an_episode_are_of_what_the_policy_saw():
    env = rl.GymnasiumTasks(
        Drawn, sample_task=rl.PointNavigation().sample_task, set_task=set_goal, horizon=6
    )
    assert env.seconds_per_step == 0.1
    policy, key, task = rl.mlp_policy(jax.random.key(7), env), jax.random.key(1), jnp.ones(2)
    pictures = rl.record_frames(key, env, task, policy)
    seen = rl.rollout(key, env, task, policy, num_episodes=1).observations[0]
    assert pictures.shape == (6, 21, 21, 3) and pictures.dtype == np.uint8
    for picture, position in zip(pictures, np.asarray(seen), strict=True):
        column, row = np.clip(np.round(10 + 10 * position), 0, 20).astype(int)
        assert picture[row, column].tolist() == [255] * 3 and picture.sum() == 3 * 255


def test_what_cannot_be_drawn_says_so():
    policy = rl.mlp_policy(jax.random.key(7), rl.PointNavigation())
    options = (jax.random.key(1), jnp.ones(2), policy)
    with pytest.raises(mamlax.MamlaxError, match=r'draw nothing .*render_mode="rgb'):
        rl.record_frames(options[0], navigation(), *options[1:])
    with pytest.raises(mamlax.MamlaxError, match="PointNavigation cannot be drawn"):
        rl.record_frames(options[0], rl.PointNavigation(), *options[1:])


class Shifted(Navigation):
    """Actions that are integers from 3, observations with two axes."""

    action_space = gymnasium.spaces.Discrete(2, start=3)
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1, 2))

    def reset(self, *, seed=None, options=None):
        seen, info = super().reset(seed=seed)
        return seen[None], info

    def step(self, action):
        assert action in (3, 4)
        seen, *rest = super().step(np.array([action - 3.5, 0.0]))
        return seen[None], *rest


def test_spaces_that_are_shaped_otherwise():
    env = rl.GymnasiumTasks(
        Shifted, sample_task=rl.PointNavigation().sample_task, set_task=set_goal, horizon=3
    )
    assert env.observation_size == 2 and env.action == rl.Discrete(2, start=3)
    actions = act(env).actions
    assert (actions.min(), actions.max()) == (3, 4)


def test_tasks_are_pytrees():
    seen = []

    def set_task(env, task):
        seen.append(task)
        set_goal(env, np.array([task["x"], task["more"][0][1]]))

    env = navigation(
        sample_task=lambda key: {
            "x": jax.random.normal(key),
            "more": (jax.random.normal(key, (2,)),),
        },
        set_task=set_task,
    )
    seen.clear()
    act(env, num_tasks=2, num_episodes=2)
    assert [np.shape(task["more"][0]) for task in seen] == [(2,)] * 4
    assert seen[0]["x"] == seen[1]["x"] != seen[2]["x"]


def test_a_vectorized_environment_as_it_is():
    def make(num_envs):
        return gymnasium.vector.SyncVectorEnv([Navigation] * num_envs)

    def set_goals(vector, goals):
        for env, goal in zip(vector.envs, goals, strict=True):
            env.goal = goal

    env = rl.GymnasiumTasks(
        make_vector_env=make,
        sample_task=rl.PointNavigation().sample_task,
        set_task=set_goals,
        horizon=10,
    )
    for one, other in zip(act(env), act(navigation()), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_processes_that_are_forked_are_noticed():
    def make(num_envs):
        return gymnasium.vector.AsyncVectorEnv([Navigation] * num_envs, context="fork")

    with pytest.warns(UserWarning, match='forks processes.*context="spawn"'):
        rl.GymnasiumTasks(
            make_vector_env=make,
            sample_task=rl.PointNavigation().sample_task,
            set_task=lambda vector, goals: vector.set_attr("goal", list(goals)),
            horizon=2,
        )
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_policies_are_meta_trained_in_it():
    learner = rl.policy_learner(
        navigation(5), inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=3
    )
    loop = rl.maml_trpo(learner, meta_batch_size=2, batch_size=1)
    policy = rl.mlp_policy(jax.random.key(0), navigation(5), hidden_sizes=(8,))
    run = mamlax.run(loop, policy, key=jax.random.key(1), num_outer_steps=2, log_interval=1)
    assert run.best_step == 2


# --------------------------------------------------------------------------- what goes wrong


def test_tasks_that_are_not_set_are_noticed():
    with pytest.warns(UserWarning, match="set_task seems to do nothing"):
        navigation(set_task=lambda env, task: None)


class Strange(Navigation):
    pass


@pytest.mark.parametrize(
    ("observations", "actions", "said"),
    [
        (gymnasium.spaces.Dict({}), None, "FlattenObservation"),
        (gymnasium.spaces.Discrete(16), None, "makes one of what is discrete"),
        (None, gymnasium.spaces.MultiBinary(3), "Discrete or a Box, got MultiBinary"),
        (None, gymnasium.spaces.Box(np.float32([-1, 0]), np.float32([1, 1])), "RescaleAction"),
        (None, gymnasium.spaces.Box(np.float32([-1, 0]), np.float32([1, np.inf])), "np.clip"),
    ],
)
def test_spaces_that_are_not_supported_say_how_to_wrap(monkeypatch, observations, actions, said):
    if observations is not None:
        monkeypatch.setattr(Strange, "observation_space", observations, raising=False)
    if actions is not None:
        monkeypatch.setattr(Strange, "action_space", actions, raising=False)
    with pytest.raises(TypeError, match=said):
        rl.GymnasiumTasks(Strange, sample_task=jax.random.key_data, set_task=set_goal, horizon=3)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((5, 7), r"actions lie in \[5, 7\].*RescaleAction"),
        ((-100, 100), r"lie in .*RescaleAction"),
        ((0, np.inf), r"lie in \[0, inf\].*TransformAction\(env, lambda action: 0 \+ np.exp"),
        ((-np.inf, -3), r"lie in \[-inf, -3\].*lambda action: -3 - np.exp"),
    ],
)
def test_actions_that_a_new_policy_would_not_try_are_noticed(monkeypatch, bounds, said):
    monkeypatch.setattr(Strange, "action_space", gymnasium.spaces.Box(*bounds, (2,)), raising=False)
    with pytest.warns(UserWarning, match=said):
        strange()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("bounds", "low"),
    [((-np.inf, np.inf), -np.inf), ((-100, np.inf), -100), ((-(2.0**127), 2.0**127), -np.inf)],
)
def test_actions_may_be_without_bounds(monkeypatch, bounds, low):
    space = gymnasium.spaces.Box(*bounds, (2,))
    monkeypatch.setattr(Strange, "action_space", space, raising=False)
    assert strange().action == rl.Box(2, low, np.inf)


class Noting(Navigation):
    """Notes the actions it gets, which are those of a space that is set."""

    noted: list

    def step(self, action):
        Noting.noted.append(action)
        return super().step(np.resize(action, 2))


def given(monkeypatch, space, *actions):
    """What an environment with this action space gets."""
    monkeypatch.setattr(Noting, "action_space", space, raising=False)
    monkeypatch.setattr(Noting, "noted", [], raising=False)
    settings = {"sample_task": rl.PointNavigation().sample_task, "set_task": set_goal}
    env = rl.GymnasiumTasks(Noting, horizon=len(actions), **settings)
    rl.check_environment(env)
    Noting.noted.clear()
    task = env.sample_task(jax.random.key(0))
    state, _ = env.reset(jax.random.key(0), task)
    for action in actions:
        found = env.step(jax.random.key(0), task, state, jnp.asarray(action))
        state = jax.block_until_ready(found)[0]
    return env.action, Noting.noted


@pytest.mark.filterwarnings("error")
def test_boxes_of_integers_are_shared_out_evenly(monkeypatch):
    space = gymnasium.spaces.Box(np.array([0, -3]), np.array([4, -2]), dtype=np.int16)
    tenths = [-1.0, *np.arange(-0.9, 1.0, 0.2), 1.0]
    action, noted = given(monkeypatch, space, *([x, x] for x in tenths))
    assert action == rl.Box(2) and all(each in space for each in noted)
    assert [int(each[0]) for each in noted] == [0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert [int(each[1]) for each in noted] == [-3] * 6 + [-2] * 6


@pytest.mark.filterwarnings("error")
def test_boxes_of_integers_without_bounds_are_rounded_to(monkeypatch):
    most = np.iinfo(np.int64)
    space = gymnasium.spaces.Box(most.min, most.max, (2,), np.int64)
    action, noted = given(monkeypatch, space, [-1.6, 0.4])
    assert action == rl.Box(2, -np.inf, np.inf)
    assert noted[0].tolist() == [-2, 0] and noted[0].dtype == np.int64


def test_actions_have_the_axes_of_their_space(monkeypatch):
    space = gymnasium.spaces.Box(-1.0, 1.0, (2, 2))
    action, noted = given(monkeypatch, space, [0.0, 0.1, 0.2, 0.3])
    assert action == rl.Box(4)
    np.testing.assert_allclose(noted[0], [[0.0, 0.1], [0.2, 0.3]], rtol=1e-6)


def test_discrete_actions_are_those_of_the_environment(monkeypatch):
    action, noted = given(monkeypatch, gymnasium.spaces.Discrete(3, start=-1), -1, 1)
    assert action == rl.Discrete(3, start=-1) and noted == [-1, 1]


def test_what_rescaling_makes_nan_of_is_refused(monkeypatch):
    space = gymnasium.spaces.Box(0, 7, (2,), np.int64)
    monkeypatch.setattr(Strange, "action_space", space, raising=False)
    with pytest.raises(mamlax.MamlaxError, match=r"RescaleAction cannot stretch Box\(0, 7"):
        rl.GymnasiumTasks(
            lambda: gymnasium.wrappers.TimeLimit(
                gymnasium.wrappers.RescaleAction(Strange(), -1.0, 1.0), 5
            ),
            sample_task=rl.PointNavigation().sample_task,
            set_task=set_goal,
            horizon=3,
        )


def strange():
    return rl.GymnasiumTasks(
        Strange, sample_task=rl.PointNavigation().sample_task, set_task=set_goal, horizon=3
    )


def test_a_task_that_does_not_depend_on_the_key_is_noticed():
    with pytest.warns(UserWarning, match="sample_task gave the same task for each of 32 keys"):
        navigation(sample_task=lambda key: jnp.zeros(2))


@pytest.mark.filterwarnings("error")
def test_tasks_that_are_seldom_different_are_not_blamed_on_set_task():
    rare = functools.partial(jax.random.bernoulli, p=0.1, shape=(2,))
    navigation(sample_task=lambda key: rare(key).astype(jnp.float32))


class Unseeded(Navigation):
    """Draws from elsewhere, where told, and has one task only."""

    where = "reset"

    def reset(self, *, seed=None, options=None):
        seen, info = super().reset(seed=seed)
        return seen + self.noise("reset"), info

    def step(self, action):
        seen, reward, *rest = super().step(action)
        return seen + self.noise("step"), reward + self.noise("reward"), *rest

    def noise(self, where):
        return np.float32(np.random.normal()) if where == self.where else np.float32(0)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("reset", "another observation at the reset.*np.random"),
        ("step", "another observation at step 1"),
        ("reward", "another reward at step 1"),
    ],
)
def test_environments_that_ignore_their_seed_are_noticed(monkeypatch, where, said):
    monkeypatch.setattr(Unseeded, "where", where)
    with pytest.warns(UserWarning, match=said) as caught:
        rl.GymnasiumTasks(
            Unseeded,
            sample_task=rl.PointNavigation().sample_task,
            set_task=lambda env, task: None,
            horizon=3,
        )
    assert len(caught) == 1 and "cannot be seen whether set_task does" in str(caught[0].message)


def test_environments_that_remember_are_noticed():
    with pytest.warns(UserWarning, match="remembers earlier .* NormalizeObservation"):
        rl.GymnasiumTasks(
            lambda: gymnasium.wrappers.NormalizeObservation(gymnasium.make("CartPole-v1")),
            sample_task=jax.random.normal,
            set_task=lambda env, task: setattr(env.unwrapped, "length", float(abs(task))),
            horizon=3,
        )


class Renewed(Navigation):
    """Ends at once; only its first episode depends on the seed."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = np.float32(self.goal)
        if seed is None:
            self.position = self.position + np.float32(np.random.normal())
        return self.position, {}

    def step(self, action):
        return self.position, 0.0, True, False, {}


@pytest.mark.filterwarnings("error")
def test_what_comes_after_an_episode_may_be_anything():
    rl.GymnasiumTasks(
        Renewed, sample_task=rl.PointNavigation().sample_task, set_task=set_goal, horizon=5
    )


def test_environments_that_stay_over_are_refused():
    def make(num_envs):
        mode = gymnasium.vector.AutoresetMode.DISABLED
        return gymnasium.vector.SyncVectorEnv([Navigation] * num_envs, autoreset_mode=mode)

    with pytest.raises(mamlax.MamlaxError, match="do not reset by themselves"):
        rl.GymnasiumTasks(
            make_vector_env=make,
            sample_task=rl.PointNavigation().sample_task,
            set_task=lambda vector, tasks: None,
            horizon=3,
        )


def test_what_is_no_environment():
    given = {"sample_task": jax.random.key_data, "set_task": set_goal, "horizon": 3}
    with pytest.raises(mamlax.MamlaxError, match=r"must return a gymnasium.Env, got list"):
        rl.GymnasiumTasks(list, **given)
    with pytest.raises(mamlax.MamlaxError, match=r"failed in make_env\(\): .*no such file"):
        rl.GymnasiumTasks(functools.partial(open, "no such file"), **given)
    with pytest.raises(TypeError, match="give one of make_env and make_vector_env"):
        rl.GymnasiumTasks(sample_task=jax.random.key_data, set_task=set_goal, horizon=3)
    with pytest.raises(ValueError, match="horizon must be positive"):
        navigation(horizon=0)


@pytest.mark.parametrize("name", ["make_env", "make_vector_env", "sample_task", "set_task"])
def test_arguments_that_are_no_functions_are_refused(name):
    # the type checker of the tests would be first
    init = inspect.unwrap(rl.GymnasiumTasks.__init__)
    given = {"sample_task": jax.random.key_data, "set_task": set_goal, "horizon": 3}
    given |= {} if name.startswith("make") else {"make_env": Navigation}
    with pytest.raises(TypeError, match=rf"{name} must be a function, {name}\(.*got <.*Navigation"):
        init(object.__new__(rl.GymnasiumTasks), **{**given, name: Navigation()})


def test_what_is_no_vectorized_environment():
    with pytest.raises(mamlax.MamlaxError, match=r"must return a gymnasium.vector.VectorEnv, got"):
        rl.GymnasiumTasks(
            make_vector_env=lambda num_envs: [Navigation()] * num_envs,
            sample_task=rl.PointNavigation().sample_task,
            set_task=set_goal,
            horizon=3,
        )


@pytest.mark.parametrize(
    ("sample_task", "said"),
    [
        (lambda: 3, "0 positional arguments"),
        (lambda key: {"length": float(jax.random.uniform(key))}, "ConcretizationTypeError"),
        (lambda key: "a task", "<class 'str'> is not a valid JAX type"),
    ],
)
def test_tasks_that_cannot_be_traced_say_how_to_draw_them(sample_task, said):
    expected = r"sample_task\(key\) must be traceable by JAX \(use jax.random and jnp\) and return"
    with pytest.raises(TypeError, match=f"{expected} a pytree of arrays, got .*{said}"):
        navigation(sample_task=sample_task)


class Wrong(Navigation):
    """Returns what it should not, as told."""

    begin = staticmethod(lambda observation, info: (observation, info))
    advance = staticmethod(lambda *returned: returned)

    def reset(self, *, seed=None, options=None):
        return self.begin(*super().reset(seed=seed))

    def step(self, action):
        return self.advance(*super().step(action))


def wrong(monkeypatch, function, change, **settings):
    monkeypatch.setattr(Wrong, function, staticmethod(change))
    sample_task = rl.PointNavigation().sample_task
    return rl.GymnasiumTasks(
        Wrong, sample_task=sample_task, set_task=set_goal, horizon=3, **settings
    )


def no_such_task(env, task):
    raise ValueError("no such task")


@pytest.mark.parametrize(
    ("set_task", "said"),
    [
        (no_such_task, "ValueError: no such task."),
        (lambda env: None, "TypeError: .*takes 1 positional argument"),
    ],
)
def test_a_task_that_cannot_be_set_is_said(set_task, said):
    with pytest.raises(mamlax.MamlaxError, match=rf"failed in set_task\(env, task\): {said}"):
        navigation(set_task=set_task)


_STEP = r"step must return \(observation, reward, terminated, truncated, info\), got"


@pytest.mark.parametrize(
    ("function", "change", "said"),
    [
        ("advance", lambda seen, reward, done, _, info: (seen, reward, done, info), f"{_STEP} 4"),
        ("advance", lambda *_: None, f"{_STEP} NoneType"),
        ("advance", lambda seen, reward, *rest: (seen, None, *rest), "reward, got NoneType"),
        ("advance", lambda seen, reward, *rest: (seen, "high", *rest), "reward, got str"),
        ("advance", lambda seen, reward, *rest: (seen, seen, *rest), "reward, got ndarray"),
        (
            "advance",
            lambda seen, reward, _, *rest: (seen, reward, None, *rest),
            "True or False as terminated, got None",
        ),
        (
            "advance",
            lambda seen, reward, *_: (seen, reward, np.array([True, False]), False, {}),
            r"True or False as terminated, got an array of shape \(2,\)",
        ),
        (
            "advance",
            lambda seen, reward, done, *_: (seen, reward, done, "no", {}),
            "True or False as truncated, got 'no'",
        ),
        ("advance", lambda *returned: (*returned[:4], None), "a dict as info, got NoneType"),
        ("begin", lambda seen, info: (seen, None), "reset must return a dict as info, got None"),
        ("begin", lambda seen, info: seen, r"reset must return \(observation, info\), got ndarray"),
        (
            "begin",
            lambda seen, info: (seen[:1], info),
            r"reset returned an observation of shape \(1,\), .* declares \(2,\)",
        ),
        (
            "advance",
            lambda seen, *rest: (np.zeros((3, 2)), *rest),
            r"step returned an observation of shape \(3, 2\), .* declares \(2,\)",
        ),
    ],
)
def test_what_reset_and_step_should_not_return_is_said(monkeypatch, function, change, said):
    with pytest.raises(mamlax.MamlaxError, match=said):
        wrong(monkeypatch, function, change)


def test_rewards_and_flags_may_be_arrays_of_one(monkeypatch):
    def one_number(seen, reward, terminated, truncated, info):
        return seen, np.array([reward]), np.array([terminated]), np.bool_(truncated), info

    rewards = act(wrong(monkeypatch, "advance", one_number)).rewards
    np.testing.assert_array_equal(rewards, act(navigation(3)).rewards)


@pytest.mark.parametrize(
    ("function", "change", "said"),
    [
        ("advance", lambda seen, _, *rest: (seen, np.nan, *rest), "the reward was NaN"),
        ("advance", lambda seen, *rest: (seen + np.inf, *rest), "the observation was NaN"),
        ("begin", lambda seen, info: (seen * np.nan, info), "the observation was NaN"),
    ],
)
def test_what_is_not_finite_in_a_first_try_is_noticed(monkeypatch, function, change, said):
    with pytest.warns(UserWarning, match=said) as caught:
        wrong(monkeypatch, function, change)
    assert len(caught) == 1


def test_a_first_try_leaves_nothing_open(monkeypatch):
    closed = []
    monkeypatch.setattr(Navigation, "close", lambda self: closed.append(self))
    env = navigation()
    assert len(closed) == 2 and env._sessions._made == []
    with pytest.raises(mamlax.MamlaxError):
        navigation(set_task=no_such_task)
    assert len(closed) == 4


class Failing(Navigation):
    """Fails once it has been stepped often, by the commonest of errors."""

    count = 0

    def step(self, action):
        Failing.count += 1
        if Failing.count > 30:
            raise ValueError("the arm fell off")
        return super().step(action)


@pytest.mark.slow
def test_a_failure_stops_training_with_a_checkpoint(tmp_path, capfd):
    Failing.count = 0
    env = rl.GymnasiumTasks(
        Failing, sample_task=rl.PointNavigation().sample_task, set_task=set_goal, horizon=2
    )
    learner = rl.policy_learner(
        env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=2
    )
    loop = rl.policy_gradient(learner, optax.adam(1e-3), meta_batch_size=1)
    policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(4,))
    settings = {"key": jax.random.key(1), "num_outer_steps": 9, "log_interval": 1}
    with pytest.raises(mamlax.MamlaxError) as caught:
        mamlax.run(loop, policy, directory=tmp_path, **settings)
    message = str(caught.value)
    assert "after outer step 2: an environment failed in step: ValueError: the arm fell" in message
    assert "checkpoint" in message
    Failing.count = -1000
    assert mamlax.run(loop, policy, directory=tmp_path, **settings).best_step == 9


@pytest.mark.slow
def test_policies_side_by_side_need_keys_of_their_own(capfd):
    env = navigation()
    task = env.sample_task(jax.random.key(0))
    policies = eqx.filter_vmap(lambda key: rl.mlp_policy(key, env, hidden_sizes=(4,)))(
        jax.random.split(jax.random.key(1), 3)
    )

    def act_in(key, policy):
        return rl.rollout(key, env, task, policy, num_episodes=2).rewards

    with pytest.raises(Exception, match=r"6 actions for 2 episodes .* keys of their own"):
        jax.block_until_ready(
            eqx.filter_vmap(act_in, in_axes=(None, 0))(jax.random.key(2), policies)
        )
    keys = jax.random.split(jax.random.key(2), 3)
    assert eqx.filter_vmap(act_in)(keys, policies).shape == (3, 2, 10)


def test_episodes_that_were_broken_off_make_room(monkeypatch):
    monkeypatch.setattr(_sessions, "_MOST_UNFINISHED", 2)
    env = navigation(horizon=2)
    task = env.sample_task(jax.random.key(0))
    states = [env.reset(jax.random.key(i), task)[0] for i in range(3)]
    assert len(env._sessions._made) == 3
    env.reset(jax.random.key(4), task)
    assert len(env._sessions._made) == 3
    env.step(jax.random.key(0), task, states[2], jnp.zeros(2))


@pytest.mark.slow
def test_the_precision_is_that_of_who_asks(request):
    assert act(navigation()).observations.dtype == np.float32
    request.getfixturevalue("float64")
    assert act(navigation()).observations.dtype == np.float64


def test_a_failed_reset_closes_everything(monkeypatch, capfd):
    closed = []
    monkeypatch.setattr(Navigation, "close", lambda self: closed.append(self))
    env = navigation()
    act(env)
    count = len(closed)

    def fail(self, *, seed=None, options=None):
        raise RuntimeError("no")

    monkeypatch.setattr(Navigation, "reset", fail)
    with pytest.raises(Exception, match="an environment failed in reset: RuntimeError: no"):
        jax.block_until_ready(act(env, num_episodes=5))
    assert len(closed) - count == 12 + 15


def test_an_episode_cannot_be_stepped_beyond_its_horizon(capfd):
    env = navigation(horizon=1)
    task = env.sample_task(jax.random.key(0))
    state, _ = env.reset(jax.random.key(0), task)
    env.step(jax.random.key(0), task, state, jnp.zeros(2))
    with pytest.raises(Exception, match="an episode was stepped that is over"):
        jax.block_until_ready(env.step(jax.random.key(0), task, state, jnp.zeros(2)))


@pytest.mark.parametrize(
    ("target", "args", "said"),
    [
        (os._exit, (3,), "its process ended with exit code 3."),
        (
            signal.raise_signal,
            (signal.SIGKILL,),
            r"its process was killed by SIGKILL \(by the system, if",
        ),
    ],
)
def test_how_a_process_died_is_said(target, args, said):
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    error = _sessions.failure("step", EOFError(), types.SimpleNamespace(processes=[process]))
    assert re.match(f"an environment failed in step: {said}", str(error))


@pytest.mark.slow
def test_subprocesses_do_the_same_and_leave_no_orphans(capfd):
    env = navigation(workers="subprocesses")
    assert multiprocessing.active_children() == []
    for one, other in zip(act(env), act(navigation()), strict=True):
        np.testing.assert_array_equal(one, other)
    processes = multiprocessing.active_children()
    assert len(processes) == 12
    assert {type(process).__name__ for process in processes} == {"SpawnProcess"}
    processes[-1].kill()
    processes[-1].join()
    with pytest.raises(Exception, match="failed in set_task: its process was killed by SIGKILL"):
        jax.block_until_ready(act(env))
    assert not any(process.is_alive() for process in processes)


class Dying(Navigation):
    """Ends its process in the midst of an episode."""

    def step(self, action):
        os._exit(7)


def not_there():
    """An environment that can be made in the first process alone."""
    if multiprocessing.parent_process() is not None:
        os._exit(8)
    return Navigation()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make_env", "said"),
    [
        (Dying, "failed in step: its process ended with exit code 7."),
        (not_there, r"failed in make_env\(\), called in a new .* ended with exit code 8."),
    ],
)
def test_a_process_that_dies_is_told_in_a_sentence(make_env, said, capfd, recwarn):
    sample_task = rl.PointNavigation().sample_task
    settings = {"sample_task": sample_task, "set_task": set_goal, "horizon": 3}
    with pytest.raises(mamlax.MamlaxError, match=said):
        rl.GymnasiumTasks(make_env, workers="subprocesses", **settings)
    gc.collect()
    assert multiprocessing.active_children() == [] and len(recwarn) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*ERROR")  # Gymnasium's, with the traceback of the process
def test_a_failure_in_a_process_is_said_as_in_this_one():
    with pytest.raises(mamlax.MamlaxError, match=r"set_task\(env, task\): ValueError: no such"):
        navigation(set_task=no_such_task, workers="subprocesses")
    assert multiprocessing.active_children() == []
