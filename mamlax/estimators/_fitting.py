"""Meta-training on the groups of a table."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from .._files import Json
from .._types import OuterLoop, Task
from ..algorithms._learned_optimizer import WithOptimizer
from ..algorithms._outer_loop import outer_loop, with_tasks
from ..algorithms._over_tasks import adaptation_curves
from ..config._algorithms import Algorithm, Boil, Cavia, SolvedHead
from ..config._tables import TableTraining
from ..tasks._grouped_rows import GroupedRows
from ..training._run import run
from ..training._validation import Validation
from ._architecture import Architecture, architecture
from ._learner import ArrayLearner, LearnerSettings, Loss
from ._pooled import num_columns
from ._pooled_choice import PooledFit, fit_pooled
from ._rate_decay import falling, falling_over, steps_to_zero
from ._rows import Rows
from ._table_network import TableNetwork
from ._training_threads import in_background

_NUM_VALIDATION_TASKS = 256
_NUM_VALIDATIONS = 20
_NUM_QUERY, _NUM_VALIDATION_QUERY = 32, 64
_PRIOR_WEIGHT = 1.0
_DIVERGED = 1e6
_RATE_OF_HEAD = 0.015
"""Of the head that groups have in common, by that of all else: scales have far to go, and a head
that goes as fast follows the groups of each step."""
_CONTEXT_SIZE = 8  # of CAVIA, unless its context_size is set


class Plan(NamedTuple):
    """How to meta-train on rows, whichever groups they are of.

    Attributes:
        algorithm: what learns.
        training: how long, and what network.
        loss: of a row.
        num_outputs: of the network.
        seed: of initialization and training.
        is_meta: whether to learn to adapt; else a plain network is learned.
        is_ordered: whether rows of a group stand in an order, so that what is adapted to comes
            before what is judged on.
        num_rows: of the whole table; what is compiled serves all parts of it.
        num_groups: of the whole table.
    """

    algorithm: Algorithm
    training: TableTraining
    loss: Loss
    num_outputs: int
    seed: int
    is_meta: bool
    is_ordered: bool
    num_rows: int
    num_groups: int

    def tasks(self, rows: Rows, num_query: int) -> GroupedRows:
        """The distribution of tasks of these rows."""
        return GroupedRows.of(
            rows.inputs,
            rows.targets,
            rows.groups,
            weights=rows.weights,
            max_support=self.training.max_support,
            num_query=num_query,
            num_support=None if self.is_meta else 0,
            is_ordered=self.is_ordered,
        ).padded(self.num_rows, self.num_groups)

    @property
    def starts_from_pooled(self) -> bool:
        """Whether a pooled model is looked for: where a head is solved for, to adapt."""
        return self.is_meta and isinstance(self.algorithm, SolvedHead)

    def pooled(self, rows: Rows) -> PooledFit:
        """What adaptation to groups like these starts from."""
        if self.starts_from_pooled:
            classes = self.num_outputs if self.loss == "cross-entropy" else None
            return fit_pooled(
                rows, self.training.pooled, self.seed, classes, is_ordered=self.is_ordered
            )
        return PooledFit(None, np.zeros((len(rows.inputs), 0), np.float32))


class MetaTrained(NamedTuple):
    """A learner, and how it came about.

    Attributes:
        learner: ready to adapt.
        step: the outer step that it is of: the last, unless an earlier one was better on groups
            held out by more than chance (a standard error over what is held out together).
        curve: the validation loss after 0, 1, … inner steps, which their number is chosen by;
            empty without validation.
    """

    learner: ArrayLearner
    step: int
    curve: tuple[float, ...]


class Validated(NamedTuple):
    """What other trainings found by validation.

    Attributes:
        step: outer steps to take: the median of theirs.
        curve: the mean of their validation losses after 0, 1, … inner steps.
    """

    step: int
    curve: tuple[float, ...]

    @staticmethod
    def of(trainings: Sequence[MetaTrained]) -> "Validated | None":
        """None where none of them was chosen by groups held out."""
        chosen = [one for one in trainings if one.curve]
        if not chosen:
            return None
        steps = sorted(one.step for one in chosen)
        curve = np.mean([one.curve for one in chosen], axis=0)
        return Validated(steps[(len(steps) - 1) // 2], tuple(map(float, curve)))


def meta_train(
    plan: Plan,
    train: Rows,
    validation: Rows | None,
    *,
    pooled: PooledFit,
    chosen: Validated | None = None,
    report: Callable[[Json], None] | None = None,
) -> MetaTrained:
    """Meta-train on some groups, and choose by others.

    Args:
        plan: how.
        train: groups to learn from.
        validation: groups to stop and choose the number of inner steps by; None: neither.
        pooled: what adaptation starts from; its outputs are the last inputs of both.
        chosen: what other trainings chose, for one without validation.
        report: called with each log line, and how many outer steps there will be at most.
    """
    algorithm, training = plan.algorithm, plan.training
    network = _network(plan, train.inputs.shape[1], num_columns(pooled.model))
    steps = algorithm.num_inner_steps
    of_learner = LearnerSettings(network, algorithm, plan.loss, _PRIOR_WEIGHT, steps)
    init_key, run_key = jax.random.split(jax.random.key(plan.seed))
    params = of_learner.initial(init_key)
    if not isinstance(algorithm, Boil):  # whose head must tell the body where to go
        # from zero all predict the mean at first: no inner step is too long
        params = params.with_head(*jax.tree.map(jnp.zeros_like, params.head))
    if pooled.differences is not None and isinstance(algorithm, SolvedHead):
        params = params.expecting(pooled.differences, algorithm.ridge)
    loop = with_tasks(_any_loop(training, of_learner), plan.tasks(train, _NUM_QUERY).sample)
    interval = max(1, training.num_outer_steps // _NUM_VALIDATIONS)
    curves = None if validation is None else _curves_fn(plan, of_learner, validation)
    num_outer_steps = training.num_outer_steps
    if chosen is not None:
        num_outer_steps = steps_to_zero(chosen.step, num_outer_steps, interval)
        loop = falling_over(num_outer_steps, loop)
    trained = run(
        loop,
        params,
        key=run_key,
        num_outer_steps=num_outer_steps,
        log_interval=interval,
        validation=None
        if curves is None
        else Validation(
            lambda state: {"validation/loss": float(curves(state.meta_params)[:, steps].mean())},
            interval,
            "validation/loss",
            maximize=False,
            patience=training.patience,
        ),
        report=None
        if report is None
        else lambda line: report({**line, "num_outer_steps": num_outer_steps}),
    )
    if curves is None:
        losses = () if chosen is None else chosen.curve
        if losses:
            of_learner = replace(of_learner, num_inner_steps=int(np.argmin(losses)))
        return MetaTrained(
            ArrayLearner(of_learner, trained.state.meta_params, pooled.model), trained.step, losses
        )
    of_best, of_last = (curves(state.meta_params) for state in (trained.best_state, trained.state))
    is_best = _is_worse(of_last[:, steps], of_best[:, steps])
    losses = (of_best if is_best else of_last).mean(0)
    of_learner = replace(of_learner, num_inner_steps=int(np.argmin(losses)))
    state = trained.best_state if is_best else trained.state
    step = trained.best_step if is_best else trained.step
    learner = ArrayLearner(of_learner, state.meta_params, pooled.model)
    return MetaTrained(learner, step, tuple(map(float, losses)))


def _network(plan: Plan, num_inputs: int, num_pooled: int) -> Architecture:
    """What learns: the head of a table's network is solved for, any other adapts as a whole."""
    algorithm, training = plan.algorithm, plan.training
    if plan.starts_from_pooled:
        return architecture(
            name="table_network",
            num_inputs=num_inputs,
            num_outputs=plan.num_outputs,
            hidden_sizes=training.hidden_sizes if training.features == "network" else (),
            features=training.features,
            num_pooled=num_pooled,
            turns=True,
        )
    context_size = 0
    if isinstance(algorithm, Cavia):
        context_size = algorithm.context_size or _CONTEXT_SIZE
    return architecture(
        name="mlp",
        num_inputs=num_inputs,
        num_outputs=plan.num_outputs,
        hidden_sizes=training.hidden_sizes,
        norm="none",
        context_size=context_size,
    )


def _is_worse(losses: np.ndarray, reference: np.ndarray) -> bool:
    """Whether losses are larger than others of the same units, by more than chance."""
    differences = losses - reference
    if len(differences) < 3:
        return bool(differences.mean() > 0)
    return bool(differences.mean() > differences.std(ddof=1) / np.sqrt(len(differences)))


@functools.lru_cache(maxsize=16)
def _any_loop(training: TableTraining, of_learner: LearnerSettings) -> OuterLoop:
    """An outer loop, on tasks to be put in: kept, so that fitting again compiles nothing."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(training.outer_learning_rate, weight_decay=training.weight_decay, mask=_decays),
        optax.masked(optax.scale(_RATE_OF_HEAD), _is_learned_head),
        falling(training.num_outer_steps),
    )
    return outer_loop(
        of_learner.learner(training.num_outer_steps),
        optimizer,
        lambda key: Task(None, None),
        meta_batch_size=training.meta_batch_size,
    )


def _is_learned_head(meta_params: PyTree) -> Any:
    """The head that groups have in common, where one is solved for each."""
    if not isinstance(meta_params, TableNetwork):
        return jax.tree.map(lambda leaf: False, meta_params)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: path[0].name in ("weight", "bias"), meta_params
    )


def _decays(meta_params: PyTree) -> Any:
    """Matrices of the network; neither biases nor what an inner optimizer learns."""
    if isinstance(meta_params, WithOptimizer):
        none = jax.tree.map(lambda leaf: False, meta_params.optimizer)
        return meta_params._replace(params=_decays(meta_params.params), optimizer=none)
    return jax.tree.map(lambda leaf: leaf.ndim > 1, meta_params)


@functools.lru_cache(maxsize=16)
def _curves(of_learner: LearnerSettings) -> Callable[[Any, Any], Any]:
    steps = 2 * of_learner.algorithm.num_inner_steps
    learner, loss_fn = of_learner.learner(), of_learner.loss_fn(prior_weight=0.0)
    return eqx.filter_jit(adaptation_curves(learner, loss_fn, num_inner_steps=steps, batch_size=64))


@eqx.filter_jit
def _tasks_of(rows: GroupedRows, keys: Any, groups: Any) -> Any:
    return jax.vmap(rows.task_of)(keys, groups)


def _curves_fn(plan: Plan, of_learner: LearnerSettings, rows: Rows) -> Callable[[Any], np.ndarray]:
    """`curves(meta_params) -> [units, steps + 1]`: losses on groups held out, by inner steps.

    The mean over the tasks of each unit: of the groups that are held out together. Up to twice the
    steps of training are tried. What diverges counts with a number so large that such steps are
    never chosen.
    """
    tasks_of = plan.tasks(rows, _NUM_VALIDATION_QUERY)
    num_groups = len(np.unique(rows.groups))
    order = np.random.default_rng(0).permutation(num_groups)
    groups = np.resize(order, _NUM_VALIDATION_TASKS)
    keys = jax.random.split(jax.random.key(0), len(groups))
    curves = _curves(of_learner)
    # compiled while the outer steps are
    tasks = in_background(lambda: _tasks_of(tasks_of, keys, groups))
    unit_of_group = rows.units[np.unique(rows.groups, return_index=True)[1]]
    units, unit_of_task = np.unique(unit_of_group[groups], return_inverse=True)

    def by_unit(meta_params):
        losses = np.nan_to_num(np.asarray(curves(meta_params, tasks()), np.float64), nan=np.inf)
        sums = np.zeros((len(units), losses.shape[1]))
        np.add.at(sums, unit_of_task, np.minimum(losses, _DIVERGED))
        return sums / np.bincount(unit_of_task)[:, None]

    return by_unit
