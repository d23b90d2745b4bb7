"""The estimators, with scikit-learn's interface."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted

from .._errors import MamlaxError
from ..config._algorithms import ALGORITHMS, Cavia, HeadOfTask, RidgeMaml
from ._calibration import INTERVALS_OF_NUMBERS, Calibration
from ._estimator import FewShotEstimator
from ._targets import Classes, Values
from ._unadapted import warn_of_unadapted

_FOR_CLASSES = {name for name, kind in ALGORITHMS.items() if issubclass(kind, HeadOfTask)}
_GENERAL = ALGORITHMS.keys() - {RidgeMaml.name, *_FOR_CLASSES}


class FewShotRegressor(RegressorMixin, FewShotEstimator):
    """Regression that adapts to a new task from a few rows.

    `fit` meta-trains a network over the groups of a table; `adapt` returns a copy fitted to a new
    group. Columns may hold numbers, categories or dates, and miss values; targets may be several.

    Args:
        algorithm: a member of the family: by its name on the command line, with settings that suit
            tables; or as its settings, all of them taken as they stand, e.g.
            `mamlax.config.Cavia(inner_learning_rate=1.0, num_inner_steps=3, context_size=4)`.
            "auto": `ridge-maml`, whose head starts from a regression on the support.
        num_inner_steps: steps in training. How many `adapt` takes is chosen on groups held out,
            up to twice as many (`ridge-maml` solves, and by itself takes none). None: the
            algorithm's own.
        inner_learning_rate: step size of the inner loop. None: the algorithm's own.
        pooled: what adaptation starts from: "linear", a ridge regression on all groups; "trees",
            gradient-boosted ones; "none", no pooled model. "auto": what errs least on groups held
            out. Other algorithms than `ridge-maml`, and classes, start from the network.
        features: what `ridge-maml` makes curves of: "waves", which make it a Gaussian process
            whose kernel is learned, or the hidden layers of a "network".
        hidden_sizes: width of each hidden layer of the network, where there is one.
        num_outer_steps: outer steps, at most.
        meta_batch_size: groups of an outer step.
        outer_learning_rate: of Adam, which falls to zero along a cosine.
        weight_decay: of the outer loop.
        max_support: the most rows that are adapted on in training. `adapt` takes any number.
        validation_fraction: share of the groups that training is stopped by.
        test_fraction: share of the groups held out at a time for `report()`. Each is held out once,
            in as many rounds as that takes; of hundreds, as many as are enough.
        patience: twentieths of `num_outer_steps` without improvement before training stops.
        compare: hold groups out in rounds and fit simpler models too, for `report()`, standard
            deviations and intervals. Without, a fit takes less than half of the time.
        refit: learn from all groups in the end, for as many steps as rounds have chosen. False: one
            round, and what it has learned from the groups that are not held out is kept.
        random_state: seed of the split of the groups, of initialization and of training.
        verbose: print progress; or a function that is called with each log line, as `report` of
            [`run`][mamlax.run].

    Attributes:
        pooled_: what adaptation starts from: `linear`, `trees` or `none`.
        num_inner_steps_: steps of `adapt`.
        validation_curve_: loss on groups held out, after 0, 1, … inner steps; the mean of rounds.
        outer_step_: the outer step that the model is of.
        num_groups_: how many groups this model has learned from, was chosen by, and was judged on;
            with `refit` all are learned from, and rounds are judged.
        num_support_: rows that this estimator is adapted to; 0: it is not.

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
            return_std: also return standard deviations of the same shape, of what a row will be
                about its prediction, noise included: as on groups held out, with as many rows of
                support.

        Raises:
            MamlaxError: if there are to be deviations, and no group was held out.
        """
        check_is_fitted(self)
        inputs = self._inputs(X)
        predicted = self._decoded(self.learner_.predict(self._adapted, inputs))
        return (predicted, self._deviations(*self._known(inputs))) if return_std else predicted

    def predict_interval(self, X, coverage: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Where the targets of rows will be, as often as is asked for.

        Calibrated on groups held out: of a new group about the share `coverage` of the rows lies in
        its intervals, in the mean over groups (of several outputs, each by itself). With `refit`,
        the groups were held out from models of rounds, and this one is another.

        Args:
            X: `[rows, columns]`.
            coverage: between 0 and 1.

        Returns:
            Lower and upper ends, each of the shape of predictions.

        Raises:
            MamlaxError: if no group was held out when the model was fitted, or `coverage` is no
                share.

        References:
            Lee, Barber & Willett, Distribution-free inference with hierarchical data, 2023.
        """
        check_is_fitted(self)
        return self._interval(self._inputs(X), coverage)

    def _interval(self, inputs: np.ndarray, coverage: float) -> tuple[np.ndarray, np.ndarray]:
        """Of rows that are numbers already."""
        predicted = self._decoded(self.learner_.predict(self._adapted, inputs))
        half = self._half_widths(*self._known(inputs), coverage)
        return predicted - half, predicted + half

    def _known(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of rows: of how many of the support predictions come, and what these leave unknown."""
        tasks = np.zeros(len(inputs), int)
        variances = self.learner_.variances(self._adapted, tasks, inputs)
        return tasks + self.num_support_, variances

    def _deviations(self, num_support: np.ndarray, variances: np.ndarray) -> np.ndarray:
        """Of rows about their predictions, in the units of the targets."""
        return self.targets_.scaled(self._calibrated().standard_deviations(num_support, variances))

    def _half_widths(
        self, num_support: np.ndarray, variances: np.ndarray, coverage: float
    ) -> np.ndarray:
        """Of intervals, in the units of the targets."""
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
        """R² of what it predicts; a warning says so where it is adapted to no task."""
        warn_of_unadapted(self)
        return super().score(X, y, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    def _checked_targets(self, y) -> np.ndarray:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None.")
        return check_array(
            y,
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

    All groups share the classes; what tells them apart may differ from group to group.

    Arguments and attributes are those of `FewShotRegressor`; "auto" is `cavia`: a few numbers
    beside the columns adapt. `classes_` are the labels, in the order of `predict_proba`.

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
    _algorithms = (Cavia.name, *sorted((_GENERAL | _FOR_CLASSES) - {Cavia.name}))

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted."""
        return self.targets_.classes

    def predict(self, X) -> np.ndarray:
        """The most likely label of each row, `[rows]`."""
        check_is_fitted(self)
        return self._decoded(self._outputs(X))

    def predict_proba(self, X) -> np.ndarray:
        """`[rows, classes]`, in the order of `classes_`."""
        check_is_fitted(self)
        return self.targets_.probabilities(self._outputs(X))

    def score(self, X, y, sample_weight=None) -> float:
        """The share classified rightly; a warning says so where it is adapted to no task."""
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
