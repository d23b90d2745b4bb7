"""The outer loop: sample tasks, compute their meta-gradient, take an optimizer step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec
from jaxtyping import PyTree

from .._errors import warn
from .._types import MetaLearner, OuterLoop, SampleTask
from ._optimizer import check_is_optimizer, optimizer_state, optimizer_step
from ._over_tasks import share
from ._overlooked import overlooked
from ._params import split


class OuterState(NamedTuple):
    """The state of the outer loop.

    Attributes:
        meta_params: everything that the outer loop learns; for MAML the initialization θ.
        optimizer_state: the state of the outer optimizer.
        outer_step: the number of outer steps taken, for learners that have a schedule.
    """

    meta_params: PyTree
    optimizer_state: Any
    outer_step: Any


def outer_loop(
    learner: MetaLearner,
    optimizer: optax.GradientTransformation,
    sample_task: SampleTask,
    *,
    meta_batch_size: int,
) -> OuterLoop:
    """Learn across tasks: each step draws `meta_batch_size` tasks and follows the meta-gradient.

    Args:
        learner: a meta-learner, e.g. `mamlax.maml(...)`.
        optimizer: any optax transformation that needs only gradients, parameters and the loss's
            value, e.g. `optax.adam(1e-3)`.
        sample_task: `sample_task(key) -> Task`, traceable. If it contains arrays, it should be a
            pytree (bound methods of Equinox modules are). Its arrays are put on the device once,
            and are arguments of the step compiled by `run` or by `eqx.filter_jit`. (`jax.jit` would
            compile them in as constants.)
        meta_batch_size: tasks per outer step.

    Returns:
        An `OuterLoop`. Its `step` is pure and may be jitted, scanned, and vmapped over seeds. Its
        metrics are `train/query_loss` (after adaptation), `train/support_loss` (before adaptation;
        absent without inner steps), `train/gradient_norm`, and everything else for which the
        learner's `info` has one number per task.

    Raises:
        ValueError: if `meta_batch_size` is not positive.
        TypeError: if `optimizer` is not an optimizer; when used, if it needs more, as line searches
            do.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((params * batch.inputs - batch.targets) ** 2)
        >>> learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=1)
        >>> loop = mamlax.outer_loop(
        ...     learner, optax.adam(1e-3), mamlax.Sinusoids(shots=5).sample, meta_batch_size=4
        ... )
        >>> state, metrics = eqx.filter_jit(loop.step)(
        ...     jax.random.key(0), loop.init(jnp.zeros(()))
        ... )
        >>> sorted(metrics)
        ['train/gradient_norm', 'train/query_loss', 'train/support_loss']
    """
    if meta_batch_size < 1:
        raise ValueError(f"meta_batch_size must be positive, got {meta_batch_size}.")
    check_is_optimizer(optimizer, "outer")

    def draw_here(sample_task, keys):
        return jax.vmap(sample_task)(keys)

    draw = draw_here
    if learner.mesh is not None:  # each device draws its own
        draw = share(draw_here, learner.mesh, lambda tasks: tasks, PartitionSpec("tasks"))

    def init(params):
        return initial_state(learner.init(params), optimizer)

    def step(sample_task, key, state):
        tasks = draw(sample_task, jax.random.split(key, meta_batch_size))
        (loss, info), gradient = learner.meta_gradient(
            state.meta_params, tasks, outer_step=state.outer_step
        )
        for sentence in overlooked(
            lambda params: learner.meta_gradient(params, tasks)[0][0], state.meta_params
        ):
            warn(sentence, stacklevel=2)
        learnable, rest = split(state.meta_params)
        learnable, optimizer_state = optimizer_step(
            optimizer, gradient, state.optimizer_state, learnable, loss, "outer"
        )
        metrics = {
            "train/query_loss": loss,
            "train/gradient_norm": optax.tree.norm(gradient),
            **_metrics_of(info),
        }
        return OuterState(
            eqx.combine(learnable, rest), optimizer_state, state.outer_step + 1
        ), metrics

    return _bound(init, step, sample_task)._replace(advice=learner.advice, mesh=learner.mesh)


def with_tasks(loop: OuterLoop, sample_task: SampleTask) -> OuterLoop:
    """The same outer loop on other tasks. It has the same functions, so nothing is compiled again.

    Args:
        loop: a loop returned by `outer_loop`.
        sample_task: replaces the `sample_task` of the loop.
    """
    step: Any = loop.step
    return _bound(loop.init, step.func, sample_task)._replace(advice=loop.advice, mesh=loop.mesh)


def _bound(init: Callable[..., PyTree], step: Callable[..., PyTree], sample_task: Any) -> OuterLoop:
    """A Partial is a pytree: arrays in `sample_task` become arguments of the compiled program."""
    sample_task = jax.tree.map(
        lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x, sample_task
    )
    return OuterLoop(init, jax.tree_util.Partial(step, sample_task))


def initial_state(meta_params: PyTree, optimizer: optax.GradientTransformation) -> OuterState:
    """The state before the first outer step."""
    learnable, rest = split(meta_params)
    # a type that is not weak, as after every step: else the second step compiles again
    learnable = jax.tree.map(lambda x: jnp.asarray(x, x.dtype), learnable)
    start = jnp.zeros((), jnp.int32)
    state = optimizer_state(optimizer, learnable, "outer")
    return OuterState(eqx.combine(learnable, rest), state, start)


def _metrics_of(info: dict[str, Any]) -> dict[str, Any]:
    """Means over tasks of everything for which `info` has one number per task."""
    info = dict(info)
    support_losses = info.pop("support_losses", None)
    values = {
        f"train/{name}": value
        for name, value in info.items()
        if eqx.is_inexact_array(value) and value.ndim == 1
    }
    if support_losses is not None and support_losses.shape[1]:
        values["train/support_loss"] = support_losses[:, 0]
    if not values:
        return {}
    # together: between processes, each mean would be a message
    means = jnp.mean(jnp.stack(list(values.values())), axis=1)
    return dict(zip(values, means, strict=True))
