"""Is meta-learning worth it here? The adapted model beside simpler ones, on groups held out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from ._fitting import Rows

SUPPORT_SIZES = (0, 1, 2, 5, 10, 20, 50)
_MOST_GROUPS = 300
_MOST_QUERY = 200
_MOST_ROWS = 200_000
"""Of the trees' training set: enough for them, and seconds."""
_FEW_ROWS = 20_000
_TREES: dict[str, Any] = {"early_stopping": False}  # theirs would hold out rows, not groups

ADAPTED = "this model, adapted"
UNADAPTED = "this model, not adapted"
NOTHING = "no model (the mean)"
POOLED = "one pooled linear model"
OFFSET = "pooled + offset of the group"
SUPPORT_ONLY = "fitted to the support alone"
TREES = "gradient-boosted trees"
TREES_OF_GROUP = "trees + mean of the support"


class Entry(NamedTuple):
    """One model at one number of support rows.

    Attributes:
        model: what it is called.
        num_support: rows that it was given of the group.
        error: mean over groups; of regression relative to the variance of the targets, of
            classification the share of rows misclassified.
        ci95: half the width of the 95 % interval over groups.
        worse_than_adapted: mean over groups of its error minus that of the adapted model.
        worse_ci95: half the width of that difference's interval.
        num_groups: groups that have so many rows, and more to judge on.
    """

    model: str
    num_support: int
    error: float
    ci95: float
    worse_than_adapted: float
    worse_ci95: float
    num_groups: int


class Report(NamedTuple):
    """What a comparison found; printed, a table and a verdict.

    Attributes:
        metric: what `error` is.
        num_groups: groups held out.
        num_units: of groups that were held out together, which intervals take for independent.
        entries: a list of `Entry`.
    """

    metric: str
    num_groups: int
    num_units: int
    entries: tuple[Entry, ...]

    @property
    def sizes(self) -> list[int]:
        """The numbers of support rows."""
        return sorted({entry.num_support for entry in self.entries})

    @property
    def models(self) -> list[str]:
        """What was compared."""
        return list(dict.fromkeys(entry.model for entry in self.entries))

    def entry(self, model: str, num_support: int) -> Entry:
        """One of them."""
        return next(
            entry
            for entry in self.entries
            if entry.model == model and entry.num_support == num_support
        )

    @property
    def verdict(self) -> str:
        """What to use, in a sentence or two."""
        if self.num_units < 3:
            return (
                "Too few groups were held out to tell these models apart. More groups, or a larger "
                "share of them held out, would."
            )
        wins, losses = [], []
        even: dict[str, list[int]] = {}
        for size in self.sizes:
            others = [self.entry(model, size) for model in self.models]
            others = [one for one in others if one.model not in (ADAPTED, UNADAPTED)]
            best = min(others, key=lambda entry: entry.error)
            if best.worse_than_adapted > best.worse_ci95:
                wins.append(size)
            elif best.worse_than_adapted < -best.worse_ci95:
                losses.append((size, best.model))
            else:
                even.setdefault(best.model, []).append(size)
        words = []
        if wins:
            words.append(f"With {_rows(wins)} of support the adapted model is the best.")
        for model, sizes in even.items():
            words.append(f"With {_rows(sizes)}, it cannot be told apart from {model}.")
        for model in dict.fromkeys(model for _, model in losses):
            sizes = [size for size, name in losses if name == model]
            words.append(f"With {_rows(sizes)}, {model} is better: use that.")
        if not wins:
            words.append("Nothing speaks for meta-learning here: take what is simplest.")
        return " ".join(words)

    def __str__(self) -> str:
        width = max(len(model) for model in self.models)
        over = "groups"
        if self.num_units < self.num_groups:
            over = f"the {self.num_units} sets of groups held out together"
        lines = [
            f"{self.metric}, {self.num_groups} groups held out, mean ± 95 % interval over {over}",
            f"{'rows of support':<{width}}" + "".join(f"{size:>14}" for size in self.sizes),
        ]
        for model in self.models:
            cells = [self.entry(model, size) for size in self.sizes]
            shown = "".join(f"{f'{cell.error:.3f} ± {cell.ci95:.3f}':>14}" for cell in cells)
            lines.append(f"{model:<{width}}{shown}")
        counts = [self.entry(ADAPTED, size).num_groups for size in self.sizes]
        if min(counts) < self.num_groups:  # others have too few rows
            lines.append(f"{'groups':<{width}}" + "".join(f"{count:>14}" for count in counts))
        return "\n".join([*lines, "", self.verdict])

    def as_json(self) -> dict[str, Any]:
        """For `report_from_json`."""
        entries = [entry._asdict() for entry in self.entries]
        return {**self._asdict(), "entries": entries}


def report_from_json(value: dict[str, Any]) -> Report:
    """What `as_json` gave."""
    entries = tuple(Entry(**entry) for entry in value["entries"])
    return Report(value["metric"], value["num_groups"], value["num_units"], entries)


def compare(estimator: Any, train: Rows, test: Rows, *, seed: int) -> Report | None:
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
    classes = estimator.targets_.num_outputs if estimator._loss == "cross-entropy" else None
    tasks = _tasks(test, rng)
    if not tasks:
        return None
    # sizes that half of the groups have: fewer would be another question
    least = max(len(tasks) / 2, min(len(tasks), 2))
    sizes = [n for n in SUPPORT_SIZES if sum(len(one.support) >= n for one in tasks) >= least]
    # of few rows, threads cost more than they bring where others use the cores as well
    limit = 1 if len(train.inputs) < _FEW_ROWS else None
    with threadpool_limits(limit, user_api="openmp"):
        fitted = _simpler_models(train, classes, rng, seed)
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
    metric = "share of rows misclassified" if classes else "squared error / variance of the target"
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
    adapted = learner.adapt_many(
        joined.inputs, joined.targets, np.cumsum(sizes) - sizes, sizes, joined.weights
    )
    empty = np.zeros(len(sizes), int)
    unadapted = learner.adapt_many(joined.inputs[:0], joined.targets[:0], empty, empty)
    lengths = [len(one.inputs) for one in queries]
    tasks = np.repeat(np.arange(len(queries)), lengths)
    inputs = np.concatenate([one.inputs for one in queries])
    return {
        name: np.split(learner.predict_many(params, tasks, inputs), np.cumsum(lengths)[:-1])
        for name, params in ((ADAPTED, adapted), (UNADAPTED, unadapted))
    }


def _simpler_models(
    train: Rows, classes: int | None, rng: np.random.Generator, seed: int
) -> dict[str, Callable[[list[Rows], list[Rows]], list[np.ndarray]]]:
    """`predict(supports, queries) -> outputs` for each query, by the name of the model."""
    return (
        _regressors(train, rng, seed)
        if classes is None
        else _classifiers(train, classes, rng, seed)
    )


def _regressors(train: Rows, rng: np.random.Generator, seed: int):
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge

    rows, sums, counts = _some(train, *_peers(train, rng), rng)
    pooled = Ridge(alpha=1.0).fit(train.inputs, train.targets, train.weights)
    outputs = range(train.targets.shape[1])
    mean = train.targets.mean(0)
    # a group's offset, shrunken by how much groups differ and how much rows do
    shrinkage = _shrinkage(train, train.targets - _columns(pooled.predict(train.inputs)))

    def boosted(inputs):
        make = HistGradientBoostingRegressor
        models = [
            make(**_TREES, random_state=seed).fit(inputs, rows.targets[:, i], rows.weights)
            for i in outputs
        ]
        return lambda x: np.stack([model.predict(x) for model in models], axis=1)

    trees, trees_of_group = (
        boosted(rows.inputs),
        boosted(_with_mean(rows.inputs, sums, counts)),
    )

    def of_pooled(inputs):
        return _columns(pooled.predict(inputs))

    def offset(support):
        residuals = support.targets - of_pooled(support.inputs) if len(support.inputs) else mean[:0]
        return residuals.sum(0) / (len(residuals) + shrinkage)

    def support_only(support, query):
        if not len(support.inputs):
            return np.repeat(mean[None], len(query.inputs), 0)
        own = Ridge(alpha=1.0).fit(support.inputs, support.targets, support.weights)
        return _columns(own.predict(query.inputs))

    return {
        NOTHING: _of_all(lambda inputs: np.repeat(mean[None], len(inputs), 0)),
        POOLED: _of_all(of_pooled),
        OFFSET: lambda supports, queries: [
            outputs + offset(support)
            for support, outputs in zip(
                supports, _of_all(of_pooled)(supports, queries), strict=True
            )
        ],
        SUPPORT_ONLY: _of_each(support_only),
        TREES: _of_all(trees),
        TREES_OF_GROUP: _of_all(trees_of_group, lambda support: support.targets.sum(0)),
    }


def _classifiers(train: Rows, classes: int, rng: np.random.Generator, seed: int):
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    one_hot = train._replace(targets=np.eye(classes)[train.targets])
    mean = one_hot.targets.mean(0)
    rows, sums, counts = _some(train, *_peers(one_hot, rng), rng)
    pooled = LogisticRegression(max_iter=200).fit(rows.inputs, rows.targets, rows.weights)
    make = HistGradientBoostingClassifier
    trees = make(**_TREES, random_state=seed).fit(rows.inputs, rows.targets, rows.weights)
    grouped = _with_mean(rows.inputs, sums, counts)
    trees_of_group = make(**_TREES, random_state=seed).fit(grouped, rows.targets, rows.weights)

    def chances(model, inputs):
        found = np.full((len(inputs), classes), -np.inf)
        found[:, model.classes_] = np.log(model.predict_proba(inputs) + 1e-12)
        return found

    def counts_of(support):
        return np.bincount(support.targets, minlength=classes).astype(float)

    def offset(support):  # log-odds moved by how often the classes came in the support
        counts = counts_of(support)
        return np.log((counts + 5 * mean) / (counts.sum() + 5) + 1e-9) - np.log(mean + 1e-9)

    def support_only(support, query):
        if len(np.unique(support.targets)) < 2:
            return np.repeat((counts_of(support) + mean)[None], len(query.inputs), 0)
        own = LogisticRegression(max_iter=200).fit(support.inputs, support.targets, support.weights)
        return chances(own, query.inputs)

    def of_pooled(inputs):
        return chances(pooled, inputs)

    return {
        NOTHING: _of_all(lambda inputs: np.repeat(mean[None], len(inputs), 0)),
        POOLED: _of_all(of_pooled),
        OFFSET: lambda supports, queries: [
            outputs + offset(support)
            for support, outputs in zip(
                supports, _of_all(of_pooled)(supports, queries), strict=True
            )
        ],
        SUPPORT_ONLY: _of_each(support_only),
        TREES: _of_all(lambda inputs: chances(trees, inputs)),
        TREES_OF_GROUP: _of_all(lambda inputs: chances(trees_of_group, inputs), counts_of),
    }


def _of_each(predict: Callable[[Rows, Rows], np.ndarray]):
    """Group by group."""
    return lambda supports, queries: [
        predict(support, query) for support, query in zip(supports, queries, strict=True)
    ]


def _of_all(
    predict: Callable[[np.ndarray], np.ndarray], sums_of: Callable[[Rows], Any] | None = None
):
    """The queries of all groups in one call; with `sums_of`, the support's mean beside them."""

    def predictions(supports, queries):
        lengths = [len(query.inputs) for query in queries]
        inputs = np.concatenate([query.inputs for query in queries])
        if sums_of is not None:
            sums = np.repeat([sums_of(support) for support in supports], lengths, axis=0)
            counts = np.repeat([len(support.inputs) for support in supports], lengths)
            inputs = _with_mean(inputs, sums, counts)
        return np.split(predict(inputs), np.cumsum(lengths)[:-1])

    return predictions


def _some(
    rows: Rows, sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator
) -> tuple[Rows, np.ndarray, np.ndarray]:
    """As many rows as trees learn from, at random."""
    if len(rows.inputs) <= _MOST_ROWS:
        return rows, sums, counts
    chosen = np.sort(rng.choice(len(rows.inputs), _MOST_ROWS, replace=False))
    return rows.of(chosen), sums[chosen], counts[chosen]


def _peers(rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each row the sum of the targets of some other rows of its group, and how many.

    As many as one of `SUPPORT_SIZES`, drawn for each row, or all others. Rows are shuffled within
    their group; those that follow a row, in a circle, are its peers.
    """
    order = np.lexsort((rng.random(len(rows.groups)), rows.groups))
    _, starts, sizes = np.unique(rows.groups[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    wanted = np.minimum(rng.choice(SUPPORT_SIZES, len(order)), size - 1)
    targets = rows.targets[order].astype(np.float64)
    before = np.concatenate([np.zeros((1, targets.shape[1])), np.cumsum(targets, axis=0)])
    first = np.arange(len(order)) + 1
    last, end = first + wanted, start + size
    around = np.maximum(last - end, 0)  # how many of them lie at the beginning again
    sums = before[np.minimum(last, end)] - before[first] + before[start + around] - before[start]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return sums[back], wanted[back]


def _with_mean(inputs: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The inputs, the mean of the support's targets (missing where there is none), and its size."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts[:, None] > 0, sums / counts[:, None], np.nan)
    return np.concatenate([inputs, means, counts[:, None]], axis=1)


def _shrinkage(train: Rows, residuals: np.ndarray) -> np.ndarray:
    """Variance within groups over that between them, by the method of moments, of each output."""
    _, index, sizes = np.unique(train.groups, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(index, column) / sizes for column in residuals.T], axis=1)
    freedom = max(len(index) - len(sizes), 1)
    within = np.sum((residuals - means[index]) ** 2, axis=0) / freedom
    between = np.mean(means**2, axis=0) - within * np.mean(1 / sizes)
    return within / np.maximum(between, 1e-6)


def _columns(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


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


def _rows(sizes: list[int]) -> str:
    words = ", ".join(map(str, sizes[:-1])) + " and " * (len(sizes) > 1) + str(sizes[-1])
    return f"{words} row{'s' * (sizes != [1])}"
