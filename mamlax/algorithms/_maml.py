"""MAML: learn an initialization that a few gradient steps turn into a solution.

    φ_t = inner_loop(θ, support_t)                          adapt to task t
    θ  ← θ − β ∇_θ (1/T) Σ_t ℒ(φ_t, query_t)                learn across tasks

Finn, Abbeel & Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._types import LossFn, MetaLearner
from ._inner_loop import Remat, check_differentiation, inner_loop
from ._learned_optimizer import (
    LearnedOptimizer,
    check_optimizer,
    initial_meta_params,
    read_meta_params,
)
from ._loss import check_task, query_loss
from ._optimizer import check_differentiable
from ._over_tasks import mean_gradient
from ._params import Where, except_at, split
from ._per_step import at_first_step, check_stacked, params_of_step, stacked_per_step


def maml(
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation | LearnedOptimizer,
    num_inner_steps: int,
    first_order: bool = False,
    where: Where | None = None,
    start_fn: Callable[[PyTree, PyTree], PyTree] | None = None,
    per_step: Where | None = None,
    step_weights: Sequence[float] | Callable[[PyTree], PyTree] | None = None,
    num_unrolled_steps: int | None = None,
    remat: Remat = "none",
    support_per_step: bool = False,
) -> MetaLearner:
    """Model-agnostic meta-learning, second order or first order (Algorithms 1 and 2).

    θ are the parameters. φ = `inner_loop`(θ, support) are the adapted parameters, after
    `num_inner_steps` steps of `inner_optimizer`. The meta-gradient is the mean over tasks of
    ∇_θ ℒ(φ, query). For one step of gradient descent with rate α, this is
    (I − α ∇²ℒ(θ, support)) ∇ℒ(φ, query). `first_order=True` (FOMAML) leaves out the second
    derivatives: ∇ℒ(φ, query). `num_inner_steps=0` is joint training on the query sets, the paper's
    pretrained baseline; its `adapt` still takes steps if you ask for them.

    The other arguments define the rest of the family: `anil`, `boil`, `meta_sgd`, `maml_plus_plus`,
    `cavia` and `proto_maml` call `maml` with some of them, and can be combined with one another.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`, the loss of both loops.
        inner_optimizer: an optax transformation, e.g. `optax.sgd(0.01)`; see `inner_loop`. Or an
            optimizer that is learned together with θ, e.g. `learned_step_sizes(0.01)`.
        num_inner_steps: number of inner steps in training, and the default of `adapt`.
        first_order: treat inner gradients as constants.
        where: `where(params)` is the part that adapts. None: everything adapts. See `inner_loop`.
        start_fn: `start_fn(params, support) -> params`, where the inner loop of a task starts. It
            is a function of θ, and is differentiated too. None: the inner loop starts at θ.
        per_step: `per_step(params)` is a part that does not adapt, but has separate arrays for each
            inner step, `[num_inner_steps, ...]`; `init` stacks them. The query loss after a step
            uses the same arrays as the support loss of that step. Steps beyond those of training
            use the last arrays. With first-order inner gradients and without `step_weights`, only
            the last arrays learn. None: no part has separate arrays.
        step_weights: `[num_inner_steps]`, how much the query loss after each inner step counts:
            Σᵢ wᵢ ℒ(φᵢ, query). Or `step_weights(outer_step)`, a schedule of such weights. None:
            only the last query loss counts.
        num_unrolled_steps: how many of the last inner steps to differentiate through. None: all.
        remat: what to recompute instead of storing in the inner loop; see `inner_loop`.
        support_per_step: the support of a task has a leading axis `[num_inner_steps, ...]`, one
            batch for each inner step.

    Returns:
        A `MetaLearner` whose meta-parameters are the parameters themselves (with a learned
        optimizer, `WithOptimizer`). `info` of its meta-gradient has `query_loss` `[tasks]`, after
        the last step, and `support_losses` `[tasks, num_inner_steps]`.

    Raises:
        ValueError: if `num_inner_steps` is negative, or `step_weights` has another length or is all
            zero; when used, if `where` selects nothing, if support and query have arrays of
            different ranks, or if `inner_optimizer` stops a gradient inside and is differentiated.
        TypeError: if `inner_optimizer` is not an optimizer; when used, if it needs more than
            gradients, parameters and the loss's value, or if tasks have no support and query.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((params["w"] * batch.inputs - batch.targets) ** 2)
        >>> learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.1), num_inner_steps=1)
        >>> support = mamlax.Batch(inputs=jnp.array([1.0, 2.0]), targets=jnp.array([3.0, 6.0]))
        >>> adapted = learner.adapt({"w": jnp.array(0.0)}, support, num_inner_steps=20)
        >>> print(f"{adapted.params['w']:.3f}")
        3.000

    References:
        Finn, Abbeel & Levine, ICML 2017. First order: their section 5.2. Step weights: Antoniou,
        Edwards & Storkey, How to train your MAML, ICLR 2019. Unrolling the last steps only: Shaban
        et al., Truncated Back-propagation for Bilevel Optimization, AISTATS 2019.
    """
    if num_inner_steps < 0:
        raise ValueError(f"num_inner_steps must be 0 or more, got {num_inner_steps}.")
    check_optimizer(inner_optimizer)
    check_differentiation(first_order, num_unrolled_steps, remat)
    default_num_inner_steps = num_inner_steps
    adapting, params_at = where, None
    if per_step is not None:
        if num_inner_steps == 0:
            raise ValueError("per_step needs num_inner_steps of 1 or more, got 0.")
        adapting = except_at(per_step, where)
        params_at = functools.partial(params_of_step, per_step)

    def init(params):
        if per_step is not None:
            params = stacked_per_step(per_step, params, num_inner_steps)
        return initial_meta_params(params, inner_optimizer, adapting)

    def adapt(meta_params, support, *, num_inner_steps=None, probe_fn=None):
        params, optimizer = read_meta_params(meta_params, inner_optimizer)
        if per_step is not None:
            check_stacked(per_step, params, default_num_inner_steps)
        if start_fn is not None:
            start = functools.partial(_started, start_fn, _first(support, support_per_step))
            params = start(params) if per_step is None else at_first_step(per_step, start, params)
        return inner_loop(
            loss_fn,
            optimizer,
            params,
            support,
            num_steps=default_num_inner_steps if num_inner_steps is None else num_inner_steps,
            where=adapting,
            params_at=params_at,
            first_order=first_order,
            num_unrolled_steps=num_unrolled_steps,
            probe_fn=probe_fn,
            remat=remat,
            support_per_step=support_per_step,
        )

    def differentiated_adapt(meta_params, support, **options):
        if not first_order and num_unrolled_steps != 0:
            params, optimizer = read_meta_params(meta_params, inner_optimizer)
            check_differentiable(optimizer, split(params, adapting)[0])
        return adapt(meta_params, support, **options)

    learner = differentiated(
        loss_fn,
        differentiated_adapt,
        init,
        num_inner_steps=num_inner_steps,
        step_weights=step_weights,
        support_per_step=support_per_step,
    )
    return learner._replace(adapt=adapt)  # which need not be differentiated


def fomaml(loss_fn: LossFn, **options: Any) -> MetaLearner:
    """First-order MAML: `maml` with `first_order=True`, about half the cost of an outer step.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        **options: the arguments of `maml`, except `first_order`.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> learner = mamlax.fomaml(
        ...     lambda params, batch: 0.5 * jnp.sum((params - batch) ** 2),
        ...     inner_optimizer=optax.sgd(0.5), num_inner_steps=1,
        ... )
        >>> tasks = mamlax.Task(support=jnp.zeros((1, 1)), query=jnp.zeros((1, 1)))
        >>> print(learner.meta_gradient(jnp.ones(1), tasks)[1])  # second order: 0.25
        [0.5]
    """
    return maml(loss_fn, first_order=True, **options)


def differentiated(
    loss_fn: LossFn,
    adapt: Callable[..., PyTree],
    init: Callable[[PyTree], PyTree],
    *,
    num_inner_steps: int,
    step_weights: Sequence[float] | Callable[[PyTree], PyTree] | None = None,
    support_per_step: bool = False,
) -> MetaLearner:
    """A learner that differentiates the query loss after `adapt`: Algorithm 1, line 8."""
    if step_weights is not None and not callable(step_weights):
        _check_step_weights(jnp.shape(jnp.asarray(step_weights)), num_inner_steps)
        if not jnp.any(jnp.asarray(step_weights)):
            raise ValueError("step_weights are all zero, so that nothing would be learned.")

    def last_step(meta_params, task):
        check_task(task, support_per_step)
        adaptation = adapt(meta_params, task.support)
        loss = query_loss(loss_fn, adaptation.params, task)
        return loss, {"query_loss": loss, "support_losses": adaptation.support_losses}

    def every_step(weights, meta_params, task):
        check_task(task, support_per_step)
        adaptation = adapt(
            meta_params, task.support, probe_fn=lambda params: query_loss(loss_fn, params, task)
        )
        losses = adaptation.probes[1:]
        info = {"query_loss": losses[-1], "support_losses": adaptation.support_losses}
        return jnp.dot(weights, losses).astype(losses.dtype), info

    def weighted(meta_params, tasks, *, outer_step=0):
        weights = step_weights(outer_step) if callable(step_weights) else step_weights
        weights = jnp.asarray(weights)
        _check_step_weights(weights.shape, num_inner_steps)
        objective = functools.partial(every_step, weights)
        return mean_gradient(objective)(meta_params, tasks)

    meta_gradient = mean_gradient(last_step) if step_weights is None else weighted
    return MetaLearner(init=init, adapt=adapt, meta_gradient=meta_gradient)


def _check_step_weights(shape: tuple[int, ...], num_inner_steps: int) -> None:
    if shape != (num_inner_steps,) or not num_inner_steps:
        raise ValueError(
            f"step_weights must have one weight for each of the {num_inner_steps} inner steps, got "
            f"shape {list(shape)}."
        )


def _started(
    start_fn: Callable[[PyTree, PyTree], PyTree], support: PyTree, params: PyTree
) -> PyTree:
    return start_fn(params, support)


def _first(support: PyTree, support_per_step: bool) -> PyTree:
    return jax.tree.map(lambda x: x[0], support) if support_per_step else support
