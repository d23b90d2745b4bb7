"""A small sinusoid experiment from end to end, checked against one done by hand."""

import json
import re
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
from mamlax.experiments._evaluate import evaluate
from mamlax.experiments._experiment import experiment_of
from mamlax.experiments._mesh import mesh_for
from mamlax.experiments._metric import TEST_SEED
from mamlax.experiments._result import STEP_SIZE_FACTORS, result_of
from mamlax.experiments._train import train, train_stage
from mamlax.experiments.problems._build import parts_of
from mamlax.records import SinusoidExamples, read_evaluation, read_examples, read_metrics

FACTORS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Crash(Exception):
    """A crash."""


class Tracked(mamlax.trackers.Tracker):
    """Keeps what it is sent."""

    name = "tracked"

    def __init__(self):
        self.lines, self.figures = {}, []

    def start(self, run):
        self.settings = run.settings

    def log(self, series, step, values):
        self.lines.setdefault(series, {})[step] = values

    def figure(self, name, path):
        self.figures.append(name)


@pytest.fixture(scope="module")
def tracked():
    """Where the training is tracked."""
    return Tracked()


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory, tracked):
    """The evaluation, the directory, and what was reported."""
    directory, reported = tmp_path_factory.mktemp("runs") / "run", []
    evaluation = train(
        small.sinusoid(),
        directory=directory,
        report=lambda stage, line: reported.append((stage, line)),
        trackers=[tracked],
        draw=lambda directory: [directory / "figures" / "drawn.png"],
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
            for _ in range(recipe.evaluation.num_test_inner_steps + 1):
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
        "main": (np.asarray(curves(result.state.meta_params, 0.02, 2, 50)), 0.02),
        "random": (np.asarray(curves(random, rate, 2, 50)), rate),
        "scores": scores,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["main", "random"])
def test_an_experiment_equals_one_done_by_hand(trained, by_hand, name):
    evaluation, _, _ = trained
    curve = evaluation.curve if name == "main" else evaluation.baselines[name]
    values, rate = by_hand[name]
    assert evaluation.inner_learning_rates[name] == pytest.approx(rate)
    for step, point in enumerate(curve):
        assert point.num_inner_steps == step
        assert point.mean == pytest.approx(values[:, step].mean(), rel=1e-4)
        error = 1.96 * values[:, step].std(ddof=1) / np.sqrt(50)
        assert point.ci95 == pytest.approx(error, rel=1e-3)


@pytest.mark.slow
def test_a_baselines_step_size_is_chosen_on_validation_tasks(trained, by_hand):
    assert STEP_SIZE_FACTORS == FACTORS
    scores = by_hand["scores"]
    assert len(set(scores)) == len(FACTORS)
    rates = trained[0].inner_learning_rates
    assert set(rates) == {"main", "pretrained", "random", "oracle"}
    for name, rate in rates.items():
        assert min(abs(rate / 0.02 - factor) for factor in FACTORS) < 1e-6, name
    assert rates["main"] == 0.02


def told(recipe, directory, score, *, metric="mse", announced=None):
    """An experiment whose every score is `score(is_baseline, rate, num_inner_steps)`."""
    parts = replace(parts_of(recipe), metric=metric)
    announce = (announced if announced is not None else []).append
    experiment = experiment_of(recipe, parts, directory, announce=announce)

    def curves_of(make_learner, metric_fn, num_inner_steps, num_tasks):
        is_baseline = make_learner == experiment.method.baseline_learner
        return lambda params, rate, tasks, seed: np.full(
            (num_tasks, num_inner_steps + 1), score(is_baseline, rate, num_inner_steps)
        )

    return experiment._replace(curves_of=curves_of)


@pytest.mark.parametrize("metric, sign", [("mse", -1), ("accuracy", 1)])
@pytest.mark.parametrize("best", [0, 4, 9])
def test_the_best_step_size_is_chosen_from_any_position(small, tmp_path, metric, sign, best):
    """For metrics to minimize or maximize, also if neighboring step sizes diverge."""

    def score(is_baseline, rate, _):
        factor = FACTORS.index(min(FACTORS, key=lambda one: abs(0.02 * one - rate)))
        if factor in (best - 1, best + 1):
            return float("nan")
        return sign * (1.0 if factor == best else -0.1 * factor)

    experiment = told(small.sinusoid(), tmp_path, score, metric=metric)
    result = result_of(experiment, experiment.stages["random"], None)
    assert result.inner_learning_rate == pytest.approx(0.02 * FACTORS[best])
    assert result.outer_step == 0


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({}, 2),  # those of the evaluation
        ({"num_validation_inner_steps": 1}, 1),
        ({"num_validation_inner_steps": 1, "num_baseline_inner_steps": 5}, 5),
    ],
)
def test_inner_steps_of_tuning_a_baseline(small, tmp_path, settings, expected):
    """After one step from a head of zeros, all step sizes rank classes alike; so more may help."""
    asked = []

    def score(is_baseline, rate, num_inner_steps):
        asked.append(num_inner_steps)
        return 1.0

    experiment = told(small.sinusoid(**settings), tmp_path, score)
    result_of(experiment, experiment.stages["random"], None)
    assert asked == [expected] * len(FACTORS)


def test_what_an_evaluation_holds(trained):
    evaluation, directory, _ = trained
    assert read_evaluation(directory) == evaluation
    assert evaluation.recipe == "sinusoid" and evaluation.metric == "mse"
    assert evaluation.algorithm == "maml"
    assert evaluation.num_tasks == 50 and evaluation.num_seeds == 1
    assert evaluation.transductive is False and evaluation.outer_step == 30
    assert evaluation.seeds is None and evaluation.non_transductive_curve is None
    assert evaluation.published is None
    assert set(evaluation.baselines) == {"pretrained", "random", "oracle"}
    for curve in (evaluation.curve, *evaluation.baselines.values()):
        assert [point.num_inner_steps for point in curve] == [0, 1, 2]
        assert all(point.mean > 0 and point.ci95 > 0 for point in curve)


def test_meta_training_improves_the_metric(trained):
    evaluation, _, _ = trained
    assert evaluation.curve[-1].mean < evaluation.baselines["random"][-1].mean


def test_trackers_are_sent_settings_lines_evaluation_and_figures(trained, tracked):
    evaluation, directory, _ = trained
    assert tracked.settings["recipe"] == "sinusoid" and tracked.settings["hidden_sizes"] == [8]
    for series, path in (("main", directory), ("pretrained", directory / "baselines/pretrained")):
        lines = {line["step"]: line for line in read_metrics(path / "metrics.jsonl")}
        assert tracked.lines[series].keys() == lines.keys()
        for step, values in tracked.lines[series].items():
            assert values == {name: lines[step][name] for name in values}
            assert {"train/query_loss", "time/compile_seconds"} <= values.keys()
    curves = {"main": evaluation.curve, **evaluation.baselines}
    for name, curve in curves.items():
        values = tracked.lines[f"evaluation/{name}"].values()
        assert [one["mse"] for one in values] == [point.mean for point in curve]
    assert tracked.figures == ["drawn"]


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


def test_examples_hold_what_the_figure_shows(trained):
    examples = read_examples(trained[1])
    assert isinstance(examples, SinusoidExamples) and examples.algorithm == "maml"
    assert examples.grid.shape == (201,) and examples.num_steps.tolist() == [0, 1]
    for index, (amplitude, phase) in enumerate([(4.0, 0.5), (1.5, 2.0), (3.0, 2.8), (0.7, 1.2)]):
        truth = amplitude * np.sin(examples.grid - phase)
        np.testing.assert_allclose(examples.truth[index], truth, atol=1e-5)
        x, y = examples.support_x[index], examples.support_y[index]
        np.testing.assert_allclose(y, amplitude * np.sin(x - phase), atol=1e-5)
        for name in ("main", "pretrained"):
            before, after = examples.predictions[name][index]
            assert before.shape == (201,) and np.isfinite([before, after]).all()
            assert not np.allclose(before, after, atol=1e-3), "nothing was adapted"


@pytest.mark.slow
def test_all_figures_of_the_run_are_drawn(copy):
    names = [path.name for path in plots.draw_run(copy)]
    assert names == ["learning_curve.png", "adaptation.png", "sinusoids.png"]


def test_repeating_the_command_trains_nothing_and_gives_the_same_numbers(trained, copy, small):
    def report(stage, line):
        raise AssertionError(f"{stage} was trained again")

    said = []
    again = train(small.sinusoid(), directory=copy, report=report, announce=said.append)
    assert again == trained[0]
    for stage in ("maml", "pretrained", "oracle"):
        assert any(words.startswith(f"{stage}: trained already, to outer step") for words in said)


@pytest.mark.parametrize("stage, step", [("maml", 20), ("oracle", 10)])
@pytest.mark.slow
def test_a_crash_in_any_stage_is_resumed_to_the_same_numbers(trained, small, tmp_path, stage, step):
    def report(name, line):
        if (name, line["step"]) == (stage, step):
            raise Crash

    with pytest.raises(Crash):
        train(small.sinusoid(), directory=tmp_path, report=report)
    assert not (tmp_path / "evaluation.json").exists()
    assert train(small.sinusoid(), directory=tmp_path) == trained[0]


def test_evaluating_again_gives_the_same_numbers(trained, copy):
    (copy / "evaluation.json").unlink()
    assert evaluate(copy) == trained[0]
    assert read_evaluation(copy) == trained[0]


def test_baselines_may_be_left_out_of_an_evaluation(trained, copy, tmp_path):
    found = evaluate(copy, out=tmp_path / "other", baselines=False)
    assert found.curve == trained[0].curve and found.baselines == {}
    assert found.inner_learning_rates.keys() == {"main"}
    assert plots.draw_run(tmp_path / "other")


@pytest.mark.slow
def test_evaluating_from_the_command_line(trained, copy, capsys, monkeypatch):
    monkeypatch.setattr("mamlax.cli._devices.prepare_jax", lambda: None)
    assert cli.main(["evaluate", str(copy), "--num-tasks", "8", "--num-inner-steps", "3"]) == 0
    evaluation = read_evaluation(copy)
    assert evaluation.num_tasks == 8 and len(evaluation.curve) == 4
    output = capsys.readouterr()
    assert "8 held-out tasks" in output.out and "mse" in output.out
    for name, curve in {"maml": evaluation.curve, **evaluation.baselines}.items():
        assert name in output.out and f"{curve[3].mean:.3f} ±{curve[3].ci95:.3f}" in output.out
        assert f"{name}: evaluating on 8 held-out tasks" in output.err.splitlines()
    assert str(copy / "evaluation.json") in output.err


def test_other_tasks_are_evaluated_in_a_directory_of_their_own(trained, copy, tmp_path):
    with pytest.raises(mamlax.MamlaxError, match=r"shots: with other settings.*--out"):
        evaluate(copy, shots=9)
    with pytest.raises(mamlax.MamlaxError, match="no setting 'outer_learning_rate'"):
        evaluate(copy, out=tmp_path / "other", outer_learning_rate=0.1)
    with pytest.raises(mamlax.MamlaxError, match=r"hidden_sizes cannot be another.*shots"):
        evaluate(copy, out=tmp_path / "other", hidden_sizes=(4,))
    with pytest.raises(mamlax.MamlaxError, match="holds another run"):
        evaluate(trained[1], out=copy, shots=9)
    found = evaluate(copy, out=tmp_path / "other", shots=9)
    assert found.held_out == {"shots": 9} and trained[0].held_out is None
    assert read_evaluation(copy) == trained[0]
    assert read_evaluation(tmp_path / "other") == found
    # adapted by hand to supports of 9
    learned = mamlax.load_run(copy)
    number = found.num_tasks
    tasks = mamlax.sample_tasks(mamlax.Sinusoids(shots=9).sample, jax.random.key(TEST_SEED), number)
    losses = jax.vmap(
        lambda task: jnp.mean(
            (
                learned.learner.adapt(learned.params, task.support).params(task.query.inputs)
                - task.query.targets
            )
            ** 2
        )
    )(tasks)
    assert tasks.support.inputs.shape == tasks.query.inputs.shape == (number, 9, 1)
    assert found.curve[1].mean == pytest.approx(float(jnp.mean(losses)), rel=1e-4)


@pytest.mark.parametrize("settings", [dict(num_tasks=0), dict(num_inner_steps=-1)])
def test_an_evaluation_without_tasks_is_refused(copy, trained, settings):
    with pytest.raises(mamlax.MamlaxError, match=str(next(iter(settings.values())))):
        evaluate(copy, **settings)
    assert read_evaluation(copy) == trained[0]


def test_evaluating_an_unfinished_run_says_what_is_missing(copy):
    shutil.rmtree(copy / "checkpoint" / "latest" / "30")
    with pytest.warns(UserWarning, match="unfinished: maml has taken 20 of 30 outer steps"):
        evaluate(copy)
    shutil.rmtree(copy / "checkpoint")
    with pytest.raises(mamlax.MamlaxError, match="maml has taken 0 of 30 outer steps"):
        evaluate(copy)


@pytest.mark.slow
def test_what_is_evaluated_does_not_depend_on_the_log(small, tmp_path):
    """The best checkpoint is named, with its value, in a checkpoint, which has a digest."""
    recipe = small.sinusoid(validation_interval=10, num_validation_inner_steps=1)
    evaluation = train(recipe, directory=tmp_path)
    log = tmp_path / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line["validation/mse"] = 1e-9 if line["step"] != evaluation.outer_step else 1e9
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert evaluate(tmp_path) == train(recipe, directory=tmp_path) == evaluation
    log.unlink()
    assert evaluate(tmp_path) == evaluation


@pytest.mark.parametrize(
    "changes, arguments, differences",
    [
        ({}, {"seed": 1}, ["seed: 0 there, 1 now"]),
        ({}, {"num_seeds": 2}, ["num_seeds: 1 there, 2 now"]),
        ({"num_outer_steps": 40}, {}, ["num_outer_steps: 30 there, 40 now"]),
        ({"shots": 7}, {}, ["shots: 5 there, 7 now"]),
        ({"name": "sinusoid-5-shot"}, {}, ["recipe: 'sinusoid' there, 'sinusoid-5-shot' now"]),
    ],
)
def test_another_run_in_the_same_directory_is_refused(copy, small, changes, arguments, differences):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(mamlax.MamlaxError, match="holds another run") as error:
        train(small.sinusoid(**changes), directory=copy, **arguments)
    found = [line.strip() for line in str(error.value).splitlines() if " there, " in line]
    assert found == differences
    assert before == {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def two_seeds(small, tmp_path_factory):
    directory = tmp_path_factory.mktemp("seeds") / "run"
    recipe = small.sinusoid(num_baseline_steps=0)
    return train(recipe, num_seeds=2, directory=directory), directory


@pytest.mark.slow
def test_seeds_side_by_side_begin_with_the_single_one(trained, two_seeds):
    evaluation, _ = two_seeds
    assert evaluation.num_seeds == 2 and len(evaluation.seeds) == 2
    for together, alone in zip(evaluation.seeds[0], trained[0].curve, strict=True):
        assert together.mean == pytest.approx(alone.mean, rel=1e-3)
        assert together.ci95 == pytest.approx(alone.ci95, rel=1e-3)
    first, second = ([point.mean for point in curve] for curve in evaluation.seeds)
    assert not np.allclose(first, second, rtol=1e-2)


@pytest.mark.slow
def test_over_seeds_the_interval_is_students(two_seeds):
    evaluation, _ = two_seeds
    for step, point in enumerate(evaluation.curve):
        means = [curve[step].mean for curve in evaluation.seeds]
        assert point.mean == pytest.approx(np.mean(means), rel=1e-9)
        t = stats.t.ppf(0.975, 1)
        assert point.ci95 == pytest.approx(t * np.std(means, ddof=1) / np.sqrt(2), rel=1e-9)


@pytest.mark.slow
def test_a_run_of_seeds_is_evaluated_again_and_drawn(two_seeds, tmp_path):
    evaluation, directory = two_seeds
    shutil.copytree(directory, tmp_path / "run")
    assert evaluate(tmp_path / "run") == evaluation
    assert len(plots.draw_run(tmp_path / "run")) == 3


@pytest.mark.slow
def test_two_devices_and_micro_batches_change_nothing_beyond_rounding(trained, small, tmp_path):
    assert jax.device_count() >= 2
    assert mesh_for(4, 1) is None and mesh_for(4, 2).size == 2
    results = []
    for recipe, directory in (
        (small.sinusoid(num_devices=2, task_batch_size=1), tmp_path),
        (small.sinusoid(), trained[1]),
    ):
        experiment = experiment_of(recipe, parts_of(recipe), directory)
        results.append(train_stage(experiment, experiment.stages["main"]).state)
    for ours, expected in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_validation_chooses_the_checkpoint_that_is_evaluated(small, tmp_path):
    recipe = small.sinusoid(validation_interval=10, num_baseline_steps=0)
    evaluation = train(recipe, directory=tmp_path)
    best = min(small.lines(tmp_path), key=lambda line: line["validation/mse"])
    assert evaluation.outer_step == best["step"]


def test_divergence_and_useless_adaptation_are_reported(small, tmp_path):
    def score(is_baseline, rate, _):
        return rate if is_baseline else float("nan")

    recipe, announced = small.sinusoid(validation_interval=10, num_validation_inner_steps=3), []
    experiment = told(recipe, tmp_path, score, announced=announced)
    with pytest.warns(UserWarning, match=r"diverged: they take 3 inner steps, training 1\."):
        train_stage(experiment, experiment.stages["main"])
    result = result_of(experiment, experiment.stages["random"], None)
    assert result.inner_learning_rate == 0.0
    assert "random: no inner learning rate helps; it stays unadapted" in announced


@pytest.mark.slow
def test_without_trained_baselines_the_others_remain(small, tmp_path):
    evaluation = train(small.sinusoid(num_baseline_steps=0), directory=tmp_path)
    assert set(evaluation.baselines) == {"random"}
    assert plots.draw_run(tmp_path)


def test_baselines_train_as_long_as_the_main_stage_by_default(small, tmp_path):
    recipe = small.sinusoid(num_baseline_steps=None)
    stages = experiment_of(recipe, parts_of(recipe), tmp_path).stages
    assert {name: stage.num_outer_steps for name, stage in stages.items()} == dict.fromkeys(
        ["main", "pretrained", "random", "oracle"], 30
    )
    assert [stage.shown for stage in stages.values()] == ["maml", "pretrained", "random", "oracle"]


@pytest.mark.parametrize(
    "changes, arguments, words",
    [
        ({}, {"num_seeds": 0}, ["num.seeds", "0"]),
        ({}, {"seed": 2**32 - 1, "num_seeds": 2}, ["num_seeds=2", "the largest seed"]),
        ({"num_devices": 99}, {}, ["num.devices.99", "2"]),
        ({"num_devices": 2, "meta_batch_size": 5}, {}, ["5 tasks", "num.devices.2"]),
        ({"task_batch_size": 3}, {}, ["4 tasks", "batch.size.3"]),
    ],
)
def test_an_impossible_training_is_refused_and_writes_nothing(
    small, tmp_path, changes, arguments, words
):
    """Otherwise the directory of a mistyped command would refuse the corrected command."""
    trained = []
    with pytest.raises(mamlax.MamlaxError) as error:
        train(
            small.sinusoid(**changes),
            directory=tmp_path / "run",
            report=lambda *line: trained.append(line),
            **arguments,
        )
    for word in words:
        assert re.search(word, str(error.value)), str(error.value)
    assert not trained, "the error came only after training"
    assert not (tmp_path / "run").exists(), "a run directory was left behind"


def test_divergence_stops_the_experiment(small, tmp_path):
    recipe = small.sinusoid(outer_learning_rate=1e30)
    with pytest.raises(mamlax.TrainingDivergedError, match=r"outer step \d+\.") as error:
        train(recipe, directory=tmp_path)
    assert re.search("gradient.clip", str(error.value))
    assert not (tmp_path / "evaluation.json").exists()


def test_a_trained_run_is_loaded_to_adapt(trained):
    loaded = mamlax.load_run(trained[1])
    task = loaded.parts.test_tasks.sample(jax.random.key(5))
    adaptation = jax.jit(loaded.learner.adapt)(loaded.params, task.support)
    assert adaptation.support_losses.shape == (1,), "as many steps as in training"
    tasks = mamlax.sample_tasks(loaded.parts.test_tasks.sample, jax.random.key(2), 50)
    before = jax.vmap(lambda task: loaded.parts.metric_fn(loaded.params, task.query))(tasks)
    assert before.mean() == pytest.approx(trained[0].curve[0].mean, rel=1e-4)


def test_a_run_of_seeds_is_loaded_as_its_first(trained, two_seeds):
    alone, together = (mamlax.load_run(path).params for path in (trained[1], two_seeds[1]))
    for ours, expected in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)


def test_loading_another_directory_is_refused(tmp_path):
    with pytest.raises(mamlax.MamlaxError, match="not a run directory"):
        mamlax.load_run(tmp_path)
