"""Groups dealt out to learn from, to choose by and to report on."""

import numpy as np
import pandas as pd
import pytest

import mamlax
from mamlax.estimators._splits import Deal


def split(groups, split_by=None, validation=0.15, test=0.15, seed=0, num_rows=None):
    num_rows = (len(split_by) if groups is None else len(groups)) if num_rows is None else num_rows
    return Deal.of(groups, split_by, num_rows, validation, test, seed).once()


def in_turn(num_groups, validation=0.15, test=0.2, split_by=None):
    return Deal.of(np.arange(num_groups), split_by, num_groups, validation, test, 0).in_turn()


def rows_of(parts, part):
    return np.flatnonzero((parts.parts == part)[parts.groups])


GROUPS = np.random.default_rng(0).permutation(np.repeat(np.arange(40) * 3, 5))


def test_each_row_is_in_one_part_with_all_of_its_group():
    parts = split(GROUPS)
    rows = [rows_of(parts, part) for part in ("train", "validation", "test")]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(200))
    for i, some in enumerate(rows):
        others = np.concatenate(rows[:i] + rows[i + 1 :])
        assert len(some) and not set(GROUPS[some]) & set(GROUPS[others])
    np.testing.assert_array_equal(parts.names[parts.groups], GROUPS)
    np.testing.assert_array_equal(parts.units, parts.groups)


@pytest.mark.parametrize(
    "num_groups, validation, test, counts",
    [
        (40, 0.15, 0.15, (28, 6, 6)),
        (40, 0.25, 0.5, (10, 10, 20)),
        (40, 0.0, 0.15, (34, 0, 6)),
        (40, 0.15, 0.0, (34, 6, 0)),
        (40, 0.0, 0.0, (40, 0, 0)),
        (2, 0.15, 0.15, (2, 0, 0)),
        (3, 0.15, 0.15, (2, 1, 0)),
        (4, 0.001, 0.001, (2, 1, 1)),
        (8, 0.15, 0.15, (5, 1, 2)),
        (14, 0.15, 0.15, (9, 2, 3)),
        (14, 0.15, 0.5, (5, 2, 7)),
    ],
)
def test_shares_are_as_asked_or_one_but_two_groups_are_left_to_learn_from(
    num_groups, validation, test, counts
):
    parts = split(np.arange(num_groups), validation=validation, test=test)
    assert parts.counts == dict(zip(("train", "validation", "test"), counts, strict=True))
    assert [parts.has(part) for part in parts.counts] == [count > 0 for count in counts]


@pytest.mark.parametrize("validation, test", [(0.5, 0.4), (0.9, 0.05), (0.05, 0.9), (0.45, 0.45)])
def test_large_shares_of_few_groups_leave_two_to_learn_from(validation, test):
    for num_groups in (2, 3, 4, 5, 7, 10):
        counts = split(np.arange(num_groups), validation=validation, test=test).counts
        assert counts["train"] >= 2, counts


def test_the_seed_decides_and_every_group_may_be_held_out():
    held_out = [set(GROUPS[rows_of(split(GROUPS, seed=seed), "test")]) for seed in range(60)]
    assert held_out[3] == set(GROUPS[rows_of(split(GROUPS, seed=3), "test")])
    assert held_out[3] != held_out[4]
    assert set().union(*held_out) == set(GROUPS)


@pytest.mark.parametrize(
    "num_groups, validation, test, num_rounds",
    [
        *[(2, 0.15, 0.2, 0), (3, 0.15, 0.2, 0), (4, 0.15, 0.2, 4), (5, 0.15, 0.2, 5)],
        *[(14, 0.15, 0.2, 5), (40, 0.15, 0.2, 5), (40, 0.0, 0.2, 5), (40, 0.15, 0.5, 2)],
        *[(7, 0.15, 0.75, 2), (40, 0.15, 0.0, 0)],
    ],
)
def test_each_group_is_held_out_once_in_turn(num_groups, validation, test, num_rounds):
    rounds = in_turn(num_groups, validation, test)
    assert len(rounds) == num_rounds
    held_out = [set(rows_of(one, "test")) for one in rounds]
    if rounds:
        assert sorted(row for rows in held_out for row in rows) == list(range(num_groups))
        sizes = [len(rows) for rows in held_out]
        assert max(sizes) - min(sizes) <= 1 and max(sizes) <= max(1, np.ceil(test * num_groups))
    for one in rounds:
        assert one.counts["train"] >= 2 and one.has("validation") == (validation > 0)


def test_of_many_groups_as_many_are_held_out_as_are_enough():
    """Each of them costs a training; and what shares a value is held out together."""
    rounds = in_turn(600)
    assert [one.counts["test"] for one in rounds] == [120]
    rounds = in_turn(600, split_by=np.arange(600) // 30)
    assert [one.counts["test"] for one in rounds] == [120] * 5


@pytest.mark.parametrize("kind", [None, object, "string", "category"], ids=str)
def test_labels_may_be_text_of_any_kind(kind):
    names = np.array([f"station {group}" for group in GROUPS])
    parts = split(names if kind is None else pd.Series(names, dtype=kind))
    np.testing.assert_array_equal(parts.names[parts.groups], names)


def test_labels_of_several_kinds_are_refused():
    """1 and "1": one group or two?"""
    with pytest.raises(mamlax.MamlaxError, match=r"groups mixes labels.*\(int, str\)"):
        split(np.array([1, "1", 1, "1"], object))


def test_without_groups_all_rows_are_learned_from():
    parts = split(None, num_rows=7)
    assert parts.counts == {"train": 1, "validation": 0, "test": 0}
    np.testing.assert_array_equal(rows_of(parts, "train"), np.arange(7))


def test_groups_of_the_same_value_of_split_by_stay_together():
    months = GROUPS // 12  # ten months of four groups each
    parts = split(GROUPS, months, validation=0.2, test=0.3)
    assert parts.counts == {"train": 20, "validation": 8, "test": 12}
    for month in np.unique(months):
        assert len({str(part) for part in parts.parts[parts.groups[months == month]]}) == 1
    np.testing.assert_array_equal(parts.units, months)


def test_a_group_of_two_values_of_split_by_is_refused():
    with pytest.raises(mamlax.MamlaxError, match=r"group 'b' has rows of several.*5, 7.*finer"):
        split(list("aabbcc"), [5, 5, 5, 7, 7, 7])


def test_one_value_of_split_by_is_refused():
    with pytest.raises(mamlax.MamlaxError, match="split_by is 'may' in all rows"):
        split([1, 1, 2, 2], ["may"] * 4)


def test_split_by_without_groups_is_refused():
    with pytest.raises(mamlax.MamlaxError, match="give groups as well"):
        split(None, [1, 2, 3])


def test_a_single_group_is_refused_by_its_name():
    with pytest.raises(mamlax.MamlaxError, match=r"all 3 rows belong to one group \('a'\)"):
        split(["a", "a", "a"])


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1.0, np.nan, 2.0, np.nan]),
        np.array(["a", None, "b", None], object),
        pd.Series([1, None, 2, None], dtype="Int64"),
        pd.Series(["a", None, "b", None], dtype="string"),
        pd.Series(["a", None, "b", None], dtype="category"),
        pd.to_datetime(["2024-01-01", None, "2024-01-02", None]),
    ],
    ids=["nan", "none", "Int64", "string", "category", "dates"],
)
@pytest.mark.parametrize("name", ["groups", "split_by"])
def test_missing_labels_are_refused_with_the_first_row(name, labels):
    given = {"groups": list("abcd"), "split_by": None, name: labels}
    with pytest.raises(mamlax.MamlaxError, match=rf"{name} is missing in 2 rows \(the first: 1\)"):
        split(**given)


@pytest.mark.parametrize("labels", [[1, 2, 3], [[1], [2], [3], [4]], "abcd"], ids=str)
@pytest.mark.parametrize("name", ["groups", "split_by"])
def test_labels_that_are_not_one_for_each_row_are_refused(name, labels):
    given = {"groups": list("abcd"), "split_by": None, name: labels}
    with pytest.raises(mamlax.MamlaxError, match=f"{name} must have one label for each of the 4"):
        split(**given, num_rows=4)


@pytest.mark.parametrize("shares", [(-0.1, 0.2), (0.2, -0.1), (0.5, 0.5), (1.0, 0.0), (0.0, 1.5)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(mamlax.MamlaxError, match=f"got {shares[0]} and {shares[1]}"):
        split(GROUPS, validation=shares[0], test=shares[1])
