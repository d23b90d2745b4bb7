"""The commands fit, adapt, inspect and export, from a table to predictions."""

import json

import numpy as np
import pandas as pd
import pytest

import mamlax

from .materials import (
    changed,
    drawings,
    header_of,
    image_classifier,
    machines,
    omniglot_recipe,
    sinusoid_recipe,
    train,
    write_classes,
    write_picture,
)

pytestmark = pytest.mark.filterwarnings("default:.* have no target; they are left out")
OF_MACHINES = ("--task-column", "machine", "--target-column", "wear")
QUICK = ("--num-outer-steps", 50, "--max-support", 8)
# quicker to compile than the default
QUICK_CLASSES = (*QUICK, "--algorithm", "fomaml")


def labelled(table):
    """The wear in words."""
    words = np.where(table["wear"] > table["wear"].median(), "worn", "good")
    return table.assign(wear=words)


def fails(command, *arguments):
    """The one line that a command ends with."""
    status, out, err = command(*arguments)
    assert status == 1 and out == ""
    assert "Traceback" not in err
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def csv(tmp_path, table):
    table.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_a_csv_is_fitted_judged_and_saved(command, csv, table, tmp_path):
    status, out, err = command("fit", csv, *OF_MACHINES, *QUICK, "--out", "m.safetensors")
    assert status == 0, err
    assert "2 groups held out" in out and "gradient-boosted trees" in out
    assert "fit: step 50/50" in err
    assert err.splitlines()[-2:] == ["m.safetensors", "m.png"]
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"
    model = mamlax.load(tmp_path / "m.safetensors")
    assert isinstance(model, mamlax.FewShotRegressor) and model.target_names_ == ["wear"]
    assert model.feature_names_in_.tolist() == ["speed", "kind"]
    assert model.num_groups_ == {"train": 10, "validation": 2, "test": 2}
    assert str(model.report()) == out.rstrip() and out.rstrip().endswith(model.report().verdict)


@pytest.fixture
def few(table):
    """Two machines: too few to hold one out, which is quick."""
    return table[:24]


def test_other_kinds_of_tables_give_the_same_model(command, few, tmp_path):
    table = few
    table.to_csv("table.csv", index=False)
    table.to_csv("table.csv.gz", index=False)
    table.to_csv("table.tsv", index=False, sep="\t")
    table.to_parquet("table.parquet")
    found = set()
    for name in ("table.csv", "table.csv.gz", "table.tsv", "table.parquet"):
        status, _, err = command("fit", name, *OF_MACHINES, *QUICK, "--out", "model")
        assert status == 0, err
        found.add((tmp_path / "model").read_bytes())
    assert len(found) == 1


def test_text_is_classes(command, few):
    labelled(few).to_csv("table.csv", index=False)
    status, _, err = command("fit", "table.csv", *OF_MACHINES, *QUICK_CLASSES)
    assert status == 0, err
    model = mamlax.load("model.safetensors")
    assert isinstance(model, mamlax.FewShotClassifier)
    assert model.classes_.tolist() == ["good", "worn"]


def test_numbers_are_classes_where_it_is_asked_for(command, few):
    """Called alike, though a gap makes 0.0 of 0."""
    is_worn = (few["wear"] > few["wear"].median()).astype(float)
    few.assign(wear=is_worn.where(few.index != 7)).to_csv("table.csv", index=False)
    arguments = ("table.csv", *OF_MACHINES, *QUICK_CLASSES, "--kind", "classes")
    status, _, err = command("fit", *arguments)
    assert status == 0, err
    assert mamlax.load("model.safetensors").classes_.tolist() == ["0", "1"]
    few[6:12].to_csv("query.csv", index=False)
    for wear, count in (([0, 1, 1, 0, 0, 1], 6), ([0, 1, 1, None, 0, 1], 5)):
        few[:6].assign(wear=wear).to_csv("support.csv", index=False)
        status, _, err = command("adapt", "model.safetensors", *PAIR)
        assert status == 0, err
        assert f"after adapting to {count} rows" in err
    written = pd.read_csv("predictions.csv")
    assert {"predicted wear", "probability 0", "probability 1"} <= set(written.columns)


@pytest.mark.slow
def test_classes_by_the_default_algorithm(command, table):
    labelled(table).to_csv("table.csv", index=False)
    status, out, err = command("fit", "table.csv", *OF_MACHINES, *QUICK)
    assert status == 0, err
    assert "share of rows misclassified, 2 groups held out" in out
    assert header_of("model.safetensors")["learner"]["recipe"]["algorithm"] == "cavia"


def test_rows_without_the_target_are_left_out(command, few, tmp_path):
    """Wherever they lie; what is fitted is what is fitted to the others."""
    holes = few.copy()
    holes.loc[[0, 5, 17, 23], "wear"] = np.nan
    holes.to_csv("holes.csv", index=False)
    few.drop([0, 5, 17, 23]).to_csv("whole.csv", index=False)
    for name in ("holes", "whole"):
        status, _, err = command("fit", f"{name}.csv", *OF_MACHINES, *QUICK, "--out", name)
        assert status == 0, err
        said = "warning: 4 of 24 rows have no target; they are left out." in err
        assert said == (name == "holes")
    assert (tmp_path / "holes").read_bytes() == (tmp_path / "whole").read_bytes()


def test_several_task_columns_are_taken_together(command, table, tmp_path):
    number = table["machine"].str[-2:].astype(int)
    # no two pairs alike, though joined some would be: "a-a" and "b", "a" and "a-b"
    hall = np.array(["a-a", "a", "c"])[number % 3]
    place = np.array(["b", "a-b", "d", "e", "f"])[number // 3]
    table.drop(columns="machine").assign(hall=hall, place=place).to_csv("table.csv", index=False)
    status, _, err = command(
        *("fit", "table.csv", "--task-column", "hall", "place", "--target-column", "wear", *QUICK)
    )
    assert status == 0, err
    model = mamlax.load("model.safetensors")
    assert model.feature_names_in_.tolist() == ["speed", "kind"]
    assert sum(model.num_groups_.values()) == 14


def test_what_tasks_share_is_held_out_together(command, table, tmp_path):
    """Of two halls of four machines and two of three, one is chosen by and one judged on."""
    hall = table["machine"].str[-2:].astype(int) % 4
    table.assign(hall=[f"hall {h}" for h in hall]).to_csv("table.csv", index=False)
    status, _, err = command("fit", "table.csv", *OF_MACHINES, *QUICK, "--split-column", "hall")
    assert status == 0, err
    model = mamlax.load("model.safetensors")
    counts = model.num_groups_
    assert counts["validation"] in (3, 4) and counts["test"] in (3, 4)
    assert sum(counts.values()) == 14
    assert model.feature_names_in_.tolist() == ["speed", "kind"]
    # a machine cannot lie in two of them
    table.assign(hall=["a", "b"] * 84).to_csv("table.csv", index=False)
    line = fails(command, "fit", "table.csv", *OF_MACHINES, *QUICK, "--split-column", "hall")
    assert "'machine 00'" in line and "'a', 'b'" in line


@pytest.mark.slow
def test_features_may_be_chosen_and_targets_several(command, table, tmp_path):
    table.assign(gain=-table["wear"], noise=0.0).to_csv("table.csv", index=False)
    arguments = ("--task-column", "machine", "--target-column", "wear", "gain", *QUICK)
    status, _, err = command("fit", "table.csv", *arguments, "--features", "kind", "speed")
    assert status == 0, err
    table[:5].assign(gain=1.0).to_csv("support.csv", index=False)
    table[5:9][["speed", "kind"]].to_csv("query.csv", index=False)
    assert command("adapt", "model.safetensors", *PAIR)[0] == 0
    columns = pd.read_csv("predictions.csv").columns.tolist()
    assert columns == ["speed", "kind", "predicted wear", "predicted gain"]


@pytest.mark.parametrize(
    "flags, words",
    [
        (("--task-column", "engine", "--target-column", "wear"), ["'engine'", "--task-column"]),
        (("--task-column", "machine", "--target-column", "tear"), ["'tear'", "--target-column"]),
        ((*OF_MACHINES, "--features", "speed", "sped"), ["'sped'", "--features"]),
        ((*OF_MACHINES, "--split-column", "month"), ["'month'", "--split-column"]),
    ],
)
def test_a_column_that_is_missing_is_met_with_those_there_are(flags, words, command, csv):
    line = fails(command, "fit", csv, *flags)
    for word in (*words, "It has: machine, speed, kind, wear."):
        assert word in line


def make_no_sense():
    table = machines()
    many = [f"{value:.3f} mm" for value in table["wear"]]
    return {
        "too many kinds": (table.assign(wear=many), OF_MACHINES, ["'wear'", "too many", "clean"]),
        "no target": (table.assign(wear=np.nan), OF_MACHINES, ["'wear' is missing in every row"]),
        "one class": (table.assign(wear="worn"), OF_MACHINES, ["one class", "'worn'"]),
        "one task": (table.assign(machine="this"), OF_MACHINES, ["one group ('this')"]),
        "no task in a row": (
            table.assign(machine=table["machine"].where(table.index != 7)),
            OF_MACHINES,
            ["missing in 1 rows (the first: 7)"],
        ),
        "no task in a row, of two columns": (
            table.assign(machine=table["machine"].where(table.index != 7), hall="a"),
            ("--task-column", "machine", "hall", "--target-column", "wear"),
            ["missing in 1 rows (the first: 7)"],
        ),
        "nothing to predict from": (
            table[["machine", "wear"]],
            OF_MACHINES,
            ["no column left to predict from"],
        ),
        "the target as a feature": (
            table,
            (*OF_MACHINES, "--features", "speed", "wear"),
            ["'wear' is the target and a feature at once"],
        ),
        "two targets, one of text": (
            table,
            ("--task-column", "machine", "--target-column", "wear", "kind"),
            ["values to predict must be numbers", "kind (str)"],
        ),
        "text as values": (
            table.assign(wear="worn"),
            (*OF_MACHINES, "--kind", "values"),
            ["values to predict must be numbers", "wear (str)"],
        ),
        "infinity": (
            table.assign(speed=table["speed"].where(table.index != 7, np.inf)),
            OF_MACHINES,
            ["'speed'", "infinity"],
        ),
        "an unknown algorithm": (table, (*OF_MACHINES, "--algorithm", "sgd"), ["maml", "'sgd'"]),
        "an algorithm for classes": (
            table,
            (*OF_MACHINES, "--algorithm", "proto-maml"),
            ["'proto-maml'"],
        ),
        "no outer steps": (table, (*OF_MACHINES, "--num-outer-steps", "0"), ["outer_steps"]),
    }


NO_SENSE = make_no_sense()


@pytest.mark.parametrize("what", NO_SENSE)
def test_a_table_that_makes_no_sense_is_refused(what, command, tmp_path):
    table, flags, words = NO_SENSE[what]
    table.to_csv("table.csv", index=False)
    line = fails(command, "fit", "table.csv", *flags)
    for word in words:
        assert word in line
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("table.csv", b"", "is empty (0 bytes)"),
        ("table.parquet", b"", "is empty (0 bytes)"),
        ("table.csv", b"machine,speed,wear\n", "has no rows"),
        ("table.csv", b"\n\n", "cannot be read as a table"),
        ("table.csv", b'machine,wear\n"a,1\n', "cannot be read as a table"),
        ("table.csv.gz", b"machine,wear\na,1\n", "cannot be read as a table"),
        ("table.parquet", b"machine,wear\na,1\n", "cannot be read as a table"),
        ("table.xlsx", b"PK", "is neither .csv, .tsv (also .gz) nor .parquet"),
    ],
)
def test_what_is_no_table_is_refused(name, content, words, command, tmp_path):
    (tmp_path / name).write_bytes(content)
    line = fails(command, "fit", name, *OF_MACHINES)
    assert name in line and words in line


def test_a_table_that_is_not_there_is_named(command):
    assert "there.csv does not exist" in fails(command, "fit", "there.csv", *OF_MACHINES)


def test_too_few_tasks_to_hold_some_out_are_learned_from(command, few):
    few.to_csv("table.csv", index=False)
    status, out, err = command("fit", "table.csv", *OF_MACHINES, *QUICK)
    assert status == 0, err
    assert "Too few tasks to hold some out" in err and out == ""
    assert err.splitlines()[-1] == "model.safetensors"


# adapt


PAIR = ("--support", "support.csv", "--query", "query.csv")
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
    assert "'speed'" in line and "'fast'" in line


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


def test_a_class_that_was_not_fitted_is_refused(command, of_classes, table):
    table[:5].assign(wear="broken").to_csv("support.csv", index=False)
    line = fails(command, "adapt", of_classes, *PAIR)
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
    status, out, err = command("adapt", of_images, *FOLDERS)
    assert status == 0 and out == ""
    assert err.splitlines() == ["3 predictions.", "predictions.csv"]
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


def test_images_to_adapt_to_that_lie_in_no_folder_are_refused(
    command, of_images, pictures, tmp_path
):
    write_picture(tmp_path / "support" / "stray.png", pictures[0, 3])
    line = fails(command, "adapt", of_images, *FOLDERS)
    assert "support has images that lie in no folder" in line
    assert not (tmp_path / "predictions.csv").exists()


def test_more_classes_than_an_image_model_has_are_refused(command, of_images, pictures, tmp_path):
    write_picture(tmp_path / "support" / "d" / "0.png", pictures[0, 3])
    assert "4 classes" in fails(command, "adapt", of_images, *FOLDERS)


# inspect


def test_a_model_of_a_table_is_described(command, of_table, regressor):
    status, out, err = command("inspect", of_table)
    assert status == 0 and err == ""
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == f"FewShotRegressor, written by mamlax {mamlax.__version__}"
    assert lines[1] == "algorithm ridge-maml, 0 inner steps to adapt"
    # 4 inputs: the speed, whether it is missing, and two kinds
    assert lines[2].startswith(f"network mlp, {4 * 8 + 8 + 8 + 1} numbers: num_inputs=4,")
    assert "predicts wear: numbers" in lines
    (column,) = regressor.columns_.columns[:1]
    assert f"speed numbers, mean {column.mean:.4g}, deviation {column.scale:.4g}" in lines
    assert any(
        line in ("kind 2 categories: dry, wet", "kind 2 categories: wet, dry") for line in lines
    )
    assert "learned from 12 tasks, chosen by 0, judged on 2; outer step 20" in lines
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
    more = FOLDERS if name == "adapt" else ()
    line = fails(command, name, "model.safetensors", *more)
    assert "model.safetensors is no model that mamlax wrote" in line
    (tmp_path / "model.safetensors").unlink()
    line = fails(command, name, "model.safetensors", *more)
    assert "model.safetensors" in line and "No such file" in line


def test_looking_into_a_damaged_model_is_refused_in_a_line(command, of_table, tmp_path):
    changed(
        tmp_path / of_table, tmp_path / "changed.safetensors", header=lambda h: h.pop("attributes")
    )
    assert "changed.safetensors" in fails(command, "inspect", "changed.safetensors")


# export


def test_a_run_is_exported_and_adapted(command, tmp_path):
    """A sinusoid: its inputs are called by their numbers."""
    train(sinusoid_recipe(), tmp_path / "run")
    status, out, err = command("export", "run", "--out", "wave.safetensors")
    assert status == 0 and out == "" and err.splitlines()[-1] == "wave.safetensors"
    x = np.linspace(-4, 4, 6)
    pd.DataFrame({"0": x, "target": np.sin(x)}).to_csv("support.csv", index=False)
    pd.DataFrame({"0": [0.0, 1.0]}).to_csv("query.csv", index=False)
    status, _, err = command("adapt", "wave.safetensors", *PAIR)
    assert status == 0, err
    written = pd.read_csv("predictions.csv")["predicted target"]
    adapted = mamlax.load("wave.safetensors").adapt(x[:, None], np.sin(x))
    np.testing.assert_allclose(written, adapted.predict([[0.0], [1.0]]), rtol=1e-5)
    status, out, _ = command("inspect", "wave.safetensors")
    assert status == 0 and "adapted to    nothing yet" in out


def test_a_model_is_exported_as_a_program(command, of_table, tmp_path):
    status, out, err = command("export", of_table, "--format", "stablehlo", "--out", "program")
    assert status == 0 and out == "" and err.splitlines()[-2:] == ["program", "program.json"]
    beside = json.loads((tmp_path / "program.json").read_text())
    assert [column["name"] for column in beside["columns"]["columns"]] == NAMES
    assert (tmp_path / "program").stat().st_size > 1000


def test_a_model_is_written_again(command, of_table, tmp_path):
    assert command("export", of_table, "--out", "again.safetensors")[0] == 0
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / of_table).read_bytes()


def test_a_folder_that_is_no_run_is_not_exported(command, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty is not a run directory" in fails(command, "export", "empty")


@pytest.mark.slow
def test_a_run_of_images_is_exported_and_adapted(command, fake_omniglot, pictures, tmp_path):
    train(omniglot_recipe(), tmp_path / "run")
    assert command("export", "run")[0] == 0
    write_classes(tmp_path / "support", pictures[:, :2])
    write_classes(tmp_path / "query", pictures[:, 2:])
    assert command("adapt", "model.safetensors", *FOLDERS)[0] == 0
    written = pd.read_csv("predictions.csv")
    assert len(written) == 6 and set(written["predicted"]) <= {"a", "b", "c"}
