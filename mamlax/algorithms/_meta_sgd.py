"""Meta-SGD: learn the direction and the length of inner steps together with the initialization.

    φᵢ₊₁ = φᵢ − α ∘ ∇ℒ(φᵢ, support)          θ and α, of the same shape, learned in the outer loop

Li, Zhou, Chen & Li, Meta-SGD: Learning to Learn Quickly for Few-Shot Learning, 2017.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._types import LossFn, MetaLearner
from ._learned_optimizer import LearnedOptimizer
from ._maml import maml

Per = Literal["entry", "leaf"]


class _Count(NamedTuple):
    """The number of inner steps taken."""

    count: PyTree


def learned_step_sizes(
    initial_step_size: float, *, per: Per = "entry", num_steps: int | None = None
) -> LearnedOptimizer:
    """Gradient descent with step sizes that the outer loop learns.

    φᵢ₊₁ = φᵢ − αᵢ ∘ gᵢ. Step sizes may become negative: a learned direction may point uphill on the
    support, as Li et al. note.

    Args:
        initial_step_size: α at the beginning of meta-training.
        per: `"entry"`: one step size for every number that adapts (Meta-SGD). `"leaf"`: one for
            every array (MAML++).
        num_steps: learn separate step sizes for each of this many inner steps; later steps use the
            last. None: the same step sizes at all steps.

    Returns:
        A `LearnedOptimizer` for `maml` and its relatives. Its parameters are the step sizes, in the
        structure of the part that adapts; `[num_steps, ...]` if they are separate for each step.

    Raises:
        ValueError: if `per` is unknown, or `num_steps` is not positive.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> optimizer = mamlax.learned_step_sizes(0.1, per="leaf", num_steps=2)
        >>> print(optimizer.init({"w": jnp.ones((3, 3))}))
        {'w': Array([0.1, 0.1], dtype=float32)}
    """
    if per not in get_args(Per):
        raise ValueError(f'per must be "entry" or "leaf", got {per!r}.')
    if num_steps is not None and num_steps < 1:
        raise ValueError(f"num_steps must be positive, or None, got {num_steps}.")
    steps = () if num_steps is None else (num_steps,)

    def init(adapting):
        def of_leaf(leaf):
            shape = jnp.shape(leaf) if per == "entry" else ()
            return jnp.full((*steps, *shape), initial_step_size, leaf.real.dtype)

        return jax.tree.map(of_leaf, adapting)

    def build(step_sizes):
        def count_from_zero(params):
            return _Count(jnp.zeros((), jnp.int32))

        def descend(updates, state, params=None):
            def update(step_size, g):
                if num_steps is not None:
                    index = jnp.minimum(state.count, num_steps - 1)
                    step_size = jax.lax.dynamic_index_in_dim(step_size, index, keepdims=False)
                return -step_size * g

            updates = jax.tree.map(update, step_sizes, updates)
            return updates, _Count(state.count + 1)

        return optax.GradientTransformation(count_from_zero, descend)

    return LearnedOptimizer(init, build)


def meta_sgd(
    loss_fn: LossFn, *, initial_step_size: float, num_inner_steps: int, **options: Any
) -> MetaLearner:
    """Meta-SGD: MAML with a learned step size for every number that adapts.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        initial_step_size: the step sizes at the beginning of meta-training.
        num_inner_steps: number of inner steps in training, and the default of `adapt`.
        **options: the arguments of `maml`, except `inner_optimizer`. With `first_order=True` the
            step sizes are still learned.

    Returns:
        A `MetaLearner` with meta-parameters `WithOptimizer(params, optimizer)`; `optimizer` is the
        step sizes α.

    Differs from the paper: the paper starts every step size at a random number in [0.005, 0.1].

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((params - batch) ** 2)
        >>> learner = mamlax.meta_sgd(loss_fn, initial_step_size=0.25, num_inner_steps=1)
        >>> meta_params = learner.init(jnp.zeros(2))
        >>> print(meta_params.optimizer)
        [0.25 0.25]
        >>> meta_params = meta_params._replace(optimizer=jnp.array([1.0, 0.0]))
        >>> print(learner.adapt(meta_params, jnp.array([3.0, 3.0])).params)
        [3. 0.]

    References:
        Li, Zhou, Chen & Li, 2017.
    """
    return maml(
        loss_fn,
        inner_optimizer=learned_step_sizes(initial_step_size),
        num_inner_steps=num_inner_steps,
        **options,
    )
