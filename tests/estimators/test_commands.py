"""The commands adapt, inspect and export, from a model to predictions."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import mamlax

from .materials import (
    OF_MACHINES,
    PAIR,
    QUICK_CLASSES,
    changed,
    drawings,
    fails,
    image_classifier,
    labelled,
    omniglot_recipe,
    sinusoid_recipe,
    train,
    write_classes,
    write_evaluation_of,
    write_picture,
)

pytestmark = pytest.mark.filterwarnings("default:.* have no target; they are left out")
NAMES = ["speed", "kind"]


@pytest.fixture
def of_table(regressor, tmp_path, table):
    """A model, rows of a machine to adapt to and others of it, in files."""
    regressor.target_names_ = ["wear"]
    regressor.save(tmp_path / "model.safetensors")
    del regressor.target_names_
    table[:5].to_csv(tmp_path / "support.csv", index=False)
    table[5:12].to_csv(tmp_path / "query.csv", index=False)
    return "model.safetensors"


def test_predictions_stand_beside_the_query(command, of_table, regressor, table):
    status, out, err = command("adapt", of_table, *PAIR, "--out", "out.csv")
    assert status == 0 and out == ""
    assert err.splitlines() == ["7 predictions after adapting to 5 rows.", "out.csv"]
    written = pd.read_csv("out.csv")
    assert written.columns.tolist() == ["machine", "speed", "kind", "wear", "predicted wear"]
    expected = regressor.adapt(table[NAMES][:5], table["wear"][:5]).predict(table[NAMES][5:12])
    np.testing.assert_allclose(written["predicted wear"], expected, rtol=1e-6)
    np.testing.assert_allclose(written["wear"], table["wear"][5:12])


def test_columns_may_be_in_another_order_and_others_be_there(command, of_table, table):
    assert command("adapt", of_table, *PAIR)[0] == 0
    expected = pd.read_csv("predictions.csv")["predicted wear"]
    table[:5][["wear", "kind", "speed"]].assign(note="x").to_csv("support.csv", index=False)
    table[5:12][["kind", "speed"]].to_csv("query.csv", index=False)
    assert command("adapt", of_table, *PAIR)[0] == 0
    written = pd.read_csv("predictions.csv")
    assert written.columns.tolist() == ["kind", "speed", "predicted wear"]
    np.testing.assert_array_equal(written["predicted wear"], expected)


def test_a_target_beside_decimal_commas_is_read_as_fit_reads_it(command, of_table, table):
    """With points before three digits it may be a thousand times as large."""
    speed = [f"{value:.1f}".replace(".", ",") for value in table["speed"][:5].fillna(100.0)]
    support = table[:5].assign(speed=speed, wear=[f"1{i}.{i}34" for i in range(5)])
    support.to_csv("support.csv", index=False, sep=";")
    assert "thousands end cannot be told" in fails(command, "adapt", of_table, *PAIR)
    support.assign(wear=[f"1{i},5" for i in range(5)]).to_csv("support.csv", index=False, sep=";")
    assert command("adapt", of_table, *PAIR)[0] == 0


@pytest.mark.parametrize("name", ["support", "query"])
def test_a_column_that_is_absent_is_named(name, command, of_table, table):
    table[:5].drop(columns="kind").to_csv(f"{name}.csv", index=False)
    line = fails(command, "adapt", of_table, *PAIR)
    assert "lacks 'kind'; it has 'machine', 'speed', 'wear'" in line


def test_a_support_without_the_target_is_refused(command, of_table, table, tmp_path):
    table[:5].drop(columns="wear").to_csv("support.csv", index=False)
    line = fails(command, "adapt", of_table, *PAIR)
    assert "support.csv has no column 'wear'" in line and "It has: machine, speed, kind." in line
    assert not (tmp_path / "predictions.csv").exists()


@pytest.mark.filterwarnings("default:the support has no rows")
@pytest.mark.parametrize("what", ["no rows", "no targets"])
def test_a_support_of_no_rows_predicts_and_says_so(what, command, of_table, regressor, table):
    support = table[:0] if what == "no rows" else table[:5].assign(wear=np.nan)
    support.to_csv("support.csv", index=False)
    status, _, err = command("adapt", of_table, *PAIR)
    assert status == 0, err
    assert "warning: the support has no rows: predictions are those of the initialization." in err
    assert "7 predictions after adapting to 0 rows." in err
    written = pd.read_csv("predictions.csv")["predicted wear"]
    np.testing.assert_allclose(written, regressor.predict(table[NAMES][5:12]), rtol=1e-6)


def test_support_rows_without_the_target_are_left_out(command, of_table, table):
    table[:5].assign(wear=table["wear"].where(table.index != 3)).to_csv("support.csv", index=False)
    _, _, err = command("adapt", of_table, *PAIR)
    assert "7 predictions after adapting to 4 rows." in err


def test_a_value_that_is_no_number_is_named(command, of_table, table):
    table[:5].assign(speed=["1", "2", "fast", "4", "5"]).to_csv("support.csv", index=False)
    line = fails(command, "adapt", of_table, *PAIR)
    assert "column 'speed' is 'fast' in line 4 of support.csv" in line
    table[:5].assign(wear=np.inf).to_csv("support.csv", index=False)
    assert "the target 'wear' is inf in line 2" in fails(command, "adapt", of_table, *PAIR)


def of_task(regressor, tmp_path, names=("machine",)):
    """The model of a table, fitted by the command line, which knows what tells tasks apart."""
    regressor.task_names_ = list(names)
    regressor.save(tmp_path / "model.safetensors")
    del regressor.task_names_
    return "model.safetensors"


def test_a_support_of_several_tasks_is_refused(command, of_table, regressor, table, tmp_path):
    regressor.target_names_ = ["wear"]
    of_task(regressor, tmp_path)
    del regressor.target_names_
    assert mamlax.load(of_table).task_names_ == ["machine"]
    table[8:16].to_csv("support.csv", index=False)
    line = fails(command, "adapt", of_table, *PAIR)
    assert "support.csv has rows of 2 tasks (machine: machine 00; machine 01)" in line
    assert "To adapt to each of them: --task-column machine." in line
    assert not (tmp_path / "predictions.csv").exists()
    # rows that are left out for want of the target do not count
    table[8:16].assign(wear=table["wear"].where(table.index < 12)).to_csv(
        "support.csv", index=False
    )
    assert command("adapt", of_table, *PAIR)[0] == 0


def test_a_query_of_another_task_is_refused(command, of_table, regressor, table, tmp_path):
    regressor.target_names_ = ["wear"]
    of_task(regressor, tmp_path)
    del regressor.target_names_
    table[10:14].to_csv("query.csv", index=False)
    line = fails(command, "adapt", of_table, *PAIR)
    assert "query.csv asks about another task (machine: machine 01)" in line
    assert "support.csv (machine 00)" in line
    # without the column, nothing is known against it
    table[10:14].drop(columns="machine").to_csv("query.csv", index=False)
    assert command("adapt", of_table, *PAIR)[0] == 0


def test_what_is_read_is_not_written_over(command, of_table, tmp_path):
    before = (tmp_path / "query.csv").read_bytes()
    line = fails(command, "adapt", of_table, *PAIR, "--out", "query.csv")
    assert "is read by this command" in line and (tmp_path / "query.csv").read_bytes() == before


def test_a_model_of_tables_says_what_it_takes(command, of_table, tmp_path):
    (tmp_path / "support").mkdir()
    line = fails(command, "adapt", of_table, "--support", "support", "--query", "query.csv")
    assert "is a model of tables, and support is a folder" in line and "csv" in line


@pytest.fixture
def of_classes(classifier, tmp_path, table):
    classifier.target_names_ = ["wear"]
    classifier.save(tmp_path / "model.safetensors")
    del classifier.target_names_
    labelled(table)[:5].to_csv(tmp_path / "support.csv", index=False)
    table[5:12][["kind", "speed"]].to_csv(tmp_path / "query.csv", index=False)
    return "model.safetensors"


def test_classes_are_predicted_with_their_probabilities(command, of_classes, classifier, table):
    assert command("adapt", of_classes, *PAIR)[0] == 0
    written = pd.read_csv("predictions.csv")
    chances = written[["probability good", "probability worn"]].to_numpy()
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-6)
    adapted = classifier.adapt(table[NAMES][:5], labelled(table)["wear"][:5])
    np.testing.assert_allclose(chances, adapted.predict_proba(table[NAMES][5:12]), rtol=1e-5)
    expected = np.array(["good", "worn"])[chances.argmax(1)]
    assert written["predicted wear"].tolist() == expected.tolist()


@pytest.mark.filterwarnings("default:all examples of")
def test_a_support_of_one_class_is_remarked(command, of_classes, table):
    table[:5].assign(wear="worn").to_csv("support.csv", index=False)
    status, _, err = command("adapt", of_classes, *PAIR)
    assert status == 0 and "all examples of support.csv are of one class ('worn')" in err


@pytest.mark.filterwarnings("default:all examples of")
def test_a_class_that_was_not_fitted_is_refused(command, of_classes, table):
    table[:5].assign(wear="broken").to_csv("support.csv", index=False)
    _, _, err = command("adapt", of_classes, *PAIR)
    line = err.splitlines()[-1]
    assert "'broken' is none of the 2 classes" in line and "'good', 'worn'" in line


@pytest.mark.slow
def test_classes_that_look_like_numbers_are_those_fitted(command, table):
    """Read as numbers where none of the others is there, with a gap even as 1.0 and 2.0."""
    kinds = np.array(["1", "2", "x"])[np.arange(len(table)) % 3]
    table.assign(wear=kinds).to_csv("table.csv", index=False)
    status, _, err = command("fit", "table.csv", *OF_MACHINES, *QUICK_CLASSES)
    assert status == 0, err
    table[6:12].to_csv("query.csv", index=False)
    for gap, count in (("2", 6), (None, 5)):
        table[:6].assign(wear=["1", "2", "1", "2", "1", gap]).to_csv("support.csv", index=False)
        status, _, err = command("adapt", "model.safetensors", *PAIR)
        assert status == 0, err
        assert f"after adapting to {count} rows" in err


# images


@pytest.fixture(scope="module")
def pictures():
    return drawings(3, 4, seed=2)


@pytest.fixture
def of_images(pictures, tmp_path):
    image_classifier().save(tmp_path / "model.safetensors")
    write_classes(tmp_path / "support", pictures[:, :2])
    for c in range(3):
        write_picture(tmp_path / "query" / f"{c}.png", pictures[c, 2])
    return "model.safetensors"


FOLDERS = ("--support", "support", "--query", "query")


def test_a_folder_of_images_becomes_a_table(command, of_images, pictures):
    status, out, err = command("adapt", of_images, *FOLDERS, "--adapted-out", "adapted")
    assert status == 0 and out == ""
    *read, counted, place, of_model = err.splitlines()
    assert read == ["support: 6 files, 6 read", "query: 3 files, 3 read"]
    assert (counted, place, of_model) == ("3 predictions.", "predictions.csv", "adapted")
    written = pd.read_csv("predictions.csv")
    assert written["image"].tolist() == ["query/0.png", "query/1.png", "query/2.png"]
    assert written["predicted"].tolist() == ["a", "b", "c"]
    inks = 255 - pictures[..., None]
    adapted = image_classifier().adapt(inks[:, :2].reshape(-1, 6, 6, 1), list("aabbcc"))
    np.testing.assert_allclose(
        written[[f"probability {name}" for name in "abc"]],
        adapted.predict_proba(inks[:, 2]),
        rtol=1e-5,
    )
    # later, by what was kept
    assert command("predict", "adapted", "query", "--out", "later.csv")[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("later.csv"), written)
    assert "is adapted to nothing yet" in fails(command, "predict", of_images, "query")
    line = fails(command, "adapt", of_images, *FOLDERS, "--task-column", "machine")
    assert "--task-column is of tables" in line


def test_images_to_adapt_to_that_lie_in_no_folder_are_refused(
    command, of_images, pictures, tmp_path
):
    write_picture(tmp_path / "support" / "stray.png", pictures[0, 3])
    line = fails(command, "adapt", of_images, *FOLDERS)
    assert "support has images that lie in no folder" in line
    assert not (tmp_path / "predictions.csv").exists()


def test_a_class_in_two_spellings_is_refused(command, of_images, pictures, tmp_path):
    write_classes(tmp_path / "support", pictures[:2], ("Leaf", "leaf"))
    line = fails(command, "adapt", of_images, *FOLDERS)
    assert "'Leaf' and 'leaf', which differ in spelling alone" in line


def test_what_was_read_to_adapt_to_and_to_classify_is_said(command, of_images, tmp_path):
    (tmp_path / "query" / "phone.heic").write_bytes(b"\0\0\0\x1cftypheic")
    status, _, err = command("adapt", of_images, *FOLDERS)
    assert status == 0
    assert "support: 6 files, 6 read\n" in err
    assert "query: 4 files, 3 read, 1 left out: 1 HEIC" in err and "query/phone.heic" in err
    assert "3 predictions" in err


def test_more_classes_than_an_image_model_has_are_refused(command, of_images, pictures, tmp_path):
    write_picture(tmp_path / "support" / "d" / "0.png", pictures[0, 3])
    assert "4 classes" in fails(command, "adapt", of_images, *FOLDERS)


def test_a_model_of_images_says_what_it_takes(command, of_images, table, tmp_path):
    table.to_csv("support.csv", index=False)
    line = fails(command, "adapt", of_images, "--support", "support.csv", "--query", "query")
    assert "is a model of images, and support.csv is a table" in line
    assert "a folder of images for each class" in line


def test_an_adapted_model_of_images_is_described(command, pictures, tmp_path):
    images = pictures[:, :2].reshape(-1, 6, 6, 1)
    image_classifier().adapt(images, np.repeat(list("abc"), 2)).save("model.safetensors")
    _, out, _ = command("inspect", "model.safetensors")
    assert "adapted to    6 images of 3 classes: a, b, c" in out


# inspect


def test_a_model_of_a_table_is_described(command, of_table, regressor):
    status, out, err = command("inspect", of_table)
    assert status == 0 and err == ""
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == f"FewShotRegressor, written by mamlax {mamlax.__version__}"
    assert lines[1] == (
        "algorithm ridge-maml, whose head is solved for on the support, and no inner step is taken "
        "after that"
    )
    # 4 inputs: the speed, whether it is missing, and two kinds; each has a scale and a pivot
    assert lines[2].startswith(
        f"network table_network, {4 * 8 + 8 + 2 * 4 + 2 + 8 + 4 + 2} numbers: num_inputs=4,"
    )
    assert "predicts wear: numbers" in lines
    assert "starts from no pooled model" in lines
    (column,) = regressor.columns_.columns[:1]
    assert f"speed numbers, mean {column.mean:.4g}, deviation {column.scale:.4g}" in lines
    assert any(
        line in ("kind 2 categories: dry, wet", "kind 2 categories: wet, dry") for line in lines
    )
    assert "learned from 11 tasks, judged on 3; outer step 20" in lines
    assert "adapted to nothing yet" in lines
    assert str(regressor.report()) in out


def test_an_adapted_model_of_classes_is_described(command, classifier, table, tmp_path):
    classifier.adapt(table[NAMES][:5], labelled(table)["wear"][:5]).save("model.safetensors")
    status, out, _ = command("inspect", "model.safetensors")
    assert status == 0
    assert "predicts      the target: a class of ['good', 'worn']" in out
    assert "adapted to    5 rows" in out and "fomaml, 2 inner steps to adapt" in out


def test_a_model_of_images_is_described(command, of_images):
    status, out, _ = command("inspect", of_images)
    assert status == 0
    assert "FewShotImageClassifier" in out and "maml, 5 inner steps to adapt" in out
    assert "omniglot-5-way-1-shot, outer step 0" in out and "image_shape=[6, 6, 1]" in out
    assert "images of 6 × 6 pixels, grey" in out and "adapted to    nothing yet" in out
    assert "accuracy" not in out  # nothing was evaluated


def test_what_a_file_says_cannot_steer_the_terminal(command, of_table, tmp_path):
    def change(header):
        header["columns"]["columns"][0]["name"] = "speed\x1b[2J\x07"

    changed(tmp_path / of_table, tmp_path / "changed.safetensors", header=change)
    status, out, _ = command("inspect", "changed.safetensors")
    assert status == 0 and "speed" in out
    assert "\x1b" not in out and "\x07" not in out


@pytest.mark.parametrize("name", ["inspect", "adapt", "export"])
def test_a_file_that_is_no_model_is_refused_by_every_command(name, command, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"PK" * 100)
    more = {"inspect": (), "adapt": FOLDERS, "export": ("--out", "other")}[name]
    line = fails(command, name, "model.safetensors", *more)
    assert "model.safetensors is no model that mamlax wrote" in line
    (tmp_path / "model.safetensors").unlink()
    line = fails(command, name, "model.safetensors", *more)
    assert "model.safetensors does not exist" in line and "mamlax fit" in line


@pytest.mark.slow
def test_a_reader_that_has_read_enough_ends_the_command_quietly(of_table, tmp_path):
    """As in `mamlax inspect MODEL | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "mamlax", "inspect", of_table],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    )
    os.close(writing)
    assert done.returncode == 141 and done.stderr == ""


def test_looking_into_a_damaged_model_is_refused_in_a_line(command, of_table, tmp_path):
    changed(
        tmp_path / of_table, tmp_path / "changed.safetensors", header=lambda h: h.pop("attributes")
    )
    assert "changed.safetensors" in fails(command, "inspect", "changed.safetensors")


# export


@pytest.mark.slow
def test_a_run_is_exported_and_adapted(command, tmp_path):
    """A sinusoid: its inputs are called by their numbers."""
    train(sinusoid_recipe(), tmp_path / "run")
    status, out, err = command("export", "run", "--out", "wave.safetensors")
    assert status == 0 and out == "" and err.splitlines()[-1] == "wave.safetensors"
    assert err.splitlines()[-2] == (
        "mamlax adapt takes tables: --query with 1 column of any name, in the order of the inputs; "
        "--support with the same and target, the target."
    )
    x = np.linspace(-4, 4, 6)
    pd.DataFrame({"x": x, "target": np.sin(x)}).to_csv("support.csv", index=False)
    pd.DataFrame({"any": [0.0, 1.0]}).to_csv("query.csv", index=False)
    status, _, err = command("adapt", "wave.safetensors", *PAIR)
    assert status == 0, err
    written = pd.read_csv("predictions.csv")["predicted target"]
    adapted = mamlax.load("wave.safetensors").adapt(x[:, None], np.sin(x))
    np.testing.assert_allclose(written, adapted.predict([[0.0], [1.0]]), rtol=1e-5)
    status, out, _ = command("inspect", "wave.safetensors")
    assert status == 0 and "adapted to    nothing yet" in out
    assert "from          columns of any name, in this order; the target's is called target" in out


def test_a_model_is_exported_as_a_program(command, of_table, tmp_path):
    status, out, err = command("export", of_table, "--format", "stablehlo", "--out", "program")
    assert status == 0 and out == "" and err.splitlines()[-2:] == ["program", "program.json"]
    beside = json.loads((tmp_path / "program.json").read_text())
    assert [column["name"] for column in beside["columns"]["columns"]] == NAMES
    assert (tmp_path / "program").stat().st_size > 1000


def test_a_program_stands_beside_its_model(command, of_table, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "wear.v2.safetensors").write_bytes((tmp_path / of_table).read_bytes())
    status, _, err = command("export", "models/wear.v2.safetensors", "--format", "stablehlo")
    written = ["models/wear.v2.stablehlo", "models/wear.v2.stablehlo.json"]
    assert status == 0 and err.splitlines() == written


def test_a_model_is_written_again(command, of_table, tmp_path):
    status, _, err = command("export", of_table, "--out", "again.safetensors")
    assert status == 0 and err.splitlines()[0] == (
        "mamlax adapt takes tables: --query with columns speed, kind, in any order; --support with "
        "the same and wear, the target."
    )
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / of_table).read_bytes()
    _, _, err = command("export", of_table, "--out", "again.safetensors")
    assert err.splitlines()[0] == "again.safetensors is there already: it is replaced."


@pytest.mark.parametrize(
    "out", [(), ("--out", "model.safetensors"), ("--out", "./model.safetensors")]
)
def test_a_model_is_not_written_over_by_its_export(out, command, of_table, tmp_path):
    before = (tmp_path / of_table).read_bytes()
    assert "would be written over" in fails(command, "export", of_table, *out)
    assert (tmp_path / of_table).read_bytes() == before
    # a program has a name of its own
    status, _, err = command("export", of_table, "--format", "stablehlo")
    assert status == 0 and err.splitlines() == ["model.stablehlo", "model.stablehlo.json"]
    assert (tmp_path / of_table).read_bytes() == before


def test_a_folder_that_is_no_run_is_not_exported(command, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty is not a run directory" in fails(command, "export", "empty")


@pytest.mark.slow
def test_a_run_of_images_is_exported_and_adapted(command, fake_omniglot, pictures, tmp_path):
    train(omniglot_recipe(), tmp_path / "run")
    write_evaluation_of(tmp_path / "run", [0.3, 0.875])
    assert command("export", "run")[0] == 0
    _, out, _ = command("inspect", "model.safetensors")
    assert "learned from  8 classes" in out
    assert "600 tasks of 3 new classes, 1 image of each: accuracy 87.5 ± 1.0 %" in out
    write_classes(tmp_path / "support", pictures[:, :2])
    write_classes(tmp_path / "query", pictures[:, 2:])
    assert command("adapt", "model.safetensors", *FOLDERS)[0] == 0
    written = pd.read_csv("predictions.csv")
    assert len(written) == 6 and set(written["predicted"]) <= {"a", "b", "c"}
