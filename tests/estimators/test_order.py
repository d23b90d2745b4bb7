"""Rows of a group in an order: what comes first is adapted to."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax.estimators._order import positions_in, warn_of_time

from .materials import OF_MACHINES, QUICK, fails

DAYS = pd.date_range("2024-01-01", periods=4).repeat(2)[[7, 0, 6, 1, 5, 2, 4, 3]]
ORDERS = {
    "numbers": np.array([7, 0, 6, 1, 5, 2, 4, 3]) // 2,
    "text of numbers": (np.array([7, 0, 6, 1, 5, 2, 4, 3]) // 2 + 9).astype(str),
    "dates": DAYS,
    "dates of Python": DAYS.date,
    "text of dates": DAYS.strftime("%Y-%m-%d"),
    "times of day": DAYS.strftime("%Y-%m-%dT08:00:00+01:00"),
}


@pytest.mark.parametrize("what", ORDERS)
def test_rows_are_put_in_order_and_ties_stay_as_they_stand(what):
    assert positions_in(ORDERS[what], 8).tolist() == [1, 3, 5, 7, 4, 6, 0, 2]


@pytest.mark.parametrize(
    "order_by, words",
    [
        ([1.0, np.nan, 2.0], "missing in 1 rows .the first: 1"),
        (["2024-01-03", "", "2024-01-01"], "must be numbers or dates.*'' in row 1"),
        (["2024-01-03", "2024-01-01", "NaT"], "must be numbers or dates.*'NaT' in row 2"),
        (["3", "nan", "1"], "must be numbers or dates.*'nan' in row 1"),
        (["3", "1", "x"], "must be numbers or dates.*'x' in row 2"),
        (["2024-01-03", "2024-13-01", "2024-01-01"], "dates.*'2024-13-01' in row 1"),
        ([1, 2], "for each of the 3 rows, got shape .2."),
        ([[1], [2], [3]], "got shape .3, 1."),
        (["monday", "friday", "sunday"], "must be numbers or dates.*'monday'"),
    ],
    ids=str,
)
def test_what_is_no_order_is_refused(order_by, words):
    with pytest.raises(mamlax.MamlaxError, match=f"order_by .*{words}"):
        positions_in(order_by, 3)


GROUPS = np.repeat(np.arange(6), 5)
GROWING = np.random.default_rng(0).random(30).cumsum()


@pytest.mark.parametrize(
    "column, looks",
    [
        (("speed", GROWING), True),
        (("speed", -GROWING), False),
        (("speed", GROWING[::-1].copy()), False),
        (("start date", pd.Series(list("abcde") * 6)), True),
        (("year", np.tile([1, 2, 1, 2, 1], 6)), True),
        (("year", GROUPS), False),
        (("Daytona", np.ones(30)), False),
    ],
    ids=str,
)
def test_a_column_that_looks_like_time_is_warned_of(column, looks):
    name, values = column
    table = pd.DataFrame({"x": np.random.default_rng(1).normal(size=30), name: values})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_time(table, GROUPS)
    said = [str(one.message) for one in caught]
    assert len(said) == looks
    if looks:
        assert f"{name!r} looks like time" in said[0] and "--order-column" in said[0]


def test_numbers_without_names_may_look_like_time():
    with pytest.warns(UserWarning, match="column 1 looks like time"):
        warn_of_time(np.stack([np.zeros(30), GROWING], axis=1), GROUPS)


@pytest.mark.slow
def test_the_command_orders_by_a_column_of_dates_wherever_rows_stand(command, few):
    """It is predicted from as well; the same rows in another order make the same model."""
    dated = few.assign(day=DAYS[0] + pd.to_timedelta(np.arange(24)[::-1], "D"))
    found = []
    for rows in (np.arange(24), np.random.default_rng(0).permutation(24)):
        dated.iloc[rows].to_csv("table.csv", index=False)
        arguments = ("fit", "table.csv", *OF_MACHINES, *QUICK, "--order-column", "day")
        status, _, err = command(*arguments)
        assert status == 0, err
        model = mamlax.load("model.safetensors")
        assert model.feature_names_in_.tolist() == ["speed", "kind", "day"]
        found.append(model.predict(dated[["speed", "kind", "day"]]))
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_an_order_that_is_none_is_refused_in_words_of_the_command(command, few):
    few.assign(day=["soon", "later"] * 12).to_csv("table.csv")
    line = fails(command, "fit", "table.csv", *OF_MACHINES, *QUICK, "--order-column", "day")
    assert "(--order-column) must be numbers or dates, as 2024-01-31, got 'soon'" in line
    few.assign(day=[""] + ["2024-01-01"] * 23).to_csv("table.csv")
    line = fails(command, "fit", "table.csv", *OF_MACHINES, *QUICK, "--order-column", "day")
    assert "'day' (--order-column) is missing in 1 rows (the first: line 2 of table.csv)" in line
    line = fails(command, "fit", "table.csv", *OF_MACHINES, *QUICK, "--order-column", "date")
    assert "no column 'date' (--order-column)" in line
