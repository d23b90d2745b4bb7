"""Many tasks at once: adapted to in one call, saved, and predicted for later."""

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax.estimators import _buckets

from .materials import PAIR, changed, fails, labelled

NAMES = ["speed", "kind"]
WHO = ("--task-column", "machine")
SAVED = ("--adapted-out", "adapted.safetensors")
LATER = ("predict", "adapted.safetensors", "query.csv", "--out", "later.csv")


@pytest.fixture
def of_many(regressor, tmp_path, table):
    """A model; five rows of each of four machines to adapt to, and others of these, in files."""
    regressor.target_names_ = ["wear"]
    regressor.save(tmp_path / "model.safetensors")
    del regressor.target_names_
    few = table[table["machine"] < "machine 04"]
    few[few.index % 12 < 5].to_csv(tmp_path / "support.csv", index=False)
    few[few.index % 12 >= 5].sample(frac=1, random_state=0).to_csv(
        tmp_path / "query.csv", index=False
    )
    return "model.safetensors"


def expected_of(model, support, query):
    """By the public `adapt`, one machine after another."""
    found = pd.Series(np.nan, query.index)
    for name, rows in query.groupby("machine"):
        given = support[support["machine"] == name]
        found[rows.index] = model.adapt(given[NAMES], given["wear"]).predict(rows[NAMES])
    return found


def test_each_task_is_adapted_to_by_itself(command, of_many, regressor):
    status, out, err = command("adapt", of_many, *PAIR, *WHO, *SAVED)
    assert status == 0 and out == ""
    assert err.splitlines() == [
        "28 predictions after adapting to 20 rows of 4 tasks.",
        "predictions.csv",
        "adapted.safetensors",
    ]
    written, support = pd.read_csv("predictions.csv"), pd.read_csv("support.csv")
    query = pd.read_csv("query.csv")
    pd.testing.assert_frame_equal(written[query.columns.tolist()], query)
    expected = expected_of(regressor, support, query)
    np.testing.assert_allclose(written["predicted wear"], expected, rtol=1e-4)
    # later, from the file
    status, out, err = command(*LATER)
    assert status == 0 and out == ""
    assert err.splitlines() == ["28 predictions by a model adapted to 4 tasks.", "later.csv"]
    pd.testing.assert_frame_equal(pd.read_csv("later.csv"), written)


def test_some_tasks_after_others_are_as_all_at_once(regressor, table, monkeypatch):
    support, query = (table[table.index % 12 < 5], table[table.index % 12 >= 5])
    given = support[NAMES], support["wear"], support["machine"]

    def asked():
        many = regressor.adapt_many(*given)
        return many.predict(query[NAMES], query["machine"], return_std=True)

    at_once = asked()
    monkeypatch.setattr(_buckets, "_MOST_TASKS", 5)
    assert [len(tasks) for _, tasks in _buckets.by_bucket(np.full(14, 3))] == [5, 5, 4]
    np.testing.assert_allclose(asked(), at_once, rtol=1e-5)
    np.testing.assert_allclose(at_once[0], expected_of(regressor, support, query), rtol=1e-4)


@pytest.mark.filterwarnings("default:.* were not adapted to")
def test_intervals_stand_beside_predictions_of_all_tasks(command, of_many, regressor, table):
    table[:12].to_csv("query.csv", index=False)
    table[table.index % 12 < 5][5:15].to_csv("support.csv", index=False)
    wide = ("--interval", 0.5)
    assert command("adapt", of_many, *PAIR, *WHO, *SAVED, *wide)[0] == 0
    written = pd.read_csv("predictions.csv")
    ends = regressor.predict_interval(table[:12][NAMES], 0.5)
    np.testing.assert_allclose(written[["lower wear", "upper wear"]].T, ends, rtol=1e-5)
    assert command(*LATER, *wide)[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("later.csv"), written)


@pytest.mark.filterwarnings("default:.* were not adapted to")
def test_tasks_of_one_table_alone_are_said(command, of_many, regressor, table):
    few = table[table["machine"] < "machine 03"]
    few[few.index % 12 < 5].to_csv("support.csv", index=False)
    query = table[(table["machine"] > "machine 01") & (table["machine"] < "machine 04")]
    query.to_csv("query.csv", index=False)
    status, _, err = command("adapt", of_many, *PAIR, *WHO)
    assert status == 0
    words = " ".join(err.split())
    assert (
        "2 of 3 tasks in support.csv have no rows in query.csv (machine 00, machine 01): nothing "
        "is predicted for them." in words
    )
    assert (
        "warning: 1 of 2 tasks in query.csv were not adapted to (machine 03): their 12 rows are "
        "predicted by the model as it is." in words
    )
    written = pd.read_csv("predictions.csv")["predicted wear"]
    np.testing.assert_allclose(written[12:], regressor.predict(query[NAMES][12:]), rtol=1e-5)
    own = expected_of(regressor, few[few.index % 12 < 5], query[:12])
    np.testing.assert_allclose(written[:12], own, rtol=1e-4)


def test_several_columns_tell_tasks_apart(command, of_many):
    for name in ("support", "query"):
        rows = pd.read_csv(f"{name}.csv")
        site = np.where(rows["machine"] < "machine 02", "A, B", "A")
        site_of = rows.assign(site=site, machine=np.where(rows["kind"] == "dry", "B, C", "C"))
        site_of.to_csv(f"{name}.csv", index=False)
    arguments = ("--task-column", "site", "machine", *SAVED)
    status, _, err = command("adapt", of_many, *PAIR, *arguments)
    assert status == 0 and "of 4 tasks" in err, err
    saved = mamlax.load("adapted.safetensors")
    assert saved.groups.tolist() == ['"A, B", "B, C"', '"A, B", C', 'A, "B, C"', "A, C"]
    assert command(*LATER)[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("later.csv"), pd.read_csv("predictions.csv"))


def test_classes_of_many_tasks_have_their_probabilities(command, classifier, of_many, tmp_path):
    classifier.target_names_ = ["wear"]
    classifier.save(tmp_path / "model.safetensors")
    del classifier.target_names_
    labelled(pd.read_csv("support.csv")).to_csv("support.csv", index=False)
    assert command("adapt", of_many, *PAIR, *WHO)[0] == 0
    written, support = pd.read_csv("predictions.csv"), pd.read_csv("support.csv")
    chances = written[["probability good", "probability worn"]].to_numpy()
    many = classifier.adapt_many(support[NAMES], support["wear"], support["machine"])
    query = pd.read_csv("query.csv")
    expected = many.predict_proba(query[NAMES], query["machine"])
    np.testing.assert_allclose(chances, expected, rtol=1e-4, atol=1e-6)
    assert (
        written["predicted wear"].tolist() == many.predict(query[NAMES], query["machine"]).tolist()
    )


@pytest.mark.parametrize("names", [[3, 1], ["b", "a"], [True, False]], ids=str)
def test_what_was_adapted_to_many_is_saved(names, regressor, table, tmp_path):
    groups = np.repeat(np.array(names), 6)
    rows = table[:12]
    # also where the model was adapted to something else before
    for model in (regressor, regressor.adapt(rows[NAMES], rows["wear"])):
        many = model.adapt_many(rows[NAMES], rows["wear"], groups)
        many.save(tmp_path / "many.safetensors")
        loaded = mamlax.load(tmp_path / "many.safetensors")
        assert isinstance(loaded, mamlax.AdaptedMany)
        assert loaded.groups.tolist() == sorted(names) and loaded.groups.dtype == groups.dtype
        assert loaded.estimator.num_support_ == many.estimator.num_support_ == 0
        found, expected = (one.predict(rows[NAMES], groups[::-1]) for one in (loaded, many))
        np.testing.assert_array_equal(found, expected)
    # how sure it is, too
    found, expected = (one.predict_interval(rows[NAMES], groups, 0.5) for one in (loaded, many))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_file_changed_by_hand_is_refused(regressor, table, tmp_path):
    rows, path = table[:12], tmp_path / "many.safetensors"
    many = regressor.adapt_many(rows[NAMES], rows["wear"], np.repeat(["a", "b"], 6))
    many.save(path)
    for change, words in [
        (lambda header: header["groups"].append("c"), "rows of .2,. tasks, where .3,. are named"),
        (
            lambda header: header["sizes"].__setitem__(0, 7),
            "supports of 13 rows, where there are 12",
        ),
        (lambda header: header["estimator"].update(kind="AdaptedMany"), "holds a 'AdaptedMany'"),
    ]:
        wrong = changed(path, tmp_path / "wrong.safetensors", header=change)
        with pytest.raises(mamlax.MamlaxError, match=words):
            mamlax.load(wrong)
    dates = regressor.adapt_many(rows[NAMES], rows["wear"], np.repeat(DAYS, 6))
    with pytest.raises(mamlax.MamlaxError, match="text or numbers to be saved, got date"):
        dates.save(path)


DAYS = np.array(["2024-01-01", "2024-01-02"], "datetime64[D]")


def test_a_saved_one_says_what_it_is(command, of_many):
    assert command("adapt", of_many, *PAIR, *WHO, *SAVED)[0] == 0
    status, out, _ = command("inspect", "adapted.safetensors")
    assert status == 0 and out.startswith("FewShotRegressor, written by mamlax")
    assert "adapted to    4 tasks: machine 00, machine 01, machine 02, machine 03" in out
    for arguments in (
        ("adapt", "adapted.safetensors", *PAIR),
        ("export", "adapted.safetensors", "--out", "x.safetensors"),
        ("serve", "adapted.safetensors", "--port", 0),
    ):
        assert "is adapted to 4 tasks" in fails(command, *arguments)
    line = fails(command, "score", "adapted.safetensors", "query.csv")
    assert "holds a AdaptedMany: mamlax score judges models of tables" in line


def test_what_makes_no_sense_is_refused(command, of_many, table):
    assert "has no column 'who'" in fails(command, "adapt", of_many, *PAIR, "--task-column", "who")
    line = fails(command, "predict", of_many, "query.csv")
    assert "is adapted to nothing yet" in line and "--adapted-out" in line
    line = fails(command, "adapt", of_many, *PAIR, *WHO, "--adapted-out", "support.csv")
    assert "is read by this command" in line and "--adapted-out" in line
    line = fails(command, "adapt", of_many, *PAIR, "--out", "x", "--adapted-out", "x")
    assert "written twice" in line
    table[:5].assign(machine=["a", "", "a", "b", "b"]).to_csv("query.csv", index=False)
    line = fails(command, "adapt", of_many, *PAIR, *WHO)
    assert "'machine' (--task-column) is missing in 1 rows (the first: line 3 of query.csv)" in line


@pytest.mark.filterwarnings("default:.* have no target; they are left out")
def test_a_support_without_targets_is_refused(command, of_many, table):
    table[:5].assign(wear=np.nan).to_csv("support.csv", index=False)
    line = fails(command, "adapt", of_many, *PAIR, *WHO)
    assert "no row of support.csv has a target" in line


def test_a_model_adapted_to_one_task_predicts_later(command, of_many, table):
    table[:5].to_csv("support.csv", index=False)
    table[5:12].to_csv("query.csv", index=False)
    assert command("adapt", of_many, *PAIR, *SAVED)[0] == 0
    status, _, err = command(*LATER)
    assert status == 0
    assert err.splitlines() == ["7 predictions by a model adapted to 5 rows.", "later.csv"]
    pd.testing.assert_frame_equal(pd.read_csv("later.csv"), pd.read_csv("predictions.csv"))
