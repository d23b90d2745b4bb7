"""Rounds: judged on groups that were not learned from, then learned from all of them."""

import numpy as np
import pytest

import mamlax
from mamlax.config import RidgeMaml
from mamlax.config._tables import TableTraining
from mamlax.estimators import _rounds
from mamlax.estimators._fitting import MetaTrained, Plan
from mamlax.estimators._rounds import learn_in_rounds
from mamlax.estimators._rows import Rows
from mamlax.estimators._splits import Deal

from .materials import TINY

NAMES = ["speed", "kind"]


@pytest.fixture
def rounds(monkeypatch):
    """What each round learned from, and what it would be judged on."""
    found = []

    def judge(learner, train, test, **options):
        found.append((set(train.groups), set(test.groups), test.inputs))

    monkeypatch.setattr(_rounds, "judge", judge)
    return found


def fitted(table, **settings):
    weights = settings.pop("sample_weight", None)
    model = mamlax.FewShotRegressor(pooled="linear", **TINY | settings)
    model.fit(table[NAMES], table["wear"], groups=table["machine"], sample_weight=weights)
    return model


@pytest.mark.slow
def test_each_group_is_held_out_once_and_all_are_learned_from(rounds, table):
    lines = []
    model = fitted(table, verbose=lines.append)
    assert len(rounds) == 5
    for train, test, _ in rounds:
        assert train | test == set(range(14)) and not train & test
    assert sorted(group for _, test, _ in rounds for group in test) == list(range(14))
    assert model.num_groups_ == {"train": 14, "validation": 0, "test": 0}
    stages = list(dict.fromkeys(line["stage"] for line in lines))
    assert sorted(stages[:-1]) == [f"round {number} of 5" for number in range(1, 6)]
    assert stages[-1] == "fit"
    assert model.outer_step_ == max(line["step"] for line in lines if line["stage"] == "fit")
    assert model.num_inner_steps_ == int(np.argmin(model.validation_curve_))


def test_one_round_is_taken_where_that_is_asked_for(rounds, table):
    model = fitted(table, refit=False)
    assert len(rounds) == 1 and len(rounds[0][1]) == 3
    assert model.num_groups_ == {"train": 9, "validation": 2, "test": 3}


def test_nothing_is_held_out_where_nothing_is_compared(rounds, table):
    assert fitted(table, compare=False).num_groups_["train"] == 14 and not rounds


def test_a_category_that_no_group_learned_from_has_is_not_known(rounds, monkeypatch):
    """One that is all a group's own, as its name: in use it would be new."""
    monkeypatch.setattr(_rounds, "meta_train", lambda *_, **__: MetaTrained(None, 1, ()))
    groups = np.repeat(np.arange(4), 3)
    inputs = np.concatenate([np.eye(4)[groups], np.ones((12, 1))], axis=1)
    rows = Rows(inputs, np.zeros((12, 1)), np.ones(12), groups, groups)
    splits = Deal.of(groups, None, 12, 0.0, 0.25, 0).in_turn()
    training = TableTraining(
        hidden_sizes=(8,),
        num_outer_steps=1,
        meta_batch_size=1,
        outer_learning_rate=1.0,
        weight_decay=0.0,
        max_support=1,
        patience=1,
        pooled="none",
        features="network",
    )
    plan = Plan(RidgeMaml(), training, "squared-error", 1, 0, True, False, 12, 4)
    learn_in_rounds(rows, splits, plan)
    assert len(rounds) == 4
    for _, _, judged in rounds:
        np.testing.assert_array_equal(judged, [[0, 0, 0, 0, 1]] * 3)


@pytest.mark.slow
def test_rounds_without_rows_of_weight_are_passed_over(rounds, table):
    """Groups of no weight may be all that a round learns from, or chooses by."""
    number = table["machine"].str[-2:].astype(int)
    model = fitted(table, sample_weight=(number < 3).astype(float))
    assert model.num_groups_["train"] == 3
    assert all(test <= {0, 1, 2} for _, test, _ in rounds)
