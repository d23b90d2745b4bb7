"""Errors for damaged files name the path and say what to do, whatever is wrong."""

import copy
import io
import json
import os
import random
import zipfile

import numpy as np
import pytest

from mamlax import MamlaxError, cli

from .samples import EXAMPLES, RECORDS, numbers, write_example

JSON = [name for name in RECORDS if name.endswith(".json")]
ARRAYS = [name for name in RECORDS if name.endswith(".npz")]
REMEDIES = {
    "recipe.json": "Train again in another directory.",
    "evaluation.json": "Write it again with: mamlax evaluate {}",
    "comparison.json": "Write it again with: mamlax compare RUN RUN",
    "curves.npz": "Write it again with: mamlax evaluate {}",
    "examples.npz": "Write it again with: mamlax evaluate {}",
}


def refusal(directory, name, content):
    """The error message for a file with this content."""
    (directory / name).write_bytes(content)
    with pytest.raises(MamlaxError) as error:
        RECORDS[name][1](directory)
    return checked(str(error.value), directory, name)


def checked(said, directory, name):
    assert said.startswith(f"{directory / name} is damaged"), said
    assert said.endswith(REMEDIES[name].format(directory)), said
    assert ".. " not in said and "Traceback" not in said
    return said


@pytest.fixture
def good(tmp_path):
    """`good(name)` writes an intact file and returns its content."""

    def write(name):
        RECORDS[name][0](tmp_path)
        RECORDS[name][1](tmp_path)
        return (tmp_path / name).read_bytes()

    return write


CONTENTS = [
    b"",
    b"{",
    b"null",
    b"3",
    b'"text"',
    b"[1, 2]",
    b"\xff\xfe\x00",
    b"PK\x03\x04 cut short",
]


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("content", [*CONTENTS, b"[" * 100_000], ids=lambda one: repr(one[:20]))
def test_a_file_of_other_content(name, content, tmp_path):
    refusal(tmp_path, name, content)


@pytest.mark.parametrize("name", RECORDS)
def test_a_truncated_file(name, good, tmp_path):
    content = good(name)
    for length in range(0, len(content) - 2, max(1, len(content) // 50)):
        refusal(tmp_path, name, content[:length])


@pytest.mark.parametrize("name", RECORDS)
def test_a_folder_in_its_place(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(MamlaxError) as error:
        RECORDS[name][1](tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name} could not be read")


@pytest.mark.parametrize("name", RECORDS)
def test_a_pipe_in_its_place(name, tmp_path):
    """Which would be waited for, without end."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(MamlaxError) as error:
        RECORDS[name][1](tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name} could not be read (it is no regular")


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_would_fill_the_memory_are_not_read(name, tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("values.npy", b"")
        archive.infolist()[0].file_size = 4 << 30  # says the directory of the zip
    said = refusal(tmp_path, name, content.getvalue())
    assert "holds 4,096 MB, though it has 0 MB itself: it is damaged, or made to fill" in said
    array, content = io.BytesIO(), io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 42,)}
    np.lib.format.write_array_header_1_0(array, header)
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("values.npy", array.getvalue() + bytes(100))
    said = refusal(tmp_path, name, content.getvalue())
    assert "values.npy is cut off, or states a wrong size" in said


@pytest.mark.parametrize("name", RECORDS)
def test_a_changed_byte(name, good, tmp_path):
    """A changed digit of a number cannot be detected; other changes are reported."""
    content, chance = good(name), random.Random(0)
    refused = 0
    for _ in range(400):
        changed = bytearray(content)
        changed[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / name).write_bytes(changed)
        try:
            RECORDS[name][1](tmp_path)
        except MamlaxError as error:
            assert str(tmp_path) in str(error)
            refused += 1
    assert refused > 100


def places_in(value, path=()):
    """The path to every place in a JSON value."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places_in(value[key], (*path, key))


def with_other(value, path, other):
    value = place = copy.deepcopy(value)
    for key in path[:-1]:
        place = place[key]
    if other is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = other
    return value


MISSING = object()
OTHERS = [MISSING, None, "x", -1, 1.5, True, [], {}, [1], [None], {"a": 1}, [[["x"]]], 10**30]


@pytest.mark.parametrize("name", JSON)
def test_a_replaced_json_value(name, good, tmp_path):
    """It is read if it fits, and refused with a message otherwise. No other error is raised."""
    value = json.loads(good(name))
    for path in places_in(value):
        for other in OTHERS:
            (tmp_path / name).write_text(json.dumps(with_other(value, path, other)))
            try:
                RECORDS[name][1](tmp_path)
            except MamlaxError as error:
                assert str(tmp_path) in str(error), (path, other)


@pytest.mark.parametrize(
    "name, path, other, words",
    [
        ("recipe.json", ("seed",), "0", "Expected `int`, got `str` - at `$.seed`"),
        ("recipe.json", ("num_seeds",), MISSING, "missing required field `num_seeds`"),
        ("recipe.json", ("settings",), [], "Expected `object`, got `array` - at `$.settings`"),
        ("recipe.json", ("settings", "problem"), MISSING, "Expected `object`, got `null`"),
        ("recipe.json", ("settings", "training"), MISSING, "Expected `object`, got `null`"),
        (
            "recipe.json",
            ("settings", "training", "num_outer_steps"),
            MISSING,
            "missing required field `num_outer_steps`",
        ),
        ("recipe.json", ("settings", "problem", "shots"), 1.5, "Expected `int`, got `float`"),
        (
            "recipe.json",
            ("settings", "problem", "hidden_sizes", 1),
            "8",
            "Expected `int`, got `str` - at `$.hidden_sizes[1]`",
        ),
        (
            "recipe.json",
            ("settings", "algorithm", "inner_learning_rate"),
            -1,
            "inner_learning_rate must be a positive number, got -1.0. ",
        ),
        (
            "recipe.json",
            ("settings", "training", "checkpoint_interval"),
            7,
            "checkpoint_interval=7 must be a multiple of log_interval=500. ",
        ),
        ("evaluation.json", ("curve",), MISSING, "missing required field `curve`"),
        ("evaluation.json", ("metric",), None, "Expected `str`, got `null` - at `$.metric`"),
        ("evaluation.json", ("curve", 1, "mean"), "low", "got `str` - at `$.curve[1].mean`"),
        ("evaluation.json", ("seeds", 0, 1, "ci95"), MISSING, "missing required field `ci95`"),
        ("evaluation.json", ("baselines", "random"), {}, "Expected `array`, got `object`"),
        ("evaluation.json", ("inner_learning_rates", "main"), [], "Expected `float`"),
        ("comparison.json", ("runs", 1, "curve"), None, "at `$.runs[1].curve`"),
        ("comparison.json", ("differences", 0, "paired"), 1, "Expected `bool`, got `int`"),
        ("comparison.json", ("runs", 0, "num_diverged", 1), "1", "`$.runs[0].num_diverged[1]`"),
    ],
)
def test_a_wrong_place_is_named(name, path, other, words, good, tmp_path):
    value = with_other(json.loads(good(name)), path, other)
    assert words in refusal(tmp_path, name, json.dumps(value).encode())


def arrays_of(directory, name):
    with np.load(directory / name, allow_pickle=False) as file:
        return dict(file)


def refused_arrays(directory, name, arrays):
    np.savez(directory / name, **arrays)
    return refusal(directory, name, (directory / name).read_bytes())


TEXT, NESTED = np.array("text"), numbers(2, 2, 2, 2, 2, 2)


@pytest.mark.parametrize("other", [TEXT, NESTED, numbers(3)[0], 1j * numbers(3, 4)])
@pytest.mark.parametrize("array", ["main", "oracle", "fingerprints"])
def test_curves_of_other_types_and_shapes(array, other, good, tmp_path):
    good("curves.npz")
    arrays = {**arrays_of(tmp_path, "curves.npz"), array: other}
    assert array in refused_arrays(tmp_path, "curves.npz", arrays)


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({}, "'fingerprints' is missing"),
        ({"main": numbers(3, 4)}, "'fingerprints' is missing"),
        ({"random": numbers(3, 4), "fingerprints": numbers(3)}, "'main' is missing"),
        ({"main": numbers(3, 4), "fingerprints": numbers(2)}, "main has the shape (3, 4)"),
        ({"main": numbers(4), "fingerprints": numbers(3)}, "main has the shape (4,)"),
        (
            {"main": numbers(3, 4), "random": numbers(3, 5), "fingerprints": numbers(3)},
            "random has the shape (3, 5), which is not [tasks steps]",
        ),
        ({"main": numbers(0, 4), "fingerprints": numbers(0)}, "it holds no tasks"),
        ({"main": numbers(3, 0), "fingerprints": numbers(3)}, "it holds no tasks"),
        ({"main": numbers(0, 3, 4), "fingerprints": numbers(3)}, "it holds no tasks"),
    ],
)
def test_curves_that_do_not_fit_one_another(arrays, words, tmp_path):
    assert words in refused_arrays(tmp_path, "curves.npz", arrays)


def of_examples():
    """Every array of every kind of examples."""
    for kind, examples in EXAMPLES.items():
        for field, value in vars(examples).items():
            names = [f"{field}/{name}" for name in value] if isinstance(value, dict) else [field]
            for name in names:
                yield kind, name


@pytest.mark.parametrize("kind, array", list(of_examples()))
def test_examples_of_other_types_and_shapes(kind, array, tmp_path):
    write_example(tmp_path, kind)
    arrays = arrays_of(tmp_path, "examples.npz")
    is_word = arrays[array].dtype.kind == "U"
    others = [numbers(3), np.array(3.5)] if is_word else [TEXT, NESTED]
    for other in others:
        refused_arrays(tmp_path, "examples.npz", {**arrays, array: other})
    del arrays[array]
    alone = not any(name.startswith(array.split("/")[0]) for name in arrays)
    if alone:
        said = refused_arrays(tmp_path, "examples.npz", arrays)
        assert f"{array.split('/')[0]!r} is missing" in said


@pytest.mark.parametrize(
    "kind, array, other, words",
    [
        ("sinusoid", "truth", numbers(4, 6), "truth has the shape (4, 6), which is not [waves po"),
        ("sinusoid", "support_y", numbers(4, 2), "support_y has the shape (4, 2)"),
        ("sinusoid", "predictions/pretrained", numbers(3, 2, 5), "predictions/pretrained has the"),
        ("few-shot", "query_targets", numbers(8), "query_targets has the shape (8,)"),
        ("few-shot", "probabilities", numbers(3, 9, 3), "probabilities has the shape (3, 9, 3)"),
        ("few-shot", "query_images", numbers(9, 6, 5, 3), "query_images has the shape"),
        (
            "navigation",
            "goals",
            numbers(4, 3),
            "goals has the shape (4, 3), which is not [goals 2]",
        ),
        ("navigation", "masks/main", numbers(4, 2, 3, 6), "masks/main has the shape"),
        ("bandit", "pulls/main", numbers(4, 2, 9), "pulls/main has the shape (4, 2, 9)"),
        ("locomotion", "positions/main", numbers(4, 3, 6, 15), "positions/main has the shape"),
        ("locomotion", "tasks", numbers(3, 2), "positions/main has the shape"),
        ("sinusoid", "kind", np.array("parabola"), "no kind of examples 'parabola'"),
        ("sinusoid", "kind", np.array(3.0), "no kind of examples 3.0"),
        ("sinusoid", "kind", numbers(2), ""),
        ("few-shot", "ways", np.array("three"), "ways is 'three'"),
    ],
)
def test_examples_that_do_not_fit_one_another(kind, array, other, words, tmp_path):
    write_example(tmp_path, kind)
    arrays = {**arrays_of(tmp_path, "examples.npz"), array: other}
    assert words in refused_arrays(tmp_path, "examples.npz", arrays)


@pytest.mark.parametrize("name", ARRAYS)
def test_pickles_are_not_read(name, good, tmp_path):
    good(name)
    arrays = arrays_of(tmp_path, name)
    array = "main" if name == "curves.npz" else "grid"
    refused_arrays(tmp_path, name, {**arrays, array: np.array([{}], object)})


@pytest.mark.parametrize("name", ARRAYS)
def test_an_archive_of_other_things(name, tmp_path):
    members = ("fingerprints", "main", "kind", "main.npy", "fingerprints.npy", "kind.npy")
    for member in members:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr(member, "sinusoid")
        refusal(tmp_path, name, (tmp_path / name).read_bytes())


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_alone(name, tmp_path):
    with (tmp_path / name).open("wb") as file:
        np.save(file, numbers(3))
    refusal(tmp_path, name, (tmp_path / name).read_bytes())


@pytest.mark.parametrize("name", ["recipe.json", "evaluation.json", "curves.npz"])
def test_a_command_reports_damage_without_a_traceback(name, good, tmp_path, capsys):
    for one in ("recipe.json", "evaluation.json", "curves.npz"):
        good(one)
    (tmp_path / name).write_bytes(b"{")
    out = tmp_path / "out"
    assert cli.main(["compare", str(tmp_path), str(tmp_path / "other"), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / name} is damaged") and "Traceback" not in said
    assert not out.exists()
