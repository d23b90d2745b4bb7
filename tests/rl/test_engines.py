"""Engines move bodies as MuJoCo does, whoever asks and however many at once."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax
from mamlax.rl.engines import _mujoco
from mamlax.rl.engines._engine import engine_of
from mamlax.rl.engines._model import ModelSettings, compiled_model
from mamlax.rl.engines._skeleton import Skeleton

mujoco = pytest.importorskip("mujoco")
pytest.importorskip("gymnasium")

CHEETAH = ModelSettings("half_cheetah", total_mass=14.0)


def pose(model, seed):
    """A data of MuJoCo's in a random pose, all of it computed."""
    rng, data = np.random.default_rng(seed), mujoco.MjData(model)
    data.qpos[:] = model.qpos0 + rng.normal(0, 0.5, model.nq)
    data.qvel[:] = rng.normal(0, 1, model.nv)
    mujoco.mj_normalizeQuat(model, data.qpos)
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    return data


def steps(engine, control, num_steps=20, changes=None):
    """`positions [steps, nq]` of one body held by one control."""
    start = engine.start(jnp.asarray(engine.model.qpos0, float), jnp.zeros(engine.model.nv))

    def advance(physics, _):
        physics = engine.step(physics, control, changes)
        return physics, physics.position

    return jax.lax.scan(advance, start, None, length=num_steps)[1]


# --------------------------------------------------------------------------- models


def test_the_mass_of_a_model_is_what_is_asked_for(capfd):
    model = compiled_model(CHEETAH)
    np.testing.assert_allclose(model.body_mass.sum(), 14.0)
    assert "deprecated" not in "".join(capfd.readouterr())
    assert compiled_model(ModelSettings("ant", timestep=0.02)).opt.timestep == 0.02


def test_a_model_that_does_not_exist_is_named():
    with pytest.raises(mamlax.MamlaxError, match=r"no model 'unicorn\.xml'"):
        compiled_model(ModelSettings("unicorn"))


@pytest.mark.parametrize("library", ["mujoco", "gymnasium"])
def test_what_is_missing_is_named_with_its_extra(monkeypatch, library):
    if library == "mujoco":
        monkeypatch.setitem(sys.modules, "mujoco", None)
    else:
        monkeypatch.setitem(sys.modules, "gymnasium", None)
        monkeypatch.setattr(
            "mamlax.rl.engines._model.resources.files", lambda name: __import__(name)
        )
    with pytest.raises(mamlax.MamlaxError, match=r"pip install 'mamlax\[mujoco\]'"):
        compiled_model(CHEETAH)


# --------------------------------------------------------------------------- kinematics


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("wanted", [CHEETAH, ModelSettings("ant"), ModelSettings("walker2d")])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.slow
def test_the_skeleton_is_that_of_mujoco(wanted, seed):
    model = compiled_model(wanted)
    skeleton, data = Skeleton(model), pose(model, seed)
    position, velocity = jnp.array(data.qpos), jnp.array(data.qvel)
    center, moved = skeleton.motion(position, velocity)
    np.testing.assert_allclose(center, data.subtree_com[1], atol=1e-12)
    np.testing.assert_allclose(moved, data.subtree_linvel[1], atol=1e-12)
    rotations = skeleton.rotations(position)
    np.testing.assert_allclose(rotations, data.xmat.reshape(-1, 3, 3), atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_a_body_in_a_plane_needs_no_matrices():
    model = compiled_model(CHEETAH)
    flat, full = Skeleton(model), Skeleton(model)
    assert flat.plane is not None
    full.plane = None
    position = jnp.array(pose(model, 2).qpos)
    np.testing.assert_allclose(
        flat.center_of_mass(position), full.center_of_mass(position), atol=1e-12
    )


# --------------------------------------------------------------------------- MuJoCo


@pytest.mark.usefixtures("float64")
def test_steps_are_those_of_mujoco():
    engine = engine_of("mujoco", CHEETAH, 5)
    control = np.linspace(-1, 1, 6)
    data, expected = mujoco.MjData(engine.model), []
    for _ in range(20):
        data.ctrl[:] = control
        data.qacc_warmstart[:] = 0  # no engine state hides between calls
        for _ in range(5):
            mujoco.mj_step(engine.model, data)
        expected.append(data.qpos.copy())
    found = steps(engine, jnp.array(control))
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_a_row_does_not_depend_on_its_neighbors():
    engine = engine_of("mujoco", CHEETAH, 1)
    controls = jax.random.uniform(jax.random.key(0), (3, 4, 6), minval=-1)
    together = jax.jit(jax.vmap(jax.vmap(lambda c: steps(engine, c))))(controls)
    one = jax.jit(lambda c: steps(engine, c))
    for index in ((0, 0), (2, 3)):
        np.testing.assert_array_equal(together[index], one(controls[index]))


def test_the_number_of_threads_changes_nothing(monkeypatch):
    controls = jax.random.uniform(jax.random.key(0), (5, 6), minval=-1)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(_mujoco, "num_cores", lambda cores=cores: cores)
        engine = _mujoco.MujocoEngine(compiled_model(CHEETAH), 1)
        found.append(jax.jit(jax.vmap(lambda c, e=engine: steps(e, c)))(controls))
        assert [len(workers.data) for workers in engine._workers] == [cores]
    np.testing.assert_array_equal(*found)


def test_calls_that_come_at_once_share_the_cores(monkeypatch):
    monkeypatch.setattr(_mujoco, "num_cores", lambda: 4)
    engine = _mujoco.MujocoEngine(compiled_model(CHEETAH), 1)
    with engine._lent_workers() as alone:
        assert len(alone.data) == 4
        with engine._lent_workers() as second:
            assert len(second.data) == 2
    assert engine._workers == [second]  # not the four, now that two are known to call
    with engine._lent_workers() as first, engine._lent_workers() as other:
        assert first is second and len(other.data) == 2


def test_the_state_keeps_double_precision(request):
    """Not that of the program around it: positions would drift by a million times as much."""
    engine = engine_of("mujoco", CHEETAH, 1)
    control = jnp.linspace(-1, 1, 6)
    found = steps(engine, control, num_steps=50)
    request.getfixturevalue("float64")
    exact = steps(engine, jnp.asarray(np.asarray(control), float), num_steps=50)
    np.testing.assert_array_equal(found, np.asarray(exact, np.float32))


def test_what_breaks_down_is_nan_and_its_neighbors_are_not():
    engine = engine_of("mujoco", CHEETAH, 1)

    def one(speed):
        start = engine.start(jnp.asarray(engine.model.qpos0, float), jnp.zeros(9).at[3].set(speed))
        return engine.step(start, jnp.zeros(6))

    physics = jax.vmap(one)(jnp.array([0.0, 1e9, jnp.nan, 1.0]))
    sound = np.isfinite(physics.position).all(axis=1)
    assert sound.tolist() == [True, False, False, True]
    assert np.isnan(physics.velocity[1:3]).all()


def test_changes_are_those_of_a_copy():
    engine = engine_of("mujoco", CHEETAH, 1)
    before = engine.model.body_mass.copy()
    masses = jnp.asarray(np.stack([before, 3 * before]), float)
    control = jnp.ones(6)
    go = jax.jit(jax.vmap(lambda m: steps(engine, control, changes={"body_mass": m})))
    light, heavy = go(masses)
    # masses pass through single precision
    np.testing.assert_allclose(light, jax.jit(lambda: steps(engine, control))(), atol=1e-5)
    assert np.abs(light - heavy).max() > 1e-2
    np.testing.assert_array_equal(engine.model.body_mass, before)


def test_a_changed_model_is_made_once(monkeypatch):
    engine = _mujoco.MujocoEngine(compiled_model(CHEETAH), 1)
    masses = jnp.asarray(engine.model.body_mass, float)
    changes = {"body_mass": jnp.stack([masses, 2 * masses, masses])}
    jax.vmap(lambda c: steps(engine, jnp.ones(6), changes=c))(changes)
    assert len(engine._models) == 2


# --------------------------------------------------------------------------- MJX


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "settings",
    [
        (mamlax.rl.HalfCheetah, {}),
        (mamlax.rl.HalfCheetah, {"goal": "velocity", "variant": "gym"}),
        (mamlax.rl.RandomizedBody, {}),
        (mamlax.rl.RandomizedBody, {"body": "hopper"}),
    ],
)
def test_episodes_of_mjx_are_those_of_mujoco(settings):
    """Observations and rewards of ten steps, the model of a task included."""
    pytest.importorskip("mujoco.mjx")
    make, settings = settings
    found = []
    for engine in ("mujoco", "mjx"):
        env = make(**settings, engine=engine, horizon=10)
        key = jax.random.key(3)
        task = env.sample_task(key)

        def act(state, key, env=env, task=task):
            action = jax.random.uniform(key, (env.action.size,), minval=-1)
            state, seen, reward, _ = env.step(key, task, state, action)
            return state, (seen, reward)

        start, _ = env.reset(key, task)
        found.append(jax.lax.scan(act, start, jax.random.split(key, 10))[1])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("model", [CHEETAH, ModelSettings("walker2d"), ModelSettings("hopper")])
def test_mjx_moves_bodies_as_mujoco_does(model):
    pytest.importorskip("mujoco.mjx")
    exact, other = (engine_of(name, model, 4) for name in ("mujoco", "mjx"))
    control = jnp.linspace(-1, 1, exact.model.nu)
    np.testing.assert_allclose(
        steps(other, control, num_steps=10), steps(exact, control, num_steps=10), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_ant_of_mjx_differs_by_the_axes_of_friction_alone():
    """Pyramids of friction have axes, and MJX lays them otherwise; elliptic cones have none."""
    pytest.importorskip("mujoco.mjx")
    from mamlax.rl.engines._mjx import MjxEngine

    model = compiled_model(ModelSettings("ant"))
    model.opt.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    exact, other = _mujoco.MujocoEngine(model, 5), MjxEngine(model, 5)
    control = jnp.linspace(-1, 1, model.nu)
    expected = steps(exact, control, num_steps=10)
    assert expected[:, 2].min() < 0.65, "it has not touched the ground"
    np.testing.assert_allclose(steps(other, control, num_steps=10), expected, atol=1e-4)
