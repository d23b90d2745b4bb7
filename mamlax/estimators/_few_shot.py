"""The estimators: scikit-learn's manners, and `adapt` for a task that was not there before."""

import copy
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    check_random_state,
    validate_data,
)

from .._errors import MamlaxError
from ._columns import Columns, names_of
from ._fitting import DEFAULTS, Rows, Settings, meta_train
from ._learner import Adapted
from ._splits import split_groups
from ._targets import Classes, Values

_FOR_CLASSES = ("proto-maml", "unicorn-maml")


class _FewShot(BaseEstimator):
    """What both estimators do; they differ in their targets."""

    _algorithms: tuple[str, ...]

    def __init__(
        self,
        *,
        algorithm: str = "auto",
        num_inner_steps: int | None = None,
        inner_learning_rate: float | None = None,
        hidden_sizes: tuple[int, ...] = (64, 64),
        num_outer_steps: int = 2_000,
        meta_batch_size: int = 32,
        outer_learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
        max_support: int = 32,
        validation_fraction: float = 0.15,
        test_fraction: float = 0.15,
        patience: int = 10,
        compare: bool = True,
        random_state: Any = None,
        verbose: Any = False,
    ):
        self.algorithm = algorithm
        self.num_inner_steps = num_inner_steps
        self.inner_learning_rate = inner_learning_rate
        self.hidden_sizes = hidden_sizes
        self.num_outer_steps = num_outer_steps
        self.meta_batch_size = meta_batch_size
        self.outer_learning_rate = outer_learning_rate
        self.weight_decay = weight_decay
        self.max_support = max_support
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.patience = patience
        self.compare = compare
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, groups=None, *, sample_weight=None, split_by=None):
        """Meta-train on the groups of a table.

        Args:
            X: `[rows, columns]`, a pandas frame (numbers and categories, values may be missing) or
                an array.
            y: `[rows]` or `[rows, outputs]`.
            groups: `[rows]`, which task a row belongs to: a machine, a patient, a station. None:
                all rows are one task, and what is fitted is a plain network.
            sample_weight: `[rows]`, how much each row counts.
            split_by: `[rows]`; groups of the same value are held out together. Give it where groups
                share something that new ones will not, a month, say. None: every group by itself.

        Returns:
            The estimator itself.

        Raises:
            MamlaxError: if there is one group only, or a setting makes no sense.
            ValueError: if X or y hold what no model could be fitted to.
        """
        algorithm = self._checked_algorithm()
        X = self._checked_table(X, reset=True)
        y = self._checked_targets(y)
        self._check_new_targets(y)
        check_consistent_length(X, y)
        weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        if not weights.sum() > 0:
            raise ValueError("sample_weight is zero everywhere: no row is left to learn from.")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        parts = split_groups(
            groups, split_by, len(X), self.validation_fraction, self.test_fraction, seed
        )

        self.columns_ = Columns.fit(X)
        train = parts.rows("train")
        self.targets_ = self._fit_targets(y[train], weights[train], y)
        rows = Rows(
            self.columns_.encode(X),
            self.targets_.encode(y),
            (weights / weights.mean()).astype(np.float32),
            parts.groups,
            parts.units,
        )
        settings = self._settings(algorithm)
        fitted = meta_train(
            settings,
            rows.of(train),
            rows.of(parts.rows("validation")) if parts.has("validation") else None,
            seed=seed,
            report=self._report_fn(),
        )
        self.learner_ = fitted.learner
        self.num_inner_steps_ = fitted.learner.settings.num_inner_steps
        self.validation_curve_ = fitted.curve
        self.n_outer_steps_ = fitted.step
        self.num_groups_ = parts.counts
        self._adapted, self.num_support_ = self._unadapted(), 0
        self.report_ = None
        if self.compare and parts.has("test"):
            from ._report import compare

            self.report_ = compare(self, rows.of(train), rows.of(parts.rows("test")), seed=seed)
        return self

    def adapt(self, X, y, *, sample_weight=None):
        """A copy adapted to one task; this estimator stays as it is.

        Args:
            X: `[rows, columns]`, the support: a few rows of the task. No rows: the copy predicts
                with the initialization (and a warning says so).
            y: their targets.
            sample_weight: `[rows]`.

        Returns:
            The adapted estimator. Adapting it again starts from the initialization, not from here.
        """
        check_is_fitted(self)
        adapted = copy.copy(self)
        if not len(X):
            import warnings

            warnings.warn(
                "the support has no rows: predictions are those of the initialization.",
                stacklevel=2,
            )
            adapted._adapted, adapted.num_support_ = self._unadapted(), 0
            return adapted
        X = self._checked_table(X)
        y = self._checked_targets(y)
        check_consistent_length(X, y)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            weights = weights / max(weights.mean(), 1e-30)
        adapted._adapted = self.learner_.adapt(
            self.columns_.encode(X), self.targets_.encode(y), weights
        )
        adapted.num_support_ = len(X)
        return adapted

    def adapt_many(self, X, y, groups) -> "AdaptedMany":
        """Adapt to many tasks in one call.

        Args:
            X: `[rows, columns]`, the support rows of all tasks.
            y: their targets.
            groups: `[rows]`, which task a row belongs to.

        Returns:
            What predicts for each of them.
        """
        check_is_fitted(self)
        X = self._checked_table(X)
        y = self._checked_targets(y)
        groups = np.asarray(groups)
        check_consistent_length(X, y, groups)
        names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(index, kind="stable")
        adapted = self.learner_.adapt_many(
            self.columns_.encode(X)[order],
            self.targets_.encode(y)[order],
            np.cumsum(sizes) - sizes,
            sizes,
        )
        return AdaptedMany(self, names, adapted)

    def report(self):
        """How the adapted model compares with simpler ones, on groups held out.

        Raises:
            MamlaxError: if nothing was compared.
        """
        check_is_fitted(self)
        if self.report_ is None:
            raise MamlaxError(
                "there is no report: it needs compare=True, groups, and enough of them that some "
                "can be held out (test_fraction)."
            )
        return self.report_

    def save(self, path) -> None:
        """Write the estimator, adapted or not, to one file that `mamlax.load` reads.

        Args:
            path: of the file; it is replaced whole or not at all.
        """
        from ._learner_file import write_estimator

        check_is_fitted(self)
        write_estimator(path, self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = self.random_state is None
        return tags

    def _outputs(self, X) -> np.ndarray:
        """What the network says, `[rows, outputs]`."""
        inputs = self.columns_.encode(self._checked_table(X))
        return self.learner_.predict(self._adapted, inputs)

    def _unadapted(self) -> Adapted:
        """What an empty support leaves of the initialization."""
        empty = np.zeros((0, self.columns_.width), np.float32)
        return self.learner_.adapt(empty, self.targets_.encode(self._empty_targets()))

    def _checked_table(self, X, *, reset: bool = False):
        """A frame with the columns fitted, in their order; or an array."""
        if hasattr(X, "iloc"):
            if reset and not len(X):
                raise ValueError("Found array with 0 sample(s): the table has no rows.")
            if not reset and hasattr(self, "feature_names_in_"):
                names, wanted = names_of(X), list(self.feature_names_in_)
                if names != wanted and set(wanted) <= set(names or []):
                    X = X[wanted]
            if hasattr(X, "sparse") and any(hasattr(t, "fill_value") for t in X.dtypes):
                X = X.sparse.to_dense()
        else:
            X = check_array(X, dtype=None, ensure_all_finite="allow-nan", estimator=self)
        if hasattr(X, "iloc") and not reset:
            self.columns_.check_names(X)
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _checked_algorithm(self) -> str:
        algorithm = self._algorithms[0] if self.algorithm == "auto" else self.algorithm
        if algorithm not in self._algorithms:
            raise MamlaxError(
                f"algorithm must be auto or one of {', '.join(self._algorithms)}, got "
                f"{self.algorithm!r}."
            )
        return algorithm

    def _settings(self, algorithm: str) -> Settings:
        given = {
            "num_inner_steps": self.num_inner_steps,
            "inner_learning_rate": self.inner_learning_rate,
        }
        options = tuple((name, value) for name, value in given.items() if value is not None)
        return Settings(
            self._loss,
            self.targets_.num_outputs,
            algorithm,
            options,
            tuple(self.hidden_sizes),
            self.num_outer_steps,
            self.meta_batch_size,
            self.outer_learning_rate,
            self.weight_decay,
            self.max_support,
            self.patience,
        )

    def _report_fn(self):
        if not self.verbose:
            return None
        if callable(self.verbose):
            return self.verbose

        def report(line):
            text = f"outer step {line['step']}: loss {line['train/query_loss']:.4g}"
            if "validation/loss" in line:
                text += f", on groups held out {line['validation/loss']:.4g}"
            print(text, flush=True)

        return report


_ARGUMENTS = """

    Args:
        algorithm: a member of the family, by its name on the command line; "auto": {auto}.
        num_inner_steps: steps in training. How many `adapt` takes is chosen on groups held out,
            up to twice as many. None: the algorithm's own.
        inner_learning_rate: step size of the inner loop. None: the algorithm's own.
        hidden_sizes: width of each hidden layer of the network.
        num_outer_steps: outer steps, at most.
        meta_batch_size: groups of an outer step.
        outer_learning_rate: of Adam, which falls to zero along a cosine.
        weight_decay: of the outer loop.
        max_support: the most rows that are adapted on in training. `adapt` takes any number.
        validation_fraction: share of the groups that training is stopped by.
        test_fraction: share of the groups held out for `report()`.
        patience: twentieths of `num_outer_steps` without improvement before training stops.
        compare: fit simpler models too, for `report()`.
        random_state: seed of the split of the groups, of initialization and of training.
        verbose: print progress; or a function that is called with each log line.

    Attributes:
        num_inner_steps_: steps of `adapt`.
        validation_curve_: loss on groups held out, after 0, 1, … inner steps.
        n_outer_steps_: the outer step that the model is of.
        num_groups_: how many groups were learned from, chosen by and held out.
        num_support_: rows that this estimator is adapted to; 0: it is not.
"""


class FewShotRegressor(RegressorMixin, _FewShot):
    __doc__ = f"""Regression that adapts to a new task from a few rows.

    `fit` meta-trains a network over the groups of a table; `adapt` returns a copy fitted to a new
    group. Columns may hold numbers or categories, and miss values; targets may be several.
    {_ARGUMENTS.format(auto="the head starts from a regression on the support")}
    Example:
        >>> import numpy as np, mamlax
        >>> rng = np.random.default_rng(0)
        >>> machine, x = rng.integers(0, 30, 600), rng.normal(size=(600, 1))
        >>> y = rng.normal(size=30)[machine] + x[:, 0]  # each machine has an offset of its own
        >>> model = mamlax.FewShotRegressor(num_outer_steps=200, compare=False, random_state=0)
        >>> adapted = model.fit(x, y, groups=machine).adapt([[0.0], [1.0], [2.0]], [5.0, 6.0, 7.0])
        >>> bool(abs(adapted.predict([[3.0]])[0] - 8) < abs(model.predict([[3.0]])[0] - 8))
        True
    """

    _loss = "squared-error"
    _algorithms = ("ridge-maml", *sorted(DEFAULTS.keys() - {"ridge-maml", *_FOR_CLASSES}))

    def predict(self, X) -> np.ndarray:
        """`[rows]` or `[rows, outputs]`, in the units of the targets."""
        check_is_fitted(self)
        return self.targets_.decode(self._outputs(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags

    def _checked_targets(self, y) -> np.ndarray:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None.")
        return check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)

    def _check_new_targets(self, y) -> None:
        pass

    def _fit_targets(self, y, weights, all_y) -> Values:
        return Values.fit(y, weights)

    def _empty_targets(self) -> np.ndarray:
        return np.zeros((0, self.targets_.num_outputs))

    def _decoded(self, outputs) -> np.ndarray:
        return self.targets_.decode(outputs)


class FewShotClassifier(ClassifierMixin, _FewShot):
    __doc__ = f"""Classification that adapts to a new task from a few rows.

    All groups share the classes; what tells them apart may differ from group to group.
    {_ARGUMENTS.format(auto="CAVIA, a few numbers beside the columns adapt")}
        classes_: the labels.

    Example:
        >>> import numpy as np, mamlax
        >>> rng = np.random.default_rng(0)
        >>> patient, x = rng.integers(0, 40, 800), rng.normal(size=(800, 1))
        >>> y = np.where(x[:, 0] > rng.normal(size=40)[patient], "ill", "well")
        >>> model = mamlax.FewShotClassifier(num_outer_steps=200, compare=False, random_state=0)
        >>> adapted = model.fit(x, y, groups=patient).adapt(
        ...     [[1.0], [1.4], [1.6], [2.0]], ["well", "well", "ill", "ill"]
        ... )
        >>> adapted.predict([[2.5], [-1.0]]).tolist()
        ['ill', 'well']
    """

    _loss = "cross-entropy"
    _algorithms = ("cavia", *sorted(DEFAULTS.keys() - {"cavia", "ridge-maml"}))

    def predict(self, X) -> np.ndarray:
        """The most likely label of each row, `[rows]`."""
        check_is_fitted(self)
        outputs = self._outputs(X)
        return self.classes_[np.argmax(outputs, axis=1)]

    def predict_proba(self, X) -> np.ndarray:
        """`[rows, classes]`, in the order of `classes_`."""
        check_is_fitted(self)
        return self.targets_.probabilities(self._outputs(X))

    def _checked_targets(self, y) -> np.ndarray:
        if y is None:
            raise ValueError("requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        return y

    def _check_new_targets(self, y) -> None:
        check_classification_targets(y)

    def _fit_targets(self, y, weights, all_y) -> Classes:
        targets = Classes.fit(all_y)
        self.classes_ = targets.classes
        if len(targets.classes) < 2:
            raise ValueError(
                f"classification needs two classes or more, got one class: {targets.classes[0]!r}."
            )
        return targets

    def _empty_targets(self) -> np.ndarray:
        return self.classes_[:0]

    def _decoded(self, outputs) -> np.ndarray:
        return self.classes_[np.argmax(outputs, axis=-1)]


class AdaptedMany:
    """An estimator adapted to many tasks at once.

    Attributes:
        groups: `[tasks]`, what they are called.
    """

    def __init__(self, estimator: _FewShot, groups: np.ndarray, adapted: Adapted):
        self.groups, self._estimator, self._adapted = groups, estimator, adapted

    def predict(self, X, groups) -> np.ndarray:
        """Predictions `[rows]`, each row by the parameters of its task.

        Args:
            X: `[rows, columns]`.
            groups: `[rows]`, one of those adapted to.

        Raises:
            MamlaxError: if a group was not adapted to.
        """
        estimator, groups = self._estimator, np.asarray(groups)
        inputs = estimator.columns_.encode(estimator._checked_table(X))
        tasks = np.minimum(np.searchsorted(self.groups, groups), len(self.groups) - 1)
        absent = self.groups[tasks] != groups
        if absent.any():
            raise MamlaxError(
                f"group {groups[absent][0]!r} was not adapted to ({len(self.groups)} were). Give "
                "adapt_many rows of it too; with none, the estimator itself predicts for it."
            )
        outputs = estimator.learner_.predict_many(self._adapted, tasks, inputs)
        return estimator._decoded(outputs)
