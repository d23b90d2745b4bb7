"""What columns of text are taken for, and what is refused with its line."""

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax.estimators._conventions import MISSING_WORDS, Conventions
from mamlax.estimators._described import Role, categories_of, described, has_decimal_commas
from mamlax.estimators._names import labels_of, names_of
from mamlax.estimators._tables import read_table

ROLE = Role("column", "leave it empty")


@pytest.fixture
def table(tmp_path):
    def of(*values, name="x"):
        path = tmp_path / "table.tsv"
        path.write_text(f"{name}\tother\n" + "".join(f"{value}\t1\n" for value in values))
        return read_table(path)

    return of


def seen(table, conventions=None, **settings):
    return described(table, "x", conventions or Conventions(), ROLE, **settings)


@pytest.mark.parametrize(
    "values, expected, assumed",
    [
        (["1", " 2.5", "NA", ""], [1, 2.5, np.nan, np.nan], ""),
        (["1,5", "n/a", "2"], [1.5, np.nan, 2], "decimal commas"),
        (["37 %", "4 %"], [37, 4], "percent signs left away"),
        (["$1,200.50", "$5"], [1200.5, 5], "commas between thousands, dollar signs left away"),
        (["True", "false", ""], [1, 0, np.nan], ""),
        (["0012", "7"], [12, 7], "codes with leading zeros as numbers"),
        (["", ""], [np.nan, np.nan], ""),
    ],
    ids=str,
)
def test_numbers_are_recognized(values, expected, assumed, table):
    found = seen(table(*values))
    assert found.is_numbers and found.assumed == assumed
    np.testing.assert_array_equal(found.values, expected)


def test_numbers_are_read_to_the_last_bit(table):
    values = np.random.default_rng(0).normal(size=500)
    np.testing.assert_array_equal(seen(table(*map(repr, values.tolist()))).values, values)


def test_text_is_categories_and_the_words_met_are_told(table):
    found = seen(table("oak", "NA", "fir", "oak"))
    assert not found.is_numbers and found.words == ("NA",)
    assert found.is_missing.tolist() == [False, True, False, False]
    chosen = seen(table("oak", "NA", "fir", "-"), Conventions(missing=("-",)))
    assert chosen.is_missing.tolist() == [False, False, False, True]


@pytest.mark.parametrize("word", ["nan", "NaN", "-nan"])
@pytest.mark.parametrize("mark", [".", ","])
def test_nan_among_numbers_is_text_unless_it_is_one_of_the_words_chosen(word, mark, table):
    one = table(*(f"{i}{mark}5" for i in range(20)), word, "-")
    with pytest.raises(mamlax.MamlaxError, match=f"is {word!r} in line 22"):
        seen(one, Conventions(missing=("-",)))
    for conventions in (Conventions(missing=("-", word)), Conventions((*MISSING_WORDS, "-"))):
        found = seen(one, conventions)
        assert found.is_numbers and np.flatnonzero(found.is_missing).tolist() == [20, 21]


@pytest.mark.parametrize("kind", [None, "category"])
def test_words_in_text_of_a_typed_file_are_those_of_a_csv(kind, tmp_path):
    path = tmp_path / "table.parquet"
    frame = pd.DataFrame({"x": ["oak", "NA", "-"], "number": [1.0, np.nan, 2.0]})
    frame.astype({"x": kind or object}).to_parquet(path)
    for conventions, expected in (
        (Conventions(), [False, kind is None, False]),  # a category is what it is called
        (Conventions(missing=("-",)), [False, False, True]),
    ):
        one = read_table(path)
        assert seen(one, conventions).is_missing.tolist() == expected
        assert categories_of(one, "x", conventions).is_missing.tolist() == expected
        numbers = described(one, "number", conventions, ROLE)
        assert numbers.is_missing.tolist() == [False, True, False]


def test_numbers_are_names_where_they_are_said_to_be(table):
    found = categories_of(table("01", "1", "NA"), "x", Conventions())
    assert list(found.values.categories) == ["01", "1"] and found.is_missing[2]
    known = categories_of(table("01", "1", "NA"), "x", Conventions(), ["NA"])
    assert not known.is_missing.any()


@pytest.mark.parametrize(
    "wrong, words",
    [
        ("12,5", "is '12,5' in line 14 .*where numbers are expected"),
        ("<5", "is '<5' in line 14"),
        ("inf", "is inf in line 14"),
        ("5 %", "is '5 %' in line 14"),
    ],
)
def test_a_cell_that_is_no_number_among_numbers_is_refused(wrong, words, table):
    with pytest.raises(mamlax.MamlaxError, match=words):
        seen(table(*(f"{i}.5" for i in range(12)), wrong))


def test_a_comma_that_may_be_either_is_refused_unless_it_is_said(table):
    one = table("1,234", "7")
    with pytest.raises(mamlax.MamlaxError, match=r"'1,234' in line 2 .*--decimal-mark"):
        seen(one)
    for mark, value in (("comma", 1.234), ("point", 1234)):
        assert seen(one, Conventions(decimal_mark=mark)).values[0] == value
    assert seen(one, among_commas=True).values[0] == 1.234


def test_a_point_among_decimal_commas_is_doubted_where_it_may_end_thousands(table):
    with pytest.raises(mamlax.MamlaxError, match=r"'1.234' in line 2"):
        seen(table("1.234", "7"), among_commas=True)
    assert seen(table("1.5", "7"), among_commas=True).values[0] == 1.5
    assert seen(table("1.234", "7")).values[0] == 1.234


def test_decimal_commas_are_seen(table):
    assert has_decimal_commas(table("1,5", "NA"), "x", Conventions())
    for values in (["1,234"], ["1.5"], ["a,b"], ["1", "2"]):
        assert not has_decimal_commas(table(*values), "x", Conventions())


def test_names_are_text(table):
    names = names_of(table("0012", "12", "1e3", "1000", "None"), "x", Conventions())
    assert names.texts == ["0012", "12", "1e3", "1000", "None"]


def test_an_empty_cell_beside_whole_numbers_makes_no_other_names(table):
    """As pandas writes 12.0."""
    assert names_of(table("12.0", "", "7.0"), "x", Conventions()).texts == ["12", "7"]
    assert names_of(table("12.0", "7.5"), "x", Conventions()).texts == ["12.0", "7.5"]


def test_labels_of_whole_numbers_are_sorted_as_numbers(table):
    found = labels_of(table("10", "9", "2"), ["x"], "--task-column", Conventions())
    assert found.tolist() == [10, 9, 2]


@pytest.mark.parametrize(
    "pair", [("0012", "12"), ("1e3", "1000"), ("A 1", "a  1"), ("\u00e9", "e\u0301")]
)
def test_names_that_differ_in_spelling_alone_are_told_apart_with_a_warning(pair, table):
    with pytest.warns(UserWarning, match="differ in spelling alone"):
        found = labels_of(table(*pair), ["x"], "--task-column", Conventions())
    assert len(set(found.tolist())) == 2


def test_a_word_for_missing_is_a_name_with_a_warning_unless_it_is_said(table):
    one = table("a", "NA", "NA")
    with pytest.warns(UserWarning, match=r"'NA' in line 3 .*name of a task \(2 rows.*--missing NA"):
        assert labels_of(one, ["x"], "--task-column", Conventions()).tolist() == ["a", "NA", "NA"]
    with pytest.raises(mamlax.MamlaxError, match="missing in 2 rows"):
        labels_of(one, ["x"], "--task-column", Conventions(missing=("NA",)))
