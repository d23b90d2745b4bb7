"""A policy in a file: it acts and adapts as it does in its environment, from a log alone."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mamlax
from mamlax import MamlaxError, cli, rl
from mamlax.config import RECIPES
from mamlax.estimators._container import Container, write_container
from mamlax.estimators._export import write_stablehlo

KEY = jax.random.key(0)


def policy_for(env, name, **settings):
    """A policy that was not trained, as a run of this recipe would be exported."""
    recipe = RECIPES[name].changed(hidden_sizes=(8,), **settings)
    normalize = isinstance(env, rl.PointNavigation)
    params = rl.mlp_policy(KEY, env, hidden_sizes=(8,), normalize_observations=normalize)
    if normalize:
        seen = rl.ObservationMoments(jnp.array(50.0), jnp.array([0.2, 0.0]), jnp.array([2.0, 0.0]))
        params = dataclasses.replace(params, moments=seen)
    return mamlax.FewShotPolicy.of(
        params,
        env,
        algorithm=recipe.algorithm,
        episodes=recipe.episodes,
        summary={"recipe": name, "outer_step": 3},
    )


def log_of(trajectory):
    """What a machine would have logged of recorded episodes."""
    mask = np.asarray(trajectory.mask)
    following = np.concatenate([mask[:, 1:], np.zeros_like(mask[:, :1])], axis=1)
    steps = (trajectory.observations, trajectory.actions, trajectory.rewards, mask & ~following)
    return [np.asarray(values)[mask] for values in steps]


ENVIRONMENTS = {
    "navigation-2d": rl.PointNavigation(horizon=20),
    "tabular-mdp": rl.TabularMDP(4, 3, 6),
}


@pytest.fixture(params=["navigation-2d", pytest.param("tabular-mdp", marks=pytest.mark.slow)])
def case(request):
    env = ENVIRONMENTS[request.param]
    return env, policy_for(env, request.param)


def explored(env, policy, num_inner_steps=2):
    """The same in the environment: the library's own inner loop."""
    algorithm, episodes = policy.settings.algorithm, policy.settings.episodes
    learner = rl.policy_learner(
        env,
        inner_optimizer=optax.sgd(
            lambda step: algorithm.inner_learning_rate * algorithm.inner_learning_rate_decay**step
        ),
        num_inner_steps=num_inner_steps,
        episodes_per_task=5,
        discount=episodes.discount,
        gae_lambda=episodes.gae_lambda,
        normalize_advantages=episodes.normalize_advantages,
    )
    return jax.jit(learner.explore)(KEY, policy.params, env.sample_task(KEY))


def assert_close(one, other):
    for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_adapting_to_logs_is_the_inner_loop_of_the_environment(case):
    env, policy = case
    exploration = explored(env, policy)
    adapted = policy
    for step in range(2):
        support = jax.tree.map(lambda x, step=step: x[step], exploration.support)
        adapted = adapted.adapt(*log_of(support.trajectory))
        assert adapted.num_inner_steps == step + 1
    assert_close(adapted.params, exploration.policy)
    moved = jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), policy.params, adapted.params)
    assert max(jax.tree.leaves(moved)) > 1e-3 and policy.num_inner_steps == 0


@pytest.mark.slow
def test_episodes_of_unequal_length_need_no_padding_of_ones_own(case):
    """One step per episode less than the next: padded or not, the gradient is the same."""
    env, policy = case
    trajectory = explored(env, policy, 1).support.trajectory
    trajectory = jax.tree.map(lambda x: x[0], trajectory)
    horizon = trajectory.mask.shape[1]
    keep = np.arange(horizon)[None] < np.arange(horizon - 4, horizon + 1)[:, None]
    cut = trajectory._replace(
        mask=trajectory.mask & keep, rewards=jnp.where(keep, trajectory.rewards, 0.0)
    )
    algorithm, episodes = policy.settings.algorithm, policy.settings.episodes
    experience = rl.estimate_advantages(
        cut,
        discount=episodes.discount,
        gae_lambda=episodes.gae_lambda,
        moments=policy.params.moments,
    )
    gradient = jax.grad(rl.log_likelihood)(policy.params, experience)
    expected = jax.tree.map(
        lambda p, g: p - algorithm.inner_learning_rate * g, policy.params, gradient
    )
    assert_close(policy.adapt(*log_of(cut)).params, expected)


def test_units_of_observations_do_not_matter_if_they_are_normalized():
    """Not even those of the features of the baseline, which are clipped."""
    policy, (observations, _, _, ends) = good_log()
    adapted = []
    for factor in (1, 1024):
        mean, variance = factor * jnp.array([0.2, 0.0]), factor**2 * jnp.array([2.0, 0.5])
        moments = rl.ObservationMoments(jnp.array(50.0), mean, variance)
        params = dataclasses.replace(policy.params, moments=moments)
        one = dataclasses.replace(policy, params=params)
        seen = factor * observations
        adapted.append(one.adapt(seen, one.act(seen, KEY), seen[:, 0] / factor, ends).params)
    leaves = (jax.tree.leaves(params.network) for params in (policy.params, *adapted))
    for before, *after in zip(*leaves, strict=True):
        np.testing.assert_array_equal(*after)
        assert not np.array_equal(before, after[0])


def test_a_file_brings_back_the_same_policy(case, tmp_path, capsys):
    env, policy = case
    path = tmp_path / "policy.safetensors"
    adapted = policy.adapt(
        *log_of(jax.tree.map(lambda x: x[0], explored(env, policy, 1).support).trajectory)
    )
    for one in (policy, adapted):
        one.save(path)
        again = mamlax.load(path)
        assert again.settings == one.settings and again.num_inner_steps == one.num_inner_steps
        observations = np.random.default_rng(0).normal(size=(6, env.observation_size))
        for key in (None, KEY):
            actions = again.act(observations, key)
            np.testing.assert_array_equal(actions, one.act(observations, key))
            assert len(actions) == 6
        assert again.act(observations[0]).shape == actions[0].shape
    assert cli.main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    for words in (type(env).__name__, policy.summary["recipe"], "1 inner steps taken", "FewShotP"):
        assert words in said
    if isinstance(env, rl.PointNavigation):
        assert "normalized by the mean and deviation of 50 seen" in said


def test_actions_are_the_mode_or_drawn_and_are_clipped_on_demand():
    env = ENVIRONMENTS["navigation-2d"]
    policy = policy_for(env, "navigation-2d")
    observation = np.zeros(2)
    mean = policy.params(jnp.zeros((1, 2))).mean[0]
    np.testing.assert_allclose(policy.act(observation), mean, rtol=1e-6)
    drawn = np.array([policy.act(observation, jax.random.key(i)) for i in range(200)])
    assert 0.8 < drawn.std() < 1.2, "log_std starts at zero"
    inside = policy.within(drawn)
    assert inside.min() == env.action.low and inside.max() == env.action.high


def good_log(steps=8):
    """A log of a policy of navigation."""
    policy = policy_for(ENVIRONMENTS["navigation-2d"], "navigation-2d")
    observations = np.random.default_rng(1).normal(size=(steps, 2)).astype(np.float32)
    actions = policy.act(observations, KEY)
    ends = np.arange(steps) % 4 == 3
    return policy, [observations, actions, np.ones(steps, np.float32), ends]


def test_a_log_that_stops_within_an_episode_and_numbers_for_ends_are_taken():
    policy, log = good_log(6)
    one = policy.adapt(*log)
    assert_close(one.params, policy.adapt(*log[:3], [0, 0, 0, 1, 0, 1]).params)


def changed(index, change):
    def apply(log):
        log[index] = change(log[index])
        return log

    return apply


@pytest.mark.parametrize(
    "change, words",
    [
        (changed(0, lambda x: np.zeros((8, 3))), "observations of 2 numbers, got .* 3"),
        (changed(0, lambda x: x * np.nan), "observations has a number that is not finite, at"),
        (changed(1, lambda x: x[:, :1]), "actions are .steps, 2. numbers"),
        (changed(1, lambda x: x[:5]), "8 observations has 5 actions"),
        (changed(1, lambda x: x * 100), "would hardly draw these actions"),
        (changed(2, lambda x: x[:5]), "8 observations has 5 rewards"),
        (changed(2, lambda x: np.where(np.arange(8) == 3, np.inf, x)), "rewards .* at .3."),
        (changed(2, lambda x: [[1.0], [1.0, 2.0]]), "Episodes of unequal length follow one"),
        (changed(3, lambda x: x[:5]), "8 observations has 5 ends"),
        (changed(3, lambda x: np.arange(8)), "ends must be true or false"),
        (lambda log: [np.zeros((0, 2)), np.zeros((0, 2)), [], []], "at least one step"),
    ],
)
def test_a_log_that_does_not_fit_is_refused(change, words):
    policy, log = good_log()
    with pytest.raises(MamlaxError, match=words):
        policy.adapt(*change(log))


def one_episode(settings):
    """Of a policy that was trained with one episode for each inner step."""
    return settings._replace(episodes=dataclasses.replace(settings.episodes, episodes_per_task=1))


@pytest.mark.parametrize("steps", [2, 200])
def test_actions_without_noise_are_refused(steps):
    policy, (observations, _, rewards, ends) = good_log(steps)
    with pytest.raises(MamlaxError, match=r"without noise.*act\(observation, key\)"):
        policy.adapt(observations, policy.act(observations), rewards, ends)


@pytest.mark.slow
def test_one_action_at_every_step_is_refused_or_said_to_teach_nothing():
    policy, (observations, actions, rewards, ends) = good_log(4)
    with pytest.raises(MamlaxError, match=r"all 4 actions of this log are the same, \["):
        policy.adapt(observations, actions[:1].repeat(4, axis=0), rewards, ends)
    policy = policy_for(ENVIRONMENTS["tabular-mdp"], "tabular-mdp")
    with pytest.warns(UserWarning, match="all 4 actions of this log are 1: there is no other"):
        policy.adapt(np.eye(4), np.ones(4, int), np.arange(4), [0, 1, 0, 1])


@pytest.mark.parametrize(
    "ends, words",
    [
        ([0, 0, 0, 0], r"ends is false at all 4 steps.* It must be true .*trained with 20"),
        ([0, 0, 0, 1], r"one episode, of 4 steps.*trained with 20 for each inner step"),
    ],
)
def test_a_log_of_one_episode_is_taken_with_a_warning(ends, words):
    policy, log = good_log(4)
    with pytest.warns(UserWarning, match=words):
        policy.adapt(*log[:3], ends)


@pytest.mark.slow
def test_drawn_actions_are_taken_however_few():
    policy, (observations, _, rewards, ends) = good_log(1)
    policy = dataclasses.replace(policy, settings=one_episode(policy.settings))
    for seed in range(100):
        policy.adapt(observations, policy.act(observations, seed), rewards, ends)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda policy, actions: policy.within(actions), "or clipped"),
        (lambda policy, actions: 2 * actions, "would hardly draw"),
        (lambda policy, actions: 0.5 * actions, "vary less"),
    ],
)
def test_actions_logged_after_they_were_changed_are_refused(change, words):
    policy, (observations, actions, rewards, ends) = good_log(400)
    policy.adapt(observations, actions, rewards, ends)
    with pytest.raises(MamlaxError, match=words):
        policy.adapt(observations, change(policy, actions), rewards, ends)


@pytest.mark.slow
def test_a_discrete_policy_that_took_its_likeliest_actions_is_noticed():
    policy = policy_for(ENVIRONMENTS["tabular-mdp"], "tabular-mdp")
    observations = np.eye(4)[np.arange(2000) % 4]
    log = [np.ones(2000), np.arange(2000) % 6 == 5]
    policy.adapt(observations, policy.act(observations, KEY), *log)
    with pytest.raises(MamlaxError, match="without noise"):
        policy.adapt(observations, policy.act(observations), *log)


@pytest.mark.parametrize("actions", [np.full(6, 3), np.full(6, -1), np.full(6, 1.0)])
def test_discrete_actions_that_do_not_exist_are_refused(actions):
    policy = policy_for(ENVIRONMENTS["tabular-mdp"], "tabular-mdp")
    observations = np.eye(4)[[0, 1, 2, 3, 0, 1]]
    with pytest.raises(MamlaxError, match=r"integers \[steps\] from 0 to 2"):
        policy.adapt(observations, actions, np.ones(6), np.ones(6, bool))


@pytest.mark.parametrize("name", ["network", "algorithm", "episodes", "action", "summary"])
def test_a_header_that_lacks_something_names_the_file(name, tmp_path):
    policy = policy_for(ENVIRONMENTS["navigation-2d"], "navigation-2d")
    content = policy.state()
    header = {key: value for key, value in content.header.items() if key != name}
    path = tmp_path / "policy.safetensors"
    write_container(path, Container(header, content.arrays))
    with pytest.raises(MamlaxError, match=r"policy\.safetensors"):
        mamlax.load(path)


@pytest.mark.slow
def test_a_run_is_exported_and_adapts_as_in_its_evaluation(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    recipe = RECIPES["navigation-2d"].changed(
        horizon=10,
        hidden_sizes=(8,),
        meta_batch_size=2,
        episodes_per_task=3,
        num_test_episodes=3,
        num_outer_steps=2,
        num_baseline_steps=0,
        log_interval=1,
        checkpoint_interval=1,
        num_test_tasks=2,
        num_test_inner_steps=1,
        normalize_observations=True,
    )
    evaluation = mamlax.train(recipe, directory=tmp_path / "run")
    out = tmp_path / "policy.safetensors"
    assert cli.main(["export", str(tmp_path / "run"), "--out", str(out)]) == 0
    policy, run = mamlax.load(out), mamlax.load_run(tmp_path / "run")
    assert policy.summary["recipe"] == "navigation-2d"
    assert policy.summary["returns"] == [point.mean for point in evaluation.curve]
    assert json.dumps(policy.settings.environment)
    task = run.parts.test_tasks.sample_task(KEY)
    exploration = run.learner.explore(KEY, run.params, task)
    support = jax.tree.map(lambda x: x[0], exploration.support)
    assert_close(policy.adapt(*log_of(support.trajectory)).params, exploration.policy)
    capsys.readouterr()
    assert cli.main(["adapt", str(out), "--support", "a.csv", "--query", "b.csv"]) == 1
    assert "is a policy" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_programs_act_and_adapt_as_the_policy_does(name, tmp_path):
    """For any number of observations and episodes, of any length, also after a step."""
    env = ENVIRONMENTS[name]
    policy = policy_for(env, name)
    files = write_stablehlo(tmp_path / "policy", policy)
    assert [file.name for file in files] == ["policy", "policy.adapt", "policy.json"]
    act, adapt = (jax.export.deserialize(file.read_bytes()).call for file in files[:2])
    described = json.loads(files[2].read_text())
    parameters = jnp.asarray(described["parameters"], jnp.float32)
    rate = jnp.float32(described["rate"])
    for count in (3, 5):
        task = env.sample_task(KEY)
        trajectory = rl.rollout(KEY, env, task, policy.params, num_episodes=count)
        before = act(parameters, trajectory.observations[0])
        expected = policy.params(trajectory.observations[0])
        np.testing.assert_allclose(before[0], jax.tree.leaves(expected)[0], rtol=1e-4, atol=1e-5)
        recorded = (trajectory.observations, trajectory.actions, trajectory.rewards)
        parameters = adapt(parameters, *recorded, trajectory.mask, rate)
        policy = policy.adapt(*log_of(trajectory))
        rate *= described["rate_decay"]
        assert_close(parameters, jax.flatten_util.ravel_pytree(policy.params)[0])


def test_a_whole_number_is_a_key():
    policy, (observations, *_) = good_log()
    drawn = policy.act(observations, 7)
    np.testing.assert_array_equal(drawn, policy.act(observations, jax.random.key(7)))


def test_a_policy_of_another_network_or_environment_is_refused():
    env, algorithm = ENVIRONMENTS["navigation-2d"], RECIPES["navigation-2d"].algorithm
    normalized = mamlax.models.mlp(KEY, 2, 2, hidden_sizes=(8,), norm="batch")
    with pytest.raises(MamlaxError, match="GaussianPolicy of a MLP"):
        mamlax.FewShotPolicy.of(
            rl.GaussianPolicy(normalized, jnp.zeros(2)), env, algorithm=algorithm
        )
    discrete = rl.mlp_policy(KEY, ENVIRONMENTS["tabular-mdp"])
    with pytest.raises(ValueError, match="built for 4 inputs"):
        mamlax.FewShotPolicy.of(discrete, env, algorithm=algorithm)


def test_a_policy_of_another_class_is_refused():
    with pytest.raises(MamlaxError, match=r"mlp_policy makes them, not a dict"):
        mamlax.FewShotPolicy.of(
            {"w": jnp.zeros(2)},
            ENVIRONMENTS["navigation-2d"],
            algorithm=RECIPES["navigation-2d"].algorithm,
        )
