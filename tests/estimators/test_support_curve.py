"""Scores by the number of support rows: the model's as `adaptation_score` has them, and others'."""

import json

import numpy as np
import pytest
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

import mamlax
from mamlax import plots
from mamlax.estimators._entry import ADAPTED, NOTHING, SLOPES, SUPPORT_ONLY

NAMES = ["speed", "kind"]
ERROR = "neg_mean_squared_error"


@pytest.fixture
def quick(monkeypatch):
    """`quick(model)`: what is fitted is this model, at once."""

    def of(model):
        def fit(self, X, y, groups=None, order_by=None):
            self.__dict__.update(model.__dict__)
            return self

        monkeypatch.setattr(type(model), "fit", fit)
        return model

    return of


def test_every_model_is_judged_on_the_same_rows_after_the_same_support(regressor, table, quick):
    order = np.random.default_rng(0).permutation(len(table))
    X, y, groups = table[NAMES], table["wear"], table["machine"]
    given = quick(regressor), X, y, groups
    curve = mamlax.support_curve(*given, support_sizes=[1, 4], cv=2, scoring=ERROR, order_by=order)
    assert curve.sizes == (1, 4) and curve.num_groups == 14 and curve.num_folds == 2
    expected = mamlax.adaptation_score(
        *given, support_size=[1, 4], cv=2, scoring=ERROR, order_by=order
    )
    np.testing.assert_allclose(curve.scores[ADAPTED], expected)
    assert next(iter(curve.scores)) == ADAPTED and SLOPES in curve.scores and curve.remarks == ()
    for fold, (learned, judged) in enumerate(GroupKFold(2).split(X, y, groups)):
        parts = table.iloc[judged].assign(order=order[judged]).sort_values("order")
        first = parts.groupby("machine")["wear"].transform("first")
        is_query = parts.groupby("machine").cumcount() >= 4
        truth = parts["wear"][is_query]
        of_mean = -np.mean((truth - y.iloc[learned].mean()) ** 2)
        np.testing.assert_allclose(curve.scores[NOTHING][:, fold], of_mean, rtol=1e-4)
        # a line through one row is this row
        of_first = -np.mean((truth - first[is_query]) ** 2)
        np.testing.assert_allclose(curve.scores[SUPPORT_ONLY][0, fold], of_first, rtol=1e-4)


def test_where_rows_stand_does_not_count_where_they_have_an_order(regressor, table, quick):
    """Nor to the simpler models, some of which learn from what comes before each row."""
    order = np.random.default_rng(0).permutation(len(table))
    given = {"support_sizes": [1, 4], "scoring": ERROR}

    def of(rows):
        machines, groups = table["machine"].iloc[rows], np.unique(table["machine"])
        half = np.isin(machines, groups[::2])
        return mamlax.support_curve(
            quick(regressor),
            table[NAMES].iloc[rows],
            table["wear"].iloc[rows],
            machines,
            order_by=order[rows],
            cv=[(np.flatnonzero(half), np.flatnonzero(~half))],
            **given,
        )

    sorted_rows = np.argsort(order)
    one, other = of(np.arange(len(table))), of(sorted_rows)
    assert one.scores.keys() == other.scores.keys()
    learned = {name for name in one.scores if "mean of the support" in name}
    assert learned, "the model that learns from what comes before is among them"
    for name in learned:
        np.testing.assert_allclose(one.scores[name], other.scores[name], rtol=1e-6)


def test_chances_of_classes_are_judged_too(classifier, table, quick):
    y = np.where(table["wear"] > table["wear"].median(), "worn", "good")
    curve = mamlax.support_curve(
        quick(classifier),
        table[NAMES],
        y,
        table["machine"],
        support_sizes=[0, 3],
        cv=[(np.arange(84), np.arange(84, 168))],
        scoring="neg_log_loss",
    )
    assert SLOPES not in curve.scores
    query = y[84:][np.arange(84) % 12 >= 3]
    share = np.mean(y[:84] == "worn")
    by_hand = -log_loss(query, np.tile([1 - share, share], (len(query), 1)))
    np.testing.assert_allclose(curve.scores[NOTHING], by_hand, rtol=1e-5)
    assert np.isnan(curve.ci95()).all() and "±" not in str(curve)


def test_a_fitted_model_is_judged_in_five_sets_of_groups(regressor, table):
    given = regressor, table[NAMES], table["wear"], table["machine"]
    curve = mamlax.support_curve(*given, cv="prefit", scoring=ERROR)
    assert curve.sizes == (0, 1, 2, 5), "half of the twelve rows of a machine"
    assert list(curve.scores) == [ADAPTED] and curve.scores[ADAPTED].shape == (4, 5)
    whole = mamlax.adaptation_score(*given, support_size=5, cv="prefit", scoring=ERROR)
    weights = [3, 3, 3, 3, 2]  # machines of each set
    assert np.average(curve.scores[ADAPTED][3], weights=weights) == pytest.approx(whole[0])


def test_it_is_printed_and_drawn(regressor, table):
    curve = mamlax.support_curve(
        regressor, table[NAMES], table["wear"], table["machine"], support_sizes=[0, 5], cv="prefit"
    )
    title, head, line = str(curve).splitlines()
    assert title == "r2, 14 groups held out in 5 folds, mean ± 95 % interval over folds"
    assert head.split()[-2:] == ["0", "5"]
    assert line.startswith(ADAPTED) and f"{curve.mean()[1]:.3f} ± {curve.ci95()[1]:.3f}" in line
    figure = plots.support_curve(json.loads(json.dumps(curve.as_json())))
    (axes,) = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), curve.mean())
    assert axes.get_ylabel() == "r2" and axes.get_yscale() == "linear"


def test_groups_too_small_for_any_support_are_refused(regressor, table):
    few = table[table.index % 12 < 1]
    with pytest.raises(mamlax.MamlaxError, match=r"1 rows \(the median\): too few"):
        mamlax.support_curve(regressor, few[NAMES], few["wear"], few["machine"], cv="prefit")
