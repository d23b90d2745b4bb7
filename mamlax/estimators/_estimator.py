"""The base of both estimators: fit a table by groups, adapt to a new task."""

import copy
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    check_array,
    check_consistent_length,
    check_is_fitted,
    check_random_state,
    validate_data,
)

from .._errors import MamlaxError, warn
from ..config._algorithms import SolvedHead
from ._adapted_many import AdaptedMany
from ._calibration import Calibration
from ._checked_settings import algorithm_of, check_pooled, training_of, with_learned_head
from ._columns import Columns, is_frame, names_of
from ._container import Container, write_container
from ._conventions import Conventions
from ._estimator_state import restored, state_of
from ._fitting import Plan
from ._frames import as_pandas
from ._learner import AdaptedParams, ArrayLearner, Loss
from ._order import positions_in, warn_of_time
from ._pooled import kind_of
from ._rounds import learn_in_rounds, learn_once, print_line
from ._rows import Rows
from ._splits import TRAIN, GroupSplit, numbered, splits_of
from ._targets import Targets, several_names_of, warn_of_constant_targets
from ._unadapted import warn_of_no_groups

E = TypeVar("E", bound="FewShotEstimator")


class FewShotEstimator(BaseEstimator, ABC):
    """The base class of both estimators. They differ in their targets."""

    _algorithms: tuple[str, ...]
    _loss: Loss
    targets_: Any  # Values or Classes
    learner_: ArrayLearner
    calibration_: Calibration | None
    feature_names_in_: np.ndarray
    n_features_in_: int
    pretrained_: ArrayLearner | None = None
    target_names_: list[str] | None = None
    task_names_: list[str] | None = None
    split_names_: list[str] | None = None
    # where metadata routing is on, these reach fit without set_fit_request
    __metadata_request__fit = {"groups": True, "split_by": True, "order_by": True}  # noqa: RUF012
    reading_: Conventions = Conventions()
    """The names of the target columns (of a frame with several, or on the command line); of the
    columns of tasks, and of what is held out together, and how text was read, if the table was
    fitted by the command line."""

    def __init__(
        self,
        *,
        algorithm="auto",
        num_inner_steps=None,
        inner_learning_rate=None,
        pooled="auto",
        features="waves",
        hidden_sizes=(64, 64),
        num_outer_steps=None,
        meta_batch_size=32,
        outer_learning_rate=None,
        weight_decay=0.1,
        max_support=32,
        validation_fraction=0.15,
        test_fraction=0.2,
        patience=10,
        compare=True,
        refit=True,
        random_state=None,
        verbose=False,
    ):
        # no types, nor checks: scikit-learn sets and clones whatever was given, and `fit` checks
        self.algorithm = algorithm
        self.num_inner_steps = num_inner_steps
        self.inner_learning_rate = inner_learning_rate
        self.pooled = pooled
        self.features = features
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
        self.refit = refit
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, groups=None, *, sample_weight=None, split_by=None, order_by=None):
        """Meta-train on the groups of a table.

        Args:
            X: `[rows, columns]`: a frame of pandas, Polars or Arrow (numbers, categories and dates,
                with missing values) or an array.
            y: targets `[rows]` or `[rows, outputs]`.
            groups: `[rows]`, which task a row belongs to: a machine, a patient, a station. None:
                all rows are one task. Then a plain network is fitted, with a warning.
            sample_weight: `[rows]`, how much each row counts.
            split_by: `[rows]`; groups with the same value are held out together. Use it if groups
                share something that new groups will not, e.g. a month. None: each group separately.
            order_by: `[rows]`, numbers or dates that order the rows of a group. The support then
                comes before the query, as it will in use. None: the support is any rows of a group.

        Returns:
            The estimator itself.

        Raises:
            MamlaxError: if there is only one group, or a setting is not allowed.
            ValueError: if no model can be fitted to X or y.
        """
        algorithm = algorithm_of(self, self._algorithms)
        is_solved = isinstance(algorithm, SolvedHead) and groups is not None
        training = training_of(self, is_solved=is_solved)
        check_pooled(self.pooled, algorithm)
        X = self._checked_table(X, reset=True)
        self.target_names_ = several_names_of(y)
        y = self._checked_targets(y)
        self._check_new_targets(y)
        check_consistent_length(X, y)
        weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        if not weights.sum() > 0:
            raise ValueError("sample_weight is zero everywhere: no row is left to learn from.")
        seed = self._seed()
        splits = splits_of(groups, split_by, len(X), self, seed)
        order = np.arange(len(X)) if order_by is None else positions_in(order_by, len(X))
        if groups is None:
            warn_of_no_groups()
            algorithm = with_learned_head(algorithm)
        else:
            warn_of_constant_targets(y[weights > 0], splits[0].groups[weights > 0])
            if order_by is None:
                warn_of_time(X, splits[0].groups)
        rows = self._encoded(X, y, weights, splits[0], order[weights[order] > 0])
        plan = Plan(
            algorithm,
            training,
            self._loss,
            num_outputs=self.targets_.num_outputs,
            seed=seed,
            is_meta=groups is not None,
            is_ordered=order_by is not None,
            num_rows=len(X),
            num_groups=len(splits[0].names),
        )
        report = self._report_fn()
        if self.refit:
            learned = learn_in_rounds(rows, splits, plan, report=report)
        else:
            learned = learn_once(rows, splits[0], plan, compare=self.compare, report=report)
        self.learner_ = learned.trained.learner
        self.validation_curve_ = learned.trained.curve
        self.outer_step_ = learned.trained.step
        self.num_groups_ = learned.counts
        self.report_, self.calibration_ = learned.report, learned.calibration
        self._adapted, self.num_support_ = self._unadapted(), 0
        return self

    def adapt(self, X, y, *, sample_weight=None):
        """A copy adapted to one task. This estimator does not change.

        Args:
            X: `[rows, columns]`, the support: a few rows of the task. Without rows, the copy
                predicts with the initialization, with a warning.
            y: targets of these rows.
            sample_weight: `[rows]`, how much each row counts.

        Returns:
            The adapted estimator. Adapting it again starts from the initialization, not from its
            adapted parameters.

        Raises:
            MamlaxError: if adaptation diverged.
        """
        check_is_fitted(self)
        X = as_pandas(X)
        if _num_samples(X) == 0:
            warn(
                "the support has no rows: predictions are those of the initialization.",
                stacklevel=2,
            )
            return self._begun()
        X = self._checked_table(X)
        y = self._checked_targets(y)
        check_consistent_length(X, y)
        weights = self._weights(sample_weight, X)
        there = np.flatnonzero(weights > 0)  # a row of no weight is not there
        inputs = self.columns_.encode(_safe_indexing(X, there))
        return self._adapted_to(inputs, y[there], weights[there])

    def _adapted_to(self: E, inputs: np.ndarray, y: np.ndarray, weights: Any = None) -> E:
        """A copy adapted to encoded rows."""
        adapted = copy.copy(self)
        adapted._adapted = self.learner_.adapt(inputs, self.targets_.encode(y), weights)
        adapted.num_support_ = len(inputs)
        return adapted

    def adapt_many(self, X, y, groups, *, sample_weight=None) -> "AdaptedMany":
        """Adapt to many tasks in one call.

        Args:
            X: `[rows, columns]`, the support rows of all tasks.
            y: targets of these rows.
            groups: `[rows]`, which task a row belongs to.
            sample_weight: `[rows]`, how much each row counts.

        Returns:
            An `AdaptedMany`, which predicts for each of the tasks.

        Raises:
            MamlaxError: if adaptation diverged for some tasks. The message names them.
        """
        check_is_fitted(self)
        X = self._checked_table(X)
        y = self._checked_targets(y)
        check_consistent_length(X, y)
        names, index = numbered("groups", groups, len(X))
        weights = self._weights(sample_weight, X)
        order = np.argsort(index, kind="stable")
        order = order[weights[order] > 0]  # a row of no weight is not there
        sizes = np.bincount(index[order], minlength=len(names))
        adapted = self.learner_.adapt_many(
            self.columns_.encode(_safe_indexing(X, order)),
            self.targets_.encode(y[order]),
            sizes,
            weights[order],
        )
        if len(diverged := names[adapted.diverged]):
            shown = ", ".join(map(repr, diverged[:12].tolist())) + ", ..." * (len(diverged) > 12)
            raise MamlaxError(
                f"adapting to {len(diverged)} of {len(names)} groups diverged within "
                f"{self.num_inner_steps_} inner steps: {shown}. Look at their rows for values far "
                "outside of what the model was fitted to; if there are none, it needs fewer inner "
                "steps or a smaller inner learning rate when it is trained. To adapt to the "
                f"others, leave out the rows where numpy.isin(groups, [{shown}])."
            )
        return AdaptedMany(self._begun(), names, adapted, sizes)

    @property
    def pooled_(self) -> str:
        """The pooled model that adaptation starts from: `linear`, `trees`, `constant`
        (the frequencies of classes) or `none`."""
        return kind_of(self.learner_.pooled)

    @property
    def num_inner_steps_(self) -> int:
        """Number of inner steps of `adapt`."""
        return self.learner_.settings.num_inner_steps

    def report(self):
        """How well the adapted model and simpler models predict held-out groups.

        Raises:
            MamlaxError: if `fit` compared no models.
        """
        check_is_fitted(self)
        if self.report_ is None:
            raise MamlaxError(
                "there is no report: it needs compare=True, a test_fraction above zero, and four "
                "groups or more, of two rows or more."
            )
        return self.report_

    def save(self, path: str | Path) -> None:
        """Write the estimator, adapted or not, to one file that `mamlax.load` reads.

        Args:
            path: the file. An existing file is replaced completely or not at all.
        """
        write_container(path, self.state())

    def state(self) -> Container:
        """The content of a file of this fitted estimator, for `from_state`."""
        check_is_fitted(self)
        return state_of(self)

    @classmethod
    def from_state(cls: type[E], content: Container) -> E:
        """The estimator whose `state` is `content`.

        Raises:
            MamlaxError: if an array is missing or does not have the shape given in the header.
        """
        return restored(cls(), content)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = self.random_state is None
        return tags

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _encoded(self, X, y, weights, split: GroupSplit, order: np.ndarray) -> Rows:
        """Encoded rows, in an order; others are not there. The encoding is fitted to all rows that
        the final model learns from.
        """
        there = np.sort(order)
        X, y, weights = _safe_indexing(X, there), y[there], weights[there]
        groups, units = split.groups[there], split.units[there]
        is_learned = np.full(len(y), True) if self.refit else (split.parts == TRAIN)[groups]
        learned_from = np.flatnonzero(is_learned)
        self.columns_ = Columns.fit(_safe_indexing(X, learned_from))
        self.targets_ = self._fit_targets(y, weights, learned_from)
        self.weight_scale_ = float(weights[learned_from].mean())
        with warnings.catch_warnings():  # new categories are what is held out for
            warnings.simplefilter("ignore", UserWarning)
            inputs = self.columns_.encode(X)
        scaled = (weights / self.weight_scale_).astype(np.float32)
        rows = Rows(inputs, self.targets_.encode(y), scaled, groups, units)
        return rows.of(np.searchsorted(there, order))

    def _weights(self, sample_weight, X) -> np.ndarray:
        """Weights of support rows, in units of the mean weight in `fit`. Without weights: 1."""
        if sample_weight is None:
            return np.ones(len(X), np.float32)
        weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        return (weights / self.weight_scale_).astype(np.float32)

    def _outputs(self, X) -> np.ndarray:
        """Outputs of the network, `[rows, outputs]`."""
        return self.learner_.predict(self._adapted, self._inputs(X))

    def _inputs(self, X) -> np.ndarray:
        """Encoded rows: numbers only."""
        return self.columns_.encode(self._checked_table(X))

    @abstractmethod
    def _checked_targets(self, y) -> np.ndarray:
        """Targets as an array. Raises if they are not valid targets."""

    @abstractmethod
    def _check_new_targets(self, y) -> None:
        """Raise for targets that `adapt` allows, but `fit` does not."""

    @abstractmethod
    def _fit_targets(self, y, weights, train) -> Targets:
        """The encoding of the targets, from the rows `train` that are learned from."""

    @abstractmethod
    def _empty_targets(self) -> np.ndarray:
        """The targets of zero rows."""

    @abstractmethod
    def _decoded(self, outputs) -> np.ndarray:
        """Predictions `[...]` from the network's outputs `[..., outputs]`."""

    def _begun(self: E) -> E:
        """A copy that is adapted to nothing."""
        begun = copy.copy(self)
        if begun.num_support_:
            begun._adapted, begun.num_support_ = self._unadapted(), 0
        return begun

    def _unadapted(self) -> AdaptedParams:
        """The parameters adapted to an empty support."""
        empty = np.zeros((0, self.columns_.width), np.float32)
        return self.learner_.adapt(empty, self.targets_.encode(self._empty_targets()))

    def _checked_table(self, X, *, reset: bool = False):
        """A pandas frame with the fitted columns, in their order; or an array."""
        X = as_pandas(X)
        if is_frame(X):
            if reset and not len(X):
                raise ValueError("Found array with 0 sample(s): the table has no rows.")
            if not reset and hasattr(self, "feature_names_in_"):
                names, wanted = names_of(X), list(self.feature_names_in_)
                if names != wanted and set(wanted) <= set(names or []):
                    X = X[wanted]
            if any(hasattr(t, "fill_value") for t in X.dtypes) and hasattr(X, "sparse"):
                X = X.sparse.to_dense()
        else:
            X = check_array(
                X,
                dtype=None,  # pyright: ignore[reportArgumentType]
                ensure_all_finite="allow-nan",  # pyright: ignore[reportArgumentType]
                estimator=self,
            )
        if is_frame(X) and not reset:
            self.columns_.check_names(X)
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _report_fn(self) -> Any:
        if callable(self.verbose):
            return self.verbose
        return print_line if self.verbose else None
