"""A meta-learned model in use: arrays in, predictions out, compiled once for each size."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PRNGKeyArray, PyTree

from .._errors import MamlaxError
from .._files import Json
from .._types import Adaptation, Batch, LossFn, MetaLearner
from ..config._algorithms import ALGORITHMS, Algorithm, RidgeMaml
from ..experiments._learner import learner_of
from ..records._settings import algorithm_from_flat, algorithm_from_json, settings_as_json
from ..tasks._class_arrays import bounds_of
from ._architecture import Architecture, architecture, model_of
from ._buckets import bucket_of, by_bucket, in_lots, padded, rows_of
from ._container import Container, filled, named_arrays
from ._pooled import Pooled, augmented, num_columns
from ._pooled import from_state as pooled_from_state
from ._pooled import state_of as state_of_pooled
from ._posterior import Supports, posterior_variances

Loss = Literal["squared-error", "cross-entropy"]
_MOST_ROWS = 1 << 16  # whose way through trees is held at once
_MOST_PROGRAMS = 32  # of 15 MB each and more
_MOST_STEPS, _MOST_LAYERS = 10_000, 100


@dataclass(frozen=True)
class LearnerSettings:
    """All of a learner but its numbers.

    Attributes:
        architecture: of the network; see `architecture_of`.
        algorithm: what adapts, with its settings.
        loss: of a row.
        prior_weight: what is added to the sum of the weights that the loss of a batch is divided
            by: few rows then pull less than many.
        num_inner_steps: steps of `adapt`.
        ways: classes of the task, where the head is made for them; None: as many as the network
            has outputs.
    """

    architecture: Architecture
    algorithm: Algorithm
    loss: Loss
    prior_weight: float
    num_inner_steps: int
    ways: int | None = None

    def initial(self, key: PRNGKeyArray) -> Any:
        """A network of this shape."""
        return _initial(self.architecture, key)

    @property
    def network(self) -> Json:
        """The architecture, by name."""
        return dict(self.architecture)

    @property
    def normalizes(self) -> bool:
        """Whether the network's predictions depend on moments of a batch."""
        return self._norm in ("batch", "support")

    @property
    def _norm(self) -> str:
        return self.network.get("norm", "none")

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

    def learner(self, num_outer_steps: int = 0) -> MetaLearner:
        """The algorithm, on this loss.

        Args:
            num_outer_steps: outer steps of the training, for schedules that are a share of them.
        """
        is_class = self.loss == "cross-entropy"
        return learner_of(
            self.algorithm,
            self.loss_fn(),
            num_outer_steps=num_outer_steps,
            ways=(self.ways or self.network["num_outputs"]) if is_class else None,
            normalizes=self._norm != "none",
        )

    def adapt_fn(self) -> Callable[[Any, Batch], Any]:
        """`adapt_fn(meta_params, support) -> params`, after `num_inner_steps`."""
        steps = self.num_inner_steps
        return lambda params, support: self.adapted(params, support, num_inner_steps=steps).params

    def adapted(self, meta_params: PyTree, support: Batch, **options: Any) -> Adaptation:
        """What `adapt` of the learner gives; `options` are its own."""
        if self.normalizes:  # no reference: the support is normalized by itself
            support = support._replace(reference=support.inputs[:0])
        return self.learner().adapt(meta_params, support, **options)

    def predict(self, params: PyTree, inputs: Any, support_inputs: Any) -> Any:
        """Outputs `[rows, outputs]`; where the network normalizes, by the moments of the support,
        so that no query influences another.
        """
        if not self.normalizes:
            return params(inputs)
        return replace(params, norm="support")(inputs, support_inputs)


class AdaptedParams(NamedTuple):
    """Parameters that a support has adapted.

    Attributes:
        own: those that depend on the support; with a leading axis of tasks where there are many.
        shared: the others, the same in every task; None in the place of the own ones.
        support_inputs: what normalizes, where the network does.
        supports: what was adapted to, where the head is solved for: it says how sure predictions
            are. None: of a file of a model that did not keep it.
    """

    own: PyTree
    shared: PyTree
    support_inputs: Any = None
    supports: Supports | None = None

    @property
    def diverged(self) -> np.ndarray:
        """`[tasks]`, where there are many: whether some of a task are no numbers any more. `[]`
        where nothing depends on the support, as without inner steps.
        """
        finite = [np.isfinite(x).reshape(len(x), -1).all(1) for x in jax.tree.leaves(self.own)]
        return np.asarray(~np.all(finite, axis=0)) if finite else np.zeros((), bool)


@dataclass(frozen=True)
class ArrayLearner:
    """A meta-learned model that adapts to arrays and predicts for arrays.

    Programs are compiled once for each size of support and query, the next power of two (a support
    that normalizes is not padded); all learners of the same settings share them. Those that were
    not used for long are let go. Safe to use from several threads.

    Attributes:
        settings: all but the numbers.
        meta_params: the numbers.
        pooled: what adaptation starts from; its outputs are the network's last inputs.
    """

    settings: LearnerSettings
    meta_params: PyTree = field(repr=False)
    pooled: Pooled | None = field(default=None, repr=False)

    def adapt(self, inputs, targets, weights=None) -> AdaptedParams:
        """Adapt to a support.

        Args:
            inputs: `[rows, ...]`; no rows: the initialization is what predicts.
            targets: `[rows, outputs]`, or `[rows]` of integers.
            weights: `[rows]`; None: all rows count alike.

        Raises:
            MamlaxError: if adapted parameters are no numbers any more.
        """
        arrays = _arrays(self.with_pooled(inputs), targets, weights)
        supports = self._supports(arrays[0], arrays[2], [len(inputs)])
        if not self.settings.normalizes:  # else padding would change the moments
            arrays = [padded(array, bucket_of(len(array))) for array in arrays]
        batch = Batch(arrays[0], arrays[1], weights=arrays[2])
        own, shared = self._programs(batch.inputs).adapt(self.meta_params, batch)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(own)):
            raise MamlaxError(
                f"adapting to {len(inputs)} rows diverged within {self.settings.num_inner_steps} "
                "inner steps. Look for values far outside of what the model was fitted to; if "
                "there are none, it needs fewer inner steps or a smaller inner learning rate when "
                "it is trained."
            )
        of_norm = batch.inputs if self.settings.normalizes else None
        return AdaptedParams(own, shared, of_norm, supports)

    def adapt_many(self, inputs, targets, sizes, weights=None) -> AdaptedParams:
        """Adapt to many supports at once, in one compiled program for each size.

        What diverges does not stop the others: see `AdaptedParams.diverged`.

        Args:
            inputs: `[rows, ...]`, the rows of one task after those of another.
            targets: `[rows, outputs]`, or `[rows]` of integers.
            sizes: `[tasks]`, how many rows each task has.
            weights: `[rows]`; None: all rows count alike.
        """
        if self.settings.normalizes:
            raise ValueError("a network that normalizes by its support adapts to one at a time.")
        inputs, targets, weights = _arrays(self.with_pooled(inputs), targets, weights)
        supports = self._supports(inputs, weights, sizes)
        starts, sizes = bounds_of(sizes)
        if not len(inputs):  # a row of weight zero, for supports that are all empty
            inputs, targets, weights = (padded(one, 1) for one in (inputs, targets, weights))
        programs, own, shared = self._programs(None), None, None
        for bucket, tasks in by_bucket(sizes):
            rows, there = rows_of(starts, sizes, tasks, bucket)
            weights_there = np.where(there, weights[rows], np.float32(0))
            batch = Batch(inputs[rows], targets[rows], weights=weights_there)
            found, shared = programs.adapt_many(self.meta_params, batch)
            if own is None:
                own = jax.tree.map(lambda x: np.zeros((len(sizes), *x.shape[1:]), x.dtype), found)
            jax.tree.map(
                lambda all_, x, at=tasks: all_.__setitem__(at, np.asarray(x)[: len(at)]), own, found
            )
        return AdaptedParams(own, shared, supports=supports)

    def predict(self, adapted: AdaptedParams, inputs) -> np.ndarray:
        """Outputs `[rows, outputs]` for inputs `[rows, ...]`."""
        inputs = self.with_pooled(inputs)
        enough = padded(inputs, bucket_of(len(inputs)))
        outputs = self._programs(adapted.support_inputs).predict(*adapted[:3], enough)
        return np.asarray(outputs)[: len(inputs)]

    def with_pooled(self, inputs: Any) -> np.ndarray:
        """Inputs as the network takes them."""
        inputs = np.asarray(inputs, np.float32)
        if self.pooled is None:
            return inputs
        lots = [inputs[i : i + _MOST_ROWS] for i in range(0, max(len(inputs), 1), _MOST_ROWS)]
        found = [_augmented(self.pooled, padded(one, bucket_of(len(one)))) for one in lots]
        return np.concatenate(
            [np.asarray(x)[: len(one)] for x, one in zip(found, lots, strict=True)]
        )

    def _programs(self, support_inputs: Any) -> "_Programs":
        # a network that normalizes has programs for each size of support: those least used go
        size = len(support_inputs) if self.settings.normalizes else None
        return _programs(self.settings, size)

    def predict_many(self, adapted: AdaptedParams, tasks, inputs) -> np.ndarray:
        """Outputs `[rows, outputs]`, each row by the parameters of its task, `tasks` `[rows]`."""
        inputs, tasks = self.with_pooled(inputs), np.asarray(tasks)
        order = np.argsort(tasks, kind="stable")
        present, starts, sizes = np.unique(tasks[order], return_index=True, return_counts=True)
        outputs = np.zeros((len(inputs), self.settings.network["num_outputs"]), np.float32)
        for bucket, those in by_bucket(sizes):
            rows, there = rows_of(starts, sizes, those, bucket)
            rows, chosen = order[rows], padded(those, len(rows))
            own = jax.tree.map(lambda x, at=present[chosen]: x[at], adapted.own)
            found = self._programs(None).predict_many(own, adapted.shared, inputs[rows])
            outputs[rows[there]] = np.asarray(found)[there]
        return outputs

    def variances(self, adapted: AdaptedParams, tasks, inputs) -> np.ndarray:
        """What supports leave unknown of predictions.

        Args:
            adapted: to one support or many.
            tasks: `[rows]`, by which each row is predicted; 0 of one.
            inputs: `[rows, ...]`.

        Returns:
            `[rows]`, variances in units of that of a row about its prediction. Zero where the
            algorithm does not say.
        """
        algorithm, tasks, found = self.settings.algorithm, np.asarray(tasks), np.zeros(len(inputs))
        if not isinstance(algorithm, RidgeMaml) or adapted.supports is None:
            return found
        inputs = self.with_pooled(inputs)
        for start in range(0, len(inputs), _MOST_ROWS):
            lot = slice(start, start + _MOST_ROWS)
            found[lot] = posterior_variances(
                self.meta_params, algorithm.ridge, adapted.supports, tasks[lot], inputs[lot]
            )
        return found

    def _supports(self, inputs: np.ndarray, weights: np.ndarray, sizes: Any) -> Supports | None:
        is_solved = isinstance(self.settings.algorithm, RidgeMaml)
        return Supports(inputs, weights, np.asarray(sizes)) if is_solved else None

    def state(self) -> Container:
        """What a file must hold of it, for `from_state`."""
        settings = self.settings
        header = {
            "architecture": settings.network,
            "algorithm": settings_as_json(settings.algorithm),
            "loss": settings.loss,
            "prior_weight": settings.prior_weight,
            "num_inner_steps": settings.num_inner_steps,
        }
        pooled = state_of_pooled(self.pooled)
        arrays = named_arrays("meta_params", self.meta_params)
        return Container({"learner": header | pooled.header}, {**arrays, **pooled.arrays})

    @classmethod
    def from_state(cls, content: Container) -> "ArrayLearner":
        """What `state` gave.

        Raises:
            MamlaxError: if an array is missing or of another shape than the header says.
        """
        value = content.header["learner"]
        network = architecture(**value["architecture"])
        found = value["algorithm"] if "algorithm" in value else algorithm_from_flat(value["recipe"])
        algorithm = algorithm_from_json(found, ALGORITHMS, Path("the header"), "Save it again.")
        steps, layers = int(value["num_inner_steps"]), dict(network).get("hidden_sizes", ())
        if not 0 <= steps <= _MOST_STEPS or len(layers) > _MOST_LAYERS:
            raise ValueError(f"{steps} inner steps through {len(layers)} layers")
        settings = LearnerSettings(
            network, algorithm, value["loss"], float(value["prior_weight"]), steps
        )
        # shapes alone: a header that asks for a huge network makes none
        expected = jax.eval_shape(
            lambda key: settings.learner().init(settings.initial(key)), jax.random.key(0)
        )
        sizes = settings.network
        num_inputs, num_outputs = sizes.get("num_inputs", 0), sizes["num_outputs"]
        pooled = pooled_from_state(
            Container(value, content.arrays), num_inputs - num_outputs, num_outputs
        )
        return cls(settings, filled(expected, "meta_params", content.arrays), pooled)

    @property
    def num_inputs(self) -> int:
        """Numbers that a row becomes, without those of a pooled model."""
        return self.settings.network.get("num_inputs", 0) - num_columns(self.pooled)


_augmented = jax.jit(augmented)


@eqx.filter_jit
def _initial(architecture: Architecture, key: PRNGKeyArray) -> Any:
    return model_of(architecture, key)


class _Programs(NamedTuple):
    adapt: Any
    adapt_many: Any
    predict: Any
    predict_many: Any


@functools.lru_cache(maxsize=_MOST_PROGRAMS)
def _programs(settings: LearnerSettings, num_support: int | None = None) -> _Programs:
    """The programs of these settings; `num_support`: of supports of one size."""
    adapted_to = settings.adapt_fn()

    def adapt(meta_params, support):
        before = {id(leaf) for leaf in jax.tree.leaves(meta_params)}
        params = adapted_to(meta_params, support)
        return eqx.partition(params, lambda leaf: eqx.is_array(leaf) and id(leaf) not in before)

    def predict(own, shared, support_inputs, inputs):
        return settings.predict(eqx.combine(own, shared), inputs, support_inputs)

    def adapt_many(meta_params, supports):
        first = jax.tree.map(lambda x: x[0], supports)
        own = in_lots(lambda support: adapt(meta_params, support)[0], supports)
        return own, adapt(meta_params, first)[1]

    def predict_many(own, shared, inputs):
        return in_lots(lambda one: predict(one[0], shared, None, one[1]), (own, inputs))

    jit = jax.jit  # and not Equinox's, which keeps what it has compiled for good
    return _Programs(jit(adapt), jit(adapt_many), jit(predict), jit(predict_many))


def _arrays(inputs: Any, targets: Any, weights: Any) -> list[np.ndarray]:
    """A support as the programs take it."""
    inputs = np.asarray(inputs, np.float32)
    weights = np.ones(len(inputs)) if weights is None else weights
    return [inputs, np.asarray(targets), np.asarray(weights, np.float32)]
