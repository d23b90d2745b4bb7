"""What is predicted, there and back."""

import json

import numpy as np
import pytest

import mamlax
from mamlax.estimators._targets import Classes, Values, targets_from_json


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)], ids=str)
def test_values_are_standardized_and_come_back_in_their_shape(shape):
    targets = np.random.default_rng(0).normal(7, 3, shape)
    values = Values.fit(targets, np.ones(50))
    encoded = values.encode(targets)
    assert encoded.dtype == np.float32 and encoded.shape == (50, values.num_outputs)
    np.testing.assert_allclose(encoded.mean(0), np.zeros(values.num_outputs), atol=1e-6)
    np.testing.assert_allclose(encoded.std(0), np.ones(values.num_outputs), rtol=1e-6)
    decoded = values.decode(encoded)
    assert decoded.shape == shape
    np.testing.assert_allclose(decoded, targets, rtol=1e-5)


def test_weights_count_in_mean_and_scale():
    """A row of weight 2 as two rows, one of weight 0 as none."""
    weighted = Values.fit(np.array([1.0, 4.0, 100.0]), np.array([2.0, 1.0, 0.0]))
    repeated = Values.fit(np.array([1.0, 1.0, 4.0]), np.ones(3))
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-14)
    np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-14)


@pytest.mark.parametrize("constant", [0.0, 5.0, 1e-30, -3e30])
def test_constant_targets_come_back(constant):
    values = Values.fit(np.full(7, constant), np.ones(7))
    found = values.encode(np.full(7, constant))
    np.testing.assert_allclose(found, np.zeros((7, 1)), atol=1e-6)
    np.testing.assert_allclose(values.decode(np.zeros((2, 1))), np.full(2, constant), rtol=1e-15)


def test_small_differences_on_a_large_number_are_kept():
    targets = 1e6 + np.array([0.0, 0.001, 0.002])
    values = Values.fit(targets, np.ones(3))
    np.testing.assert_allclose(values.decode(values.encode(targets)), targets, rtol=0, atol=1e-8)


def test_tasks_of_predictions_are_decoded_row_by_row():
    flat, deep = Values((1.0,), (2.0,), True), Values((1.0, 0.0), (2.0, 3.0), False)
    assert flat.decode(np.ones((4, 5, 1))).shape == (4, 5)
    np.testing.assert_array_equal(deep.decode(np.ones((4, 5, 2))), np.full((4, 5, 2), 3.0))


def test_a_flat_target_may_come_with_an_axis():
    values = Values((1.0,), (2.0,), True)
    np.testing.assert_array_equal(values.encode(np.array([[3.0]])), values.encode(np.array([3.0])))


def test_another_number_of_outputs_is_refused():
    values = Values((0.0, 0.0), (1.0, 1.0), False)
    for targets in (np.zeros(4), np.zeros((4, 3))):
        with pytest.raises(mamlax.MamlaxError, match=r"predicts 2 numbers.*targets of [13]\."):
            values.encode(targets)


@pytest.mark.parametrize(
    "labels", [["b", "a", "b"], [7, -1, 7], [2.0, 1.0, 2.0], [True, False, True]], ids=str
)
def test_classes_are_numbered_in_their_order_whatever_they_are(labels):
    classes = Classes.fit(np.array(labels))
    codes = classes.encode(np.array(labels))
    np.testing.assert_array_equal(codes, [1, 0, 1])
    assert codes.dtype == np.int32 and classes.num_outputs == 2
    assert classes.classes[codes].tolist() == labels


def test_classes_of_objects_and_none_at_all():
    classes = Classes.fit(np.array(["b", "a"], object))
    assert classes.encode(np.array(["a", "b"])).tolist() == [0, 1]
    assert classes.encode(classes.classes[:0]).shape == (0,)


def test_a_label_that_was_not_fitted_is_refused_with_those_that_were():
    with pytest.raises(mamlax.MamlaxError, match=r"'c' is none of the 2 classes.*: 'a', 'b'"):
        Classes.fit(np.array(["a", "b"])).encode(np.array(["a", "c"]))


def test_of_many_classes_a_dozen_are_named():
    with pytest.raises(mamlax.MamlaxError, match=r"-1 is none of the 20 classes.*0, .*11, \.\.\."):
        Classes.fit(np.arange(20)).encode(np.array([-1]))


def test_probabilities_are_a_softmax_also_of_large_numbers():
    outputs = np.array([[0.0, np.log(3.0)], [1e4, 0.0], [-1e4, -1e4]], np.float32)
    found = Classes.fit(np.array([0, 1])).probabilities(outputs)
    np.testing.assert_allclose(found, [[0.25, 0.75], [1, 0], [0.5, 0.5]], rtol=1e-6)


@pytest.mark.parametrize(
    "labels", [["b", "a"], [7, -1], [2.5, 1.0], [True, False]], ids=["text", "int", "float", "bool"]
)
def test_classes_make_a_round_trip_through_json(labels):
    classes = Classes.fit(np.array(labels))
    again = targets_from_json(json.loads(json.dumps(classes.as_json())))
    np.testing.assert_array_equal(again.classes, classes.classes)
    assert again.classes.dtype == classes.classes.dtype


def test_values_make_a_round_trip_through_json():
    values = Values.fit(np.random.default_rng(0).normal(size=(9, 2)), np.ones(9))
    assert targets_from_json(json.loads(json.dumps(values.as_json()))) == values


@pytest.mark.parametrize("size", [1e200, 1e-200, 1e290, 1e-300])
def test_targets_of_any_size_are_standardized_alike(size):
    targets = np.random.default_rng(0).normal(7, 3, (50, 2))
    values, plain = (Values.fit(one, np.ones(50)) for one in (targets * size, targets))
    encoded = values.encode(targets * size)
    np.testing.assert_allclose(encoded, plain.encode(targets), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values.decode(encoded), targets * size, rtol=1e-5)


def test_a_target_far_from_all_others_is_refused_where_single_precision_does_not_hold_it():
    values = Values.fit(np.array([1.0, 2.0, 3.0]), np.ones(3))
    with pytest.raises(mamlax.MamlaxError, match=r"target of row 1 is 1e\+200: too far.*mean 2"):
        values.encode(np.array([1.0, 1e200]))


def test_a_target_beside_which_others_are_lost_is_warned_of():
    with pytest.warns(UserWarning, match=r"target of row 3 is 1e\+200, so far from the others"):
        Values.fit(np.array([*range(3), 1e200, *range(4, 50)]), np.ones(50))
