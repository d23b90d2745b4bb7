"""The one outer loop: sample tasks, take their meta-gradient, let an optimizer step."""

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
    """What the next outer step needs.

    Attributes:
        meta_params: all that the outer loop learns; for MAML the initialization θ.
        optimizer_state: the outer optimizer's state.
        outer_step: how many steps were taken, for learners that have a schedule.
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
        learner: what to differentiate, e.g. `mamlax.maml(...)`.
        optimizer: any optax transformation that needs gradients, parameters and at most the
            loss's value, e.g. `optax.adam(1e-3)`.
        sample_task: `sample_task(key) -> Task`, traceable; where it holds arrays it should be a
            pytree (as the bound methods of Equinox modules are). Its arrays are put on the device
            once, and are arguments of the compiled step: of `run`, and of `eqx.filter_jit`
            (`jax.jit` would compile them in).
        meta_batch_size: tasks per outer step.

    Returns:
        An `OuterLoop`. Its `step` is pure and may be jitted, scanned, and vmapped over seeds. Its
        metrics are `train/query_loss` (after adaptation), `train/support_loss` (before it; absent
        without inner steps), `train/gradient_norm`, and what else the learner's `info` has a number
        per task of.

    Raises:
        ValueError: if `meta_batch_size` is not positive.
        TypeError: if `optimizer` is none; when used, if it needs more, as line searches do.

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
    """A loop of `outer_loop` on other tasks: the same functions, so that what was compiled serves.

    Args:
        loop: what `outer_loop` returned.
        sample_task: in the place of the one that it was given.
    """
    step: Any = loop.step
    return _bound(loop.init, step.func, sample_task)._replace(advice=loop.advice, mesh=loop.mesh)


def _bound(init: Callable[..., PyTree], step: Callable[..., PyTree], sample_task: Any) -> OuterLoop:
    """A Partial is a pytree: arrays held by `sample_task` become arguments of what is compiled."""
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
    """The mean over tasks of what `info` has a number per task of."""
    info = dict(info)
    support_losses = info.pop("support_losses", None)
    metrics = {
        f"train/{name}": jnp.mean(value)
        for name, value in info.items()
        if eqx.is_inexact_array(value) and value.ndim == 1
    }
    if support_losses is not None and support_losses.shape[1]:
        metrics["train/support_loss"] = jnp.mean(support_losses[:, 0])
    return metrics
