"""Is meta-learning worth it here? The adapted model beside simpler ones, on groups held out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ._fitting import Rows

SUPPORT_SIZES = (0, 1, 2, 5, 10, 20, 50)
_MOST_GROUPS = 300
_MOST_QUERY = 200
_MOST_ROWS = 200_000
"""Of the trees' training set: enough for them, and seconds."""

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
    """

    model: str
    num_support: int
    error: float
    ci95: float
    worse_than_adapted: float
    worse_ci95: float


class Report(NamedTuple):
    """What a comparison found; printed, a table and a verdict.

    Attributes:
        metric: what `error` is.
        num_groups: groups held out.
        entries: a list of `Entry`.
    """

    metric: str
    num_groups: int
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
        wins, even, losses = [], [], []
        for size in self.sizes:
            others = [
                self.entry(model, size)
                for model in self.models
                if model not in (ADAPTED, UNADAPTED)
            ]
            best = min(others, key=lambda entry: entry.error)
            if best.worse_than_adapted > best.worse_ci95:
                wins.append(size)
            elif best.worse_than_adapted < -best.worse_ci95:
                losses.append((size, best.model))
            else:
                even.append((size, best.model))
        words = []
        if wins:
            words.append(f"With {_rows(wins)} of support the adapted model is the best.")
        for found, what in (
            (even, "does as well, and is simpler"),
            (losses, "is better: use that"),
        ):
            for model in dict.fromkeys(model for _, model in found):
                sizes = [size for size, name in found if name == model]
                words.append(f"With {_rows(sizes)}, {model} {what}.")
        return " ".join(words)

    def __str__(self) -> str:
        width = max(len(model) for model in self.models)
        lines = [
            f"{self.metric}, {self.num_groups} groups held out, mean ± 95 % interval over groups",
            f"{'rows of support':<{width}}" + "".join(f"{size:>14}" for size in self.sizes),
        ]
        for model in self.models:
            cells = [self.entry(model, size) for size in self.sizes]
            shown = "".join(f"{f'{cell.error:.3f} ± {cell.ci95:.3f}':>14}" for cell in cells)
            lines.append(f"{model:<{width}}{shown}")
        return "\n".join([*lines, "", self.verdict])

    def as_json(self) -> dict[str, Any]:
        """For `report_from_json`."""
        entries = [entry._asdict() for entry in self.entries]
        return {"metric": self.metric, "num_groups": self.num_groups, "entries": entries}


def report_from_json(value: dict[str, Any]) -> Report:
    """What `as_json` gave."""
    entries = tuple(Entry(**entry) for entry in value["entries"])
    return Report(value["metric"], value["num_groups"], entries)


def compare(estimator: Any, train: Rows, test: Rows, *, seed: int) -> Report:
    """Give every model the same support rows of each group held out, and the same queries.

    Args:
        estimator: a fitted one.
        train: the rows that it learned from; simpler models learn from the same.
        test: rows of groups held out.
        seed: of the rows drawn.
    """
    rng = np.random.default_rng(seed)
    classes = estimator.targets_.num_outputs if estimator._loss == "cross-entropy" else None
    tasks = _tasks(test, rng)
    sizes = [size for size in SUPPORT_SIZES if any(len(task) >= size + 2 for task in tasks)]
    fitted = _simpler_models(train, classes, rng, seed)
    errors: dict[tuple[str, int], np.ndarray] = {}
    for size in sizes:
        at_size = [task for task in tasks if len(task) >= size + 2]
        supports = [test.of(task[:size]) for task in at_size]
        # the same queries at every size, where a group is large enough
        queries = [test.of(task[max(size, len(task) - _MOST_QUERY) :]) for task in at_size]
        predicted = _adapted_predictions(estimator, supports, queries)
        for name, predict in fitted.items():
            predicted[name] = predict(supports, queries)
        for name, values in predicted.items():
            errors[name, size] = np.array(
                [_error(v, q, classes) for v, q in zip(values, queries, strict=True)]
            )
    unit = 1.0 if classes else _variance(test)
    entries = [
        Entry(
            name,
            size,
            *_mean_and_interval(values / unit),
            *_mean_and_interval((values - errors[ADAPTED, size]) / unit),
        )
        for (name, size), values in errors.items()
    ]
    metric = "share of rows misclassified" if classes else "squared error / variance of the target"
    return Report(metric, len(tasks), tuple(entries))


def _tasks(test: Rows, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows of each group held out, shuffled: support first, queries from the end."""
    order = np.argsort(test.groups, kind="stable")
    _, starts = np.unique(test.groups[order], return_index=True)
    tasks = [rng.permutation(rows) for rows in np.split(order, starts[1:])]
    tasks = [task[: max(SUPPORT_SIZES) + _MOST_QUERY] for task in tasks if len(task) >= 2]
    return [tasks[i] for i in rng.permutation(len(tasks))[:_MOST_GROUPS]]


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

    rows = _some(train, rng)
    pooled = Ridge(alpha=1.0).fit(train.inputs, train.targets, train.weights)
    outputs = range(train.targets.shape[1])
    mean = train.targets.mean(0)
    # a group's offset, shrunken by how much groups differ and how much rows do
    shrinkage = _shrinkage(train, train.targets - _columns(pooled.predict(train.inputs)))

    def boosted(inputs):
        make = HistGradientBoostingRegressor
        models = [
            make(random_state=seed).fit(inputs, rows.targets[:, i], rows.weights) for i in outputs
        ]
        return lambda x: np.stack([model.predict(x) for model in models], axis=1)

    trees, trees_of_group = (
        boosted(rows.inputs),
        boosted(_with_mean(rows.inputs, *_peers(rows, rng))),
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

    rows = _some(train, rng)
    one_hot = rows._replace(targets=np.eye(classes)[rows.targets])
    mean = one_hot.targets.mean(0)
    pooled = LogisticRegression(max_iter=200).fit(rows.inputs, rows.targets, rows.weights)
    make = HistGradientBoostingClassifier
    trees = make(random_state=seed).fit(rows.inputs, rows.targets, rows.weights)
    grouped = _with_mean(one_hot.inputs, *_peers(one_hot, rng))
    trees_of_group = make(random_state=seed).fit(grouped, rows.targets, rows.weights)

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


def _some(rows: Rows, rng: np.random.Generator) -> Rows:
    if len(rows.inputs) <= _MOST_ROWS:
        return rows
    return rows.of(np.sort(rng.choice(len(rows.inputs), _MOST_ROWS, replace=False)))


def _peers(rows: Rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each row the sum of the targets of some other rows of its group, and how many.

    As many as `SUPPORT_SIZES` has, drawn for each row; with replacement where a group is small.
    """
    order = np.argsort(rows.groups, kind="stable")
    _, starts, sizes = np.unique(rows.groups[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    position = np.arange(len(order)) - start
    targets = rows.targets[order]
    wanted = np.minimum(rng.choice(SUPPORT_SIZES, len(order)), size - 1)
    sums = np.zeros(targets.shape)
    for i in range(max(SUPPORT_SIZES)):
        # another row: one of the size − 1 that follow in a circle
        step = 1 + rng.integers(0, np.maximum(size - 1, 1))
        other = start + (position + step) % size
        sums += np.where((i < wanted)[:, None], targets[other], 0)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return sums[back], wanted[back]


def _with_mean(inputs: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The inputs, the mean of the support's targets (missing where there is none), and its size."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts[:, None] > 0, sums / counts[:, None], np.nan)
    return np.concatenate([inputs, means, counts[:, None]], axis=1)


def _shrinkage(train: Rows, residuals: np.ndarray) -> float:
    """Variance within groups over that between them, by the method of moments."""
    _, index, sizes = np.unique(train.groups, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(index, column) / sizes for column in residuals.T], axis=1)
    within = np.mean((residuals - means[index]) ** 2)
    between = max(np.mean(means**2) - within / np.mean(sizes), 1e-6)
    return float(within / between)


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


def _mean_and_interval(values: np.ndarray) -> tuple[float, float]:
    deviation = values.std(ddof=1) if len(values) > 1 else np.nan
    return float(values.mean()), float(1.96 * deviation / np.sqrt(len(values)))


def _rows(sizes: list[int]) -> str:
    words = ", ".join(map(str, sizes[:-1])) + " and " * (len(sizes) > 1) + str(sizes[-1])
    return f"{words} row{'s' * (sizes != [1])}"
