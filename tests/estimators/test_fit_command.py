"""The command fit: a table becomes a model, or a line says what is wrong with it."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax.estimators._fitted_table import figure_of

from .materials import (
    OF_MACHINES,
    PAIR,
    QUICK,
    QUICK_CLASSES,
    fails,
    header_of,
    labelled,
    machines,
)

pytestmark = pytest.mark.filterwarnings("default:.* have no target; they are left out")


@pytest.fixture
def csv(tmp_path, table):
    table.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_a_csv_is_fitted_judged_and_saved(command, csv, table, tmp_path):
    status, out, err = command("fit", csv, *OF_MACHINES, *QUICK, "--out", "m.safetensors")
    assert status == 0, err
    assert "14 groups held out in 5 rounds" in out and "gradient-boosted trees" in out
    assert err.splitlines()[0] == (
        f"{csv}: 168 rows, 4 columns; numbers: wear, speed; categories: kind; names: machine; "
        f"missing: {table['speed'].isna().sum()} of speed."
    )
    assert err.splitlines()[1] == (
        "regression of wear on 2 columns (speed, kind), 168 rows; 14 tasks (machine) to learn "
        "from, 14 to judge by, held out in 5 rounds."
    )
    assert "round 1 of 5: step 2/50" in err
    assert re.search(r"\bfit: step (\d+)/\1 ", err), "it takes as many steps as the rounds chose"
    assert err.splitlines()[-2:] == ["m.safetensors", "m.png"]
    assert (tmp_path / "m.png").read_bytes()[:4] == b"\x89PNG"
    assert figure_of(Path("m.v2")) == Path("m.v2.png") and figure_of(Path("m.png")) != Path("m.png")
    model = mamlax.load(tmp_path / "m.safetensors")
    assert isinstance(model, mamlax.FewShotRegressor)
    assert model.target_names_ == ["wear"] and model.task_names_ == ["machine"]
    assert model.feature_names_in_.tolist() == ["speed", "kind"]
    assert model.num_groups_ == {"train": 14, "validation": 0, "test": 0}
    assert str(model.report()) == out.rstrip() and out.rstrip().endswith(model.report().verdict)


def test_a_fit_that_stops_early_says_so(command, monkeypatch):
    def fit(*_, report, **__):
        of_all = {"stage": "fit", "train/query_loss": 0.5, "time/outer_steps_per_second": 10.0}
        report(
            {
                **of_all,
                "step": 70,
                "num_outer_steps": 100,
                "stopped": "validation loss has not improved",
            }
        )
        return SimpleNamespace(report_=None, outer_step_=20)

    monkeypatch.setattr("mamlax.estimators._fitted_table.fit", fit)
    status, _, err = command("fit", "table.csv", *OF_MACHINES, "--num-outer-steps", 100)
    assert status == 0
    said = "stopped after 70 of 100 outer steps: validation loss has not improved"
    assert f"\nfit: {said}\n" in err
    assert err.splitlines()[-2] == f"Training {said}. The model is of step 20."


@pytest.mark.slow
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


@pytest.mark.slow
def test_text_is_classes(command, few):
    labelled(few).to_csv("table.csv", index=False)
    status, _, err = command("fit", "table.csv", *OF_MACHINES, *QUICK_CLASSES)
    assert status == 0, err
    model = mamlax.load("model.safetensors")
    assert isinstance(model, mamlax.FewShotClassifier)
    assert model.classes_.tolist() == ["good", "worn"]


@pytest.mark.slow
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
    assert "log loss, 14 groups held out in 5 rounds" in out
    assert "\nBrier score\n" in out and "\nshare of rows misclassified\n" in out
    assert header_of("model.safetensors")["learner"]["algorithm"]["name"] == "logistic-maml"


@pytest.mark.slow
def test_rows_without_the_target_are_left_out(command, few, tmp_path):
    """Wherever they lie; what is fitted is what is fitted to the others."""
    holes = few.copy()
    holes.loc[[0, 5, 17, 23], "wear"] = np.nan
    holes.to_csv("holes.csv", index=False)
    few.drop([0, 5, 17, 23]).to_csv("whole.csv", index=False)
    for name in ("holes", "whole"):
        status, _, err = command("fit", f"{name}.csv", *OF_MACHINES, *QUICK, "--out", name)
        assert status == 0, err
        said = "4 of 24 rows have no target; they are left out. The first is line 2 of" in err
        assert said == (name == "holes")
    assert (tmp_path / "holes").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.slow
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


@pytest.mark.slow
def test_what_tasks_share_is_held_out_together(command, table, tmp_path):
    """Two halls of four machines and two of three: a round for each."""
    hall = table["machine"].str[-2:].astype(int) % 4
    table.assign(hall=[f"hall {h}" for h in hall]).to_csv("table.csv", index=False)
    status, _, err = command("fit", "table.csv", *OF_MACHINES, *QUICK, "--split-column", "hall")
    assert status == 0, err
    model = mamlax.load("model.safetensors")
    report = model.report()
    assert (report.num_groups, report.num_units, report.num_rounds) == (14, 4, 4)
    assert "Only 4 sets of groups held out" in report.verdict
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
        "one task": (
            table.assign(machine="this"),
            OF_MACHINES,
            ["all 168 rows", "one task (--task-column machine)", "ordinary model"],
        ),
        "no task in a row": (
            table.assign(machine=table["machine"].where(table.index != 7)),
            OF_MACHINES,
            ["missing in 1 rows (the first: line 9 of table.csv)"],
        ),
        "no task in a row, of two columns": (
            table.assign(machine=table["machine"].where(table.index != 7), hall="a"),
            ("--task-column", "machine", "hall", "--target-column", "wear"),
            ["missing in 1 rows (the first: line 9 of table.csv)"],
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
            ["values to predict must be numbers", "wear (numbers)", "kind (text, as '"],
        ),
        "text as values": (
            table.assign(wear="worn"),
            (*OF_MACHINES, "--kind", "values"),
            ["values to predict must be numbers", "wear (text, as 'worn')", "--kind classes"],
        ),
        "infinity": (
            table.assign(speed=table["speed"].where(table.index != 7, np.inf)),
            OF_MACHINES,
            ["column 'speed' is inf in line 9 of table.csv", "leave it empty"],
        ),
        "an infinite target": (
            table.assign(wear=table["wear"].where(table.index != 7, np.inf)),
            OF_MACHINES,
            ["the target 'wear' is inf in line 9 of table.csv", "the row is then left out"],
        ),
        "a cell of text among targets": (
            table.assign(wear=table["wear"].astype(object).where(table.index != 7, "12,5")),
            OF_MACHINES,
            ["the target 'wear' is '12,5' in line 9 of table.csv", "numbers are expected"],
        ),
        "cells of text among numbers": (
            table.assign(speed=table["speed"].astype(object).where(table.index > 2, "fast")),
            OF_MACHINES,
            ["column 'speed' is 'fast' in line 2 of table.csv (and 2 more like it)", "as missing"],
        ),
        "tasks of one row": (
            table.assign(machine=np.arange(len(table))),
            OF_MACHINES,
            ["no task in table.csv has two rows (--task-column machine)"],
        ),
        "a split that holds nothing out": (
            table.assign(hall="a"),
            (*OF_MACHINES, "--split-column", "hall"),
            ["--split-column is 'a' in all rows"],
        ),
        "a task in two halls, called like an argument": (
            table.assign(machine="split_by " + table["machine"], hall=["a", "b"] * 84),
            (*OF_MACHINES, "--split-column", "hall"),
            ["'split_by machine 00' has rows of several values of --split-column ('a', 'b')"],
        ),
        "an unknown algorithm": (table, (*OF_MACHINES, "--algorithm", "sgd"), ["maml", "'sgd'"]),
        "an algorithm for classes": (
            table,
            (*OF_MACHINES, "--algorithm", "proto-maml"),
            ["'proto-maml'"],
        ),
        "no outer steps": (
            table,
            (*OF_MACHINES, "--num-outer-steps", "0"),
            ["--num-outer-steps must be"],
        ),
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
        ("table.csv", b'machine,wear\n"a,1\n', "line 2 of table.csv has 1 cell, but the header 2"),
        ("table.csv.gz", b"machine,wear\na,1\n", "cannot be read as a table"),
        ("table.parquet", b"machine,wear\na,1\n", "cannot be read as a table"),
        (
            "table.xlsx",
            b"PK",
            "is neither .csv, .tsv (also .gz), .parquet nor .feather. Save the spreadsheet",
        ),
        ("table.csv", "machine,wear\nä,1\n".encode("latin1"), "is not UTF-8 text"),
    ],
)
def test_what_is_no_table_is_refused(name, content, words, command, tmp_path):
    (tmp_path / name).write_bytes(content)
    line = fails(command, "fit", name, *OF_MACHINES)
    assert name in line and words in line


def test_a_table_that_is_not_there_is_named(command):
    assert "there.csv does not exist" in fails(command, "fit", "there.csv", *OF_MACHINES)


def test_a_folder_is_no_table(command, tmp_path):
    (tmp_path / "tables").mkdir()
    assert "tables is a folder, where a table is expected" in fails(
        command, "fit", "tables", *OF_MACHINES
    )


def test_a_table_is_not_written_over(command, csv):
    before = csv.read_bytes()
    assert "is the table itself" in fails(command, "fit", csv, *OF_MACHINES, "--out", csv)
    assert csv.read_bytes() == before


def test_an_option_that_would_take_the_table_says_where_it_goes(command):
    line = fails(command, "fit", "--target-column", "wear", "--task-column", "machine", "old.csv")
    assert "--task-column takes several words, and so would take old.csv" in line
    assert "mamlax fit old.csv --target-column wear --task-column machine" in line


@pytest.mark.filterwarnings("default:column")
@pytest.mark.slow
def test_columns_that_teach_little_are_named(command, few):
    days = pd.date_range("2024-01-01", periods=len(few)).astype(str)
    few.assign(day=days, empty=np.nan).to_csv("table.csv", index=False)
    status, _, err = command("fit", "table.csv", *OF_MACHINES, *QUICK)
    assert status == 0, err
    warned = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 2, "dates are read"
    assert "column 'empty' is empty in every row" in warned[0]
    assert "--order-column" in warned[1]


@pytest.mark.slow
def test_few_values_are_said_to_be_classes_where_asked_for(command, few):
    few.assign(wear=(few["wear"] > 12).astype(int)).to_csv("table.csv", index=False)
    _, _, err = command("fit", "table.csv", *OF_MACHINES, *QUICK)
    first = err.splitlines()[1]
    assert first.startswith("regression of wear on 2 columns")
    assert "(--kind classes takes the 2 values of wear for classes.)" in first


def test_too_few_tasks_to_hold_some_out_are_learned_from(command, few):
    few.to_csv("table.csv", index=False)
    status, out, err = command("fit", "table.csv", *OF_MACHINES, *QUICK)
    assert status == 0, err
    assert "Too few tasks to hold some out" in err and out == ""
    assert err.splitlines()[-1] == "model.safetensors"


def of_patients(names):
    """A table of text: twenty rows of each patient, as a hospital's system exports it."""
    rng = np.random.default_rng(0)
    subject = np.repeat(names, 20)
    dose = rng.uniform(1, 40, len(subject))
    grade = np.array(["NA", "None", "mild"])[np.digitize(dose, [10, 25])]
    return pd.DataFrame(
        {
            "": np.arange(len(subject)),
            "subject": subject,
            "dose": [f"{one:.2f}".replace(".", ",") for one in dose],
            "share": [f"{one:.0f} %" for one in dose],
            "wear": [f"{one / 7:.3f}".replace(".", ",") for one in dose],
            "grade": grade,
        }
    )


SUBJECTS = [*(f"{i:04}" for i in range(1, 11)), *map(str, range(1, 11))]
OF_SUBJECTS = ("--task-column", "subject")


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*differ in spelling alone")
def test_a_table_of_a_hospital_is_read_as_it_is_meant_and_said(command):
    """Subjects 0001 and 1 are two; commas, percent signs and an exported index are recognized."""
    of_patients(SUBJECTS).to_csv("table.csv", index=False, sep=";")
    arguments = ("--target-column", "wear", "--features", "dose", "share")
    status, _, err = command("fit", "table.csv", *OF_SUBJECTS, *arguments, *QUICK)
    assert status == 0, err
    said = err.splitlines()
    assert "'0001' and '1', and 9 more pairs in the column 'subject' differ in spelling" in err
    assert said[0] == (
        "table.csv: 400 rows, 6 columns separated by semicolons; numbers: wear (decimal commas), "
        "dose (decimal commas), share (percent signs left away); names: subject; left out, as an "
        "index: Unnamed: 0."
    )
    assert "regression of wear on 2 columns (dose, share), 400 rows; 20 tasks" in err
    columns = mamlax.load("model.safetensors").columns_.columns
    assert [column.categories for column in columns] == [(), ()]
    # a support of 0012 is not of task 12
    rows = of_patients(["0012", "12"])
    rows[:5].to_csv("support.csv", index=False, sep=";")
    rows[20:25].to_csv("query.csv", index=False)
    line = fails_in_adapt(command)
    assert "asks about another task (subject: 12) than the one of support.csv (0012)" in line
    rows[5:10].to_csv("query.csv", index=False, sep="\t")
    status, _, err = command("adapt", "model.safetensors", *PAIR)
    assert status == 0, err
    assert "support.csv: separated by semicolons, dose (decimal commas)" in err
    assert "query.csv: separated by tabs, dose (decimal commas)" in err
    written = pd.read_csv("predictions.csv", dtype=str)
    assert written["subject"].tolist() == ["0012"] * 5
    assert written["dose"].tolist() == rows["dose"][5:10].tolist()


def fails_in_adapt(command):
    status, _, err = command("adapt", "model.safetensors", *PAIR)
    assert status == 1
    return err.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*is taken for the name of a class")
def test_classes_called_as_missing_values_are_classes_and_a_choice(command):
    of_patients(SUBJECTS[:2]).to_csv("table.csv", index=False)
    arguments = ("table.csv", *OF_SUBJECTS, "--target-column", "grade", "--features", "share")
    status, _, err = command("fit", *arguments, *QUICK_CLASSES)
    assert status == 0, err
    assert "classification of grade (3 classes: NA, None, mild)" in err
    assert "no target" not in err and "--missing" in err
    assert mamlax.load("model.safetensors").classes_.tolist() == ["NA", "None", "mild"]
    of_patients(["7"])[:6].to_csv("support.csv", index=False)
    of_patients(["7"])[6:9].to_csv("query.csv", index=False)
    status, _, err = command("adapt", "model.safetensors", *PAIR)
    assert status == 0 and "after adapting to 6 rows" in err
    # a word that is no class is a missing value
    of_patients(["7"])[:6].assign(grade=["mild", "NA", "n/a"] * 2).to_csv(
        "support.csv", index=False
    )
    status, _, err = command("adapt", "model.safetensors", *PAIR)
    assert status == 0 and "after adapting to 4 rows" in err
    status, _, err = command("fit", *arguments, *QUICK_CLASSES, "--missing", "NA")
    assert status == 0, err
    assert "40 rows have no target" in err and "(2 classes: None, mild)" in err
    assert mamlax.load("model.safetensors").reading_.missing == ("NA",)


@pytest.mark.slow
def test_codes_are_categories_where_it_is_said(command, few):
    few.assign(code=["01", "1"] * 12).to_csv("table.csv", index=False)
    arguments = ("fit", "table.csv", *OF_MACHINES, *QUICK, "--features", "speed", "code")
    _, _, err = command(*arguments)
    assert "code (codes with leading zeros as numbers)" in err.splitlines()[0]
    status, _, err = command(*arguments, "--categories", "code")
    assert status == 0, err
    assert mamlax.load("model.safetensors").columns_.columns[1].categories == ("01", "1")
    assert "none of the features" in fails(command, *arguments, "--categories", "kind")


@pytest.mark.filterwarnings("default:column 'row' numbers the rows")
@pytest.mark.slow
def test_a_column_that_numbers_the_rows_is_remarked(command, few):
    few.assign(row=np.arange(24), index=np.arange(24)).to_csv("table.csv", index=False)
    _, _, err = command("fit", "table.csv", *OF_MACHINES, *QUICK)
    assert "left out, as an index: index;" in err
    assert "column 'row' numbers the rows (0, 1, ...)" in err


@pytest.mark.slow
def test_every_kind_of_file_gives_the_same_predictions(command, few, tmp_path):
    found = []
    for kind in ("csv", "parquet", "feather"):
        for name, table in (("table", few), ("support", few[:6]), ("query", few[6:12])):
            table = table.reset_index(drop=True)
            table = table[table.columns[::-1]] if name == "query" else table
            path = tmp_path / f"{name}.{kind}"
            table.to_csv(path, index=False) if kind == "csv" else getattr(table, f"to_{kind}")(path)
    for kind, of_query in (("csv", "feather"), ("parquet", "csv"), ("feather", "parquet")):
        status, _, err = command("fit", f"table.{kind}", *OF_MACHINES, *QUICK)
        assert status == 0, err
        pair = ("--support", f"support.{kind}", "--query", f"query.{of_query}")
        status, _, err = command("adapt", "model.safetensors", *pair)
        assert status == 0, err
        found.append(pd.read_csv("predictions.csv")["predicted wear"].tolist())
    assert found[0] == found[1] == found[2]
