"""Dates become a trend and their places in the year, the week and the day, wherever they stand."""

import datetime
import json
import zoneinfo
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax.config._serving import Serving
from mamlax.estimators._columns import Column, Columns
from mamlax.estimators._dates import dates_in
from mamlax.estimators._program_description import description_of_program
from mamlax.serve._refusals import RefusedError
from mamlax.serve._tables import ServedTable, _values

from .materials import OF_MACHINES, QUICK_CLASSES, fails

HOURLY = pd.Series(pd.date_range("2024-01-01 06:00", periods=2000, freq="9h"), name="when")


def fitted(values):
    """The only column of a table."""
    columns = Columns.fit(pd.DataFrame({"when": values}))
    return columns, columns.columns[0]


def encoded(columns, values):
    return columns.encode(pd.DataFrame({"when": values}))


def test_a_date_is_a_trend_and_its_place_in_the_year_the_week_and_the_day():
    columns, one = fitted(HOURLY)
    assert (one.kind, one.parts, one.width) == ("dates", ("time", "year", "week", "day"), 12)
    found = encoded(columns, HOURLY)
    trend, weekdays = found[:, 0], found[:, 3:10]
    np.testing.assert_allclose((trend.mean(), trend.std()), (0, 1), atol=1e-5)
    np.testing.assert_allclose(np.diff(trend), trend[1] - trend[0], rtol=1e-3)
    np.testing.assert_array_equal(weekdays.argmax(1), HOURLY.dt.day_of_week)
    assert (weekdays.sum(1) == 1).all()
    of_year = (HOURLY.dt.day_of_year - 1 + HOURLY.dt.hour / 24) / 365.25
    np.testing.assert_allclose(found[:, 1], np.sin(2 * np.pi * of_year), atol=0.03)
    np.testing.assert_allclose(found[:, 2], np.cos(2 * np.pi * of_year), atol=0.03)
    of_day = HOURLY.dt.hour / 24
    np.testing.assert_allclose(found[:, 10], np.sin(2 * np.pi * of_day), atol=1e-5)
    np.testing.assert_allclose(found[:, 11], np.cos(2 * np.pi * of_day), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (pd.date_range("2024-01-01", periods=100), ("time", "week")),
        (pd.date_range("2024-01-01", periods=100, freq="7D"), ("time", "year")),
        (pd.date_range("2001-01-01", periods=20, freq="YS"), ("time", "week")),
        (pd.date_range("2024-01-01 08:00", periods=2), ("time",)),
        (pd.date_range("2024-01-01", periods=24, freq="h"), ("time", "day")),
        (["2024-01-01"] * 3, ("time",)),
        ([None, None], ("time",)),
    ],
    ids=["daily", "weekly", "yearly", "two days", "one day", "one date", "none"],
)
def test_only_cycles_that_dates_go_through_are_there(values, parts):
    columns, one = fitted(pd.to_datetime(pd.Series(values)))
    assert one.parts == parts and np.isfinite(encoded(columns, pd.to_datetime(values))).all()


def test_missing_dates_are_zeros_and_said():
    columns, one = fitted(HOURLY.where(HOURLY.index % 5 > 0))
    assert one.has_missing and one.width == 13
    found = encoded(columns, HOURLY.where(HOURLY.index != 1))[:3]
    assert found[:, -1].tolist() == [0, 1, 0] and (found[1, :-1] == 0).all()


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    "written",
    [
        lambda one: one.dt.tz_localize(BERLIN, ambiguous=True, nonexistent="shift_forward"),
        lambda one: one.astype("datetime64[s]"),
        lambda one: pd.Series(one.tolist(), dtype=object),
        lambda one: one.dt.strftime("%Y-%m-%dT%H:%M"),
        lambda one: one.dt.strftime("%Y-%m-%d %H:%M:%S.000+02:00"),
        lambda one: one.dt.to_period("s"),
        lambda one: one.astype("timestamp[ns][pyarrow]"),
    ],
    ids=["zoned", "seconds", "python", "text", "text with a zone", "periods", "arrow"],
)
def test_the_clock_counts_as_it_is_written(written):
    columns, _ = fitted(HOURLY)
    found = encoded(columns, pd.Series(written(HOURLY)))
    np.testing.assert_allclose(found, encoded(columns, HOURLY), atol=1e-3)


def test_dates_that_are_meant_for_categories_are_categories():
    assert fitted(HOURLY[:20].astype("category"))[1].kind == "categories"


def test_durations_and_times_of_the_day_are_numbers():
    table = pd.DataFrame(
        {
            "spent": pd.to_timedelta([1, 2, None], unit="D"),
            "also": [datetime.timedelta(days=1), None, datetime.timedelta(hours=12)],
            "at": [datetime.time(8, 30), datetime.time(20), None],
        }
    )
    spent, also, at = Columns.fit(table).columns
    assert (spent.kind, spent.mean, spent.has_missing) == ("numbers", 1.5, True)
    assert (also.mean, at.mean) == (0.75, 14.25)


def test_an_array_of_dates_is_a_table_too():
    table = np.stack([HOURLY.astype(object), np.arange(2000.0)], axis=1)
    first, second = Columns.fit(table).columns
    assert (first.kind, second.kind) == ("dates", "numbers")
    assert first._replace(name="when") == fitted(HOURLY)[1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["2024-01-01", "soon"], "'when' held dates.*got 'soon'.*2024-01-31"),
        ([3.0, 4.0], "'when' held dates.*got 3.0"),
        ([datetime.date(2024, 1, 1), 3], "begins with datetime.date.*something else as well"),
    ],
    ids=["text", "numbers", "mixed"],
)
def test_what_is_no_date_is_refused_where_dates_were(values, words):
    with pytest.raises(mamlax.MamlaxError, match=words):
        encoded(fitted(HOURLY)[0], values)


def test_dates_are_refused_where_numbers_were():
    columns = Columns.fit(pd.DataFrame({"when": [1.0, 2.0]}))
    with pytest.raises(mamlax.MamlaxError, match=r"'when' held numbers.*got dates"):
        encoded(columns, HOURLY[:2])


def test_dates_far_from_those_fitted_are_said():
    columns, _ = fitted(HOURLY)
    with pytest.warns(UserWarning, match=r"is 2104-01-01.*mean 2025-01-.* 216.5 days.*year right"):
        encoded(columns, pd.to_datetime(["2104-01-01"]))


@pytest.mark.parametrize(
    ("text", "is_date"),
    [
        ("2024-02-29", True),
        (" 2024-01-31T08:00Z ", True),
        ("2024-01-31 08:00:00,5 +0100", True),
        ("2024-01-31T08:00:00.123456789", True),
        ("2023-02-29", False),
        ("31.01.2024", False),
        ("2024-01-31T25:00", False),
        ("20240131", False),
    ],
)
def test_text_is_dates_where_year_month_and_day_stand_in_this_order(text, is_date):
    assert (dates_in([text]) is not None) == is_date


def test_columns_are_the_same_from_json_and_from_json_of_before_dates():
    columns, _ = fitted(HOURLY)
    assert Columns.from_json(json.loads(json.dumps(columns.as_json()))) == columns
    before = Columns((Column("speed", (), 1.0, 2.0, True),), True)
    saved = before.as_json()
    saved["columns"] = [{k: v for k, v in one.items() if k != "parts"} for one in saved["columns"]]
    assert Columns.from_json(saved) == before
    wrong = columns.as_json()
    wrong["columns"][0]["parts"] = ["moon"]
    with pytest.raises(ValueError, match="other than time, year, week, day"):
        Columns.from_json(wrong)


def test_clients_of_a_service_write_dates_as_text():
    columns, one = fitted(HOURLY)
    found = columns.encode_values([_values("rows", one, ["2024-01-01T06:00", None])], 2)
    np.testing.assert_allclose(found[:1], encoded(columns, HOURLY[:1]), atol=1e-6)
    with pytest.raises(RefusedError, match=r"'when' in rows must be dates, as 2024-.*got 3"):
        _values("rows", one, ["2024-01-01", 3])


def by_description(said, texts):
    """The numbers of dates by what stands beside an exported program, for who has this alone."""
    first, end = said["places"]
    found = np.zeros((len(texts), end - first))
    for line, text in zip(found, texts, strict=True):
        since = datetime.datetime.fromisoformat(text) - datetime.datetime(1970, 1, 1)
        days, numbers = since / datetime.timedelta(days=1), []
        for part in said["parts"]:
            if part == "time":
                numbers.append((days - said["mean"]) / said["scale"])
            elif part == "week":
                numbers += [float((int(days) + 3) % 7 == place) for place in range(7)]
            else:
                angle = 2 * np.pi * days / {"year": 365.2425, "day": 1}[part]
                numbers += [np.sin(angle), np.cos(angle)]
        line[:] = numbers
    return found


def test_dates_are_the_same_in_files_frames_services_and_programs(command, few):
    """The clock of machines, each of which began on another day."""
    start = pd.to_datetime(["2024-03-01", "2024-11-01"]).repeat(12)
    when = start + pd.to_timedelta(np.tile(np.arange(12) * 7, 2), "h")
    dated = few.assign(when=when.strftime("%Y-%m-%d %H:%M"))
    dated.to_csv("table.csv", index=False)
    Path("model.safetensors").write_text("an older one")
    status, _, err = command(
        "fit", "table.csv", *OF_MACHINES, *QUICK_CLASSES, "--order-column", "when"
    )
    assert status == 0 and "; dates: when;" in err, err
    assert err.startswith("model.safetensors is there already: it will be replaced.\n")
    model = mamlax.load("model.safetensors")
    *_, column = model.columns_.columns
    assert column.parts == ("time", "year", "week", "day")
    dated[:4].to_csv("support.csv", index=False)
    dated[4:12].to_csv("query.csv", index=False)
    pair = ("--support", "support.csv", "--query", "query.csv", "--out", "out.csv")
    status, _, err = command("adapt", "model.safetensors", *pair)
    assert status == 0, err
    frame = dated.assign(when=when)[["speed", "kind", "when"]]
    adapted = model.adapt(frame[:4], dated["wear"][:4])
    expected = adapted.predict(frame[4:12])
    found = pd.read_csv("out.csv")
    np.testing.assert_allclose(found[found.columns[-1]], expected, rtol=1e-4)
    rows = dated[4:12][["speed", "kind", "when"]].astype(object)
    rows = rows.where(rows.notna(), None).to_dict("records")
    served = ServedTable(model, Serving())
    assert served.describe()["columns"][2] == {"name": "when", "parts": list(column.parts)}
    np.testing.assert_allclose(
        served.predict(adapted, {"rows": rows})["predictions"], expected, rtol=1e-4
    )
    said = description_of_program(model)["columns"]["columns"][2]
    assert said["kind"] == "dates"
    np.testing.assert_allclose(
        model.columns_.encode(frame)[:, slice(*said["places"])],
        by_description(said, dated["when"]),
        atol=1e-3,
    )
    dated[4:12].assign(when="31.01.2024").to_csv("query.csv", index=False)
    line = fails(command, "adapt", "model.safetensors", *pair)
    assert "'when' is '31.01.2024' in line 2 of query.csv, where dates are expected" in line
