"""MAML: learn an initialization that a few gradient steps turn into a solution.

    φ_t = inner_loop(θ, support_t)                          adapt to task t
    θ  ← θ − β ∇_θ (1/T) Σ_t ℒ(φ_t, query_t)                learn across tasks

Finn, Abbeel & Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017.
"""

import optax

from .._types import LossFn, MetaLearner
from ._inner_loop import inner_loop
from ._loss import check_task, query_loss
from ._over_tasks import mean_gradient


def maml(
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation,
    num_inner_steps: int,
    first_order: bool = False,
    remat: bool = False,
    support_per_step: bool = False,
) -> MetaLearner:
    """Model-agnostic meta-learning, second order or first order (Algorithms 1 and 2).

    With θ the parameters and φ = `inner_loop`(θ, support) those after `num_inner_steps` steps of
    `inner_optimizer`, the meta-gradient is the mean over tasks of ∇_θ ℒ(φ, query): for one step of
    gradient descent with rate α, (I − α ∇²ℒ(θ, support)) ∇ℒ(φ, query). `first_order=True`
    (FOMAML) leaves out the second derivatives: ∇ℒ(φ, query). `num_inner_steps=0` is joint
    training on the query sets, the paper's pretrained baseline; its `adapt` still takes steps if
    asked for.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`, the loss of both loops.
        inner_optimizer: an optax transformation, e.g. `optax.sgd(0.01)`; see `inner_loop`.
        num_inner_steps: inner steps in training, and the default of `adapt`.
        first_order: treat inner gradients as constants.
        remat: recompute inner steps instead of storing them (less memory, more time).
        support_per_step: a task's support carries a leading axis `[num_inner_steps, ...]`, one
            batch for each inner step.

    Returns:
        A `MetaLearner` whose meta-parameters are the parameters themselves. `info` of its
        meta-gradient has `query_loss` `[tasks]` and `support_losses` `[tasks, num_inner_steps]`.

    Raises:
        ValueError: if `num_inner_steps` is negative; when used, if support and query have
            arrays of different ranks.
        TypeError: if `inner_optimizer` is none; when used, if tasks have no support and query.

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
        Finn, Abbeel & Levine, ICML 2017. First order: their section 5.2.
    """
    if num_inner_steps < 0:
        raise ValueError(f"num_inner_steps must be 0 or more, got {num_inner_steps}.")
    if not hasattr(inner_optimizer, "update"):
        raise TypeError(
            "inner_optimizer must be an optax transformation, e.g. optax.sgd(0.1), got "
            f"{inner_optimizer!r}."
        )
    default_num_inner_steps = num_inner_steps

    def adapt(meta_params, support, *, num_inner_steps=None, probe_fn=None):
        return inner_loop(
            loss_fn,
            inner_optimizer,
            meta_params,
            support,
            num_steps=default_num_inner_steps if num_inner_steps is None else num_inner_steps,
            first_order=first_order,
            probe_fn=probe_fn,
            remat=remat,
            support_per_step=support_per_step,
        )

    def objective(meta_params, task):
        check_task(task, support_per_step)
        adaptation = adapt(meta_params, task.support)
        loss = query_loss(loss_fn, adaptation.params, task)
        return loss, {"query_loss": loss, "support_losses": adaptation.support_losses}

    return MetaLearner(
        init=lambda params: params, adapt=adapt, meta_gradient=mean_gradient(objective)
    )
