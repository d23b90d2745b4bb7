"""MAML++: six changes that make the training of MAML more stable.

    φᵢ₊₁ = φᵢ − α_{l,i} ∇ℒ(φᵢ, support)             a learned step size for each leaf l and step i
    loss = Σᵢ wᵢ ℒ(φᵢ, query)                       at first all steps count, at the end the last

Antoniou, Edwards & Storkey, How to train your MAML, ICLR 2019.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._types import LossFn, MetaLearner
from ._maml import maml
from ._meta_sgd import learned_step_sizes


def maml_plus_plus(
    loss_fn: LossFn,
    *,
    initial_step_size: float,
    num_inner_steps: int,
    num_multi_step_outer_steps: int = 0,
    num_first_order_outer_steps: int = 0,
    **options: Any,
) -> MetaLearner:
    """MAML++: MAML with learned step sizes, a multi-step loss, order annealing, and more.

    - *Learned step sizes*: α_{l,i} for each leaf and inner step. Steps beyond those of training
      use the last step size.
    - *Multi-step loss*: during the first `num_multi_step_outer_steps`, the query loss after every
      inner step counts, weighted by `multi_step_weights`. After that, only the last counts.
    - *Order annealing*: during the first `num_first_order_outer_steps`, second derivatives are left
      out, which is cheaper. Under a `vmap` over seeds, both alternatives are always computed.
    - *Per-step normalization*: give `per_step`, e.g. `lambda params: params.shifts`, for separate
      normalization shifts for each inner step. The outer loop learns them; they do not adapt.
    - *Cosine schedule*: use `optax.cosine_decay_schedule` in the outer optimizer.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        initial_step_size: the step sizes at the beginning of meta-training.
        num_inner_steps: number of inner steps in training (paper: 5).
        num_multi_step_outer_steps: number of outer steps with a multi-step loss (paper's code: 15
            of 100 epochs for mini-ImageNet).
        num_first_order_outer_steps: number of first-order outer steps.
        **options: the arguments of `maml`, except `inner_optimizer`, `first_order` and
            `step_weights`.

    Returns:
        A `MetaLearner` with meta-parameters `WithOptimizer(params, optimizer)`; `optimizer` is the
        step sizes `[num_inner_steps]` of each leaf.

    Differs from the paper: the paper also keeps running statistics for each step. But its code
    normalizes by the current batch, and so do we; `norm="support"` of our models is a normalization
    that is not transductive. The paper has a scale for each step besides the shift; our models have
    no scale.

    Raises:
        ValueError: if a number of steps is negative, or there are no inner steps.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> learner = mamlax.maml_plus_plus(
        ...     lambda params, batch: jnp.mean((params - batch) ** 2),
        ...     initial_step_size=0.1, num_inner_steps=3, num_multi_step_outer_steps=100,
        ... )
        >>> tasks = mamlax.Task(support=jnp.ones((4, 2)), query=jnp.ones((4, 2)))
        >>> meta_params = learner.init(jnp.array(0.0))
        >>> for outer_step in 0, 100:  # the mean loss of three steps, then that of the last
        ...     (loss, _), _ = learner.meta_gradient(meta_params, tasks, outer_step=outer_step)
        ...     print(f"{loss:.3f}")
        0.437
        0.262

    References:
        Antoniou, Edwards & Storkey, ICLR 2019.
    """
    for name, number, least in (
        ("num_inner_steps", num_inner_steps, 1),
        ("num_multi_step_outer_steps", num_multi_step_outer_steps, 0),
        ("num_first_order_outer_steps", num_first_order_outer_steps, 0),
    ):
        if number < least:
            raise ValueError(f"{name} must be {least} or more, got {number}.")

    def learner_with(*, multi_step: bool, first_order: bool) -> MetaLearner:
        return maml(
            loss_fn,
            inner_optimizer=learned_step_sizes(
                initial_step_size, per="leaf", num_steps=num_inner_steps
            ),
            num_inner_steps=num_inner_steps,
            step_weights=weights if multi_step else None,
            first_order=first_order,
            **options,
        )

    weights = multi_step_weights(num_inner_steps, num_multi_step_outer_steps)
    # of the phases only those that occur: each is a program of its own to compile
    ends = sorted({num_multi_step_outer_steps, num_first_order_outer_steps} - {0})
    phases = [
        learner_with(
            multi_step=start < num_multi_step_outer_steps,
            first_order=start < num_first_order_outer_steps,
        )
        for start in (0, *ends)
    ]

    def meta_gradient(meta_params, tasks, *, outer_step=0):
        arrays, static = eqx.partition(meta_params, eqx.is_array)

        def of_phase(phase):
            return lambda arrays, tasks: phase.meta_gradient(
                eqx.combine(arrays, static), tasks, outer_step=outer_step
            )

        phase = sum((outer_step >= jnp.asarray(end)).astype(jnp.int32) for end in ends)
        return jax.lax.switch(phase, [of_phase(phase) for phase in phases], arrays, tasks)

    if not ends:
        return phases[0]
    return phases[-1]._replace(meta_gradient=meta_gradient)


def multi_step_weights(num_inner_steps: int, num_outer_steps: int) -> Callable[[PyTree], PyTree]:
    """The weights of MAML++ for the query loss after each inner step, at each outer step.

    At first, all inner steps have the same weight. With p = outer_step / num_outer_steps and S the
    number of inner steps, each step before the last has the weight max((1 − p), 0.03) / S. The last
    has the rest, so that the weights sum to one. From `num_outer_steps` on, only the last counts.

    Args:
        num_inner_steps: S.
        num_outer_steps: outer steps until only the last inner step counts.

    Returns:
        `weights(outer_step) -> [num_inner_steps]`, for `maml(..., step_weights=weights)`.

    Example:
        >>> import mamlax
        >>> weights = mamlax.multi_step_weights(4, 100)
        >>> print(weights(0), weights(50), weights(100))
        [0.25 0.25 0.25 0.25] [0.125 0.125 0.125 0.625] [0. 0. 0. 1.]
    """

    def weights(outer_step):
        left = 1 - jnp.asarray(outer_step, float) / max(num_outer_steps, 1)
        early = jnp.where(outer_step < num_outer_steps, jnp.maximum(left, 0.03), 0.0)
        early = early / num_inner_steps
        return jnp.full(num_inner_steps, early).at[-1].set(1 - (num_inner_steps - 1) * early)

    return weights
