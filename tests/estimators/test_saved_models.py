"""A model in one file: the same predictions again, and no file makes it do anything else."""

import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import mamlax
from mamlax import MamlaxError
from mamlax.estimators._container import Container, read_container, write_container
from mamlax.estimators._inspection import description_of

from .materials import TINY, changed, contents_of, header_of, machines

SUPPORT, QUERY = slice(0, 5), slice(5, 40)


@pytest.fixture(params=["regressor", "classifier"])
def model(request):
    return request.getfixturevalue(request.param)


def targets_of(model, table):
    if isinstance(model, mamlax.FewShotRegressor):
        return table["wear"]
    return np.where(table["wear"] > table["wear"].median(), "worn", "good")


def adapted(model, table):
    return model.adapt(table[["speed", "kind"]][SUPPORT], targets_of(model, table)[SUPPORT])


def outputs_of(model, table):
    """Predictions, and for classes their probabilities."""
    rows = table[["speed", "kind"]][QUERY]
    if isinstance(model, mamlax.FewShotRegressor):
        return [model.predict(rows)]
    return [model.predict(rows), model.predict_proba(rows)]


def save(model, path):
    model.save(path)
    return path


@pytest.fixture
def saved(regressor, tmp_path):
    return save(regressor, tmp_path / "model.safetensors")


def refusal(path):
    """What loading a file is refused with."""
    with pytest.raises(MamlaxError) as error:
        mamlax.load(path)
    assert str(path) in str(error.value)
    return str(error.value)


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        assert ours.tolist() == theirs.tolist()


def test_what_is_loaded_predicts_the_same_to_the_bit(model, table, tmp_path):
    loaded = mamlax.load(save(model, tmp_path / "model.safetensors"))
    assert type(loaded) is type(model) and loaded.num_support_ == 0
    assert_same(outputs_of(loaded, table), outputs_of(model, table))
    ours, theirs = adapted(loaded, table), adapted(model, table)
    assert_same(outputs_of(ours, table), outputs_of(theirs, table))
    assert outputs_of(ours, table)[-1].tolist() != outputs_of(loaded, table)[-1].tolist()


def test_its_state_makes_the_same_model_without_a_file(model, table):
    for one in (model, adapted(model, table)):
        again = type(model).from_state(one.state())
        assert again.get_params() == one.get_params()
        assert again.num_support_ == one.num_support_
        assert_same(outputs_of(again, table), outputs_of(one, table))


def test_an_adapted_model_stays_adapted(model, table, tmp_path):
    ours = adapted(model, table)
    loaded = mamlax.load(save(ours, tmp_path / "model.safetensors"))
    assert loaded.num_support_ == 5
    assert_same(outputs_of(loaded, table), outputs_of(ours, table))
    # and can be adapted to another task, from the initialization
    other = table[40:].reset_index(drop=True)
    assert_same(outputs_of(adapted(loaded, other), table), outputs_of(adapted(model, other), table))


def test_all_else_that_was_fitted_is_read_back(model, table, tmp_path):
    loaded = mamlax.load(save(model, tmp_path / "model.safetensors"))
    assert loaded.get_params() == model.get_params()
    assert loaded.feature_names_in_.tolist() == ["speed", "kind"]
    assert loaded.columns_ == model.columns_ and loaded.columns_.columns[0].has_missing
    for name in ("n_features_in_", "num_inner_steps_", "outer_step_", "num_groups_"):
        assert getattr(loaded, name) == getattr(model, name)
    if isinstance(model, mamlax.FewShotClassifier):
        assert loaded.classes_.tolist() == ["good", "worn"] and loaded.report_ is None
    else:
        assert str(loaded.report()) == str(model.report())
    with pytest.raises(MamlaxError, match="lacks 'kind'"):
        loaded.predict(table[["speed"]])


def test_a_loaded_model_is_saved_as_it_was(model, table, tmp_path):
    first = save(adapted(model, table), tmp_path / "first.safetensors")
    again = save(mamlax.load(first), tmp_path / "again.safetensors")
    assert again.read_bytes() == first.read_bytes()


@pytest.mark.slow
def test_names_of_several_targets_stay(tmp_path):
    table = machines()
    y = table[["wear", "wear"]].to_numpy() * [1, -1]
    model = mamlax.FewShotRegressor(
        algorithm="fomaml", num_inner_steps=1, validation_fraction=0.0, compare=False, **TINY
    ).fit(table[["speed"]], y, groups=table["machine"])
    model.target_names_ = ["wear", "gain"]
    loaded = mamlax.load(save(model, tmp_path / "model.safetensors"))
    assert loaded.target_names_ == ["wear", "gain"]
    predicted = loaded.predict(table[["speed"]])
    assert predicted.shape == (168, 2)
    np.testing.assert_array_equal(predicted, model.predict(table[["speed"]]))


@pytest.mark.slow
def test_settings_that_are_numpy_numbers_are_saved(table, tmp_path):
    """As a search over settings gives them."""
    model = mamlax.FewShotRegressor(pooled="none", refit=False, compare=False, **TINY)
    model.set_params(hidden_sizes=(np.int64(8),), num_outer_steps=np.int64(20))
    model.set_params(outer_learning_rate=np.float32(0.25), max_support=np.int64(32))
    model.fit(table[["speed", "kind"]], table["wear"], groups=table["machine"])
    loaded = mamlax.load(save(model, tmp_path / "model.safetensors"))
    assert_same(outputs_of(adapted(loaded, table), table), outputs_of(adapted(model, table), table))
    assert loaded.get_params() == model.get_params()


def test_the_file_is_arrays_and_json_and_nothing_else(model, table, tmp_path):
    path = save(adapted(model, table), tmp_path / "model.safetensors")
    header, accounted = contents_of(path)
    assert accounted == path.stat().st_size
    words = json.loads(header.pop("__metadata__")["mamlax"])
    assert words["kind"] == type(model).__name__ and words["format"] == 3
    assert words["mamlax"] == mamlax.__version__ and words["feature_names"] == ["speed", "kind"]
    assert {one["dtype"] for one in header.values()} == {"F32"}
    of_intervals = {"calibration", "support"} if hasattr(model, "predict_interval") else set()
    assert {name.split(".")[0] for name in header} == {"meta_params", "adapted"} | of_intervals


def test_a_container_holds_the_header_and_arrays_of_any_class(tmp_path):
    """NumPy's scalars become Python's, as JSON has them."""
    arrays = {"b": np.arange(6, dtype=np.int32).reshape(2, 3), "a": np.ones((0, 2), np.float32)}
    header = {"kind": "Whatever", "number": np.int64(3), "share": np.float64(0.5), "names": ["é"]}
    path = tmp_path / "some.safetensors"
    write_container(path, Container(header, arrays))
    found = read_container(path)
    versions = {name: found.header.pop(name) for name in ("format", "mamlax", "jax")}
    assert versions["format"] == 3 and versions["mamlax"] == mamlax.__version__
    assert found.header == {"kind": "Whatever", "number": 3, "share": 0.5, "names": ["é"]}
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert "holds a 'Whatever'; there are FewShotRegressor" in refusal(path)


def test_a_container_refuses_what_is_no_json(tmp_path):
    with pytest.raises(TypeError, match="object cannot be saved"):
        write_container(tmp_path / "some", Container({"kind": object()}, {}))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_another_process_predicts_the_same_to_the_bit(model, table, tmp_path):
    ours = adapted(model, table)
    path = save(ours, tmp_path / "model.safetensors")
    table[["speed", "kind"]][QUERY].to_parquet(tmp_path / "query.parquet")
    program = (
        "import sys, mamlax, pandas as pd\n"
        "model = mamlax.load(sys.argv[1])\n"
        "print(model.predict(pd.read_parquet(sys.argv[2])).tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path, tmp_path / "query.parquet"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(outputs_of(ours, table)[0].tolist())


def test_an_empty_file_is_one_whose_writing_was_not_finished(tmp_path):
    path = tmp_path / "model.safetensors"
    path.touch()
    assert refusal(path) == (f"{path} is empty (0 bytes): writing it was not finished. Save again.")


@pytest.mark.parametrize("kept", [1, 7, 8, 100, 0.5, 0.9, -1])
def test_a_file_that_was_cut_off_is_refused(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert "cut off" in refusal(saved)


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "does not exist" in refusal(tmp_path / "model.safetensors")


def test_a_folder_is_met_with_the_command_that_makes_a_file_of_a_run(tmp_path):
    assert f"mamlax export {tmp_path} --out" in refusal(tmp_path)


class Touch:
    """Pickled: unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    path, mark = tmp_path / "model.safetensors", tmp_path / "was run"
    path.write_bytes(pickle.dumps(Touch(mark)))
    assert "is no model that mamlax wrote" in refusal(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists(), "this pickle would not have shown anything"


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"mamlax": "words"}, {"mamlax": "3"}])
def test_arrays_of_others_are_refused(metadata, tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file({"weight": np.zeros((2, 2), np.float32)}, path, metadata=metadata)
    assert "not written by mamlax" in refusal(path)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3"])
def test_arrays_of_others_in_formats_that_numpy_lacks_are_refused(kind, tmp_path):
    """As most files of language models are."""
    path = tmp_path / "theirs.safetensors"
    size = 2 if kind == "BF16" else 1
    header = {"weight": {"dtype": kind, "shape": [4], "data_offsets": [0, 4 * size]}}
    words = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(words)) + words + bytes(4 * size))
    assert "mamlax" in refusal(path)


def test_a_newer_format_is_met_with_the_version_to_install(saved, tmp_path):
    path = changed(
        saved, tmp_path / "new.safetensors", header=lambda h: h.update(format=4, mamlax="9.8.7")
    )
    assert "written by mamlax 9.8.7 in format 4" in refusal(path)
    assert f"mamlax {mamlax.__version__} reads up to format 3" in refusal(path)


def test_a_flipped_bit_is_noticed_wherever_it_lies(saved):
    """Of the arrays; in the header it makes what is no JSON, or other words."""
    content = saved.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])

    def meaning(content):
        """Of the header; None of what is no JSON."""
        try:
            found = json.loads(content[8 : 8 + length])
            return {**found, "__metadata__": json.loads(found["__metadata__"]["mamlax"])}
        except (ValueError, KeyError, TypeError):
            return None

    rng = np.random.default_rng(0)
    places = [*rng.integers(8, 8 + length, 30), *rng.integers(8 + length, len(content), 10)]
    for place in map(int, places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        if place < 8 + length and meaning(damaged) == meaning(content):
            continue  # the last digit of a number may not count
        saved.write_bytes(damaged)
        text = refusal(saved)
        assert place < 8 + length or "was changed after it was written, or damaged" in text


def test_arrays_set_to_zero_are_noticed(saved, tmp_path):
    def zero(arrays):
        for name, array in arrays.items():
            arrays[name] = np.zeros_like(array)

    path = changed(saved, tmp_path / "zero.safetensors", arrays=zero, is_signed=False)
    assert "has not the sha256 that was written with it" in refusal(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["columns"]["columns"][0].update(mean=99.0),
        lambda h: h["targets"].update(scale=[2.0]),
        lambda h: h["report"]["entries"][0].update(error=0.0),
        lambda h: h.pop("sha256"),
        lambda h: h.update(format=1),
    ],
)
def test_an_edited_header_is_noticed(change, saved, tmp_path):
    path = changed(saved, tmp_path / "edited.safetensors", header=change, is_signed=False)
    assert "has not the sha256 that was written with it" in refusal(path)
    with pytest.raises(MamlaxError, match="sha256"):
        description_of(path)


CHANGES = {
    "an unknown kind": (lambda h: h.update(kind="os.system"), "os.system"),
    "another kind": (lambda h: h.update(kind="FewShotImageClassifier"), "reading"),
    "an unknown network": (
        lambda h: h["learner"]["architecture"].update(name="os.system"),
        "no network called 'os.system'",
    ),
    "a network that lacks a size": (
        lambda h: h["learner"]["architecture"].pop("num_outputs"),
        "num_outputs",
    ),
    "an unknown algorithm": (lambda h: h["learner"]["algorithm"].update(name="sgd"), "sgd"),
    "an unknown parameter": (lambda h: h["parameters"].update(temperature=1), "temperature"),
    "smaller layers": (
        lambda h: h["learner"]["architecture"].update(hidden_sizes=[7]),
        "meta_params.curves.weights[0] has shape [4, 8]",
    ),
    "more layers": (
        lambda h: h["learner"]["architecture"].update(hidden_sizes=[8, 8]),
        "meta_params.curves.weights[1] has shape [8, 0]",
    ),
    "no layers": (lambda h: h["learner"]["architecture"].update(hidden_sizes=[]), "meta_params."),
    "negative layers": (
        lambda h: h["learner"]["architecture"].update(hidden_sizes=[-8]),
        "must be positive",
    ),
    "a column less": (lambda h: h["columns"]["columns"].pop(), "of a network of 4"),
    "targets more": (
        lambda h: h["targets"].update(mean=[0.0, 0.0], scale=[1.0, 1.0]),
        "target",
    ),
    "no learner": (lambda h: h.pop("learner"), "'learner'"),
    "no columns": (lambda h: h.pop("columns"), "'columns'"),
    "no attributes": (lambda h: h.update(attributes={}), "validation_curve_"),
    "a list for words": (lambda h: h.update(learner=[]), "header makes no sense"),
    "support that is not there": (
        lambda h: h["attributes"].update(num_support_=5),
        "adapted.weight is missing",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_header_changed_by_hand_is_refused(what, saved, tmp_path):
    change, words = CHANGES[what]
    text = refusal(changed(saved, tmp_path / "changed.safetensors", header=change))
    assert words in text and "changed.safetensors" in text


@pytest.mark.parametrize("what", CHANGES)
def test_looking_into_a_header_changed_by_hand_never_fails_otherwise(what, saved, tmp_path):
    path = changed(saved, tmp_path / "changed.safetensors", header=CHANGES[what][0])
    try:
        text = description_of(path)
    except MamlaxError as error:
        text = str(error)
        assert str(path) in text
    assert text


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux does")
def test_a_header_that_asks_for_a_huge_network_makes_none(saved, tmp_path):
    import resource

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    path = changed(
        saved,
        tmp_path / "huge.safetensors",
        header=lambda h: h["learner"]["architecture"].update(hidden_sizes=[20_000, 20_000]),
    )
    before = peak()
    assert "expected [4, 20000]" in refusal(path)
    assert peak() - before < 400, "1.5 GiB of weights were made"


def test_a_network_too_large_for_any_machine_is_refused(saved, tmp_path):
    path = changed(
        saved,
        tmp_path / "huge.safetensors",
        header=lambda h: h["learner"]["architecture"].update(hidden_sizes=[10**8, 10**8]),
    )
    assert "expected [4, 100000000]" in refusal(path)


FIRST = "meta_params.curves.weights[0]"


def set_to(value):
    def change(arrays):
        arrays[FIRST][1, 2] = value

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda arrays: arrays.pop(FIRST), f"the array {FIRST} is missing"),
        (lambda arrays: arrays.update({FIRST: np.zeros((4, 9), np.float32)}), "has shape [4, 9]"),
        (lambda arrays: arrays.update({FIRST: arrays[FIRST].T.copy()}), "has shape [8, 4]"),
        (lambda arrays: arrays.update({FIRST: np.zeros((4, 8))}), "of float64, expected [4, 8] of"),
        (set_to(np.nan), "not finite"),
        (set_to(-np.inf), "not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, words, saved, tmp_path):
    text = refusal(changed(saved, tmp_path / "changed.safetensors", arrays=change))
    assert FIRST in text and words in text


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_write_that_fails_leaves_the_old_file(step, model, regressor, tmp_path, monkeypatch):
    path = save(regressor, tmp_path / "model.safetensors")
    old = path.read_bytes()
    write_bytes = Path.write_bytes

    def write_half(self, content):
        write_bytes(self, content[: len(content) // 2])
        raise OSError("no space left")

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space left"):
        if step == "write_bytes":
            patched.setattr(Path, "write_bytes", write_half)
        else:
            patched.setattr(os, "replace", fail)
        model.save(path)
    assert path.read_bytes() == old
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_file_goes_where_no_folder_was(regressor, tmp_path):
    path = save(regressor, tmp_path / "a" / "b" / "model.safetensors")
    assert header_of(path)["kind"] == "FewShotRegressor"
