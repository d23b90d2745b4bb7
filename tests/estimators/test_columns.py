"""Columns of a table as numbers: of any kind, with anything missing, in any order."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax.estimators._columns import Columns


def frame():
    return pd.DataFrame(
        {
            "heat": [1.0, 3.0, np.nan, 5.0],
            "count": [2, 4, 6, 8],
            "kind": ["oak", "fir", "oak", None],
        }
    )


def test_numbers_are_standardized_with_a_column_that_says_where_they_are_missing():
    values = np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 30.0], [7.0, 20.0]])
    found = Columns.fit(values).encode(values)
    scale = np.sqrt(200 / 3)
    expected = [
        [-3 / np.sqrt(5), -10 / scale, 0],
        [-1 / np.sqrt(5), 0, 1],
        [1 / np.sqrt(5), 10 / scale, 0],
        [3 / np.sqrt(5), 0, 0],
    ]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_categories_become_zeros_and_ones_the_most_frequent_first():
    found = Columns.fit(frame()).encode(frame())
    np.testing.assert_array_equal(found[:, -2:], [[1, 0], [0, 1], [1, 0], [0, 0]])
    assert found.shape == (4, Columns.fit(frame()).width) == (4, 5)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["a", None, "b", "a"], dtype="object"),
        pd.Series(["a", np.nan, "b", "a"], dtype="object"),
        pd.Series(["a", None, "b", "a"], dtype="string"),
        pd.Series(["a", None, "b", "a"], dtype="str"),
        pd.Series(["a", None, "b", "a"], dtype="category"),
        pd.Series([7, None, 3, 7], dtype="category"),
    ],
    ids=["object_none", "object_nan", "string", "str", "category", "category_of_numbers"],
)
def test_every_kind_of_column_of_text_or_categories_is_categories(column):
    table = pd.DataFrame({"kind": column})
    np.testing.assert_array_equal(
        Columns.fit(table).encode(table), [[1, 0], [0, 0], [0, 1], [1, 0]]
    )


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([0.0, None, 2.0], dtype="float64"),
        pd.Series([0, None, 2], dtype="Int64"),
        pd.Series([0, None, 2], dtype="Float32"),
        pd.Series([0, None, 2], dtype="object"),
        pd.Series([False, None, True], dtype="boolean"),
    ],
    ids=["float64", "Int64", "Float32", "object", "boolean"],
)
def test_every_kind_of_number_column_is_numbers(column):
    table = pd.DataFrame({"x": column})
    np.testing.assert_allclose(Columns.fit(table).encode(table), [[-1, 0], [0, 1], [1, 0]])


def test_an_array_of_objects_may_hold_both():
    values = np.array([[0.0, "a"], [2.0, "b"], [None, "a"]], object)
    found = Columns.fit(values).encode(values)
    np.testing.assert_array_equal(found, [[-1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0]])


def test_what_is_missing_only_later_counts_as_the_mean():
    columns = Columns.fit(np.array([[1.0], [3.0]]))
    np.testing.assert_array_equal(columns.encode(np.array([[np.nan], [3.0]])), [[0], [1]])


def test_the_word_nan_is_a_category_in_text_and_missing_among_numbers():
    """As `docs/tables.md` says of frames."""
    text = Columns.fit(pd.DataFrame({"x": ["oak", "nan", "nan", None]}))
    assert text.columns[0].categories == ("nan", "oak")
    numbers = Columns.fit(np.array([[1.0], [3.0], [np.nan]]))
    asked = np.array([["3"], ["nan"]], object)
    np.testing.assert_array_equal(numbers.encode(asked), [[1, 0], [0, 1]])


def test_text_that_only_python_reads_as_a_number_is_none():
    columns = Columns.fit(np.array([[1.0], [3.0]]))
    with pytest.raises(mamlax.MamlaxError, match=r"held numbers when it was fitted, got '2024_01'"):
        columns.encode(np.array([["3"], ["2024_01"]], object))


def test_constant_columns_are_zero_and_do_not_explode():
    values = np.array([[7.0, 1e30, 0.1], [7.0, 1e30, 0.1], [7.0, 1e30, 0.1]])
    columns = Columns.fit(values)
    np.testing.assert_allclose(columns.encode(values), np.zeros((3, 3)), atol=1e-6)
    with pytest.warns(UserWarning, match="column '1' is -1e\\+30 in row 0.*another unit"):
        assert np.all(np.abs(columns.encode(np.array([[9.0, -1e30, 5.0]]))) <= 10)


def test_columns_of_nothing_but_missing_values():
    table = pd.DataFrame({"x": [np.nan, np.nan], "kind": pd.Series([None, None], dtype="object")})
    found = Columns.fit(table).encode(table)
    np.testing.assert_array_equal(found, [[0, 1, 0, 1], [0, 1, 0, 1]])


def test_outliers_count_as_ten_standard_deviations():
    columns = Columns.fit(np.array([[-1.0], [1.0]]))
    found = columns.encode(np.array([[9.0], [11.0], [-999.0]]))
    np.testing.assert_array_equal(found, [[9], [10], [-10]])


def test_numbers_too_large_to_square_stay_finite():
    values = np.array([[1e300], [-1e300], [1e200]])
    assert np.all(np.isfinite(Columns.fit(values).encode(values)))


@pytest.mark.parametrize("table", [frame(), frame().to_numpy(object)], ids=["frame", "array"])
def test_infinity_is_refused_with_its_row(table):
    columns = Columns.fit(table)
    if isinstance(table, pd.DataFrame):
        table.loc[1, "heat"] = np.inf
    else:
        table[1, 0] = np.inf
    for act in (Columns.fit, columns.encode):
        with pytest.raises(ValueError, match=r"column '(heat|0)' contains infinity \(row 1\)"):
            act(table)


def test_new_categories_count_as_missing_with_a_warning():
    columns, later = Columns.fit(frame()), frame()
    later.loc[[0, 1], "kind"] = ["elm", "ash"]
    with pytest.warns(UserWarning, match="column 'kind' has categories.*'ash', 'elm'.*missing"):
        found = columns.encode(later)
    np.testing.assert_array_equal(found[:, -2:], [[0, 0], [0, 0], [1, 0], [0, 0]])


def test_rare_categories_beyond_a_hundred_count_as_missing_and_are_not_called_new():
    """They were there; a warning that they were not would send its reader looking for an error."""
    kinds = [f"kind {i}" for i in range(150)]
    table = pd.DataFrame({"kind": [*kinds, *kinds[50:]]})
    columns = Columns.fit(table)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = columns.encode(table)
    assert columns.width == 100
    np.testing.assert_array_equal(found[:150].sum(1), np.arange(150) >= 50)
    assert not [one for one in caught if "were not there" in str(one.message)]


def test_columns_are_found_by_name_in_any_order_beside_others():
    columns = Columns.fit(frame())
    later = frame().assign(more=1.0)[["more", "kind", "heat", "count"]]
    np.testing.assert_array_equal(columns.encode(later), columns.encode(frame()))


def test_names_that_are_numbers_are_names_too():
    table = pd.DataFrame({7: [1.0, 3.0], 3: [10.0, 50.0]})
    columns = Columns.fit(table)
    np.testing.assert_array_equal(columns.encode(table[[3, 7]]), columns.encode(table))


def test_absent_columns_are_named_with_those_there():
    with pytest.raises(mamlax.MamlaxError, match="lacks 'heat', 'kind'; it has 'count'"):
        Columns.fit(frame()).encode(frame()[["count"]])


def test_an_array_of_another_width_is_refused():
    with pytest.raises(mamlax.MamlaxError, match="2 columns, but 3 were fitted: '0', '1', '2'"):
        Columns.fit(np.zeros((4, 3))).encode(np.zeros((4, 2)))


def test_text_where_numbers_were_is_refused_with_the_text():
    columns, later = Columns.fit(frame()), frame().astype({"count": object})
    later.loc[2, "count"] = "many"
    with pytest.raises(mamlax.MamlaxError, match=r"'count' held numbers.*got 'many'"):
        columns.encode(later)


def test_what_is_neither_number_nor_text_is_refused():
    with pytest.raises((TypeError, mamlax.MamlaxError), match="column 'x'"):
        Columns.fit(pd.DataFrame({"x": [[1], {}]}))


def test_a_table_of_no_rows_and_one_of_no_columns():
    columns = Columns.fit(frame())
    assert columns.encode(frame()[:0]).shape == (0, columns.width)
    assert Columns.fit(frame()[[]]).encode(frame()[[]]).shape == (4, 0)


def test_a_round_trip_through_json():
    table = frame()
    table.loc[0, "heat"] = 0.1 + 0.2  # a number whose digits matter
    columns = Columns.fit(table)
    again = Columns.from_json(json.loads(json.dumps(columns.as_json())))
    assert again == columns
    np.testing.assert_array_equal(again.encode(table), columns.encode(table))


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e300])
def test_numbers_of_any_size_are_standardized_alike(size):
    values = np.random.default_rng(0).normal(7, 3, (50, 1))
    found = Columns.fit(values * size).encode(values * size)
    np.testing.assert_allclose(found, Columns.fit(values).encode(values), rtol=1e-5, atol=1e-6)


def test_a_number_beside_which_others_are_lost_is_warned_of():
    with pytest.warns(UserWarning, match=r"column '0' is 1e\+200 in row 2, so far from the others"):
        Columns.fit(np.array([[0.0], [1.0], [1e200], *([float(i)] for i in range(3, 40))]))


def test_a_number_of_another_unit_is_warned_of():
    columns = Columns.fit(np.array([[-1.0], [1.0]]))
    with pytest.warns(UserWarning, match=r"'0' is 1e\+200 in row 1 \(and 1 more.*another unit"):
        columns.encode(np.array([[1.0], [1e200], [-1e9]]))


@pytest.mark.parametrize("text", [["1", "2", "1"], ["1,5", "2", None], ["37 %", "4 %", "5 %"]])
def test_numbers_as_text_are_categories_with_a_warning_unless_they_are_meant(text):
    table = pd.DataFrame({"x": text})
    with pytest.warns(UserWarning, match="column 'x' holds numbers as text, such as"):
        Columns.fit(table)
    Columns.fit(table.astype("category"))


def test_an_exported_index_is_warned_of():
    with pytest.warns(UserWarning, match="'Unnamed: 0' has no name: it is likely an index"):
        Columns.fit(pd.DataFrame({"Unnamed: 0": [0, 1], "x": [1.0, 2.0]}))
