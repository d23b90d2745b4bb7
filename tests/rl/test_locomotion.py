"""Bodies that run: the same as Gymnasium's, and rewards as the papers define them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

import mamlax
from mamlax.rl.engines._physics import Physics

mujoco = pytest.importorskip("mujoco")
gymnasium = pytest.importorskip("gymnasium")

rl = mamlax.rl


EVERYTHING = [
    *(rl.HalfCheetah(g, v) for g in ("direction", "velocity") for v in ("rllab", "gym")),
    *(rl.Ant(g) for g in ("direction", "velocity", "position")),
    *(rl.Ant(g, "gym") for g in ("direction", "position")),
    *(rl.RandomizedBody(body) for body in ("walker2d", "hopper")),
]


def one_of_each(envs):
    """The first of each class; where there is time, all."""
    first = {type(env): env for env in reversed(envs)}.values()
    return [pytest.param(env, marks=() if env in first else pytest.mark.slow) for env in envs]


def told(env):
    """The same, its task observed."""
    return type(env)(**{**vars(env), "oracle": True})


def name_of(env):
    return "-".join(str(value) for value in (type(env).__name__, *list(vars(env).values())[:2]))


def begun(env, position, velocity):
    """A state where the body is somewhere."""
    return env._engine.start(jnp.asarray(position), jnp.asarray(velocity))


def numbers_of(env, state, control=0.0):
    """MuJoCo's data of a state, all of it computed."""
    model = env._engine.model
    data = mujoco.MjData(model)
    data.ctrl[:] = control
    data.qpos[:], data.qvel[:] = state.position, state.velocity
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    mujoco.mj_rnePostConstraint(model, data)
    return data


@pytest.fixture
def walked():
    """`walked(env, num_steps) -> (key, task, state)`: a state on the way, by a random policy."""

    def walk(env, num_steps=15, seed=0):
        key = jax.random.key(seed)
        task = env.sample_task(key)
        bound = env.action.high

        def advance(state, key):
            action = jax.random.uniform(key, (env.action.size,), minval=-bound, maxval=bound)
            return env.step(key, task, state, action)[0], None

        state, _ = env.reset(key, task)
        state, _ = jax.lax.scan(advance, state, jax.random.split(key, num_steps))
        return key, task, state

    return walk


STARTS = {
    # height of the torso, feet on the ground, height after 0.4 s, and the fastest joint then
    ("Ant", "rllab"): (0.55, 4, 0.56, 0.5),
    ("Ant", "gym"): (0.75, 0, 0.64, 6.0),  # its ankles begin outside their limits, and it bounces
    ("HalfCheetah", "rllab"): (0.0, None, -0.13, 6.0),
    ("HalfCheetah", "gym"): (0.0, None, -0.13, 1.0),
}


@pytest.mark.parametrize("env", one_of_each(EVERYTHING[:-2]), ids=name_of)
def test_where_they_start_and_that_they_stand_without_torque(env):
    """rllab's ant has a pose of its own: on four feet, its joints within their limits."""
    height, feet, later, fastest = STARTS[type(env).__name__, env.variant]
    axis = 2 if isinstance(env, rl.Ant) else 1
    task, count = env.sample_task(jax.random.key(1)), round(0.4 / env.seconds_per_step)

    def play(key):
        start, _ = env.reset(key, task)
        rest = jnp.zeros(env.action.size)

        def advance(state, _):
            after = env.step(key, task, state, rest)[0]
            return after, after.position[axis]

        end, heights = jax.lax.scan(advance, start, None, length=count)
        return start, end, heights

    start, end, heights = jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(0), 8))
    noise = 0.03 if env.variant == "rllab" else 0.11
    np.testing.assert_allclose(start.position[:, axis], height, atol=noise)
    assert abs(float(end.position[:, axis].mean()) - later) < 0.04
    assert float(jnp.abs(end.velocity).max(axis=1).mean()) < fastest
    if env.variant == "rllab":
        rise = 0.02 if isinstance(env, rl.Ant) else 0.03
        assert float(heights.max()) < height + rise, "pushed off the ground"
    model = env._engine.model
    if isinstance(env, rl.Ant):
        data = mujoco.MjData(model)
        data.qpos[:] = env._standing
        mujoco.mj_forward(model, data)
        assert data.ncon == feet
        limits = np.array(model.jnt_range)[1:]
        inside = (data.qpos[7:] >= limits[:, 0] - 1e-3) & (data.qpos[7:] <= limits[:, 1] + 1e-3)
        assert inside.all() == (env.variant == "rllab")


def test_contacts_of_the_paper_s_ant_begin_at_its_margin_and_have_its_stiffness():
    model = rl.Ant()._engine.model
    data = mujoco.MjData(model)
    gaps = np.linspace(0.0, 0.03, 301)
    touching = []
    for gap in gaps:
        data.qpos[:] = rl.Ant()._standing
        data.qpos[2] += 0.006107 + gap  # the feet of the standing pose are so deep in the ground
        mujoco.mj_forward(model, data)
        touching.append(data.ncon == 4)
    assert gaps[np.flatnonzero(touching)[-1]] == pytest.approx(0.01, abs=2e-4)
    np.testing.assert_array_equal(np.unique(model.geom_solimp[:, :3], axis=0), [[0.8, 0.8, 0.01]])
    of_gymnasium = rl.Ant(variant="gym")._engine.model
    np.testing.assert_array_equal(of_gymnasium.geom_margin, 0.01)
    np.testing.assert_array_equal(of_gymnasium.geom_solimp[:, :3], [[0.9, 0.95, 0.001]] * 14)


@pytest.mark.parametrize("env", one_of_each(EVERYTHING), ids=name_of)
def test_they_keep_to_their_declaration(env):
    rl.check_environment(env)
    rl.check_environment(told(env))
    key = jax.random.key(1)
    task = told(env).sample_task(key)
    _, seen = told(env).reset(key, task)
    _, other = env.reset(key, task)
    np.testing.assert_array_equal(seen[: other.size], other)
    # in one order, whatever order a dictionary has
    names = ("body_mass", "body_inertia", "geom_friction", "dof_damping")
    parts = [task[name] for name in names] if isinstance(task, dict) else [task]
    np.testing.assert_array_equal(seen[other.size :], jnp.concatenate([*map(jnp.ravel, parts)]))
    if isinstance(task, dict):  # which JAX gives back in another order
        again = jax.jit(told(env).reset)(key, task)[1]
        np.testing.assert_allclose(again, seen, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("env", EVERYTHING, ids=name_of)
@pytest.mark.slow
def test_an_action_beyond_its_bounds_is_the_nearest_within(env, walked):
    key, task, state = walked(env)
    bound = env.action.high
    far, near = (
        env.step(key, task, state, jnp.full(env.action.size, size)) for size in (5 * bound, bound)
    )
    np.testing.assert_array_equal(far[1], near[1])
    np.testing.assert_array_equal(far[2], near[2])


# --------------------------------------------------------------------------- as Gymnasium


@pytest.mark.usefixtures("float64")
@pytest.mark.slow
def test_the_cheetah_of_gym_is_gymnasiums():
    """100 steps, each from Gymnasium's state; then all of them without looking."""
    env = rl.HalfCheetah(variant="gym")
    other = gymnasium.make("HalfCheetah-v5", ctrl_cost_weight=0.05).unwrapped
    other.reset(seed=0)
    step = jax.jit(lambda state, action: env.step(None, jnp.ones(()), state, action))
    alone = begun(env, other.data.qpos, other.data.qvel)
    rng, drift = np.random.default_rng(0), []
    for _ in range(100):
        action = rng.uniform(-1, 1, 6)
        # what Gymnasium's solver remembers from step to step, ours finds again
        other.data.qacc_warmstart[:] = 0
        _, seen, reward, ended = step(begun(env, other.data.qpos, other.data.qvel), action)
        alone, seen_alone, *_ = step(alone, action)
        expected, reward_expected, *_ = other.step(action)
        np.testing.assert_allclose(seen, expected, atol=1e-8)
        np.testing.assert_allclose(reward, reward_expected, atol=1e-8)
        assert not ended
        drift.append(np.abs(seen_alone - expected).max())
    assert max(drift) < 1e-6


@pytest.mark.usefixtures("float64")
@pytest.mark.slow
def test_the_ant_of_gym_is_gymnasiums():
    env = rl.Ant(variant="gym")
    other = gymnasium.make(
        "Ant-v5", include_cfrc_ext_in_observation=False, contact_cost_weight=0.0
    ).unwrapped
    other.reset(seed=0)
    step = jax.jit(lambda state, action: env.step(None, jnp.ones(()), state, action))
    rng = np.random.default_rng(0)
    for _ in range(100):
        action = rng.uniform(-1, 1, 8)
        other.data.qacc_warmstart[:] = 0
        before = other.data.qpos.copy()
        _, seen, reward, ended = step(begun(env, other.data.qpos, other.data.qvel), action)
        expected, reward_expected, ended_expected, _, info = other.step(action)
        np.testing.assert_allclose(seen, expected, atol=1e-8)
        # Gymnasium reads the torso's place where the engine computed it last, before it moved it
        speed = (other.data.qpos[0] - before[0]) / 0.05
        np.testing.assert_allclose(speed, info["reward_forward"], atol=0.5)
        # and leaves out the bonus of the last step
        rest = reward_expected - info["reward_forward"] + (1.0 if ended_expected else 0.0)
        np.testing.assert_allclose(reward, speed + rest, atol=1e-8)
        assert ended == ended_expected
        if ended:
            other.reset()


# --------------------------------------------------------------------------- rewards


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("goal", ["direction", "velocity"])
def test_rewards_of_the_papers_cheetah(goal, walked):
    env = rl.HalfCheetah(goal)
    key, task, state = walked(env)
    action = jnp.linspace(-1.5, 1, 6)
    after, seen, reward, _ = env.step(key, task, state, action)
    data = numbers_of(env, after)
    speed = data.subtree_linvel[1, 0]
    gain = task * speed if goal == "direction" else -abs(speed - task)
    cost = 0.05 * np.sum(np.clip(action, -1, 1) ** 2)
    np.testing.assert_allclose(reward, gain - cost, atol=1e-10)
    assert abs(speed) > 1e-3
    expected = np.concatenate([data.qpos[1:], data.qvel, data.subtree_com[1]])
    np.testing.assert_allclose(seen, expected, atol=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("goal", ["direction", "velocity", "position"])
def test_rewards_of_the_papers_ant(goal, walked):
    env = rl.Ant(goal)
    key, task, state = walked(env, num_steps=20, seed=1)  # two feet on the ground
    action = jnp.linspace(-1.5, 1, 8)
    after, seen, reward, _ = env.step(key, task, state, action)
    control = np.clip(action, -1, 1)
    before, data = numbers_of(env, state, control), numbers_of(env, after)
    contact = np.clip(before.cfrc_ext, -1, 1)
    assert (contact != 0).sum() == 12
    speed, place = data.subtree_linvel[1, 0], data.subtree_com[1, :2]
    gain = {
        "direction": lambda: task * speed,
        "velocity": lambda: 1 - abs(speed - task),
        "position": lambda: 4 - np.abs(place - task).sum(),
    }[goal]()
    cost = 0.005 * np.sum(control**2) + 0.0005 * np.sum(contact**2)
    np.testing.assert_allclose(reward, gain + 0.05 - cost, atol=1e-8)
    parts = [data.qpos, data.qvel, contact.ravel(), data.xmat[1], data.subtree_com[1]]
    np.testing.assert_allclose(seen, np.concatenate(parts), atol=1e-7)


@pytest.mark.parametrize("oracle", [False, True])
def test_an_ant_that_does_not_observe_contacts_observes_all_else(oracle, walked):
    env = rl.Ant(oracle=oracle)
    without = rl.Ant(oracle=oracle, observe_contacts=False)
    key, task, state = walked(env, num_steps=20, seed=1)
    (_, seen, reward, _), (_, fewer, same, _) = (
        one.step(key, task, state, jnp.ones(8)) for one in (env, without)
    )
    assert np.any(seen[29:113] != 0)
    np.testing.assert_array_equal(fewer, np.delete(seen, np.arange(29, 113)))
    assert without.observation_size == len(fewer) == 41 + oracle
    assert reward == same


@pytest.mark.parametrize("height", [0.1, 0.3, 0.9, 1.1])
def test_an_ant_that_falls_or_flies_is_done(height):
    env = rl.Ant("direction")
    position = np.array(env._engine.model.qpos0)
    position[2] = height
    _, _, _, ended = env.step(
        None,
        jnp.ones(()),
        begun(env, position.astype(np.float32), np.zeros(14, np.float32)),
        jnp.zeros(8),
    )
    assert ended == (height in (0.1, 1.1))


def test_an_ant_on_its_way_to_a_place_of_gym_is_never_done():
    env = rl.Ant("position", "gym")
    position = np.array(env._engine.model.qpos0, np.float32)
    position[2] = 3.0
    state = begun(env, position, np.zeros(14, np.float32))
    task = jnp.array([1.0, -1.0])
    after, _, reward, ended = env.step(jax.random.key(0), task, state, jnp.ones(8))
    assert not ended
    place = np.asarray(after.position[:2])
    np.testing.assert_allclose(reward, -np.abs(place - task).sum() - 0.8, rtol=1e-5)


def test_who_must_find_a_place_of_gym_sees_where_it_is():
    env = rl.Ant("position", "gym")
    position = np.array(env._engine.model.qpos0, np.float32)
    position[:2] = 2.5, -1.0
    after, seen, *_ = env.step(
        None, jnp.zeros(2), begun(env, position, np.zeros(14, np.float32)), jnp.zeros(8)
    )
    assert env.observation_size == len(seen) == 29
    np.testing.assert_array_equal(seen[:15], after.position)


# --------------------------------------------------------------------------- tasks


def test_tasks_are_as_the_papers_draw_them():
    keys = jax.random.split(jax.random.key(0), 2000)
    directions = jax.vmap(rl.HalfCheetah().sample_task)(keys)
    assert set(np.asarray(directions)) == {-1.0, 1.0}
    assert abs(directions.mean()) < 0.15
    for env, low, high in (
        (rl.HalfCheetah("velocity"), 0, 2),
        (rl.HalfCheetah("velocity", "gym", velocities=(0.0, 3.0)), 0, 3),
        (rl.Ant("velocity"), 0, 3),
        (rl.Ant("position"), -3, 3),
    ):
        drawn = np.asarray(jax.vmap(env.sample_task)(keys))
        assert low <= drawn.min() < low + 0.02 and high - 0.02 < drawn.max() <= high
    places = np.asarray(jax.vmap(rl.Ant("position", "gym").sample_task)(keys))
    radii = np.linalg.norm(places, axis=1)
    assert radii.max() <= 3
    np.testing.assert_allclose((radii**2).mean(), 4.5, rtol=0.05)  # uniform on the disc


def test_bodies_differ_between_tasks_and_only_as_far_as_asked(walked):
    env = rl.RandomizedBody("hopper", spread=1.0)
    key, task, state = walked(env, num_steps=3)
    drawn = jax.vmap(env.sample_task)(jax.random.split(key, 500))
    shapes = {name: np.shape(getattr(env._engine.model, name)) for name in drawn}
    assert {name: x.shape[1:] for name, x in drawn.items()} == shapes
    for exponents in drawn.values():
        assert -1 <= exponents.min() < -0.9 and 0.9 < exponents.max() <= 1
    same, other = jax.tree.map(jnp.zeros_like, task), jax.tree.map(jnp.ones_like, task)
    action = jnp.ones(3)
    seen = [env.step(key, task, state, action)[1] for task in (same, other)]
    unchanged = env._engine.step(state, action)
    np.testing.assert_allclose(seen[0][:5], unchanged.position[1:], atol=1e-6)
    assert np.abs(seen[0] - seen[1]).max() > 1e-2


@pytest.mark.parametrize("body", ["walker2d", "hopper"])
def test_a_body_that_leans_has_fallen(body):
    env = rl.RandomizedBody(body)
    task = jax.tree.map(jnp.zeros_like, env.sample_task(jax.random.key(0)))
    for lean in (0.0, 1.2):
        position = np.array(env._engine.model.qpos0, np.float32)
        position[2] = lean
        state = begun(env, position, np.zeros(env._engine.model.nv, np.float32))
        *_, ended = env.step(jax.random.key(0), task, state, jnp.zeros(env.action.size))
        assert ended == (lean > 0)


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: rl.HalfCheetah("speed"), "goal must be one of"),
        (lambda: rl.HalfCheetah(variant="v5"), "variant must be one of"),
        (lambda: rl.HalfCheetah(engine="brax"), "engine must be one of"),
        (lambda: rl.HalfCheetah(horizon=0), "horizon must be a positive number"),
        (lambda: rl.HalfCheetah(velocities=(2.0, 0.0)), "velocities must be a range"),
        (lambda: rl.Ant("velocity", "gym"), "no paper defines velocities"),
        (lambda: rl.Ant(engine="mjx"), "no sensors for the contact forces"),
        (lambda: rl.RandomizedBody("humanoid"), "body must be one of"),
        (lambda: rl.RandomizedBody(spread=-1.0), "spread must be 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, said):
    # the type checker of the tests is first where a Literal is given something else
    with pytest.raises(Exception, match=f"{said}|Expected type: typing.Literal"):
        make()


# --------------------------------------------------------------------------- episodes


class Fragile:
    """Breaks down at a time of its own in every second episode."""

    observation_size, action, horizon = 1, rl.Box(1), 6

    def sample_task(self, key):
        return jnp.zeros(())

    def reset(self, key, task):
        fragile = jax.random.bernoulli(key)
        return (jnp.zeros(()), fragile), jnp.zeros(1)

    def step(self, key, task, state, action):
        time, fragile = state
        broken = fragile & (time >= 3)
        return (time + 1, fragile), jnp.where(broken, jnp.nan, time)[None], 1.0 + time, time < 0


def test_an_episode_that_breaks_down_is_cut_off_before_and_counted():
    env = Fragile()
    policy = rl.mlp_policy(jax.random.key(0), env)
    trajectory = rl.rollout(jax.random.key(1), env, jnp.zeros(()), policy, num_episodes=40)
    unstable = np.asarray(trajectory.unstable)
    assert 5 < unstable.sum() < 35
    lengths = trajectory.mask.sum(axis=1)
    np.testing.assert_array_equal(lengths, np.where(unstable, 3, 6))
    np.testing.assert_array_equal(rl.total_rewards(trajectory), np.where(unstable, 6, 21))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trajectory))
    assert not trajectory.terminated.any()


def test_an_episode_that_begins_broken_has_no_steps():
    class Broken(Fragile):
        def reset(self, key, task):
            state, observation = super().reset(key, task)
            return state, jnp.where(jax.random.bernoulli(key), jnp.nan, observation)

    env = Broken()
    policy = rl.mlp_policy(jax.random.key(0), env)
    trajectory = rl.rollout(jax.random.key(1), env, jnp.zeros(()), policy, num_episodes=40)
    lengths = np.asarray(trajectory.mask.sum(axis=1))
    assert {0, 6} == set(lengths)
    np.testing.assert_array_equal(trajectory.unstable, lengths == 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trajectory))


@pytest.mark.slow
def test_devices_that_call_the_engine_at_once_learn_the_same():
    env = rl.HalfCheetah(horizon=5)
    learner = rl.policy_learner(
        env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=3
    )
    found = []
    for mesh in (None, Mesh(np.array(jax.devices()[:2]), ("tasks",))):
        # conjugate gradients would make much of the rounding, which differs
        loop = rl.policy_gradient(learner, optax.sgd(0.1), meta_batch_size=4, mesh=mesh)
        state = loop.init(rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(8,)))
        state, metrics = jax.jit(loop.step)(jax.random.key(1), state)
        assert metrics["train/gradient_norm"] > 0.01
        found.append(state.meta_params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *found)


def learned(directory=None, num_outer_steps=4, num_seeds=None):
    """Parameters before and after a few outer steps of short episodes."""
    env = rl.HalfCheetah(horizon=5)
    learner = rl.policy_learner(
        env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=3
    )
    loop = rl.maml_trpo(learner, meta_batch_size=2, batch_size=1, num_conjugate_gradient_steps=2)
    policy, key = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(8,)), jax.random.key(1)
    if num_seeds:
        policy = jax.tree.map(
            lambda x: jnp.stack([x] * num_seeds) if eqx.is_array(x) else x, policy
        )
        key = jnp.stack([key] * num_seeds)
    run = mamlax.run(
        loop,
        policy,
        key=key,
        num_outer_steps=num_outer_steps,
        directory=directory,
        log_interval=2,
    )
    return [
        [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]
        for tree in (policy, run.state.meta_params)
    ]


@pytest.mark.slow
def test_a_policy_learns_from_the_engine_and_resumes_to_the_bit(tmp_path):
    before, after = learned()
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    learned(tmp_path, num_outer_steps=2)
    for one, other in zip(learned(tmp_path)[1], after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_seeds_side_by_side():
    """The same seed twice learns the same twice."""
    _, after = learned(num_seeds=2, num_outer_steps=1)
    for leaf in after:
        np.testing.assert_array_equal(leaf[0], leaf[1])


def test_physics_is_what_is_carried():
    state, _ = rl.HalfCheetah().reset(jax.random.key(0), jnp.ones(()))
    assert isinstance(state, Physics)
    assert state.position.shape == (9,) and state.velocity.shape == (9,)
