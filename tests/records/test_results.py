"""Evaluations, comparisons, curves and examples are read as they were written."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from mamlax import MamlaxError
from mamlax.records import Curves, read_comparison, read_curves, read_evaluation, read_examples
from mamlax.records._comparison import write_comparison
from mamlax.records._curves import write_curves
from mamlax.records._evaluation import write_evaluation
from mamlax.records._examples import write_examples

from .samples import COMPARISON, CURVES, EVALUATION, EXAMPLES, POINTS, RECORDS, numbers


def test_an_evaluation(tmp_path):
    write_evaluation(tmp_path, EVALUATION)
    assert read_evaluation(tmp_path) == EVALUATION
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["curve"][1] == {"num_inner_steps": 1, "mean": None, "ci95": None}
    assert written["baselines"].keys() == {"pretrained", "random"}


def test_missing_parts_of_an_evaluation_are_not_written(tmp_path):
    missing = dict.fromkeys(("published", "seeds", "non_transductive_curve"))
    write_evaluation(tmp_path, evaluation := replace(EVALUATION, **missing))
    assert not missing.keys() & json.loads((tmp_path / "evaluation.json").read_text()).keys()
    assert read_evaluation(tmp_path) == evaluation


def test_a_comparison(tmp_path):
    write_comparison(tmp_path, COMPARISON)
    assert read_comparison(tmp_path) == COMPARISON
    (difference,) = json.loads((tmp_path / "comparison.json").read_text())["differences"]
    assert difference["why_unpaired"] == "other tasks" and difference["paired"] is False
    write_comparison(
        tmp_path,
        replace(
            COMPARISON,
            differences=[replace(COMPARISON.differences[0], paired=True, why_unpaired=None)],
        ),
    )
    # it has no default, so that the file always contains it
    (difference,) = json.loads((tmp_path / "comparison.json").read_text())["differences"]
    assert difference["why_unpaired"] is None
    assert read_comparison(tmp_path).differences[0].curve == POINTS


def test_curves(tmp_path):
    write_curves(tmp_path, CURVES)
    found = read_curves(tmp_path)
    assert list(found.metric) == ["main", "oracle"]
    for name, values in CURVES.metric.items():
        np.testing.assert_array_equal(found.metric[name], values)
    np.testing.assert_array_equal(found.fingerprints, CURVES.fingerprints)


def test_curves_that_diverged(tmp_path):
    """Divergence stays NaN or infinite; only in JSON it is None."""
    values = numbers(3, 4)
    values[1, 2:] = np.nan, np.inf
    write_curves(tmp_path, Curves({"main": values}, numbers(3)))
    np.testing.assert_array_equal(read_curves(tmp_path).metric["main"], values)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples(kind, tmp_path):
    write_examples(tmp_path, EXAMPLES[kind])
    found = read_examples(tmp_path)
    assert type(found) is type(EXAMPLES[kind])
    for field in fields(found):
        ours, theirs = (getattr(one, field.name) for one in (found, EXAMPLES[kind]))
        np.testing.assert_equal(ours, theirs)
        assert type(ours) is type(theirs)


@pytest.mark.parametrize(
    "kind, changes",
    [
        # gray images have no channels; a direction is one number
        ("few-shot", {"support_images": numbers(3, 6, 6), "query_images": numbers(9, 6, 6)}),
        ("locomotion", {"tasks": np.array([1.0, -1.0, 1.0, -1.0]), "goal": "direction"}),
    ],
)
def test_examples_of_either_shape(kind, changes, tmp_path):
    write_examples(tmp_path, replace(EXAMPLES[kind], **changes))
    found = read_examples(tmp_path)
    for name, value in changes.items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_no_examples_are_none(tmp_path):
    assert read_examples(tmp_path) is None


@pytest.mark.parametrize(
    "name, words",
    [
        ("recipe.json", "not a run directory"),
        ("evaluation.json", "the run was not evaluated. Write it again with: mamlax evaluate {}"),
        ("curves.npz", "was not kept. Write it again with: mamlax evaluate {}"),
        ("comparison.json", "Write it again with: mamlax compare RUN RUN"),
    ],
)
def test_a_missing_file_is_named_with_the_command_that_writes_it(name, words, tmp_path):
    with pytest.raises(MamlaxError) as error:
        RECORDS[name][1](tmp_path)
    assert f"{tmp_path / name} is missing" in str(error.value)
    assert words.format(tmp_path) in str(error.value)


def test_files_hold_no_pickles(tmp_path):
    for write, _ in RECORDS.values():
        write(tmp_path)
    for path in tmp_path.glob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            assert all(array.dtype != object for array in dict(file).values())


@pytest.mark.parametrize("offset, same", [(0.0, True), (1e-6, True), (0.1, False)])
@pytest.mark.parametrize("place", [0, 2])
def test_tasks_are_the_same_up_to_rounding(offset, same, place):
    fingerprints = np.array([-2.0, 0.5, 3.0])
    other = fingerprints.copy()
    other[place] += offset
    assert Curves({}, fingerprints).same_tasks(Curves({}, other)) is same


def test_fewer_tasks_are_not_the_same():
    fingerprints = np.array([-2.0, 0.5, 3.0])
    assert not Curves({}, fingerprints).same_tasks(Curves({}, fingerprints[:2]))


def test_reading_imports_no_jax():
    import subprocess
    import sys

    code = (
        "import sys, mamlax.records as r; [getattr(r, n) for n in r.__all__]; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not {"jax", "matplotlib", "scipy", "tyro"} & set(done.stdout.split())
