"""What adaptation starts from: chosen by groups held out, saved as arrays, exported."""

import jax
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

import mamlax
from mamlax import MamlaxError
from mamlax.estimators import _pooled_choice, _pooled_values
from mamlax.estimators._columns import Columns
from mamlax.estimators._export import write_stablehlo
from mamlax.estimators._inspection import description_of
from mamlax.estimators._pooled import Line
from mamlax.estimators._pooled_choice import fit_pooled
from mamlax.estimators._pooled_values import Values
from mamlax.estimators._rows import Rows
from mamlax.estimators._sklearn_trees import trees_of
from mamlax.estimators._table_network import _SPEED

from .materials import TINY, changed, machines

NAMES = ["speed", "kind"]


def rows_of(law, num_groups=30, size=10, noise=0.3, seed=0):
    """Rows of groups whose targets are `law(x)`, an offset of the group, and noise."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_groups), size)
    x = rng.uniform(-1, 1, (len(groups), 2)).astype(np.float32)
    y = law(x) + rng.normal(size=num_groups)[groups] + noise * rng.normal(size=len(groups))
    ones = np.ones(len(groups), np.float32)
    return Rows(x, y[:, None].astype(np.float32), ones, groups, groups)


def fitted(table, **settings):
    model = mamlax.FewShotRegressor(**TINY | {"compare": False, "refit": False} | settings)
    return model.fit(table[NAMES], table["wear"], groups=table["machine"])


@pytest.fixture(scope="module")
def models(table):
    """A model for each kind of start."""
    return {pooled: fitted(table, pooled=pooled) for pooled in ("linear", "trees")}


@pytest.mark.parametrize("outputs", [1, 2])
def test_trees_agree_with_scikit_learn_where_values_are_missing_and_categories_new(outputs):
    """Also where a number equals a threshold, to the last bit."""
    table = machines(30, 20)
    inputs = Columns.fit(table[NAMES]).encode(table[NAMES])
    targets = np.stack([table["wear"], -(table["speed"].fillna(90.0) ** 2)], axis=1)[:, :outputs]
    targets = (targets - targets.mean(0)) / targets.std(0)
    models = [
        HistGradientBoostingRegressor(max_iter=30, early_stopping=False).fit(inputs, y)
        for y in targets.T
    ]
    trees = trees_of(models)
    at_thresholds = np.repeat(inputs[:1], trees.thresholds.size, axis=0)
    at_thresholds[:, 0] = np.ravel(trees.thresholds)
    far = np.array([[1e30, 0, 0, 0], [-1e30, 1, 0, 0]], np.float32)
    for x in (inputs, at_thresholds, far):
        expected = np.stack([model.predict(x) for model in models], axis=1)
        np.testing.assert_allclose(jax.jit(lambda x: trees(x))(x), expected, rtol=0, atol=1e-6)


def test_a_line_is_chosen_for_a_line_trees_for_steps_and_nothing_for_nothing():
    found = {
        "linear": fit_pooled(rows_of(lambda x: 2 * x[:, 0]), "auto", 0),
        "trees": fit_pooled(rows_of(lambda x: 3.0 * ((x > 0).sum(1) == 1), 60, 20), "auto", 0),
        "none": fit_pooled(rows_of(lambda x: 0.0), "auto", 0),
    }
    assert isinstance(found["linear"].model, Line)
    assert type(found["trees"].model).__name__ == "Trees"
    assert found["none"].model is None and found["none"].cross_fitted.shape == (300, 0)
    # the variance of offsets is 1, that of noise 0.09
    assert 5 < found["linear"].differences.offset < 25


def test_rows_of_next_to_no_weight_choose_nothing():
    """As if they were not there: neither the kind, nor how far groups are apart."""
    rows = rows_of(lambda x: 3 * x[:, 0], size=20)
    rng = np.random.default_rng(1)
    doubtful = rng.random(len(rows.inputs)) < 0.4
    targets = rows.targets + np.where(doubtful, 100 * rng.normal(size=len(doubtful)), 0)[:, None]
    weights = np.where(doubtful, 1e-6, 1).astype(np.float32)
    found = fit_pooled(
        rows._replace(targets=targets.astype(np.float32), weights=weights), "auto", 0
    )
    expected = fit_pooled(rows.of(np.flatnonzero(~doubtful)), "auto", 0)
    assert isinstance(found.model, Line) and isinstance(expected.model, Line)
    ours, others = found.differences, expected.differences
    np.testing.assert_allclose(ours.offset, others.offset, rtol=0.1)
    np.testing.assert_allclose(ours.slopes, others.slopes, atol=0.2)


def test_what_is_said_of_a_group_has_not_seen_it():
    """Trees that see a group's own column know its offset; those of others cannot."""
    rows = rows_of(lambda x: 0.0)
    inputs = np.concatenate([rows.inputs, rows.groups[:, None]], axis=1).astype(np.float32)
    rows = rows._replace(inputs=inputs)
    fit = fit_pooled(rows, "trees", 0)
    seen = np.asarray(fit.model(inputs)) - rows.targets
    unseen = fit.cross_fitted - rows.targets
    assert np.mean(seen**2) < 0.8 * np.mean(unseen**2)


def test_groups_held_out_together_are_said_nothing_of_one_another():
    rows = rows_of(lambda x: 0.0)
    units = rows.groups // 3
    inputs = np.concatenate([rows.inputs, units[:, None]], axis=1).astype(np.float32)
    targets = np.random.default_rng(0).normal(size=10)[units][:, None].astype(np.float32)
    rows = rows._replace(inputs=inputs, targets=targets, units=units)
    trees = fit_pooled(rows, "trees", 0)
    assert np.mean((trees.cross_fitted - targets) ** 2) > 0.5 * np.var(targets)


@pytest.mark.parametrize("pooled", ["linear", "trees"])
@pytest.mark.slow
def test_a_model_is_read_as_it_was_saved_whatever_it_starts_from(models, table, tmp_path, pooled):
    model, path = models[pooled], tmp_path / "model.safetensors"
    adapted = model.adapt(table[NAMES][:4], table["wear"][:4])
    for one in (model, adapted):
        one.save(path)
        read = mamlax.load(path)
        assert isinstance(read, mamlax.FewShotRegressor) and read.pooled_ == pooled
        np.testing.assert_array_equal(read.predict(table[NAMES]), one.predict(table[NAMES]))
    words = {"linear": "linear model", "trees": "boosted trees"}
    (line,) = [one for one in description_of(path).splitlines() if "starts from" in one]
    assert words[pooled] in line


@pytest.mark.parametrize("pooled", ["linear", "trees"])
def test_a_program_starts_from_what_the_model_does(models, table, tmp_path, pooled):
    model, path = models[pooled], tmp_path / "model.stablehlo"
    write_stablehlo(path, model)
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    support, query = table[:5], table[5:12]
    outputs = program.call(
        model.columns_.encode(support[NAMES]),
        model.targets_.encode(support["wear"].to_numpy()),
        np.ones(5, np.float32),
        model.columns_.encode(query[NAMES]),
    )
    expected = model.adapt(support[NAMES], support["wear"]).predict(query[NAMES])
    np.testing.assert_allclose(model.targets_.decode(np.asarray(outputs)), expected, rtol=1e-5)


def test_trees_that_were_changed_are_refused(models, tmp_path):
    path, out = tmp_path / "model.safetensors", tmp_path / "changed.safetensors"
    models["trees"].save(path)
    faults = {
        "leads out": lambda a: a["pooled.lefts"].__setitem__((0, 0, 0), 64),
        "leads out of": lambda a: a["pooled.rights"].__setitem__((0, 0, 5), 2),  # a circle
        "not finite": lambda a: a["pooled.values"].__setitem__((0, 0, 0), np.nan),
        "is missing": lambda a: a.pop("pooled.features"),
    }
    for said, change in faults.items():
        changed(path, out, arrays=change)
        with pytest.raises(MamlaxError, match=said):
            mamlax.load(out)


def test_a_report_says_what_the_model_starts_from(regressor):
    report = regressor.report()
    assert report.pooled == (regressor.pooled_,) * 2
    assert "What adapts starts from" in str(report)


@pytest.mark.slow
def test_lines_of_new_groups_are_found_from_two_rows():
    """Slopes and offsets differ; rows hardly do: two rows tell a line."""
    rng = np.random.default_rng(0)
    groups, x = np.repeat(np.arange(30), 12), rng.uniform(-1, 1, (360, 1))
    slopes, offsets = rng.normal(size=(2, 31))
    y = offsets[groups] + (2 + slopes[groups]) * x[:, 0] + 0.01 * rng.normal(size=360)
    settings = TINY | {"num_outer_steps": 100}
    model = mamlax.FewShotRegressor(compare=False, **settings).fit(x, y, groups=groups)
    assert model.pooled_ == "linear"
    support = np.array([[-0.7], [0.6]])
    adapted = model.adapt(support, offsets[30] + (2 + slopes[30]) * support[:, 0])
    query = np.array([[-1.0], [0.0], [1.0]])
    truth = offsets[30] + (2 + slopes[30]) * query[:, 0]
    before = np.abs(model.predict(query) - truth).max()
    assert np.abs(adapted.predict(query) - truth).max() < 0.25 * before


@pytest.mark.parametrize(
    "model",
    [
        mamlax.FewShotRegressor(algorithm="fomaml", pooled="trees"),
        mamlax.FewShotClassifier(algorithm="cavia", pooled="linear"),
    ],
    ids=["steps", "classes"],
)
def test_a_pooled_model_is_refused_where_no_head_is_solved_for(model):
    x, y, groups = np.zeros((8, 1)), [0, 1] * 4, [0, 0, 0, 0, 1, 1, 1, 1]
    with pytest.raises(MamlaxError, match="for ridge-maml and logistic-maml"):
        model.fit(x, y, groups=groups)


def test_the_point_about_which_lines_turn_is_learned():
    """Groups that are alike at −1, and differ the more the further from there."""
    rng = np.random.default_rng(0)
    groups, x = np.repeat(np.arange(60), 12), rng.uniform(-1, 1, (720, 1))
    y = rng.normal(size=60)[groups] * (x[:, 0] + 1) + 0.05 * rng.normal(size=720)
    settings = TINY | {"compare": False, "refit": False, "pooled": "none", "num_outer_steps": 300}
    model = mamlax.FewShotRegressor(**settings, validation_fraction=0).fit(x, y, groups=groups)
    network = model.learner_.meta_params
    # it starts at the middle, 0, and is on its way to −1.8, which is −1 standardized
    assert -2.2 < float(_SPEED * network.pivots[0]) < -0.5
    # so one row far away tells more of the middle than of the point where all are alike
    far = model.adapt([[1.0]], [2.0])
    moved = far.predict([[0.0], [-1.0]]) - model.predict([[0.0], [-1.0]])
    assert moved[0] > 0.5 and abs(moved[1]) < 0.6 * moved[0]


def test_trees_are_given_weights_only_where_they_differ():
    """Without any, scikit-learn makes its bins much faster."""
    rows = rows_of(lambda x: x[:, 0])
    assert rows._replace(weights=np.full(len(rows.inputs), 0.5)).sample_weight is None
    weights = np.arange(len(rows.inputs), dtype=float)
    assert rows._replace(weights=weights).sample_weight is weights


def test_trees_grow_until_more_do_not_help(monkeypatch):
    """And are then as many as the best stage of a whole forest has."""
    asked, boosted = [], Values.boosted

    def counted(self, train, num_trees, grown=()):
        asked.append(num_trees)
        return boosted(self, train, num_trees, grown)

    monkeypatch.setattr(Values, "boosted", counted)
    monkeypatch.setattr(_pooled_choice, "_BURSTS", (3, 6, 10))
    steps = rows_of(lambda x: 3.0 * np.sin(9 * x).sum(1), 60, 20)
    noise = rows_of(lambda x: np.random.default_rng(0).normal(size=len(x)), 60, 20)
    for rows, most in ((steps, 100), (noise, 30)):
        asked.clear()
        fit = fit_pooled(rows, "trees", 0)
        assert max(asked) == most
        model, values = fit.model, Values(0, 1)
        found = [np.zeros_like(rows.targets) for _ in range(10)]
        for others, those in _pooled_choice._folds(rows):
            whole = boosted(values, rows.of(others), 100)
            for number, outputs in enumerate(values.staged(whole, rows.inputs[those])):
                if number % 10 == 9:
                    found[number // 10][those] = outputs
        errors = [values.stage_error(rows, one) for one in found]
        assert model.values.shape[1] == 10 * (np.argmin(errors) + 1)
        np.testing.assert_allclose(fit.cross_fitted, found[np.argmin(errors)], rtol=1e-6, atol=1e-6)


def test_trees_learn_from_rows_of_all_groups(monkeypatch):
    """Also where there are more rows than they take."""
    monkeypatch.setattr(_pooled_values, "_MOST_ROWS", 60)
    rows, fitted = rows_of(lambda x: x[:, 0]), []
    assert len(rows.inputs) > 60

    def fit(self, inputs, targets, weights):
        fitted.append(inputs)
        return self

    monkeypatch.setattr(HistGradientBoostingRegressor, "fit", fit)
    Values(0, 1).boosted(rows, 3)
    (inputs,) = fitted
    places = [np.flatnonzero((rows.inputs == one).all(1)).item() for one in inputs]
    assert len(places) == len(set(places)) == 60
    assert len(np.unique(rows.groups[places])) > 0.8 * len(np.unique(rows.groups))
    assert rows.thinned(len(rows.inputs), 0) is rows
