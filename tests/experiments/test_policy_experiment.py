"""Recipes of reinforcement learning, from training to figures."""

import re
import shutil
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mamlax
from mamlax import plots, rl
from mamlax.config import RECIPES
from mamlax.experiments import _result
from mamlax.experiments._evaluate import evaluate
from mamlax.experiments._train import train
from mamlax.records import read_metrics

ROOT = Path(mamlax.__file__).parents[1]
QUICK = {
    "meta_batch_size": 4,
    "num_outer_steps": 4,
    "num_baseline_steps": 2,
    "episodes_per_task": 4,
    "num_test_episodes": 3,
    "num_test_tasks": 6,
    "num_test_inner_steps": 2,
    "num_validation_tasks": 4,
    "num_validation_inner_steps": 1,
    "validation_interval": 2,
    "log_interval": 2,
    "hidden_sizes": (8,),
    "inner_learning_rate": 0.1,
}


def small(name, **settings):
    return RECIPES[name].changed(**{**QUICK, **settings})


@pytest.fixture(scope="module", autouse=True)
def few_tuning_tasks_of_policies():
    """Each is several episodes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_result, "NUM_TUNING_TASKS", 4)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("navigation") / "run"
    recipe = small("navigation-2d", horizon=8, num_devices=1, num_baseline_steps=0)
    reported = []
    evaluation = train(recipe, directory=directory, report=lambda name, _: reported.append(name))
    assert set(reported) == {"maml-trpo"}
    return evaluation, directory, recipe


@pytest.mark.slow
def test_the_evaluation_has_returns_of_all_after_each_step(trained):
    evaluation, _, _ = trained
    assert evaluation.metric == "return" and not evaluation.transductive
    assert evaluation.algorithm == "maml-trpo"
    assert set(evaluation.baselines) == {"random"}
    assert evaluation.published is None, "of longer episodes"
    for curve in (evaluation.curve, *evaluation.baselines.values()):
        assert [point.num_inner_steps for point in curve] == [0, 1, 2]
        assert all(-30 < point.mean < 0 for point in curve)


@pytest.mark.slow
def test_the_best_validation_is_evaluated(trained):
    evaluation, directory, _ = trained
    lines = read_metrics(directory / "metrics.jsonl")
    best = max(lines, key=lambda line: line["validation/return"])
    assert evaluation.outer_step == best["step"]


@pytest.mark.slow
def test_an_evaluation_is_repeated_exactly(trained):
    evaluation, directory, _ = trained
    assert evaluate(directory) == evaluation


@pytest.mark.slow
def test_the_curve_is_the_return_of_the_episodes(trained):
    """The mean return of each task's own episodes, recomputed one task after another."""
    evaluation, directory, recipe = trained
    loaded = mamlax.load_run(directory)
    env, last = loaded.parts.test_tasks, recipe.evaluation.num_test_inner_steps

    @jax.jit
    def returns(key):
        task_key, explore_key = jax.random.split(key)
        task = env.sample_task(task_key)
        exploration = loaded.learner.explore(explore_key, loaded.params, task, num_inner_steps=last)
        support = rl.total_rewards(exploration.support.trajectory).mean(-1)
        return support, rl.total_rewards(exploration.query.trajectory).mean()

    keys = jax.random.split(jax.random.key(2), recipe.evaluation.num_test_tasks)
    support, query = map(np.stack, zip(*map(returns, keys), strict=True))
    found = np.concatenate([support.mean(0), query.mean()[None]])
    expected = [point.mean for point in evaluation.curve]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.slow
def test_a_trained_policy_adapts_from_python(trained):
    _, directory, _ = trained
    loaded = mamlax.load_run(directory)
    goal = jnp.array([0.3, 0.2])
    exploration = eqx.filter_jit(loaded.learner.explore)(jax.random.key(0), loaded.params, goal)
    assert exploration.support.trajectory.rewards.shape == (1, 3, 8)
    assert exploration.policy(jnp.zeros(2)).mean.shape == (2,)
    adaptation = eqx.filter_jit(loaded.learner.adapt)(loaded.params, exploration.support)
    for ours, expected in zip(
        jax.tree.leaves(adaptation.params), jax.tree.leaves(exploration.policy), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_documentations_code_on_a_trained_policy_runs(trained, tmp_path, monkeypatch):
    _, directory, _ = trained
    shutil.copytree(directory, tmp_path / "runs" / "navigation-2d" / "0")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "algorithms" / "rl.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    names = {}
    exec(code, names)
    assert names["action"].shape == (2,) and names["returns"].shape == (3,)
    assert names["paths"].shape == (1, 3, 8, 2)


@pytest.mark.slow
def test_figures(trained):
    _, directory, _ = trained
    names = {path.stem for path in plots.draw_run(directory)}
    assert names == {"learning_curve", "diagnostics", "adaptation", "navigation"}


@pytest.mark.slow
def test_later_steps_are_shorter(trained):
    """α, α/2, α/4: the inner learning rate falls with each inner step."""
    _, directory, recipe = trained
    loaded = mamlax.load_run(directory)
    exploration = loaded.learner.explore(
        jax.random.key(0), loaded.params, jnp.array([0.3, 0.2]), num_inner_steps=2
    )
    learner = loaded.learner
    adaptation = learner.adapt(
        loaded.params,
        exploration.support,
        num_inner_steps=2,
        probe_fn=lambda policy: policy.log_std,
    )
    policies = [
        learner.adapt(
            loaded.params,
            jax.tree.map(lambda x, n=n: x[:n], exploration.support),
            num_inner_steps=n,
        ).params
        for n in range(2)
    ]
    for step, policy in enumerate(policies):
        experience = jax.tree.map(lambda x, n=step: x[n], exploration.support)
        gradient = jax.grad(rl.likelihood_ratio)(policy, experience).log_std
        moved = adaptation.probes[step + 1] - adaptation.probes[step]
        rate = recipe.algorithm.inner_learning_rate * 0.5**step
        np.testing.assert_allclose(moved, -rate * gradient, rtol=2e-3, atol=1e-6)


@pytest.mark.slow
def test_baselines_are_trained_too(tmp_path):
    evaluation = train(small("navigation-2d", horizon=8), directory=tmp_path / "run")
    assert set(evaluation.baselines) == {"pretrained", "random", "oracle"}
    assert (tmp_path / "run/baselines/oracle/metrics.jsonl").exists()
    assert "navigation" in {path.stem for path in plots.draw_run(tmp_path / "run")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bandit-10-arms", "tabular-mdp"])
def test_the_best_possible_return_is_known(name, tmp_path):
    recipe = small(name, num_devices=1, validation_interval=None, num_baseline_steps=0)
    evaluation = train(recipe, directory=tmp_path / "run")
    oracle = evaluation.baselines["oracle"]
    assert len({point.mean for point in oracle}) == 1
    assert oracle[0].mean > max(point.mean for point in evaluation.curve)
    expected = {"learning_curve", "diagnostics", "adaptation"}
    expected |= {"bandit"} if "bandit" in name else set()
    assert {path.stem for path in plots.draw_run(tmp_path / "run")} == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": "promp", "num_gradient_steps": 2},
        {
            "algorithm": "policy-gradient",
            "surrogate": "log-likelihood",
            "sampling_correction": True,
        },
        {"num_inner_steps": 2, "step_weights": (1.0, 1.0), "fisher": "adapted"},
    ],
    ids=["promp", "policy-gradient", "steps weighed"],
)
def test_other_outer_loops_and_two_seeds(settings, tmp_path):
    recipe = small("navigation-2d", horizon=5, num_baseline_steps=0, **settings)
    evaluation = train(recipe, num_seeds=2, directory=tmp_path / "run")
    assert evaluation.algorithm == recipe.algorithm.name and len(evaluation.seeds) == 2
    one, other = ([point.mean for point in curve] for curve in evaluation.seeds)
    assert one != other


@pytest.mark.slow
def test_every_metric_is_explained(trained):
    _, directory, _ = trained
    page = (ROOT / "docs" / "metrics.md").read_text()
    lines = read_metrics(directory / "metrics.jsonl")
    assert {name for line in lines for name in line if f"`{name}`" not in page} == set()


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"step_weights": (1.0, 2.0)}, "step_weights must be one number per inner step"),
        ({"step_weights": (1.0,), "sampling_correction": True}, "leave out step_weights"),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_nothing_is_written(settings, part, tmp_path):
    with pytest.raises(mamlax.MamlaxError, match=part):
        train(small("navigation-2d", **settings), directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()
