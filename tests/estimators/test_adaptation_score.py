"""Scores of the adapted model: which rows are adapted from, judged on and learned from."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mamlax

NAMES = ["speed", "kind"]
ERROR = "neg_mean_squared_error"


class MeanOfSupport(RegressorMixin, BaseEstimator):
    """Adapts in a way that a test can follow: the mean of the support, plus `bias`."""

    __metadata_request__fit = {"groups": True, "order_by": True}  # noqa: RUF012
    num_support_ = 0

    def __init__(self, bias=0.0, compare=True):
        self.bias, self.compare = bias, compare

    def fit(self, X, y, groups=None, order_by=None, sample_weight=None):
        self.weights_ = sample_weight
        assert groups is not None and len(groups) == len(y) == len(X)
        self.fitted_, self.ordered_ = set(groups), order_by is not None
        self.value_, self.n_features_in_ = np.mean(y), 1
        assert not self.compare or type(self) is not MeanOfSupport
        return self

    def adapt_many(self, X, y, groups, sample_weight=None):
        adapted = clone(self)
        weights = pd.Series(np.ones(len(y)) if sample_weight is None else sample_weight)
        totals = (weights * np.asarray(y)).groupby(np.asarray(groups)).sum()
        adapted.means_ = totals / weights.groupby(np.asarray(groups)).sum()
        assert not self.fitted_ & set(groups), "groups that it has learned from"
        adapted.predict = lambda X, groups: adapted.means_[groups].to_numpy() + self.bias
        return adapted

    def predict(self, X):
        return np.full(len(X), self.value_)


class Recorded(TransformerMixin, BaseEstimator):
    """A step that a test can follow: adds one to the inputs, fitted to those that are learned."""

    def fit(self, X, y=None):
        self.rows_ = len(X)
        return self

    def transform(self, X):
        return X + 1


GROUPS = np.array(["a", "b", "a", "c", "b", "a", "c", "b", "a", "d"])
TARGETS = np.arange(10.0) ** 2
INPUTS = np.zeros((10, 1))
TWO = [
    (np.flatnonzero(np.isin(GROUPS, ["c", "d"])), np.flatnonzero(np.isin(GROUPS, ["a", "b"]))),
    (np.flatnonzero(np.isin(GROUPS, ["a", "b"])), np.flatnonzero(np.isin(GROUPS, ["c", "d"]))),
]
small = pytest.mark.filterwarnings("ignore:.* groups have .* rows or fewer")


def of_mean(size, *, first=0, order=None):
    """Minus the squared error of each of `TWO` by hand."""
    found = []
    for _, judged in TWO:
        errors = []
        for group in np.unique(GROUPS[judged]):
            rows = np.flatnonzero(group == GROUPS)
            rows = rows if order is None else rows[np.argsort(order[rows])]
            query = TARGETS[rows[max(size, first) :]]
            errors += [*(query - TARGETS[rows[:size]].mean()) ** 2]
        found.append(-np.mean(errors))
    return found


@small
def test_each_fold_is_adapted_from_the_first_rows_and_judged_on_the_others():
    score = mamlax.adaptation_score
    given = {"cv": TWO, "scoring": ERROR}
    found = score(MeanOfSupport(), INPUTS, TARGETS, GROUPS, support_size=1, **given)
    np.testing.assert_allclose(found, of_mean(1))
    # a fraction of a group's rows are no fold: rows stand in any order in it
    order = np.random.default_rng(0).permutation(10)
    found = score(MeanOfSupport(), INPUTS, TARGETS, GROUPS, support_size=1, order_by=order, **given)
    np.testing.assert_allclose(found, of_mean(1, order=order))


@small
def test_rows_count_by_their_weights_in_the_support_and_where_they_are_judged():
    weights = np.random.default_rng(0).uniform(0.5, 2, 10)
    given = {"support_size": 2, "cv": TWO[:1], "scoring": ERROR, "sample_weight": weights}
    found = mamlax.adaptation_score(MeanOfSupport(), INPUTS, TARGETS, GROUPS, **given)
    errors, total = 0.0, 0.0
    for group in ("a", "b"):
        rows = np.flatnonzero(group == GROUPS)
        first, query = rows[:2], rows[2:]
        mean = np.average(TARGETS[first], weights=weights[first])
        errors += np.sum(weights[query] * (TARGETS[query] - mean) ** 2)
        total += weights[query].sum()
    np.testing.assert_allclose(found, [-errors / total])


@small
def test_a_pipeline_is_fitted_whole_and_its_last_step_adapts(monkeypatch):
    given = {"support_size": 1, "scoring": ERROR}
    seen, adapt_many = [], MeanOfSupport.adapt_many

    def recorded(self, X, y, groups):
        seen.append(X)
        return adapt_many(self, X, y, groups)

    monkeypatch.setattr(MeanOfSupport, "adapt_many", recorded)
    pipeline = make_pipeline(Recorded(), MeanOfSupport())
    table = INPUTS, TARGETS, GROUPS
    for is_routed in (False, True):
        with sklearn.config_context(enable_metadata_routing=is_routed):
            found = mamlax.adaptation_score(pipeline, *table, cv=TWO, **given)
        np.testing.assert_allclose(found, of_mean(1))
    assert all((one == 1).all() for one in seen), "the first step added one"
    rows = TWO[0][0]
    fitted = clone(pipeline).set_params(meanofsupport__compare=False)
    fitted.fit(INPUTS[rows], TARGETS[rows], meanofsupport__groups=GROUPS[rows])
    others = [one[TWO[0][1]] for one in table]
    scorer = mamlax.adaptation_scorer(**given)
    assert scorer(fitted, *others[:2], groups=others[2]) == pytest.approx(of_mean(1)[0])
    prefit = mamlax.adaptation_score(fitted, *others, cv="prefit", **given)
    np.testing.assert_allclose(prefit, of_mean(1)[:1])


@small
def test_several_sizes_are_judged_on_the_same_rows():
    found = mamlax.adaptation_score(
        MeanOfSupport(),
        pd.DataFrame(INPUTS, columns=["x"]),
        pd.Series(TARGETS, index=np.arange(10)[::-1]),
        GROUPS.tolist(),
        support_size=[1, 0],
        cv=TWO,
        scoring=ERROR,
    )
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found[0], of_mean(1))
    for (learned, judged), error in zip(TWO, found[1], strict=True):
        query = [row for row in judged if row not in (0, 1, 3, 9)]  # firsts of a, b, c and d
        assert error == pytest.approx(-np.mean((TARGETS[query] - TARGETS[learned].mean()) ** 2))


@pytest.mark.filterwarnings("ignore:1 of 4 groups have 1 rows")
def test_a_function_for_scoring_takes_weights_or_is_refused():
    given = (MeanOfSupport(), INPUTS, TARGETS, GROUPS)
    weights = np.arange(1.0, len(TARGETS) + 1)

    def mean_error(model, X, y):
        return -np.mean((model.predict(X) - y) ** 2)

    def weighted_error(model, X, y, sample_weight):
        return -np.average((model.predict(X) - y) ** 2, weights=sample_weight)

    options = {"support_size": 1, "cv": TWO[:1]}
    by_name = mamlax.adaptation_score(*given, scoring=ERROR, **options)
    assert mamlax.adaptation_score(*given, scoring=mean_error, **options) == pytest.approx(by_name)
    options["sample_weight"] = weights
    by_name = mamlax.adaptation_score(*given, scoring=ERROR, **options)
    found = mamlax.adaptation_score(*given, scoring=weighted_error, **options)
    assert found == pytest.approx(by_name)
    with pytest.raises(mamlax.MamlaxError, match="scoring does not take it"):
        mamlax.adaptation_score(*given, scoring=mean_error, **options)


def test_the_default_is_five_folds_of_groups():
    groups = np.repeat(np.arange(10), 3)
    y = np.random.default_rng(0).normal(size=30)
    given = MeanOfSupport(), np.zeros((30, 1)), y, groups
    found = mamlax.adaptation_score(*given, support_size=2)
    assert found.shape == (5,)
    same = mamlax.adaptation_score(*given, support_size=2, cv=GroupKFold(5), scoring="r2")
    np.testing.assert_array_equal(found, same)
    assert mamlax.adaptation_score(*given, support_size=2, cv=3).shape == (3,)
    assert mamlax.adaptation_score(*given, support_size=2, cv=LeaveOneGroupOut(), scoring=ERROR)[
        3
    ] == pytest.approx(-((y[11] - y[9:11].mean()) ** 2))


def test_a_fitted_model_is_judged_as_it_is(regressor, table):
    """Values of the public `adapt`, group by group."""
    X, y, groups = table[NAMES], table["wear"], table["machine"]
    expected = []
    for _, rows in table.groupby("machine"):
        adapted = regressor.adapt(rows[NAMES][:5], rows["wear"][:5])
        expected.append(pd.Series(adapted.predict(rows[NAMES][5:]), rows.index[5:]))
    expected: pd.Series = pd.concat(expected).sort_index()
    r2 = r2_score(y[expected.index], expected)
    found = mamlax.adaptation_score(regressor, X, y, groups, support_size=5, cv="prefit")
    assert found.shape == (1,) and found[0] == pytest.approx(r2, rel=1e-4)
    scorer = mamlax.adaptation_scorer(support_size=5)
    assert scorer(regressor, X, y, groups=groups) == pytest.approx(found[0])
    adapted = regressor.adapt(X[:5], y[:5])
    assert scorer(adapted, X, y, groups=groups) == pytest.approx(found[0])
    with pytest.raises(mamlax.MamlaxError, match="is adapted to 5 rows; support_size=0 is of"):
        mamlax.adaptation_scorer(support_size=0)(adapted, X, y, groups=groups)


def test_a_classifier_is_judged_by_labels_or_chances(classifier, table):
    labels = np.where(table["wear"] > table["wear"].median(), "worn", "good")
    given = classifier, table[NAMES], labels, table["machine"]
    several = [
        mamlax.adaptation_score(*given, support_size=[0, 4], cv="prefit", scoring=name)[:, 0]
        for name in (None, "neg_log_loss", "roc_auc")
    ]
    accuracy, likelihood, auc = np.array(several)
    assert (accuracy * 14 * 8 % 1 < 1e-6).all(), "a share of the eight last rows of each machine"
    assert (likelihood < 0).all() and ((auc > 0) & (auc < 1)).all()
    adapted = classifier.adapt_many(
        table[table.index % 12 < 4][NAMES], labels[table.index % 12 < 4], GROUPS_OF_FOUR
    )
    later = table.index % 12 >= 4
    expected = adapted.predict(table[later][NAMES], table["machine"][later]) == labels[later]
    assert accuracy[1] == pytest.approx(expected.mean())


GROUPS_OF_FOUR = np.repeat([f"machine {m:02}" for m in range(14)], 4)


@small
def test_grid_search_chooses_what_adapts_best():
    """Groups and an order reach the splitter, fit and the scorer; unadapted models score alike."""
    search = GridSearchCV(
        MeanOfSupport(compare=False),
        {"bias": [1e3, 0.0, -1e3]},
        cv=GroupKFold(2),
        scoring=mamlax.adaptation_scorer(support_size=1, scoring=ERROR),
        error_score="raise",
    )
    with sklearn.config_context(enable_metadata_routing=True):
        search.fit(INPUTS, TARGETS, groups=GROUPS)
        assert search.best_params_ == {"bias": 0.0} and not search.best_estimator_.ordered_
        search.fit(INPUTS, TARGETS, groups=GROUPS, order_by=np.arange(10))
        assert search.best_params_ == {"bias": 0.0} and search.best_estimator_.ordered_


@pytest.mark.parametrize("make", [mamlax.FewShotRegressor, mamlax.FewShotClassifier])
def test_fit_asks_for_groups_and_an_order_by_itself(make):
    requests = make().get_metadata_routing().fit.requests
    assert requests == {"groups": True, "order_by": True, "split_by": True, "sample_weight": None}


def test_groups_that_do_not_reach_the_scorer_are_missed_in_words():
    with pytest.raises(mamlax.MamlaxError, match="enable_metadata_routing=True"):
        cross_val_score(
            MeanOfSupport(compare=False),
            INPUTS,
            TARGETS,
            groups=GROUPS,
            params={"groups": GROUPS},
            cv=TWO,
            scoring=mamlax.adaptation_scorer(support_size=1),
            error_score="raise",
        )


@small
@pytest.mark.parametrize(
    "change, words",
    [
        ({"support_size": 4}, "no group .* more than 4 rows.*the largest has 4.*smaller"),
        ({"support_size": [1, 9]}, "no group .* more than 9 rows"),
        ({"support_size": -1}, "a number of rows, 0 or more, or several, got -1"),
        ({"support_size": []}, r"got \[\]"),
        (
            {"cv": [*KFold(2).split(INPUTS)]},
            "'a' is both learned from and judged on.*cv=GroupKFold",
        ),
        ({"cv": "fitted"}, "a number, a splitter, pairs of indices or .prefit., got 'fitted'"),
        ({"groups": GROUPS[:4]}, "groups must have one label for each of the 10 rows"),
        ({"order_by": [0.0, np.nan, *range(8)]}, "order_by is missing in 1 rows"),
        ({"model": LinearRegression()}, "LinearRegression does not adapt"),
        (
            {"model": make_pipeline(StandardScaler(), LinearRegression())},
            "LinearRegression does not adapt.*a pipeline that ends in one",
        ),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(change, words):
    given = {"model": MeanOfSupport(), "groups": GROUPS, "support_size": 1, "cv": TWO, **change}
    with pytest.raises(mamlax.MamlaxError, match=words):
        mamlax.adaptation_score(X=INPUTS, y=TARGETS, **given)


def test_groups_too_small_are_counted():
    with pytest.warns(UserWarning, match="2 of 4 groups have 2 rows or fewer.*left out"):
        mamlax.adaptation_score(
            MeanOfSupport(), INPUTS, TARGETS, GROUPS, support_size=2, cv=TWO[:1], scoring=ERROR
        )


def test_scores_before_adapting_say_what_they_are(regressor, classifier, table):
    labels = np.where(table["wear"] > table["wear"].median(), "worn", "good")
    for model, y in ((regressor, table["wear"]), (classifier, labels)):
        X = table[NAMES]
        with pytest.warns(UserWarning, match="before it is adapted.*adaptation_scorer"):
            model.score(X[5:], y[5:])
        adapted = model.adapt(X[:5], y[:5])
        adapted.score(X[5:], y[5:])  # without a warning, which is an error here
        before, after = (getattr(one, "predict_proba", one.predict)(X) for one in (model, adapted))
        assert np.abs(before - after).max() > 0


def test_a_fit_without_groups_says_what_it_makes(table):
    """Here a warning is an error, and nothing is fitted."""
    search = GridSearchCV(
        mamlax.FewShotRegressor(), {"patience": [5]}, cv=GroupKFold(2), error_score="raise"
    )
    with pytest.raises(UserWarning, match=r"no groups.*splitter alone.*enable_metadata_routing"):
        search.fit(table[NAMES], table["wear"], groups=table["machine"])
