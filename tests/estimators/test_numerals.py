"""Numbers as people write them."""

import pytest

from mamlax.estimators._numerals import numerals


@pytest.mark.parametrize(
    "texts, values, words",
    [
        (["1", "-2.5", "1e3", "+.5"], [1, -2.5, 1000, 0.5], ""),
        (["1,5", "2", "-0,25"], [1.5, 2, -0.25], "decimal commas"),
        (["1,234.5", "12", "1,000,000"], [1234.5, 12, 1e6], "commas between thousands"),
        (["1.234,5", "12,25"], [1234.5, 12.25], "decimal commas, points between thousands"),
        (["1 234.5", "2\u202f000"], [1234.5, 2000], "blanks between thousands"),
        (["1'234.5"], [1234.5], "blanks between thousands"),
        (["1 234,5"], [1234.5], "decimal commas, blanks between thousands"),
        (["−3", " 4 "], [-3, 4], ""),
    ],
    ids=str,
)
def test_every_way_of_writing_numbers_is_read(texts, values, words):
    found = numerals(texts)
    assert found.values == values and found.notation.words == words
    assert found.doubtful is None and not found.sign


def test_percent_signs_are_left_away_where_all_have_one():
    assert numerals(["37 %", "4,5%"]).values == [37, 4.5]
    assert numerals(["37 %", "4 %", "0.5"])[0] == [37, 4, None]
    assert numerals(["37", "4", "5 %"]).values == [37, 4, None]


@pytest.mark.parametrize(
    "texts, values, sign",
    [
        (["$1,200.50", "-$3", "$ -4", "5 $"], [1200.5, -3, -4, 5], "$"),
        (["1.200,50 €", "3,10 €", "-4 €"], [1200.5, 3.1, -4], "€"),
        (["£5", "£6", "7"], [5, 6, None], "£"),
        (["£5", "£6", "£4", "$7", "$8%"], [5, 6, 4, None, None], "£"),
        (["5", "6", "$7"], [5, 6, None], ""),
    ],
    ids=str,
)
def test_signs_of_currencies_are_left_away_where_most_have_the_same(texts, values, sign):
    found = numerals(texts)
    assert found.values == values and found.sign == sign


@pytest.mark.parametrize(
    "text",
    ["12 mm", "%5", "$", "5 5$", "$-", "1,2,3", "1.2.3", "0x10", "1_000", "", "1 2", "٣", "nan"],
)
def test_what_is_no_number(text):
    assert numerals([text, "7"]).values == [None, 7]


def test_the_notation_is_that_of_most():
    assert numerals(["1.5", "2.5", "3,5"]).values == [1.5, 2.5, None]
    assert numerals(["1,5", "2,5", "3.5"]).values == [1.5, 2.5, None]


def test_what_could_be_meant_in_two_ways_is_doubtful_unless_it_is_said():
    assert numerals(["7", "1,234"]).doubtful == "1,234"
    assert numerals(["1,234", "1,5"]).doubtful is None
    assert numerals(["1,234"], "comma").values == [1.234]
    assert numerals(["1,234"], "point").values == [1234]
    assert numerals(["1.234"]).values == [1.234]
    assert numerals(["1.234"], "comma").values == [1234]
