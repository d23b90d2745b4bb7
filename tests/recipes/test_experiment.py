"""A small sinusoid experiment from end to end, checked against one done by hand."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import mamlax
from mamlax import cli, plots
from mamlax.recipes import RECIPES, _experiment, _settings, _stage

FACTORS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Crash(Exception):
    """A crash."""


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """The evaluation, the directory, and what was reported."""
    directory, reported = tmp_path_factory.mktemp("runs") / "run", []
    evaluation = _experiment.train(
        small.sinusoid(),
        directory=directory,
        report=lambda stage, line: reported.append((stage, line)),
    )
    return evaluation, directory, reported


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the trained run."""
    shutil.copytree(trained[1], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def by_hand(small):
    """The same experiment, written out: curves and step sizes of MAML and of the random start."""
    tasks = mamlax.Sinusoids(shots=5)
    recipe = small.sinusoid()

    def loss_fn(params, batch):
        return jnp.mean((params(batch.inputs) - batch.targets) ** 2)

    def key_of(stage):
        return jax.random.split(jax.random.fold_in(jax.random.key(0), stage))

    def init(key):
        return mamlax.models.mlp(key, 1, 1, hidden_sizes=(8,))

    def curves(params, rate, seed, num_tasks):
        held_out = mamlax.sample_tasks(tasks.sample, jax.random.key(seed), num_tasks)

        def curve(task):
            adapted, values = params, []
            for _ in range(recipe.num_test_inner_steps + 1):
                values.append(loss_fn(adapted, task.query))
                gradient = jax.grad(loss_fn)(adapted, task.support)
                adapted = jax.tree.map(lambda p, g: p - rate * g, adapted, gradient)
            return jnp.stack(values)

        return jax.vmap(curve)(held_out)

    curves = jax.jit(curves, static_argnums=3)
    init_key, run_key = key_of(0)
    learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.02), num_inner_steps=1)
    optimizer = optax.chain(
        optax.clip_by_global_norm(0.5), optax.adam(optax.cosine_decay_schedule(0.05, 30), b2=0.9)
    )
    loop = mamlax.outer_loop(learner, optimizer, tasks.sample, meta_batch_size=4)
    result = mamlax.run(loop, init(init_key), key=run_key, num_outer_steps=30, log_interval=10)
    random = init(key_of(2)[0])
    rates = [factor * 0.02 for factor in FACTORS]
    scores = [float(curves(random, rate, 1, 50)[:, -1].mean()) for rate in rates]
    rate = rates[int(np.argmin(scores))]
    return {
        "maml": (np.asarray(curves(result.state.meta_params, 0.02, 2, 50)), 0.02),
        "random": (np.asarray(curves(random, rate, 2, 50)), rate),
        "scores": scores,
    }


@pytest.mark.parametrize("name", ["maml", "random"])
@pytest.mark.slow
def test_an_experiment_is_what_can_be_done_by_hand(trained, by_hand, name):
    evaluation, _, _ = trained
    curve = evaluation["curve"] if name == "maml" else evaluation["baselines"][name]
    values, rate = by_hand[name]
    assert evaluation["inner_learning_rates"][name] == pytest.approx(rate)
    for step, point in enumerate(curve):
        assert point["num_inner_steps"] == step
        assert point["mean"] == pytest.approx(values[:, step].mean(), rel=1e-4)
        error = 1.96 * values[:, step].std(ddof=1) / np.sqrt(50)
        assert point["ci95"] == pytest.approx(error, rel=1e-3)


def test_a_baselines_step_size_is_chosen_on_validation_tasks(trained, by_hand):
    scores = by_hand["scores"]
    assert len(set(scores)) == len(FACTORS)
    rates = trained[0]["inner_learning_rates"]
    assert set(rates) == {"maml", "pretrained", "random", "oracle"}
    for name, rate in rates.items():
        assert min(abs(rate / 0.02 - factor) for factor in FACTORS) < 1e-6, name
    assert rates["maml"] == 0.02


@pytest.mark.slow
@pytest.mark.parametrize("worst_first", [True, False])
def test_the_best_of_the_step_sizes_is_taken_wherever_it_stands(
    small, monkeypatch, tmp_path, worst_first
):
    """For a metric to be small, and with a step size that diverges among the candidates."""
    factors = (1e6, 1.0) if worst_first else (1.0, 1e6)
    monkeypatch.setattr(_experiment, "_STEP_SIZE_FACTORS", factors)
    evaluation = _experiment.train(small.sinusoid(), directory=tmp_path / "run")
    for name in ("pretrained", "random", "oracle"):
        assert evaluation["inner_learning_rates"][name] == pytest.approx(0.02)


@pytest.mark.parametrize(
    "told, expected",
    [
        ({}, 2),  # those of the evaluation
        ({"num_validation_inner_steps": 1}, 1),
        ({"num_validation_inner_steps": 1, "num_baseline_inner_steps": 5}, 5),
    ],
)
def test_after_how_many_steps_a_baselines_step_size_is_chosen(
    small, monkeypatch, tmp_path, told, expected
):
    """As many as a recipe says: from a head of zeros the first step ranks classes alike."""
    asked = []

    def score(self, stage, params, rate, num_inner_steps, num_tasks):
        asked.append(num_inner_steps)
        return 1.0

    monkeypatch.setattr(_experiment.Experiment, "_score", score)
    recipe = small.sinusoid(**told)
    experiment = _experiment.Experiment(recipe, recipe.build(None), tmp_path, 0, 1)
    experiment.learned(experiment.stages["random"], None)
    assert asked == [expected] * len(FACTORS)


def test_what_an_evaluation_holds(trained):
    evaluation, directory, _ = trained
    assert json.loads((directory / "evaluation.json").read_text()) == evaluation
    assert evaluation["recipe"] == "sinusoid" and evaluation["metric"] == "mse"
    assert evaluation["algorithm"] == "maml"
    assert evaluation["num_tasks"] == 50 and evaluation["num_seeds"] == 1
    assert evaluation["transductive"] is False and evaluation["outer_step"] == 30
    assert "seeds" not in evaluation and "non_transductive_curve" not in evaluation
    assert set(evaluation["baselines"]) == {"pretrained", "random", "oracle"}
    for curve in (evaluation["curve"], *evaluation["baselines"].values()):
        assert [set(point) for point in curve] == [{"num_inner_steps", "mean", "ci95"}] * 3
        assert [point["num_inner_steps"] for point in curve] == [0, 1, 2]
        assert all(point["mean"] > 0 and point["ci95"] > 0 for point in curve)


def test_meta_training_was_of_use(trained):
    curves = {"maml": trained[0]["curve"], **trained[0]["baselines"]}
    assert curves["maml"][-1]["mean"] < curves["random"][-1]["mean"]


def test_each_stage_reports_and_logs(trained):
    _, directory, reported = trained
    steps = [(stage, line["step"], line["num_outer_steps"]) for stage, line in reported]
    assert steps == [
        *(("maml", step, 30) for step in (10, 20, 30)),
        *(("pretrained", step, 20) for step in (10, 20)),
        *(("oracle", step, 20) for step in (10, 20)),
    ]
    for folder, count in (("", 3), ("baselines/pretrained", 2), ("baselines/oracle", 2)):
        lines = (directory / folder / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == count
        assert ("train/support_loss" in lines[0]) == (folder == ""), "baselines train jointly"
    assert not (directory / "baselines" / "random").exists(), "there is nothing to train"


def test_examples_hold_what_the_figure_shows_and_no_pickles(trained):
    with np.load(trained[1] / "examples.npz", allow_pickle=False) as arrays:
        examples = dict(arrays)
    assert examples["kind"] == "sinusoid" and examples["grid"].shape == (201,)
    for index, (amplitude, phase) in enumerate([(4.0, 0.5), (1.5, 2.0), (3.0, 2.8), (0.7, 1.2)]):
        truth = amplitude * np.sin(examples["grid"] - phase)
        np.testing.assert_allclose(examples[f"{index}/truth"], truth, atol=1e-5)
        x, y = examples[f"{index}/support_x"], examples[f"{index}/support_y"]
        np.testing.assert_allclose(y, amplitude * np.sin(x - phase), atol=1e-5)
        for name in ("maml", "pretrained"):
            curves = examples[f"{index}/{name}"]
            assert curves.shape == (2, 201) and np.isfinite(curves).all()  # before, after 1
            assert not np.allclose(curves[0], curves[1], atol=1e-3), "nothing was adapted"


def test_all_figures_of_the_run_are_drawn(copy):
    names = [path.name for path in plots.draw_run(copy)]
    assert names == ["learning_curve.png", "adaptation.png", "sinusoids.png"]


def test_repeating_the_command_trains_nothing_and_gives_the_same_numbers(trained, copy, small):
    def report(stage, line):
        raise AssertionError(f"{stage} was trained again")

    assert _experiment.train(small.sinusoid(), directory=copy, report=report) == trained[0]


@pytest.mark.parametrize(
    "stage, step", [("maml", 20), pytest.param("oracle", 10, marks=pytest.mark.slow)]
)
def test_a_crash_in_any_stage_is_resumed_to_the_same_numbers(trained, small, tmp_path, stage, step):
    def report(name, line):
        if (name, line["step"]) == (stage, step):
            raise Crash

    with pytest.raises(Crash):
        _experiment.train(small.sinusoid(), directory=tmp_path, report=report)
    assert not (tmp_path / "evaluation.json").exists()
    assert _experiment.train(small.sinusoid(), directory=tmp_path) == trained[0]


def test_evaluating_again_gives_the_same_numbers(trained, copy):
    (copy / "evaluation.json").unlink()
    assert _experiment.evaluate(copy) == trained[0]
    assert json.loads((copy / "evaluation.json").read_text()) == trained[0]


def test_evaluating_from_the_command_line(trained, copy, capsys, monkeypatch):
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    assert cli.main(["evaluate", str(copy), "--num-tasks", "8", "--num-inner-steps", "3"]) == 0
    evaluation = json.loads((copy / "evaluation.json").read_text())
    assert evaluation["num_tasks"] == 8 and len(evaluation["curve"]) == 4
    output = capsys.readouterr()
    assert "8 held-out tasks" in output.out and "mse" in output.out
    for name, curve in {"maml": evaluation["curve"], **evaluation["baselines"]}.items():
        assert (
            name in output.out and f"{curve[3]['mean']:.3f} ±{curve[3]['ci95']:.3f}" in output.out
        )
    assert str(copy / "evaluation.json") in output.err
    for name in ("maml", *evaluation["baselines"]):
        assert f"{name}: evaluating on 8 held-out tasks" in output.err.splitlines()


@pytest.mark.parametrize("settings", [dict(num_tasks=0), dict(num_inner_steps=-1)])
def test_an_evaluation_of_nothing_is_refused(copy, trained, settings):
    with pytest.raises(mamlax.MamlaxError, match=str(next(iter(settings.values())))):
        _experiment.evaluate(copy, **settings)
    assert json.loads((copy / "evaluation.json").read_text()) == trained[0]


def test_evaluating_what_was_not_trained_to_the_end_says_what_is_missing(copy):
    log = copy / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    with pytest.warns(UserWarning, match="unfinished: maml has taken 20 of 30 outer steps"):
        _experiment.evaluate(copy)
    shutil.rmtree(copy / "baselines" / "oracle")
    log.unlink()
    with (
        pytest.warns(UserWarning, match="maml has taken 0 of 30"),
        pytest.raises(mamlax.MamlaxError, match="oracle has taken 0 of 20 outer steps"),
    ):
        _experiment.evaluate(copy)


@pytest.mark.parametrize(
    "changes, arguments, differences",
    [
        ({}, {"seed": 1}, ["seed: 0 there, 1 now"]),
        ({}, {"num_seeds": 2}, ["num_seeds: 1 there, 2 now"]),
        ({"num_outer_steps": 40}, {}, ["settings.num_outer_steps: 30 there, 40 now"]),
        ({"problem": {"shots": 7}}, {}, ["settings.problem.shots: 5 there, 7 now"]),
        ({"first_order": True}, {}, ["settings.first_order: False there, True now"]),
    ],
)
def test_another_run_in_the_same_directory_is_refused(copy, small, changes, arguments, differences):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(mamlax.MamlaxError, match="holds another run") as error:
        _experiment.train(small.sinusoid(**changes), directory=copy, **arguments)
    found = [line.strip() for line in str(error.value).splitlines() if " there, " in line]
    assert found == differences
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


def test_another_recipe_or_version_in_the_same_directory_is_refused(copy, small, monkeypatch):
    other = replace(small.sinusoid(), name="sinusoid-5-shot")
    with pytest.raises(mamlax.MamlaxError, match="recipe: 'sinusoid' there, 'sinusoid-5-shot' now"):
        _experiment.train(other, directory=copy)
    with pytest.raises(mamlax.MamlaxError, match=r"recipe: 'sinusoid' there, 'omniglot"):
        _experiment.open_run(copy, _settings.description_of(RECIPES["omniglot-5-way-1-shot"], 0, 1))
    version = _settings.version
    monkeypatch.setattr(
        _settings, "version", lambda name: "9.9" if name == "mamlax" else version(name)
    )
    with pytest.raises(mamlax.MamlaxError, match=r"mamlax: '0\.1\.0' there, '9\.9' now"):
        _experiment.train(small.sinusoid(), directory=copy)


def test_another_version_of_a_library_may_resume(trained, copy, small, monkeypatch):
    version = _settings.version
    monkeypatch.setattr(
        _settings, "version", lambda name: "9.9" if name == "jax" else version(name)
    )
    assert _experiment.train(small.sinusoid(), directory=copy) == trained[0]


@pytest.fixture(scope="module")
def two_seeds(small, tmp_path_factory):
    directory = tmp_path_factory.mktemp("seeds") / "run"
    recipe = small.sinusoid(num_baseline_steps=0)
    return _experiment.train(recipe, num_seeds=2, directory=directory), directory


@pytest.mark.slow
def test_seeds_side_by_side_begin_with_the_single_one(trained, two_seeds):
    evaluation, _ = two_seeds
    assert evaluation["num_seeds"] == 2 and len(evaluation["seeds"]) == 2
    for together, alone in zip(evaluation["seeds"][0], trained[0]["curve"], strict=True):
        assert together["mean"] == pytest.approx(alone["mean"], rel=1e-3)
        assert together["ci95"] == pytest.approx(alone["ci95"], rel=1e-3)
    first, second = ([point["mean"] for point in curve] for curve in evaluation["seeds"])
    assert not np.allclose(first, second, rtol=1e-2)


def test_over_seeds_the_interval_is_students(two_seeds):
    evaluation, _ = two_seeds
    for step, point in enumerate(evaluation["curve"]):
        means = [curve[step]["mean"] for curve in evaluation["seeds"]]
        assert point["mean"] == pytest.approx(np.mean(means), rel=1e-9)
        t = stats.t.ppf(0.975, 1)
        assert point["ci95"] == pytest.approx(t * np.std(means, ddof=1) / np.sqrt(2), rel=1e-9)


def test_a_run_of_seeds_is_evaluated_again_and_drawn(two_seeds, tmp_path):
    evaluation, directory = two_seeds
    shutil.copytree(directory, tmp_path / "run")
    assert _experiment.evaluate(tmp_path / "run") == evaluation
    assert len(plots.draw_run(tmp_path / "run")) == 3


def test_two_devices_and_micro_batches_change_nothing_beyond_rounding(trained, small, tmp_path):
    assert jax.device_count() >= 2
    results = []
    for recipe, directory in (
        (small.sinusoid(num_devices=2, task_batch_size=1), tmp_path),
        (small.sinusoid(), trained[1]),
    ):
        parts = recipe.problem.build()
        experiment = _experiment.Experiment(recipe, parts, directory, seed=0, num_seeds=1)
        assert (experiment._mesh(4) is None) == (recipe.num_devices == 1)
        results.append(experiment.train(experiment.stages["maml"], lambda *_: None).state)
    for ours, expected in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_validation_chooses_the_checkpoint_that_is_evaluated(small, tmp_path):
    recipe = small.sinusoid(validation_interval=10, num_baseline_steps=0)
    evaluation = _experiment.train(recipe, directory=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    best = min(lines, key=lambda line: line["validation/mse"])
    assert evaluation["outer_step"] == best["step"]


def test_what_diverged_or_did_not_adapt_is_told(small, tmp_path, monkeypatch):
    def score(self, stage, params, rate, *_):
        return rate if stage.is_baseline else float("nan")

    monkeypatch.setattr(_experiment.Experiment, "_score", score)
    recipe = small.sinusoid(
        validation_interval=10, num_validation_inner_steps=3, num_baseline_steps=0
    )
    announced = []
    with pytest.warns(UserWarning, match=r"diverged: they take 3 inner steps, training 1\."):
        evaluation = _experiment.train(recipe, directory=tmp_path, announce=announced.append)
    assert evaluation["inner_learning_rates"]["random"] == 0.0
    assert "random: no inner learning rate helps; it stays unadapted" in announced


def test_without_trained_baselines_the_others_remain(small, tmp_path):
    evaluation = _experiment.train(small.sinusoid(num_baseline_steps=0), directory=tmp_path)
    assert set(evaluation["baselines"]) == {"random"}
    assert plots.draw_run(tmp_path)


def test_baselines_train_as_long_as_maml_by_default(small, tmp_path):
    stages = _stage.stages_of(
        small.sinusoid(num_baseline_steps=None), small.sinusoid().problem.build(), tmp_path
    )
    assert {name: stage.num_outer_steps for name, stage in stages.items()} == dict.fromkeys(
        ["maml", "pretrained", "random", "oracle"], 30
    )


@pytest.mark.parametrize(
    "changes, arguments, words",
    [
        ({}, {"num_seeds": 0}, ["--num-seeds", "0"]),
        ({"num_devices": 99}, {}, ["--num-devices 99", "2"]),
        ({"num_devices": 2, "meta_batch_size": 5}, {}, ["5 tasks", "--num-devices 2"]),
        ({"problem": {"shots": 0}}, {}, ["shots", "0"]),
        ({"num_inner_steps": -1}, {}, ["num_inner_steps", "-1"]),
        ({"meta_batch_size": 0}, {}, ["meta_batch_size", "0"]),
        ({"task_batch_size": 3}, {}, ["4 tasks", "batch_size=3"]),
        ({"num_outer_steps": -1}, {}, ["num_outer_steps", "-1"]),
        ({"num_outer_steps": 0}, {}, ["num_outer_steps", "0"]),
        ({"num_baseline_steps": -3}, {}, ["num_baseline_steps", "-3"]),
        ({"log_interval": 0}, {}, ["log_interval", "0"]),
        ({"checkpoint_interval": 15}, {}, ["checkpoint_interval=15", "log_interval=10"]),
        ({"validation_interval": 15}, {}, ["validation", "15", "log_interval=10"]),
        ({"num_test_tasks": 0}, {}, ["0 tasks"]),
        ({"num_test_inner_steps": -1}, {}, ["-1 inner steps"]),
    ],
)
def test_bad_settings_are_refused_before_training_and_leave_no_run_behind(
    small, tmp_path, changes, arguments, words
):
    """A directory claimed by a mistyped command would refuse the corrected one."""
    trained = []
    with pytest.raises((mamlax.MamlaxError, ValueError)) as error:
        _experiment.train(
            small.sinusoid(**changes),
            directory=tmp_path / "run",
            report=lambda *line: trained.append(line),
            **arguments,
        )
    for word in words:
        assert word in str(error.value), str(error.value)
    assert not trained, "the error came only after training"
    assert not (tmp_path / "run").exists(), "a run directory was left behind"


def test_divergence_stops_the_experiment(small, tmp_path):
    recipe = small.sinusoid(outer_learning_rate=1e30)
    with pytest.raises(mamlax.TrainingDivergedError, match=r"outer step \d+\.") as error:
        _experiment.train(recipe, directory=tmp_path)
    assert "--gradient-clip" in str(error.value)
    assert not (tmp_path / "evaluation.json").exists()


def test_a_trained_run_is_loaded_to_adapt(trained, by_hand):
    loaded = mamlax.load_run(trained[1])
    task = loaded.parts.test_tasks.sample(jax.random.key(5))
    adaptation = jax.jit(loaded.learner.adapt)(loaded.params, task.support)
    assert adaptation.support_losses.shape == (1,), "as many steps as in training"
    tasks = mamlax.sample_tasks(loaded.parts.test_tasks.sample, jax.random.key(2), 50)
    before = jax.vmap(lambda task: loaded.parts.metric_fn(loaded.params, task.query))(tasks)
    np.testing.assert_allclose(before, by_hand["maml"][0][:, 0], rtol=1e-4)


def test_a_run_of_seeds_is_loaded_as_its_first(trained, two_seeds):
    alone, together = (mamlax.load_run(path).params for path in (trained[1], two_seeds[1]))
    for ours, expected in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_nothing_is_loaded_from_no_run(tmp_path):
    with pytest.raises(mamlax.MamlaxError, match="not a run directory"):
        mamlax.load_run(tmp_path)
