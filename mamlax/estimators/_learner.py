"""A meta-learned model in use: arrays in, predictions out, compiled once for each size."""

import functools
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._types import Batch, LossFn, MetaLearner
from ..recipes._algorithm import learner_of
from ..recipes._recipe import Evidence, SupervisedRecipe
from ._architecture import model_of

Loss = Literal["squared-error", "cross-entropy"]
_SMALLEST_BUCKET = 8
_TASKS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class LearnerRecipe(SupervisedRecipe):
    """An algorithm and its options, where the data are at hand: there is no problem to build."""

    name: str = "data at hand"
    evidence: Evidence = Evidence("", "", "", "", "")  # noqa: RUF009  frozen
    problem: None = None  # pyright: ignore[reportIncompatibleVariableOverride]


def options_of(recipe: SupervisedRecipe) -> dict[str, Any]:
    """What a recipe says of its algorithm, for a `LearnerRecipe`."""
    names = {field.name for field in fields(recipe)} - {"name", "evidence", "problem"}
    return {name: getattr(recipe, name) for name in sorted(names)}


@dataclass(frozen=True)
class LearnerSettings:
    """All of a learner but its numbers.

    Attributes:
        architecture: of the network; see `architecture_of`.
        recipe: the algorithm and its options.
        loss: of a row.
        prior_weight: what is added to the sum of the weights that the loss of a batch is divided
            by: few rows then pull less than many.
        num_inner_steps: steps of `adapt`.
        ways: classes of the task, where the head is made for them; None: as many as the network
            has outputs.
    """

    architecture: tuple[tuple[str, Any], ...]
    recipe: LearnerRecipe
    loss: Loss
    prior_weight: float
    num_inner_steps: int
    ways: int | None = None

    def initial(self, key: Any = None) -> Any:
        """A network of this shape; `key`: a PRNG key, None: any."""
        return _initial(self.architecture, jax.random.key(0) if key is None else key)

    @property
    def normalizes(self) -> bool:
        """Whether the network's predictions depend on moments of a batch."""
        return dict(self.architecture)["norm"] in ("batch", "support")

    def loss_fn(self, prior_weight: float | None = None) -> LossFn:
        """`loss_fn(params, batch) -> scalar`, the weighted mean over rows.

        Args:
            prior_weight: in the place of the setting's.
        """
        prior = self.prior_weight if prior_weight is None else prior_weight

        def loss_fn(params, batch):
            outputs = params(batch.inputs, batch.reference)
            if self.loss == "squared-error":
                losses = jnp.mean(jnp.square(outputs - batch.targets), axis=-1)
            else:
                losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets)
            weights = jnp.ones_like(losses) if batch.weights is None else batch.weights
            total = jnp.sum(weights) + prior
            return jnp.sum(weights * losses) / jnp.maximum(total, 1e-6)

        return loss_fn

    def learner(self) -> MetaLearner:
        """The algorithm, on this loss."""
        num_outputs = dict(self.architecture)["num_outputs"]
        return learner_of(
            self.recipe,
            self.loss_fn(),
            num_inner_steps=self.recipe.num_inner_steps,
            inner_learning_rate=self.recipe.inner_learning_rate,
            ways=(self.ways or num_outputs) if self.loss == "cross-entropy" else None,
            normalizes=dict(self.architecture)["norm"] != "none",
        )


class Adapted(NamedTuple):
    """Parameters that a support has adapted.

    Attributes:
        own: those that depend on the support; with a leading axis of tasks where there are many.
        shared: the others, the same in every task; None in the place of the own ones.
        reference: what normalizes, where the network does.
    """

    own: Any
    shared: Any
    reference: Any = None


@dataclass(frozen=True)
class ArrayLearner:
    """A meta-learned model that adapts to arrays and predicts for arrays.

    Programs are compiled once for each size of support and query, the next power of two; all
    learners of the same settings share them. Safe to use from several threads.

    Attributes:
        settings: all but the numbers.
        meta_params: the numbers.
    """

    settings: LearnerSettings
    meta_params: Any = field(repr=False)

    def adapt(self, inputs, targets, weights=None) -> Adapted:
        """Adapt to a support.

        Args:
            inputs: `[rows, ...]`; no rows: the initialization is what predicts.
            targets: `[rows, outputs]`, or `[rows]` of integers.
            weights: `[rows]`; None: all rows count alike.
        """
        batch = self._support(inputs, targets, weights)
        own, shared = _programs(self.settings).adapt(self.meta_params, batch)
        return Adapted(own, shared, batch.inputs if self.settings.normalizes else None)

    def adapt_many(self, inputs, targets, starts, sizes, weights=None) -> Adapted:
        """Adapt to many supports at once, in one compiled program for each size.

        Args:
            inputs: `[rows, ...]`, the rows of one task after those of another.
            targets: `[rows, outputs]`, or `[rows]` of integers.
            starts: `[tasks]`, the first row of each task.
            sizes: `[tasks]`, the number of its rows.
            weights: `[rows]`.
        """
        if self.settings.normalizes:
            raise ValueError("a network that normalizes by its support adapts to one at a time.")
        inputs, targets = np.asarray(inputs, np.float32), np.asarray(targets)
        weights = np.ones(len(inputs), np.float32) if weights is None else weights
        programs, own, shared = _programs(self.settings), None, None
        starts, sizes = np.asarray(starts), np.asarray(sizes)
        if not len(inputs):  # a row of weight zero, for supports that are all empty
            inputs, targets, weights = (
                np.zeros((1, *array.shape[1:]), array.dtype) for array in (inputs, targets, weights)
            )
        for bucket, tasks in _by_bucket(sizes):
            chosen = _padded(tasks, _bucket(len(tasks)))
            there = np.arange(bucket) < sizes[chosen, None]
            rows = np.where(there, starts[chosen, None] + np.arange(bucket), 0)
            batch = Batch(
                inputs[rows],
                targets[rows],
                weights=np.where(there, np.asarray(weights)[rows], 0).astype(np.float32),
            )
            found, shared = programs.adapt_many(self.meta_params, batch)
            if own is None:
                own = jax.tree.map(lambda x: np.zeros((len(sizes), *x.shape[1:]), x.dtype), found)
            jax.tree.map(
                lambda all_, x, at=tasks: all_.__setitem__(at, np.asarray(x)[: len(at)]), own, found
            )
        return Adapted(own, shared)

    def predict(self, adapted: Adapted, inputs) -> np.ndarray:
        """Outputs `[rows, outputs]` for inputs `[rows, ...]`."""
        inputs = np.asarray(inputs, np.float32)
        padded = _padded(inputs, _bucket(len(inputs)))
        outputs = _programs(self.settings).predict(*adapted, padded)
        return np.asarray(outputs)[: len(inputs)]

    def predict_many(self, adapted: Adapted, tasks, inputs) -> np.ndarray:
        """Outputs `[rows, outputs]`, each row by the parameters of its task, `tasks` `[rows]`."""
        inputs, tasks = np.asarray(inputs, np.float32), np.asarray(tasks)
        order = np.argsort(tasks, kind="stable")
        present, starts, sizes = np.unique(tasks[order], return_index=True, return_counts=True)
        num_outputs = dict(self.settings.architecture)["num_outputs"]
        outputs = np.zeros((len(inputs), num_outputs), np.float32)
        for bucket, those in _by_bucket(sizes):
            chosen = _padded(those, _bucket(len(those)))
            there = np.arange(bucket) < sizes[chosen, None]
            there[len(those) :] = False
            rows = order[np.where(there, starts[chosen, None] + np.arange(bucket), 0)]
            own = jax.tree.map(lambda x, at=present[chosen]: x[at], adapted.own)
            found = _programs(self.settings).predict_many(own, adapted.shared, inputs[rows])
            outputs[rows[there]] = np.asarray(found)[there]
        return outputs

    def _support(self, inputs, targets, weights) -> Batch:
        """A batch of one of the sizes that are compiled for."""
        inputs, targets = np.asarray(inputs, np.float32), np.asarray(targets)
        weights = np.ones(len(inputs)) if weights is None else weights
        weights = np.asarray(weights, np.float32)
        if self.settings.normalizes:  # padding would change the moments
            return Batch(inputs, targets, inputs[:0], weights)
        size = _bucket(len(inputs))
        padded = [_padded(array, size) for array in (inputs, targets, weights)]
        return Batch(padded[0], padded[1], weights=padded[2])


@eqx.filter_jit
def _initial(architecture: tuple[tuple[str, Any], ...], key: Any) -> Any:
    return model_of(dict(architecture), key)


class _Programs(NamedTuple):
    adapt: Any
    adapt_many: Any
    predict: Any
    predict_many: Any


@functools.lru_cache(maxsize=64)
def _programs(settings: LearnerSettings) -> _Programs:
    learner, steps = settings.learner(), settings.num_inner_steps

    def adapt(meta_params, support):
        before = {id(leaf) for leaf in jax.tree.leaves(meta_params)}
        params = learner.adapt(meta_params, support, num_inner_steps=steps).params
        return eqx.partition(params, lambda leaf: eqx.is_array(leaf) and id(leaf) not in before)

    def own(meta_params, support):
        return adapt(meta_params, support)[0]

    def predict(own, shared, reference, inputs):
        params = eqx.combine(own, shared)
        if settings.normalizes:  # by the moments of the support: no query influences another
            params = replace(params, norm="support")
        return params(inputs, reference)

    def predict_one(own, shared, inputs):
        return predict(own, shared, None, inputs)

    @eqx.filter_jit
    def adapt_many(meta_params, supports):
        first = jax.tree.map(lambda x: x[0], supports)
        adapted = _in_lots(lambda support: own(meta_params, support), supports)
        return adapted, adapt(meta_params, first)[1]

    @eqx.filter_jit
    def predict_many(own, shared, inputs):
        return _in_lots(lambda one: predict_one(one[0], shared, one[1]), (own, inputs))

    return _Programs(eqx.filter_jit(adapt), adapt_many, eqx.filter_jit(predict), predict_many)


def _in_lots(fn: Any, tasks: Any) -> Any:
    """`fn` of every task, as many at once as a processor's caches hold."""
    return jax.lax.map(fn, tasks, batch_size=_TASKS_AT_ONCE)


def _bucket(size: int) -> int:
    """The size that a program is compiled for: the next power of two."""
    return max(_SMALLEST_BUCKET, 1 << max(size - 1, 0).bit_length())


def _by_bucket(sizes: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The tasks of each bucket."""
    exponents = np.ceil(np.log2(np.maximum(sizes, 1))).astype(int)
    buckets = np.maximum(_SMALLEST_BUCKET, 2**exponents)
    return [(int(bucket), np.flatnonzero(buckets == bucket)) for bucket in np.unique(buckets)]


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    if len(array) == size:
        return array
    shape = (size - len(array), *array.shape[1:])
    return np.concatenate([array, np.zeros(shape, array.dtype)])
