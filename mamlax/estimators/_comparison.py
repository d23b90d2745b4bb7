"""Is meta-learning worth it here? The adapted model beside simpler ones, on groups held out."""

from typing import Any, NamedTuple

import jax
import numpy as np
from threadpoolctl import threadpool_limits

from .._errors import warn
from ._fitting import Rows
from ._report import ADAPTED, UNADAPTED, Entry, Report
from ._simpler_models import SUPPORT_SIZES, simpler_models
from ._targets import Classes

_MOST_GROUPS = 300
_MOST_QUERY = 200
_FEW_ROWS = 20_000


def compare_with_simpler_models(
    estimator: Any, train: Rows, test: Rows, *, seed: int
) -> Report | None:
    """Give every model the same support rows of each group held out, and the same queries.

    Args:
        estimator: a fitted one.
        train: rows that simpler models learn from, those that the estimator was chosen by among
            them.
        test: rows of groups held out.
        seed: of the rows drawn.

    Returns:
        What was found; None where no group held out has two rows.
    """
    rng = np.random.default_rng(seed)
    classes = estimator.targets_.num_outputs if isinstance(estimator.targets_, Classes) else None
    tasks = _tasks(test, rng)
    if not tasks:
        return None
    # sizes that half of the groups have: fewer would be another question
    least = max(len(tasks) / 2, min(len(tasks), 2))
    sizes = [n for n in SUPPORT_SIZES if sum(len(one.support) >= n for one in tasks) >= least]
    # of few rows, threads cost more than they bring where others use the cores as well
    limit = 1 if len(train.inputs) < _FEW_ROWS else None
    with threadpool_limits(limit, user_api="openmp"):
        fitted = simpler_models(train, classes, rng, seed)
    scale, entries = 1.0 if classes else _variance(test), []
    for size in sizes:
        at_size = [task for task in tasks if len(task.support) >= size]
        supports = [test.of(task.support[:size]) for task in at_size]
        queries = [test.of(task.query) for task in at_size]
        predicted = _adapted_predictions(estimator, supports, queries)
        for name, predict in fitted.items():
            predicted[name] = predict(supports, queries)
        errors = {
            name: np.array([_error(v, q, classes) for v, q in zip(values, queries, strict=True)])
            for name, values in predicted.items()
        }
        units = np.array([query.units[0] for query in queries])
        for name, values in errors.items():
            mean = _mean_and_interval(values / scale, units)
            worse = _mean_and_interval((values - errors[ADAPTED]) / scale, units)
            entries.append(Entry(name, size, *mean, *worse, len(at_size)))
    models = [entry.model for entry in entries]
    entries.sort(key=lambda entry: models.index(entry.model))
    metric = "squared error / variance of the target over the rows held out"
    metric = "share of rows misclassified" if classes else metric
    num_units = len({int(test.units[task.query[0]]) for task in tasks})
    return Report(metric, len(tasks), num_units, tuple(entries))


class _Task(NamedTuple):
    """Rows of a group: as many as wanted of `support` to adapt on, all of `query` to judge on."""

    support: np.ndarray
    query: np.ndarray


def _tasks(test: Rows, rng: np.random.Generator) -> list[_Task]:
    """The groups held out that have two rows or more, shuffled and cut in two."""
    order = np.argsort(test.groups, kind="stable")
    _, starts = np.unique(test.groups[order], return_index=True)
    groups = [rows for rows in np.split(order, starts[1:]) if len(rows) >= 2]
    tasks = []
    for index in rng.permutation(len(groups))[:_MOST_GROUPS]:
        rows = rng.permutation(groups[index])[: max(SUPPORT_SIZES) + _MOST_QUERY]
        cut = min(max(SUPPORT_SIZES), len(rows) // 2)
        tasks.append(_Task(rows[:cut], rows[cut:]))
    return tasks


def _adapted_predictions(estimator: Any, supports: list[Rows], queries: list[Rows]):
    """Of the model itself, adapted and not."""
    learner = estimator.learner_
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
    return {
        name: np.split(learner.predict_many(params, tasks, inputs), np.cumsum(lengths)[:-1])
        for name, params in ((ADAPTED, adapted), (UNADAPTED, unadapted))
    }


def _error(outputs: np.ndarray, query: Rows, classes: int | None) -> float:
    if classes is None:
        wrong = np.mean((outputs - query.targets) ** 2, axis=1)
    else:
        wrong = np.argmax(outputs, axis=1) != query.targets
    return float(np.average(wrong, weights=query.weights + 1e-12))


def _variance(test: Rows) -> float:
    return float(np.mean(np.var(test.targets, axis=0))) or 1.0


def _mean_and_interval(values: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """The mean over groups, and Student's interval, groups of a unit counting as one draw."""
    from scipy.stats import t

    _, index = np.unique(units, return_inverse=True)
    sums = np.bincount(index, values - values.mean())
    if len(sums) < 2:
        return float(values.mean()), float("nan")
    deviation = np.sqrt(np.sum(sums**2) * len(sums) / (len(sums) - 1)) / len(values)
    return float(values.mean()), float(t.ppf(0.975, len(sums) - 1) * deviation)
