"""ANIL and BOIL: adapt only the head, or everything except the head.

    ANIL    φ_head ← φ_head − α ∇_head ℒ(φ, support),    the body stays at θ
    BOIL    φ_body ← φ_body − α ∇_body ℒ(φ, support),    the head stays at θ

Raghu, Raghu, Bengio & Vinyals, Rapid Learning or Feature Reuse? ICLR 2020.
Oh, Yoo, Kim & Yun, BOIL: Towards Representation Change for Few-shot Learning, ICLR 2021.
"""

from typing import Any

from .._types import LossFn, MetaLearner
from ._maml import maml
from ._params import Where, except_at


def anil(loss_fn: LossFn, *, head: Where, **options: Any) -> MetaLearner:
    """ANIL (almost no inner loop): MAML in which only the head adapts.

    The outer loop learns all parameters.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        head: `head(params)` is the part that adapts, e.g. `lambda params: params.head`.
        **options: the arguments of `maml`, except `where`.

    Returns:
        A `MetaLearner`, as `maml` returns it.

    Raises:
        ValueError: when used, if `head` selects no floating-point array.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     predictions = batch.inputs @ params["body"] @ params["head"]
        ...     return jnp.mean((predictions - batch.targets) ** 2)
        >>> learner = mamlax.anil(
        ...     loss_fn, head=lambda params: params["head"], inner_optimizer=optax.sgd(0.1),
        ...     num_inner_steps=1,
        ... )
        >>> params = {"body": jnp.ones((2, 2)), "head": jnp.zeros(2)}
        >>> support = mamlax.Batch(jnp.ones((3, 2)), jnp.ones(3))
        >>> adapted = learner.adapt(params, support).params
        >>> print(adapted["head"], adapted["body"][0])
        [0.4 0.4] [1. 1.]

    References:
        Raghu, Raghu, Bengio & Vinyals, ICLR 2020.
    """
    return maml(loss_fn, where=head, **options)


def boil(loss_fn: LossFn, *, head: Where, **options: Any) -> MetaLearner:
    """BOIL (body only in the inner loop): MAML in which everything except the head adapts.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        head: `head(params)` is the part that does not adapt.
        **options: the arguments of `maml`, except `where`.

    Returns:
        A `MetaLearner`, as `maml` returns it.

    Raises:
        ValueError: when used, if there is nothing besides the head that could adapt.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     predictions = batch.inputs @ params["body"] @ params["head"]
        ...     return jnp.mean((predictions - batch.targets) ** 2)
        >>> learner = mamlax.boil(
        ...     loss_fn, head=lambda params: params["head"], inner_optimizer=optax.sgd(0.1),
        ...     num_inner_steps=1,
        ... )
        >>> params = {"body": jnp.zeros((2, 1)), "head": jnp.ones(1)}
        >>> support = mamlax.Batch(jnp.ones((3, 2)), jnp.ones(3))
        >>> adapted = learner.adapt(params, support).params
        >>> print(adapted["head"], adapted["body"][0])
        [1.] [0.2]

    References:
        Oh, Yoo, Kim & Yun, ICLR 2021.
    """
    return maml(loss_fn, where=except_at(head), **options)
