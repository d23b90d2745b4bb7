"""Scikit-learn's own checks of what calls itself an estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import mamlax

# hundreds of fits; and what the checks mean to provoke
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SETTINGS = dict(num_outer_steps=50, meta_batch_size=8)


def expected_failures(estimator):
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "training draws rows at random: a row of weight 2 is drawn as often as another"
        ),
    }


@parametrize_with_checks(
    [mamlax.FewShotRegressor(**SETTINGS), mamlax.FewShotClassifier(**SETTINGS)],
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
