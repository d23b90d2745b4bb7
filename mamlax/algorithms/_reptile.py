"""Reptile: move towards the adapted parameters.

    θ ← θ − β (1/T) Σ_t (θ − φ_t),    φ_t = inner_loop(θ, support_t)

Nichol, Achiam & Schulman, On First-Order Meta-Learning Algorithms, 2018.
"""

import jax
import jax.numpy as jnp
import optax

from .._types import LossFn, MetaLearner
from ._learned_optimizer import check_optimizer
from ._loss import check_task, query_loss
from ._maml import maml
from ._over_tasks import mean_direction
from ._params import Where, split


def reptile(
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation,
    num_inner_steps: int,
    where: Where | None = None,
    support_per_step: bool = False,
) -> MetaLearner:
    """Reptile: the meta-gradient is the displacement θ − φ. No second derivatives, no unrolling.

    Any outer optimizer can use the displacement like a gradient. The paper uses gradient descent,
    `optax.sgd(ε)` with ε falling from 1 to 0. With `meta_batch_size=1` this is the serial Reptile
    of the paper's Algorithm 1. With one step of `optax.sgd(α)`, the displacement is α times the
    gradient of joint training on the support sets. Everything beyond that is learned from the later
    steps; they work best with a new minibatch for each step (`support_per_step`).

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        inner_optimizer: an optax transformation. The paper's for images is Adam without momentum,
            `optax.adam(1e-3, b1=0)`.
        num_inner_steps: number of inner steps in training, and the default of `adapt`.
        where: `where(params)` is the part that adapts, and so the part that learns. None: all.
        support_per_step: the support of a task has a leading axis `[num_inner_steps, ...]`, one
            minibatch for each inner step.

    Returns:
        A `MetaLearner`. It does not learn from the query. The loss it reports is ℒ(φ, query); the
        displacement is *not* the gradient of this loss. `info` is that of `maml`.

    Raises:
        ValueError: if `num_inner_steps` is less than one: there would be no displacement.
        TypeError: if `inner_optimizer` is not an optimizer.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> learner = mamlax.reptile(
        ...     lambda params, batch: jnp.mean((params - batch) ** 2),
        ...     inner_optimizer=optax.sgd(0.25), num_inner_steps=2,
        ... )
        >>> tasks = mamlax.Task(support=jnp.ones((4, 3)), query=jnp.ones((4, 3)))
        >>> print(learner.meta_gradient(jnp.array(0.0), tasks)[1])
        -0.75

    References:
        Nichol, Achiam & Schulman, 2018.
    """
    if num_inner_steps < 1:
        raise ValueError(f"reptile needs num_inner_steps of 1 or more, got {num_inner_steps}.")
    check_optimizer(inner_optimizer, learned=False)
    learner = maml(
        loss_fn,
        inner_optimizer=inner_optimizer,
        num_inner_steps=num_inner_steps,
        where=where,
        support_per_step=support_per_step,
    )

    def displacement(meta_params, task):
        check_task(task, support_per_step)
        adaptation = learner.adapt(meta_params, task.support)
        loss = query_loss(loss_fn, adaptation.params, task)
        before, after = split(meta_params)[0], split(adaptation.params)[0]
        gradient = jax.tree.map(jnp.subtract, before, after)
        return (loss, {"query_loss": loss, "support_losses": adaptation.support_losses}), gradient

    return learner._replace(meta_gradient=mean_direction(displacement))
