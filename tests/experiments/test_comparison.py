"""Comparing runs: equal held-out tasks are recognized as equal, different ones as different."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import mamlax
from mamlax import cli
from mamlax.config import RECIPES
from mamlax.experiments._compare import compare, different_settings, names_of
from mamlax.experiments._evaluate import evaluate
from mamlax.experiments._fingerprints import fingerprints_of
from mamlax.experiments._train import train
from mamlax.records import (
    Curves,
    Evaluation,
    RunDescription,
    read_comparison,
    read_curves,
    read_evaluation,
)
from mamlax.records._curves import write_curves
from mamlax.records._description import open_run
from mamlax.records._evaluation import curve_of, write_evaluation
from mamlax.training._evaluation import summarize

TASKS = np.linspace(-2.0, 3.0, 20)


def write_run(
    directory,
    curves,
    *,
    recipe="sinusoid",
    metric="mse",
    fingerprints=TASKS,
    seed=0,
    transductive=False,
    **settings,
):
    """A run directory with the files that a comparison reads."""
    curves = np.asarray(curves, np.float32)
    num_seeds = len(curves) if curves.ndim == 3 else 1
    recipe = RECIPES[recipe].changed(**settings)
    open_run(directory, RunDescription(recipe, seed, num_seeds))
    write_curves(directory, Curves({"main": curves}, np.asarray(fingerprints)))
    evaluation = Evaluation(
        recipe=recipe.name,
        algorithm=recipe.algorithm.name,
        metric=metric,
        num_tasks=curves.shape[-2],
        num_seeds=num_seeds,
        transductive=transductive,
        outer_step=1,
        curve=curve_of(summarize(curves)),
        baselines={},
        inner_learning_rates={"main": 0.01},
    )
    write_evaluation(directory, evaluation)
    return directory


def values(seed, *shape):
    return np.random.default_rng(seed).random(shape or (20, 4)).astype(np.float32)


@pytest.fixture
def first(tmp_path):
    return write_run(tmp_path / "runs" / "first", values(0), first_order=False)


@pytest.fixture
def second(tmp_path):
    return write_run(tmp_path / "runs" / "second", values(1), first_order=True)


def difference(comparison):
    (one,) = comparison.differences
    return one


class TestComparison:
    def test_the_same_tasks_are_paired(self, first, second, tmp_path):
        compared = compare([first, second], tmp_path / "out")
        assert read_comparison(tmp_path / "out") == compared
        one = difference(compared)
        assert (one.name, one.to, one.paired) == ("second", "first", True)
        assert one.why_unpaired is None
        for step, point in enumerate(one.curve):
            d = values(1)[:, step].astype(float) - values(0)[:, step]
            assert point.num_inner_steps == step
            assert point.mean == pytest.approx(d.mean(), rel=1e-9)
            assert point.ci95 == pytest.approx(1.96 * d.std(ddof=1) / np.sqrt(20), rel=1e-9)

    def test_each_run_has_its_curve_and_its_own_settings(self, first, second, tmp_path):
        compared = compare([first, second], tmp_path / "out")
        assert compared.metric == "mse"
        names, settings = zip(*((run.name, run.settings) for run in compared.runs), strict=True)
        assert names == ("first", "second")
        assert settings == ({"first_order": False}, {"first_order": True})
        for run, directory in zip(compared.runs, (first, second), strict=True):
            assert run.curve == read_evaluation(directory).curve
            assert run.directory == str(directory)
            assert run.num_tasks == 20 and run.num_seeds == 1
            assert run.num_diverged == [0, 0, 0, 0]

    def test_a_setting_of_other_algorithms_is_refused_with_their_names(self, first, tmp_path):
        other = write_run(tmp_path / "imaml", values(1), algorithm="imaml", damping=2.0, seed=3)
        ours, theirs = (run.settings for run in compare([first, other], tmp_path / "out").runs)
        assert ours == {
            **{"seed": 0, "algorithm": "maml", "num_inner_steps": 1, "first_order": False},
            **{"remat": "none", "num_unrolled_steps": None, "inner_batch_size": None},
        }
        assert theirs == {
            **{"seed": 3, "algorithm": "imaml", "num_inner_steps": 16, "damping": 2.0},
            **{"proximal_strength": 2.0, "num_conjugate_gradient_steps": 5},
        }

    def test_every_difference_is_to_the_first(self, first, second, tmp_path):
        third = write_run(tmp_path / "runs" / "third", values(2))
        compared = compare([first, second, third], tmp_path / "out")
        assert [(one.name, one.to) for one in compared.differences] == [
            ("second", "first"),
            ("third", "first"),
        ]
        mean = compared.differences[1].curve[2].mean
        assert mean == pytest.approx((values(2) - values(0))[:, 2].mean(), rel=1e-4)

    def test_tasks_that_agree_to_rounding_are_the_same(self, first, tmp_path):
        other = write_run(tmp_path / "other", values(1), fingerprints=TASKS * (1 + 1e-6))
        assert difference(compare([first, other], tmp_path / "out")).paired

    @pytest.mark.parametrize("place", [0, 7, 19])
    def test_one_different_task_prevents_pairing(self, first, tmp_path, place):
        fingerprints = TASKS.copy()
        fingerprints[place] += 0.1
        other = write_run(tmp_path / "other", values(1), fingerprints=fingerprints, shots=7)
        one = difference(compare([first, other], tmp_path / "out"))
        assert not one.paired
        assert "tasks are different (shots: 7, not 10)" in one.why_unpaired
        a, b = values(1)[:, 1].astype(float), values(0)[:, 1].astype(float)
        error = np.sqrt(a.var(ddof=1) / 20 + b.var(ddof=1) / 20)
        assert one.curve[1].ci95 == pytest.approx(1.96 * error, rel=1e-9)

    def test_settings_of_the_model_do_not_unpair(self, first, tmp_path):
        other = write_run(tmp_path / "other", values(1), hidden_sizes=(9,))
        assert difference(compare([first, other], tmp_path / "out")).paired

    def test_returns_in_another_environment_are_not_paired(self, tmp_path):
        """Its tasks may be the same numbers: goals, with another horizon."""
        options = {"recipe": "navigation-2d", "metric": "return"}
        runs = [write_run(tmp_path / str(n), values(n), horizon=n, **options) for n in (50, 100)]
        why = difference(compare(runs, tmp_path / "out")).why_unpaired
        assert "environment is different (horizon: 100, not 50)" in why
        again = write_run(tmp_path / "b", values(3), horizon=50, max_kl=0.1, **options)
        assert difference(compare([runs[0], again], tmp_path / "out")).paired

    def test_another_problem_is_noted(self, tmp_path):
        """This is noted first, because no setting would make the tasks equal."""
        ours, theirs = (
            write_run(tmp_path / name, values(0), metric="return", recipe=name)
            for name in ("navigation-2d", "ant-goal")
        )
        why = difference(compare([ours, theirs], tmp_path / "out")).why_unpaired
        assert why.startswith("it is another problem (ant-goal, not navigation-2d)")

    def test_another_recipe_of_the_same_problem_is_paired(self, first, tmp_path):
        other = write_run(tmp_path / "other", values(1), recipe="sinusoid-cavia")
        assert difference(compare([first, other], tmp_path / "out")).paired

    def test_another_number_of_tasks_says_how_to_make_it_the_same(self, first, tmp_path):
        other = write_run(tmp_path / "other", values(1, 30, 4), fingerprints=np.arange(30.0))
        why = difference(compare([first, other], tmp_path / "out")).why_unpaired
        assert "30 held-out tasks, the first on 20" in why
        assert f"mamlax evaluate {other} --num-tasks 20" in why

    def test_several_seeds_are_averaged_in_each_task(self, first, tmp_path):
        other = write_run(tmp_path / "other", values(1, 3, 20, 4))
        compared = compare([first, other], tmp_path / "out")
        one = difference(compared)
        d = values(1, 3, 20, 4).astype(float).mean(axis=0)[:, 3] - values(0)[:, 3]
        assert one.paired and compared.runs[1].num_seeds == 3
        assert one.curve[3].ci95 == pytest.approx(1.96 * d.std(ddof=1) / np.sqrt(20))

    def test_divergence_is_counted_and_not_averaged(self, first, tmp_path):
        curves = values(1)
        curves[3, 2:], curves[5, 3] = np.nan, np.inf
        compared = compare([first, write_run(tmp_path / "other", curves)], tmp_path / "out")
        assert compared.runs[1].num_diverged == [0, 0, 1, 2]
        means = [point.mean for point in difference(compared).curve]
        assert [mean is None for mean in means] == [False, False, True, True]
        assert "NaN" not in (tmp_path / "out" / "comparison.json").read_text()

    def test_a_run_of_mamlax_0_1_0_is_compared(self, first, tmp_path):
        """Its files call the main stage maml."""
        other = write_run(tmp_path / "other", values(1))
        np.savez(other / "curves.npz", maml=values(1), fingerprints=TASKS.astype(np.float32))
        assert difference(compare([first, other], tmp_path / "out")).paired


class TestRefusals:
    def test_other_metrics(self, first, tmp_path):
        other = write_run(tmp_path / "other", values(1), metric="accuracy")
        with pytest.raises(mamlax.MamlaxError, match=r"other was evaluated by accuracy, .* by mse"):
            compare([first, other], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_run_of_an_older_version(self, first, second, tmp_path):
        (second / "curves.npz").unlink()
        with pytest.raises(mamlax.MamlaxError, match=f"mamlax evaluate {second}"):
            compare([first, second], tmp_path / "out")

    def test_a_run_that_was_not_evaluated(self, first, second, tmp_path):
        (second / "evaluation.json").unlink()
        with pytest.raises(mamlax.MamlaxError, match=f"not evaluated.*mamlax evaluate {second}"):
            compare([first, second], tmp_path / "out")

    @pytest.mark.parametrize("name", ["curves.npz", "evaluation.json"])
    def test_a_damaged_file(self, first, second, tmp_path, name):
        (second / name).write_bytes(b"{")
        with pytest.raises(mamlax.MamlaxError, match=rf"{name} is damaged.*mamlax evaluate"):
            compare([first, second], tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_curves_of_another_evaluation(self, first, second, tmp_path):
        """For example after an evaluation that was stopped between writing two files."""
        shutil.copy(first / "curves.npz", second / "curves.npz")
        with pytest.raises(mamlax.MamlaxError, match=r"different evaluations.*mamlax evaluate"):
            compare([first, second], tmp_path / "out")

    def test_a_directory_that_is_no_run(self, first, tmp_path):
        with pytest.raises(mamlax.MamlaxError, match=f"not a run directory.*mean {first}"):
            compare([first, tmp_path / "runs"], tmp_path / "out")

    def test_one_run_twice(self, first, tmp_path):
        with pytest.raises(mamlax.MamlaxError, match="given twice"):
            compare([first, first / ".." / "first"], tmp_path / "out")

    @pytest.mark.parametrize("count", [0, 1])
    def test_fewer_than_two(self, first, tmp_path, count):
        with pytest.raises(mamlax.MamlaxError, match=f"two run directories or more, got {count}"):
            compare([first][:count], tmp_path / "out")

    def test_a_run_is_not_written_into(self, first, second):
        with pytest.raises(mamlax.MamlaxError, match=r"is a run directory.*--out"):
            compare([first, second], first)
        assert not (first / "comparison.json").exists()

    def test_a_file_is_not_written_into(self, first, second, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(mamlax.MamlaxError, match=r"is a file.*--out"):
            compare([first, second], tmp_path / "file")


@pytest.mark.parametrize(
    "paths, names",
    [
        (["runs/sinusoid/0", "runs/sinusoid/1"], ["0", "1"]),
        (["runs/sinusoid/0", "runs/first-order"], ["sinusoid/0", "first-order"]),
        (["a/0", "b/0"], ["a/0", "b/0"]),
        (["runs/a", "runs/a/b"], ["a", "a/b"]),
        (["runs/a", "runs/../runs/b"], ["a", "b"]),
    ],
)
def test_runs_are_named_by_the_parts_of_paths_that_differ(paths, names):
    assert names_of([Path(path) for path in paths]) == names


def test_settings_that_differ_are_listed():
    settings = [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "c": 3}, {"a": 1, "b": 2}]
    assert different_settings(settings) == [{"b": 2, "c": 3}, {"b": 4, "c": 3}, {"b": 2}]


class TestFingerprints:
    def of(self, tasks, seed=2, count=30):
        keys = jax.random.split(jax.random.key(seed), count)
        return fingerprints_of(lambda tasks, key: tasks(key), tasks.sample, keys)

    def test_equal_tasks_have_equal_fingerprints(self):
        tasks = mamlax.Sinusoids(shots=5)
        np.testing.assert_array_equal(self.of(tasks), self.of(mamlax.Sinusoids(shots=5)))
        assert len(set(self.of(tasks).tolist())) == 30

    @pytest.mark.parametrize("changes", [{"shots": 6}, {"num_query": 6}, {"oracle": True}])
    def test_different_tasks_have_different_fingerprints(self, changes):
        tasks = mamlax.Sinusoids(**{"shots": 5, **changes})
        ours, theirs = (Curves({}, self.of(one)) for one in (tasks, mamlax.Sinusoids(shots=5)))
        assert ours.same_tasks(ours) and not ours.same_tasks(theirs)

    def test_different_seeds_have_different_fingerprints(self):
        tasks = mamlax.Sinusoids(shots=5)
        ours, theirs = (Curves({}, self.of(tasks, seed)) for seed in (2, 3))
        assert not ours.same_tasks(theirs)

    def test_the_reference_does_not_count(self, imitation):
        """Models that normalize by the support get it again with the query, on the same task."""
        images = imitation().test
        ours, theirs, others = (
            Curves({}, self.of(mamlax.FewShot(images, ways=2, num_query=2, **settings)))
            for settings in (
                {"shots": 1, "reference": True},
                {"shots": 1},
                {"shots": 2},
            )
        )
        assert ours.same_tasks(theirs) and not ours.same_tasks(others)

    def test_the_order_of_numbers_counts(self):
        """A plain sum would not change if labels or pixels were exchanged."""
        keys = jax.random.split(jax.random.key(0), 2)

        def task_of(numbers, key):
            return {"labels": numbers, "key": key}  # leaves that are not numbers are ignored

        exchanged = [
            fingerprints_of(task_of, jax.numpy.array(numbers), keys) for numbers in ([1, 2], [2, 1])
        ]
        assert not np.isclose(*exchanged).any()


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """Two runs on the same tasks with other models, the second of two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    train(small.sinusoid(num_baseline_steps=0), directory=folder / "a")
    recipe = small.sinusoid(hidden_sizes=(6,), num_baseline_steps=0)
    train(recipe, num_seeds=2, directory=folder / "b")
    return folder / "a", folder / "b"


@pytest.mark.slow
class TestFromEndToEnd:
    @pytest.mark.slow
    def test_the_curves_kept_are_those_evaluated(self, trained):
        for directory, shape in zip(trained, [(50, 3), (2, 50, 3)], strict=True):
            evaluation, curves = read_evaluation(directory), read_curves(directory)
            assert set(curves.metric) == {"main", "random"}
            assert all(one.shape == shape for one in curves.metric.values())
            assert all(one.dtype == np.float32 for one in curves.metric.values())
            assert curve_of(summarize(curves.metric["main"])) == evaluation.curve
            assert curve_of(summarize(curves.metric["random"])) == evaluation.baselines["random"]
            assert curves.fingerprints.shape == (50,)

    @pytest.mark.slow
    def test_they_are_paired_and_drawn_from_the_command_line(
        self, trained, tmp_path, capsys, monkeypatch
    ):
        monkeypatch.setattr(
            "mamlax.cli._devices.prepare_jax", lambda: pytest.fail("comparing needs no JAX")
        )
        out = tmp_path / "out"
        assert cli.main(["compare", *map(str, trained), "--out", str(out)]) == 0
        one = difference(read_comparison(out))
        assert one.paired
        a, b = (read_curves(directory).metric["main"].astype(float) for directory in trained)
        d = b.mean(axis=0) - a
        assert one.curve[2].mean == pytest.approx(d[:, 2].mean(), rel=1e-9)
        assert [path.name for path in sorted(out.iterdir())] == ["comparison.json", "curves.png"]
        output = capsys.readouterr()
        assert "hidden_sizes=(6,)" in output.out and "50 held-out tasks, 2 seeds" in output.out
        assert str(out / "curves.png") in output.err

    def test_evaluating_again_on_other_tasks_unpairs(self, trained, tmp_path):
        shutil.copytree(trained[0], tmp_path / "a")
        evaluate(tmp_path / "a", num_tasks=8)
        one = difference(compare([trained[1], tmp_path / "a"], tmp_path / "out"))
        assert "8 held-out tasks, the first on 50" in one.why_unpaired


def test_comparing_imports_no_jax():
    import subprocess
    import sys

    code = "import sys, mamlax.experiments._compare; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not {"jax", "matplotlib", "scipy"} & set(done.stdout.split())
