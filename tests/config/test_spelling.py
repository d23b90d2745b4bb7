"""Which known name is meant by a misspelt one."""

import pytest

from mamlax.config._spelling import distance, nearest


@pytest.mark.parametrize(
    "one, other, errors",
    [
        ("steps", "steps", 0),
        ("stpes", "steps", 1),  # two neighbors exchanged
        ("step", "steps", 1),
        ("stteps", "steps", 1),
        ("stops", "steps", 1),
        ("stpes", "shots", 3),
        ("", "steps", 5),
        ("steps", "", 5),
    ],
)
def test_typing_errors_are_counted(one, other, errors):
    assert distance(one, other) == distance(other, one) == errors


KNOWN = ["shots", "num_inner_steps", "num_outer_steps", "num_test_inner_steps", "seed", "out"]


@pytest.mark.parametrize(
    "name, near",
    [
        ("shots", ["shots"]),
        ("Shtos", ["shots"]),
        ("num-inner-stpes", ["num_inner_steps"]),
        ("ou", ["out"]),  # the beginning
        ("stpes", ["num_inner_steps", "num_outer_steps"]),  # a word, of the shortest names
        ("test-steps", ["num_test_inner_steps"]),
        ("steps-stpes", []),  # one word is not two
        ("tots", []),  # as far from "shots" as from "out"
        ("damping", []),
        ("x", []),
        ("of", []),
        ("", []),
    ],
)
def test_the_nearest_names_are_found_and_none_if_none_is_near(name, near):
    assert nearest(name, KNOWN) == near


def test_there_is_no_nearest_name_of_none():
    assert nearest("shots", []) == []
