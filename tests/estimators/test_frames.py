"""Frames of every library are the same frame."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.sparse import dok_array

import mamlax
from mamlax.estimators._columns import Columns
from mamlax.estimators._frames import as_pandas

FRAME = pd.DataFrame(
    {
        "heat": [1.0, 3.0, None, 5.0],
        "count": [2, 4, 6, 8],
        "kind": ["oak", "fir", "oak", None],
        "on": [True, False, True, True],
        "grade": pd.Categorical(["a", "b", None, "a"]),
    }
)


class OnlyCapsule:
    """A table of a library that is not known, which speaks the Arrow PyCapsule interface."""

    def __init__(self, frame):
        self.frame = pa.Table.from_pandas(frame)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.frame.__arrow_c_stream__(requested_schema)


class OnlyProtocol:
    """One that speaks the dataframe protocol alone."""

    def __init__(self, frame):
        self.frame = pa.Table.from_pandas(frame)

    def __dataframe__(self, nan_as_null=False, allow_copy=True):
        return self.frame.__dataframe__(nan_as_null, allow_copy)


def polars(frame):
    return pytest.importorskip("polars").from_pandas(frame)


LIBRARIES = {
    "arrow": pa.Table.from_pandas,
    "batch": pa.RecordBatch.from_pandas,
    "capsule": OnlyCapsule,
    "protocol": OnlyProtocol,
    "polars": polars,
}


@pytest.fixture(params=LIBRARIES)
def of(request):
    return LIBRARIES[request.param]


def test_every_library_gives_the_same_numbers_in_any_order_of_columns(of):
    columns, encoded = Columns.fit(FRAME), Columns.fit(FRAME).encode(FRAME)
    assert Columns.fit(as_pandas(of(FRAME))) == columns
    for names in (FRAME.columns, FRAME.columns[::-1]):
        np.testing.assert_array_equal(columns.encode(as_pandas(of(FRAME[names]))), encoded)


def test_an_index_of_pandas_is_no_column():
    table = pa.Table.from_pandas(FRAME.set_index(pd.Index([5, 3, 2, 1])))
    assert as_pandas(table).columns.tolist() == FRAME.columns.tolist()


def test_an_estimator_takes_frames_of_every_library(of, regressor, table):
    """Swapped columns would predict another thing."""
    X, y = table[["speed", "kind"]], table["wear"].to_numpy()
    expected = regressor.adapt(X[:6], y[:6]).predict(X)
    for names in (["speed", "kind"], ["kind", "speed"]):
        adapted = regressor.adapt(of(X[names][:6]), y[:6])
        np.testing.assert_array_equal(adapted.predict(of(X[names])), expected)
        many = regressor.adapt_many(of(X[names][:6]), y[:6], ["a"] * 6)
        np.testing.assert_allclose(many.predict(of(X[names]), ["a"] * len(X)), expected, rtol=1e-4)
    with pytest.raises(mamlax.MamlaxError, match="lacks 'kind'"):
        regressor.predict(of(X[["speed"]]))


def test_what_was_fitted_to_arrow_knows_its_names(of, table):
    few = table[:24]
    model = mamlax.FewShotRegressor(
        algorithm="fomaml", num_outer_steps=2, hidden_sizes=(2,), compare=False, random_state=0
    )
    X = few[["speed", "kind"]]
    model.fit(of(X), few["wear"], groups=few["machine"])
    assert model.feature_names_in_.tolist() == ["speed", "kind"]
    np.testing.assert_array_equal(model.predict(X[["kind", "speed"]]), model.predict(of(X)))


def test_targets_and_groups_of_other_libraries_are_taken(table):
    few = pa.Table.from_pandas(table[:24])
    model = mamlax.FewShotRegressor(
        algorithm="fomaml", num_outer_steps=2, hidden_sizes=(2,), compare=False, random_state=0
    )
    model.fit(few.select(["speed", "kind"]), few["wear"], groups=few["machine"])
    assert model.num_groups_["train"] == 2


@pytest.mark.parametrize(
    "given",
    [
        {"a": [1.0], "b": [2.0]},
        [{"a": 1.0, "b": 2.0}],
        np.array([(1.0, 2.0)], dtype=[("a", float), ("b", float)]),
    ],
    ids=["mapping", "rows", "structured"],
)
def test_what_has_names_and_is_no_frame_is_refused(given, regressor):
    with pytest.raises(mamlax.MamlaxError, match="must be a frame"):
        as_pandas(given)
    with pytest.raises(mamlax.MamlaxError, match="must be a frame"):
        regressor.predict(given)


def test_what_is_not_computed_yet_is_refused():
    with pytest.raises(mamlax.MamlaxError, match=r"not computed yet.*collect"):
        as_pandas(polars(FRAME).lazy())


def test_arrays_and_single_columns_are_left_to_scikit_learn():
    for one in (np.zeros((2, 2)), [[1.0]], pd.Series([1.0]), pa.chunked_array([[1.0]])):
        assert as_pandas(one) is one


def test_a_sparse_matrix_is_no_table_with_names():
    matrix = dok_array((2, 2))
    assert as_pandas(matrix) is matrix


def test_names_that_occur_twice_are_refused():
    with pytest.raises(mamlax.MamlaxError, match=r"two columns have the same name.*'?a'?"):
        as_pandas(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))


def test_dates_of_every_library_are_dates(of):
    frame = pd.DataFrame({"when": [datetime.date(2024, 1, 1), datetime.date(2024, 2, 1)]})
    try:
        found = as_pandas(of(frame))
    except mamlax.MamlaxError as error:
        assert "not supported by interchange protocol" in str(error)
        return
    columns = Columns.fit(frame)
    np.testing.assert_array_equal(columns.encode(found), columns.encode(frame))
    assert Columns.fit(found) == columns
