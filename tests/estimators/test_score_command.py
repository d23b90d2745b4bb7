"""The command score: a saved model is judged on another table."""

import json

import numpy as np
import pytest

import mamlax
from mamlax.estimators._entry import ADAPTED, UNADAPTED
from mamlax.estimators._report import report_from_json

from .materials import fails, image_classifier, labelled, machines

NAMES = ["speed", "kind"]
OTHER = ("--task-column", "machine", "--target-column", "wear")


@pytest.fixture
def saved(regressor, tmp_path):
    """A model, and machines that it has not learned from, in files."""
    regressor.target_names_, regressor.task_names_ = ["wear"], ["machine"]
    regressor.save(tmp_path / "model.safetensors")
    del regressor.target_names_, regressor.task_names_
    machines(num_machines=8, seed=7).to_csv(tmp_path / "other.csv", index=False)
    return "model.safetensors", "other.csv"


def errors_of(model, table, size, later):
    """Relative to the variance, by the public `adapt`: mean over machines."""
    found = []
    for _, rows in table.groupby("machine"):
        support, query = rows[:size], rows[later:]
        adapted = model.adapt(support[NAMES], support["wear"]) if size else model
        found.append(np.mean((adapted.predict(query[NAMES]) - query["wear"]) ** 2))
    return np.mean(found) / table["wear"].var(ddof=0)


def test_a_model_is_judged_adapted_and_not(command, saved, regressor, tmp_path):
    table = machines(num_machines=16, seed=7)
    table.assign(day=np.arange(16 * 12)).to_csv("other.csv", index=False)
    status, out, err = command(
        *("score", *saved, "--order-column", "day"),
        *("--support-sizes", 2, 5, "--out", "score.json"),
    )
    assert status == 0 and err.splitlines() == ["score.json"], err
    report = report_from_json(json.loads((tmp_path / "score.json").read_text()))
    assert out == f"{report}\n"
    assert report.sizes == [2, 5] and report.models == [ADAPTED, UNADAPTED]
    for size in report.sizes:
        assert report.entry(ADAPTED, size).error == pytest.approx(
            errors_of(regressor, table, size, size), rel=1e-3
        )
        assert report.entry(UNADAPTED, size).error == pytest.approx(
            errors_of(regressor, table, 0, size), rel=1e-3
        )
    first, *_, verdict = out.splitlines()
    assert "variance of the target over these rows, 16 groups, the first rows" in first
    assert "held out" not in out and "(95 % confidence, 16 groups)" in verdict


def test_rows_are_drawn_where_no_order_is_named(command, saved):
    status, first, err = command("score", *saved)
    assert status == 0 and err == ""
    # half of 12 rows are judged on: no task has ten to adapt to
    assert first.splitlines()[1].split() == ["rows", "of", "support", "1", "2", "5"]
    assert command("score", *saved)[1] == first != command("score", *saved, "--seed", 1)[1]


@pytest.mark.filterwarnings("default:.* was fitted with tasks of one site")
def test_tasks_that_share_something_count_as_one(command, saved, regressor):
    """By the option, or as in the table that was fitted."""
    table = machines(num_machines=8, seed=7)
    table.assign(site=table["machine"].astype(str).str[-1].isin([*"02468"])).to_csv(
        "other.csv", index=False
    )
    status, out, err = command("score", *saved, "--split-column", "site")
    assert status == 0 and err == "", err
    assert "8 groups, mean ± 95 % interval over the 2 sets of groups held out together" in out
    regressor.split_names_ = ["site"]
    try:
        regressor.save("with_site.safetensors")
    finally:
        del regressor.split_names_
    assert mamlax.load("with_site.safetensors").split_names_ == ["site"]
    given = ("with_site.safetensors", "other.csv", *OTHER)
    assert command("score", *given)[1] == out
    table.to_csv("other.csv", index=False)
    status, alone, err = command("score", *given)
    assert "has no column 'site': tasks are taken for independent" in err
    assert alone == command("score", *saved)[1] != out
    line = fails(command, "score", *saved, "--split-column", "kind")
    assert "has rows of several values of --split-column" in line


@pytest.mark.filterwarnings("default:.* was fitted with rows in an order")
def test_an_order_that_the_model_knows_of_is_missed(command, saved, regressor, monkeypatch):
    monkeypatch.setattr(regressor, "report_", regressor.report_._replace(is_ordered=True))
    regressor.save("model.safetensors")
    _, _, err = command("score", *saved, *OTHER)
    assert "rows in an order, and support rows are drawn at random here" in err


def test_classes_are_judged_by_log_loss(command, classifier, tmp_path):
    classifier.save(tmp_path / "model.safetensors")
    labelled(machines(num_machines=8, seed=7)).to_csv("other.csv", index=False)
    status, out, err = command("score", "model.safetensors", "other.csv", *OTHER)
    assert status == 0 and err == ""
    assert out.startswith("log loss, 8 groups, mean ±") and "share of rows misclassified" in out


def test_tasks_with_too_few_rows_are_refused(command, saved):
    line = fails(command, "score", *saved, "--support-sizes", 2, 8)
    assert "0 of 8 tasks in other.csv have the 16 rows that 8 of support take" in line
    machines(num_machines=8, rows=1).to_csv("other.csv", index=False)
    assert "no task in other.csv has two rows with a target" in fails(command, "score", *saved)
    assert "1 or more rows, got 0" in fails(command, "score", *saved, "--support-sizes", 0)


@pytest.mark.filterwarnings("default:.* have no target; they are left out")
def test_what_a_table_lacks_is_named(command, saved, regressor, tmp_path):
    table = machines(num_machines=8, seed=7)
    table.drop(columns="wear").to_csv("other.csv", index=False)
    assert "has no column 'wear' (the target)" in fails(command, "score", *saved)
    table.drop(columns="machine").to_csv("other.csv", index=False)
    assert "has no column 'machine' (--task-column)" in fails(command, "score", *saved)
    table.drop(columns="kind").to_csv("other.csv", index=False)
    assert "lacks 'kind'" in fails(command, "score", *saved)
    table.assign(wear=np.nan).to_csv("other.csv", index=False)
    assert "'wear' is missing in every row" in fails(command, "score", *saved)
    table.to_csv("other.csv", index=False)
    line = fails(command, "score", *saved, "--target-column", "wear", "speed")
    assert "predicts wear, and --target-column names 2 columns" in line
    assert "--out" in fails(command, "score", *saved, "--out", "other.csv")
    regressor.save(tmp_path / "model.safetensors")
    line = fails(command, "score", *saved)
    assert "does not say what tells tasks apart" in line and "--task-column" in line


def test_a_table_that_an_option_would_take_is_put_first(command):
    line = fails(command, "score", "m.safetensors", "--task-column", "machine", "other.csv")
    assert "mamlax score m.safetensors other.csv --task-column machine" in line


def test_models_of_images_are_refused(command, saved):
    image_classifier().save("model.safetensors")
    line = fails(command, "score", *saved)
    assert "holds a FewShotImageClassifier: mamlax score judges models of tables" in line
    assert mamlax.load("model.safetensors") is not None
