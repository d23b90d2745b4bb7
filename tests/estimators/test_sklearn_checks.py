"""Scikit-learn's own checks of what calls itself an estimator."""

from contextlib import suppress
from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import mamlax

# what the checks mean to provoke
pytestmark = pytest.mark.filterwarnings("ignore")

SETTINGS = dict(num_outer_steps=50, meta_batch_size=8)
QUICK = dict(
    algorithm="fomaml",
    num_inner_steps=1,
    hidden_sizes=(2,),
    num_outer_steps=2,
    meta_batch_size=2,
    compare=False,
)
OF_OTHER_SHAPES = {
    "check_classifier_data_not_an_array",
    "check_classifiers_classes",
    "check_classifiers_train",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
    "check_regressor_data_not_an_array",
    "check_regressor_multioutput",
    "check_regressors_int",
    "check_regressors_no_decision_function",
    "check_regressors_train",
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weights_list",
    "check_sample_weights_not_an_array",
    "check_sample_weights_not_overwritten",
    "check_sample_weights_pandas_series",
    "check_sample_weights_shape",
    "check_supervised_y_2d",
}
"""Checks that fit a table of a shape of their own, which is seconds of compiling for each."""


@pytest.mark.parametrize("make", [mamlax.FewShotRegressor, mamlax.FewShotClassifier])
def test_scikit_learn_checks_that_are_quick(make):
    """Those that fit nothing, and four that fit tables of one shape; the slow test has all."""
    checked = set()
    for estimator, check in estimator_checks_generator(make(**QUICK)):
        if (name := check.func.__name__) not in OF_OTHER_SHAPES:
            checked.add(name)
            with suppress(SkipTest):  # of a library that is not installed
                check(estimator)
    assert {"check_dict_unchanged", "check_no_attributes_set_in_init"} <= checked
    assert len(checked) > 20


def expected_failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "training draws rows at random: a row of weight 2 is drawn as often as another"
        ),
    }


@pytest.mark.slow  # hundreds of fits
@parametrize_with_checks(
    [mamlax.FewShotRegressor(**SETTINGS), mamlax.FewShotClassifier(**SETTINGS)],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
