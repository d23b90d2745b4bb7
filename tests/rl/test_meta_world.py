"""Meta-World's benchmarks: goals that are kept for the test, success, and what to do without it.

Most of it needs the package, in an environment of its own: see docs/algorithms/locomotion.md.
"""

import sys

import jax
import numpy as np
import pytest

from mamlax import MamlaxError, rl
from mamlax.config import RECIPES
from mamlax.experiments._train import train
from mamlax.experiments.problems._build import parts_of
from mamlax.records import read_metrics
from mamlax.rl.envs.gymnasium import _meta_world


def test_without_it_a_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    monkeypatch.setattr(_meta_world, "_benchmark", _meta_world._benchmark.__wrapped__)
    with pytest.raises(MamlaxError, match=r"pip install '\.\[meta-world\]'"):
        parts_of(RECIPES["ml1-push"])


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("metaworld", reason="Meta-World needs an environment of its own")


def test_a_task_of_ml1_that_does_not_exist_is_refused(library):
    with pytest.raises(ValueError, match=r"task must be one of .*reach-v3"):
        rl.MetaWorld(task="fly-v3")


def test_it_plays_as_meta_world_itself_does(library):
    """Observations, rewards and success, of a goal of the test."""
    env = rl.MetaWorld("ml1", task="push-v3", split="test", horizon=5)
    assert (env.num_tasks, env.observation_size, env.action) == (50, 39, rl.Box(4))
    rl.check_environment(env)
    policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(4,))
    trajectory = jax.jit(lambda key, task: rl.rollout(key, env, task, policy, num_episodes=2))(
        jax.random.key(1), np.int32(7)
    )
    benchmark = library.ML1("push-v3", seed=0)
    theirs = benchmark.test_classes["push-v3"](reward_function_version="v2")
    theirs.set_task(benchmark.test_tasks[7])
    seen, _ = theirs.reset()
    assert np.all(seen[36:] == 0), "the goal is hidden"
    for time in range(5):
        np.testing.assert_allclose(trajectory.observations[0, time], seen, atol=1e-5)
        action = np.clip(np.asarray(trajectory.actions[0, time]), -1, 1)
        seen, reward, _, _, info = theirs.step(action)
        np.testing.assert_allclose(trajectory.rewards[0, time], reward, rtol=1e-3, atol=1e-5)
        assert bool(trajectory.solved[0, time]) == bool(info["success"])


def test_the_goals_of_the_test_are_others_and_rewards_depend_on_the_version(library):
    rewards = []
    for split, version in (("train", "v2"), ("test", "v2"), ("train", "v1")):
        env = rl.MetaWorld(split=split, reward_version=version, horizon=2)
        policy = rl.mlp_policy(jax.random.key(0), env, hidden_sizes=(4,))
        task = np.int32(0)
        rewards.append(rl.rollout(jax.random.key(1), env, task, policy, num_episodes=1).rewards)
    assert len({float(np.sum(one)) for one in rewards}) == 3


@pytest.mark.slow
def test_a_run_has_success_rates_in_its_log_and_in_its_evaluation(library, tmp_path):
    recipe = RECIPES["ml1-reach"].changed(
        meta_batch_size=2,
        num_outer_steps=2,
        episodes_per_task=2,
        num_test_episodes=2,
        num_test_tasks=2,
        hidden_sizes=(4,),
        horizon=10,
    )
    evaluation = train(recipe, directory=tmp_path / "run")
    assert len(evaluation.success_curve) == len(evaluation.curve) == 2
    assert all(0 <= point.mean <= 1 for point in evaluation.success_curve)
    assert not evaluation.baselines
    for line in read_metrics(tmp_path / "run" / "metrics.jsonl"):
        assert 0 <= line["train/pre_adaptation_success_rate"] <= 1
        assert 0 <= line["train/post_adaptation_success_rate"] <= 1
