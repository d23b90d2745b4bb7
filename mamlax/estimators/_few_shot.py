"""The estimators, with scikit-learn's interface."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted

from .._errors import MamlaxError
from ..config._algorithms import ALGORITHMS, HeadOfTask, LogisticMaml, RidgeMaml
from ._calibration import INTERVALS_OF_NUMBERS, Calibration
from ._estimator import FewShotEstimator
from ._targets import Classes, Values, in_order_of
from ._unadapted import warn_of_unadapted

_FOR_CLASSES = {name for name, kind in ALGORITHMS.items() if issubclass(kind, HeadOfTask)}
_GENERAL = ALGORITHMS.keys() - {RidgeMaml.name, *_FOR_CLASSES}


class FewShotRegressor(RegressorMixin, FewShotEstimator):
    """Regression that adapts to a new task from a few rows.

    `fit` meta-trains a model over the groups of a table. `adapt` returns a copy fitted to a new
    group. Columns may hold numbers, categories or dates, with missing values. There may be several
    targets.

    Args:
        algorithm: the meta-learning algorithm: its name on the command line, to use it with
            settings that suit tables; or all of its settings, which are used unchanged, e.g.
            `mamlax.config.Cavia(inner_learning_rate=1.0, num_inner_steps=3, context_size=4)`.
            "auto": `ridge-maml`, whose head starts from a ridge regression on the support.
        num_inner_steps: number of inner steps in training. The number for `adapt` is chosen on
            held-out groups, up to twice as many. (`ridge-maml` and `logistic-maml` solve for the
            head, and take no steps by default.) None: the algorithm's default.
        inner_learning_rate: step size of the inner loop. None: the algorithm's default.
        pooled: the pooled model that adaptation starts from: "linear", a ridge regression on all
            groups; "trees", gradient-boosted trees; "none", no pooled model. "auto": the one with
            the smallest error on held-out groups. Algorithms other than `ridge-maml` and
            `logistic-maml` start from the network.
        features: the features from which these two make curves: "waves", which make it a
            Gaussian process with a learned kernel; or "network", the hidden layers of a network.
        hidden_sizes: width of each hidden layer of the network, if there is one. A number: one
            layer.
        num_outer_steps: the largest number of outer steps. None: 500 for `ridge-maml` and
            `logistic-maml`; 2,000 for other algorithms, and without groups.
        meta_batch_size: groups per outer step.
        outer_learning_rate: learning rate of Adam; it falls to zero along a cosine. None: 0.006
            and 0.002, in the same cases.
        weight_decay: weight decay in the outer loop.
        max_support: the largest support size used in training. `adapt` accepts any number of rows.
        validation_fraction: share of the groups that decide when training stops.
        test_fraction: share of the groups held out at a time for `report()`. There are as many
            rounds as it takes to hold out each group once; with hundreds of groups, fewer rounds
            are enough.
        patience: stop training after this many twentieths of `num_outer_steps` without improvement.
        compare: hold groups out in rounds and also fit simpler models, for `report()`, standard
            deviations and intervals. Without it, a fit takes less than half the time.
        refit: after the rounds, learn from all groups, for as many steps as the rounds chose.
            False: do one round, and keep the model of that round.
        random_state: seed of the split of the groups, of the initialization and of the training.
        verbose: print progress; or a function called with each log line, like `report` of
            [`run`][mamlax.run]. `stage` in a line names the round; lines of several rounds, which
            are trained at the same time, alternate.

    Attributes:
        pooled_: the pooled model that adaptation starts from: `linear`, `trees` or `none`; of
            classes `constant`, their frequencies, in the place of `none`.
        num_inner_steps_: number of inner steps of `adapt`.
        validation_curve_: loss on held-out groups after 0, 1, … inner steps; the mean over rounds.
        outer_step_: the outer step at which the model was taken.
        num_groups_: how many groups the model was trained on, chosen by, and judged on. With
            `refit` it is trained on all groups, and the models of the rounds are judged.
        num_support_: number of rows this estimator is adapted to. 0: it is not adapted.

    Raises:
        MamlaxError: by `fit` and `adapt`; see there.

    Example:
        >>> import numpy as np, mamlax
        >>> rng = np.random.default_rng(0)
        >>> machine, x = rng.integers(0, 30, 600), rng.normal(size=(600, 1))
        >>> y = rng.normal(size=30)[machine] + x[:, 0]  # each machine has an offset of its own
        >>> model = mamlax.FewShotRegressor(
        ...     pooled="linear", num_outer_steps=20, compare=False, refit=False, random_state=0
        ... )
        >>> adapted = model.fit(x, y, groups=machine).adapt([[0.0], [1.0], [2.0]], [5.0, 6.0, 7.0])
        >>> bool(abs(adapted.predict([[3.0]])[0] - 8) < abs(model.predict([[3.0]])[0] - 8))
        True
    """

    _loss = "squared-error"
    _algorithms = (RidgeMaml.name, *sorted(_GENERAL))

    def predict(self, X, return_std: bool = False) -> Any:
        """Predictions `[rows]` or `[rows, outputs]`, in the units of the targets.

        Args:
            X: `[rows, columns]`.
            return_std: also return standard deviations of the same shape: how far targets are from
                predictions, noise included, as measured on held-out groups with as many support
                rows.

        Raises:
            MamlaxError: if `return_std` is set, but no group was held out in `fit`.
        """
        check_is_fitted(self)
        inputs = self._inputs(X)
        predicted = self._decoded(self.learner_.predict(self._adapted, inputs))
        return (predicted, self._deviations(*self._known(inputs))) if return_std else predicted

    def predict_interval(self, X, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Prediction intervals: the share `coverage` of targets lies inside, noise included.

        The intervals are calibrated on held-out groups: the share of a new group's rows that lie in
        their intervals is about `coverage`, on average over groups (for each output separately).
        Each held-out group in turn is taken for the new one, and the others for those that are
        known; no lower bound is proven. With `refit`, the groups were held out from the models of
        the rounds, not from this model, which is a little better.

        Args:
            X: `[rows, columns]`.
            coverage: between 0 and 1.

        Returns:
            Lower and upper ends, each with the shape of predictions.

        Raises:
            MamlaxError: if no group was held out in `fit`, or `coverage` is not between 0 and 1.
        """
        check_is_fitted(self)
        inputs = self._inputs(X)
        predicted = self._decoded(self.learner_.predict(self._adapted, inputs))
        half = self._half_widths(*self._known(inputs), coverage)
        return predicted - half, predicted + half

    def _known(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each row, the number of support rows and the variance that they leave."""
        tasks = np.zeros(len(inputs), int)
        variances = self.learner_.variances(self._adapted, tasks, inputs)
        return tasks + self.num_support_, variances

    def _deviations(self, num_support: np.ndarray, variances: np.ndarray) -> np.ndarray:
        """Standard deviations of rows about their predictions, in the units of the targets."""
        return self.targets_.scaled(self._calibrated().standard_deviations(num_support, variances))

    def _half_widths(
        self, num_support: np.ndarray, variances: np.ndarray, coverage: float
    ) -> np.ndarray:
        """Half the widths of intervals, in the units of the targets."""
        found = self._calibrated().half_widths(num_support, variances, coverage)
        return self.targets_.scaled(found)

    def _calibrated(self) -> Calibration:
        if self.calibration_ is None:
            raise MamlaxError(
                "there is nothing to tell by how far predictions are from the truth: no group was "
                "held out when this model was fitted. Fit it with compare=True, a test_fraction "
                "above zero, and four groups or more, of two rows or more; a file of an earlier "
                "version has to be fitted again."
            )
        return self.calibration_

    def score(self, X, y, sample_weight=None) -> float:
        """R² of the predictions. Warns if the estimator is not adapted to a task."""
        warn_of_unadapted(self)
        return super().score(X, in_order_of(self.target_names_, y), sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    def _checked_targets(self, y) -> np.ndarray:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None.")
        return check_array(
            in_order_of(self.target_names_, y),
            ensure_2d=False,
            dtype=np.float64,  # pyright: ignore[reportArgumentType]
            input_name="y",
            estimator=self,
        )

    def _check_new_targets(self, y) -> None:
        pass

    def _fit_targets(self, y, weights, train) -> Values:
        return Values.fit(y[train], weights[train])

    def _empty_targets(self) -> np.ndarray:
        return np.zeros((0, self.targets_.num_outputs))

    def _decoded(self, outputs) -> np.ndarray:
        return self.targets_.decode(outputs)


class FewShotClassifier(ClassifierMixin, FewShotEstimator):
    """Classification that adapts to a new task from a few rows.

    All groups have the same classes. What distinguishes the classes may differ between groups.

    Arguments and attributes are those of `FewShotRegressor`, except that "auto" is `logistic-maml`,
    whose head starts from a logistic regression on the support, and that pooled models are of
    classes. `classes_` are the labels, in the order of `predict_proba`.

    Example:
        >>> import numpy as np, mamlax
        >>> rng = np.random.default_rng(0)
        >>> patient, x = rng.integers(0, 40, 800), rng.normal(size=(800, 1))
        >>> y = np.where(x[:, 0] > rng.normal(size=40)[patient], "ill", "well")
        >>> model = mamlax.FewShotClassifier(
        ...     hidden_sizes=(16,), num_outer_steps=50, compare=False, refit=False, random_state=0
        ... )
        >>> adapted = model.fit(x, y, groups=patient).adapt(
        ...     [[1.0], [1.4], [1.6], [2.0]], ["well", "well", "ill", "ill"]
        ... )
        >>> adapted.predict([[2.5], [-1.0]]).tolist()
        ['ill', 'well']
    """

    _loss = "cross-entropy"
    _algorithms = (LogisticMaml.name, *sorted((_GENERAL | _FOR_CLASSES) - {LogisticMaml.name}))

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted."""
        return self.targets_.classes

    def predict(self, X) -> np.ndarray:
        """The most likely label of each row, `[rows]`."""
        check_is_fitted(self)
        return self._decoded(self._outputs(X))

    def predict_proba(self, X) -> np.ndarray:
        """Class probabilities `[rows, classes]`, in the order of `classes_`."""
        check_is_fitted(self)
        return self.targets_.probabilities(self._outputs(X))

    def score(self, X, y, sample_weight=None) -> float:
        """Accuracy: the share classified correctly. Warns if it is not adapted to a task."""
        warn_of_unadapted(self)
        return super().score(X, y, sample_weight)

    def _deviations(self, *known) -> np.ndarray:
        raise MamlaxError(INTERVALS_OF_NUMBERS)

    def _half_widths(self, *known) -> np.ndarray:
        raise MamlaxError(INTERVALS_OF_NUMBERS)

    def _checked_targets(self, y) -> np.ndarray:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        return y

    def _check_new_targets(self, y) -> None:
        check_classification_targets(y)

    def _fit_targets(self, y, weights, train) -> Classes:
        learned = np.unique(y[train])
        if len(learned) < 2:
            raise ValueError(
                "classification needs two classes or more in the groups that are learned from, got "
                f"one class: {learned[0]!r}."
            )
        return Classes.fit(y)

    def _empty_targets(self) -> np.ndarray:
        return self.classes_[:0]

    def _decoded(self, outputs) -> np.ndarray:
        return self.classes_[np.argmax(outputs, axis=-1)]
