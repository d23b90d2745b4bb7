"""Is meta-learning worth it here? The adapted model beside simpler ones, on groups held out."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import softmax

from .._errors import warn
from ._calibration import Scores
from ._entry import ADAPTED, CONFIDENCE, MARGIN, UNADAPTED, Entry
from ._evidence import is_shown_positive, mean_and_interval
from ._learner import ArrayLearner
from ._remarks import remarks_of, tried
from ._report import Report
from ._rows import Rows
from ._simpler_models import SUPPORT_SIZES, simpler_models

_MOST_GROUPS = 300
_MOST_QUERY = 200
_LEAST_CHANCE = 1e-6
"""Of a class; a smaller one counts as this, so that one row alone does not decide."""


class Judged(NamedTuple):
    """Errors on the groups that were held out together.

    Attributes:
        units: `[groups]`, the number of what each was held out with.
        errors: for each model `[groups, sizes, measures]`, NaN
            where a group has too few rows. Measures are the squared error; of classification the
            log loss, the Brier score and the share of rows misclassified.
        targets: `[rows, outputs]` or `[rows]`, all that were held out.
        scores: of the adapted model, with the number of support rows; of a regression.
        sizes: numbers of rows that were adapted on.
        remarks: of models that failed, which are not among `errors`, or that warned: what to say.
    """

    units: np.ndarray
    errors: dict[str, np.ndarray]
    targets: np.ndarray
    scores: tuple[tuple[int, Scores], ...] = ()
    sizes: tuple[int, ...] = SUPPORT_SIZES
    remarks: dict[str, str] = {}  # noqa: RUF012


def judge(
    learner: ArrayLearner,
    train: Rows | None,
    test: Rows,
    *,
    classes: int | None,
    is_ordered: bool = False,
    sizes: tuple[int, ...] = SUPPORT_SIZES,
    without: Collection[str] = (),
    seed: int,
) -> Judged | None:
    """Give every model the same support rows of each group held out, and the same queries.

    Args:
        learner: meta-trained.
        train: rows that simpler models learn from, those that the learner was chosen by among them;
            None: there are no simpler models.
        test: rows of groups held out.
        classes: how many; None: a regression.
        is_ordered: whether rows of a group stand in an order: support rows are then the first, and
            the query is what follows them.
        sizes: numbers of rows to adapt on.
        without: simpler models that are not tried.
        seed: of the rows drawn.

    Returns:
        What was found; None where no group held out has two rows.
    """
    rng = np.random.default_rng(seed)
    tasks = _tasks(test, rng, is_ordered, max(sizes))
    if not tasks:
        return None
    asked = [
        (i, column)
        for column, size in enumerate(sizes)
        for i, task in enumerate(tasks)
        if task.most_support >= size
    ]
    supports = [test.of(tasks[i].rows[: sizes[column]]) for i, column in asked]
    queries = [test.of(tasks[i].query(sizes[column])) for i, column in asked]
    task_of, column_of = np.array(asked).T
    errors: dict[str, np.ndarray] = {}

    def measure(model: str, outputs: Sequence[np.ndarray], those: np.ndarray) -> None:
        shape = (len(tasks), len(sizes), 1 if classes is None else 3)
        found = errors.setdefault(model, np.full(shape, np.nan))
        found[task_of[those], column_of[those]] = [
            _measured(values, queries[i], classes) for values, i in zip(outputs, those, strict=True)
        ]

    scores = []
    for column in np.unique(column_of):
        those = np.flatnonzero(column_of == column)
        of_size = [queries[i] for i in those]
        predicted, variances = _adapted_predictions(learner, [supports[i] for i in those], of_size)
        if classes is None:
            scores.append((sizes[column], _scores(predicted[ADAPTED], variances, of_size)))
        for model, outputs in predicted.items():
            measure(model, outputs, those)
    remarks = {}
    if train is not None:
        simpler = simpler_models(train, classes, rng, seed, is_ordered=is_ordered)
        for model, predict in simpler.items():
            if model in without:
                continue
            outputs, remark = tried(predict, supports, queries)
            if remark is not None:
                remarks[model] = remark
            if outputs is not None:
                measure(model, outputs, np.arange(len(asked)))
    units = np.array([test.units[task.rows[0]] for task in tasks])
    return Judged(units, errors, test.targets, tuple(scores), sizes, remarks)


def report_of(rounds: Sequence[Judged], *, is_ordered: bool = False) -> Report:
    """What rounds that held out different groups found together."""
    units = np.concatenate([one.units for one in rounds])
    errors = {
        model: np.concatenate([one.errors[model] for one in rounds])
        for model in rounds[0].errors
        if all(model in one.errors for one in rounds)
    }
    is_class = errors[ADAPTED].shape[-1] > 1
    scale, metric = 1.0, "log loss"
    if not is_class:
        targets = np.concatenate([one.targets for one in rounds])
        scale = float(np.mean(np.var(targets, axis=0))) or 1.0
        metric = "squared error / variance of the target over the rows held out"
    has_rows = ~np.isnan(errors[ADAPTED][:, :, 0])
    # sizes that half of the groups have: fewer would be another question
    least = max(len(units) / 2, min(len(units), 2))
    columns = np.flatnonzero(has_rows.sum(0) >= least).tolist()
    confidences = _Confidences.of(len(errors) - 1, len(columns))
    entries = []
    for model, values in errors.items():
        for column in columns:
            there = has_rows[:, column]
            ours, theirs = (one[there, column] / scale for one in (errors[ADAPTED], values))
            size = rounds[0].sizes[column]
            entry = _entry(model, size, ours[:, 0], theirs[:, 0], units[there], confidences)
            if is_class:
                _, brier, misclassified = theirs.mean(0).tolist()
                entry = entry._replace(brier=brier, misclassified=misclassified)
            entries.append(entry)
    return Report(
        metric,
        len(units),
        len(np.unique(units)),
        tuple(entries),
        len(rounds),
        is_ordered,
        remarks=remarks_of([one.remarks for one in rounds]),
    )


class _Confidences(NamedTuple):
    """Of single statements, so that all that a verdict says holds with `CONFIDENCE` together.

    Attributes:
        worse: at a size; the verdict says it of all simpler models at once, so that one is wrong
            only if the statement is wrong of the best of them.
        better: of a model at a size.
        close: of a model; the verdict says it of all sizes at once.
    """

    worse: float
    better: float
    close: float

    @staticmethod
    def of(num_others: int, num_sizes: int) -> "_Confidences":
        """Of so many models beside the adapted one."""
        chance = (1 - CONFIDENCE) / 3  # of an error in all statements of a kind
        return _Confidences(
            *(1 - chance / number for number in (num_sizes, num_others * num_sizes, num_others))
        )


def _entry(
    model: str,
    size: int,
    ours: np.ndarray,
    theirs: np.ndarray,
    units: np.ndarray,
    confidences: _Confidences,
) -> Entry:
    """A model beside the adapted one, at one size."""
    worse, close = theirs - ours, (1 + MARGIN) * ours - theirs
    is_it = model == ADAPTED
    return Entry(
        model,
        size,
        *mean_and_interval(theirs, units),
        *mean_and_interval(worse, units),
        len(units),
        is_worse=not is_it and is_shown_positive(worse, units, confidences.worse),
        is_better=not is_it and is_shown_positive(-worse, units, confidences.better),
        is_close=not is_it and is_shown_positive(close, units, confidences.close),
    )


class _Task(NamedTuple):
    """Rows of a group: as many as wanted of the first to adapt on, later ones to judge on.

    Attributes:
        rows: `[rows]`, their indices.
        most_support: how many there may be to adapt on.
        judged: positions among them that may be judged on.
    """

    rows: np.ndarray
    most_support: int
    judged: np.ndarray

    def query(self, size: int) -> np.ndarray:
        """The rows to judge on, after so many to adapt on."""
        return self.rows[self.judged[self.judged >= size]]


def _tasks(
    test: Rows, rng: np.random.Generator, is_ordered: bool, most_support: int
) -> list[_Task]:
    """The groups held out that have two rows or more.

    Shuffled, and cut in two: then the query is the same after every support. In an order, it is all
    that follows the support.
    """
    order = np.argsort(test.groups, kind="stable")
    _, starts = np.unique(test.groups[order], return_index=True)
    groups = [rows for rows in np.split(order, starts[1:]) if len(rows) >= 2]
    tasks = []
    for index in rng.permutation(len(groups))[:_MOST_GROUPS]:
        rows = groups[index]
        cut = min(most_support, len(rows) // 2)
        if is_ordered:
            number = min(len(rows), cut + _MOST_QUERY)
            judged = np.sort(rng.choice(len(rows), number, replace=False))
        else:
            rows = rng.permutation(rows)[: most_support + _MOST_QUERY]
            judged = np.arange(cut, len(rows))
        tasks.append(_Task(rows, cut, judged))
    return tasks


def _adapted_predictions(
    learner: ArrayLearner, supports: list[Rows], queries: list[Rows]
) -> tuple[dict[str, list[np.ndarray]], np.ndarray]:
    """Of the model itself, adapted and not; what supports leave unknown of each row's."""
    sizes = np.array([len(one.inputs) for one in supports])
    joined = Rows(*map(np.concatenate, zip(*supports, strict=True)))
    adapted = learner.adapt_many(joined.inputs, joined.targets, sizes, joined.weights)
    unadapted = learner.adapt_many(joined.inputs[:0], joined.targets[:0], 0 * sizes)
    if (diverged := adapted.diverged).any():
        warn(
            f"this model diverges for {int(diverged.sum())} of {len(sizes)} groups held out, "
            f"adapted to {sizes[0]} rows: adapt would raise. The report takes it unadapted there.",
            stacklevel=2,
        )
        own = jax.tree.map(
            lambda new, old: np.where(diverged.reshape(-1, *[1] * (new.ndim - 1)), old, new),
            adapted.own,
            unadapted.own,
        )
        adapted = adapted._replace(own=own)
    lengths = [len(one.inputs) for one in queries]
    tasks = np.repeat(np.arange(len(queries)), lengths)
    inputs = np.concatenate([one.inputs for one in queries])
    predicted = {
        name: np.split(learner.predict_many(params, tasks, inputs), np.cumsum(lengths)[:-1])
        for name, params in ((ADAPTED, adapted), (UNADAPTED, unadapted))
    }
    return predicted, learner.variances(adapted, tasks, inputs)


def _scores(outputs: list[np.ndarray], variances: np.ndarray, queries: list[Rows]) -> Scores:
    """Residuals of rows held out, in units of what was expected of them."""
    truth = np.concatenate([one.targets for one in queries])
    residuals = truth - np.concatenate(outputs)
    weights = [(one.weights + 1e-12) / np.sum(one.weights + 1e-12) for one in queries]
    units = np.concatenate([one.units for one in queries])
    return Scores(residuals / np.sqrt(1 + variances)[:, None], np.concatenate(weights), units)


def _measured(outputs: np.ndarray, query: Rows, classes: int | None) -> np.ndarray:
    """`[measures]`, see `Judged`."""
    if classes is None:
        measures = np.mean((outputs - query.targets) ** 2, axis=1)[None]
    else:
        chances = softmax(np.asarray(outputs, np.float64), axis=1)
        truth = np.eye(classes)[query.targets]
        brier = np.sum((chances - truth) ** 2, axis=1)
        measures = np.stack(
            [
                -np.log(np.maximum(np.sum(chances * truth, axis=1), _LEAST_CHANCE)),
                brier / 2 if classes == 2 else brier,  # as scikit-learn has it
                np.argmax(outputs, axis=1) != query.targets,
            ]
        )
    return np.average(measures, axis=1, weights=query.weights + 1e-12)
