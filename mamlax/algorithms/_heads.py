"""Heads that are made for each task from its support, and then adapt with the rest.

    ProtoMAML   w_c = 2 μ_c,  b_c = −‖μ_c‖²,   μ_c the mean feature of class c in the support
    UNICORN     w_c = w,      b_c = b,         one vector shared by all classes

Both are for classification; the number of classes may differ between tasks.

Triantafillou et al., Meta-Dataset, ICLR 2020.
Ye & Chao, How to Train Your MAML to Excel in Few-Shot Classification, ICLR 2022.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._types import LossFn, MetaLearner
from ._maml import maml
from ._params import Where, mask_of, selected


def proto_maml(
    loss_fn: LossFn,
    *,
    features_fn: Callable[[PyTree, PyTree], PyTree],
    set_head: Callable[[PyTree, PyTree, PyTree], PyTree],
    ways: int,
    **options: Any,
) -> MetaLearner:
    """ProtoMAML: in each task, the head starts as a classifier by the nearest class mean.

    With features f and class means μ_c of the support, the logits −‖f − μ_c‖² differ from
    2 μ_c·f − ‖μ_c‖² by the same number for all classes. So the classifier is a linear head, which
    then adapts. The head of θ is not used. For tasks with another number of classes, build the
    learner again with another `ways`, and keep the meta-parameters.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        features_fn: `features_fn(params, batch) -> [examples, features]`, the inputs of the head.
        set_head: `set_head(params, weight, bias) -> params`, the parameters with another head;
            `weight` `[features, ways]`, `bias` `[ways]`.
        ways: classes per task. The support has `targets` `[examples]`, integers below `ways`, and
            examples of every class. (A class without examples has the mean zero; a query label of
            `ways` or more makes the loss NaN.) If the support has `weights` `[examples]`, means are
            weighted.
        **options: the arguments of `maml`, except `start_fn`.

    Returns:
        A `MetaLearner`, as `maml` returns it.

    Raises:
        ValueError: if `ways` is not positive.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> learner = mamlax.proto_maml(
        ...     lambda params, batch: jnp.mean(batch.inputs @ params["weight"] + params["bias"]),
        ...     features_fn=lambda params, batch: batch.inputs,
        ...     set_head=lambda params, weight, bias: {"weight": weight, "bias": bias},
        ...     ways=2, inner_optimizer=optax.sgd(0.1), num_inner_steps=0,
        ... )
        >>> support = mamlax.Batch(jnp.array([[0.0], [2.0], [4.0]]), jnp.array([0, 1, 1]))
        >>> params = {"weight": jnp.zeros((1, 2)), "bias": jnp.zeros(2)}
        >>> adapted = learner.adapt(params, support).params
        >>> print(adapted["weight"], adapted["bias"])
        [[0. 6.]] [-0. -9.]

    References:
        Triantafillou et al., ICLR 2020.
    """
    check_ways(ways)

    def start_fn(params, support):
        features = features_fn(params, support)
        check_features(features, jnp.shape(support.targets), "proto_maml")
        members = jax.nn.one_hot(support.targets, ways, dtype=features.dtype)
        members = members * weights_of(support, features)
        counts = members.sum(0)[:, None]
        means = members.T @ features / jnp.where(counts > 0, counts, 1)
        return set_head(params, 2 * means.T, -jnp.sum(jnp.square(means), axis=1))

    return maml(loss_fn, start_fn=start_fn, **options)


def unicorn_maml(loss_fn: LossFn, *, head: Where, ways: int, **options: Any) -> MetaLearner:
    """UNICORN-MAML: in each task, the head starts with the same weights for every class.

    If the head has different weights for each class, the result depends on the order in which the
    classes of a task are numbered. Here it does not. If the loss is a softmax cross-entropy, the
    shared vector cancels: adding the same number to all logits changes neither loss nor gradients.
    The method is then MAML from a head of zeros that stays zero, and that is its whole benefit.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        head: `head(params)` are the arrays whose last axis is the classes.
        ways: classes per task. The head of the parameters may have another number.
        **options: the arguments of `maml`, except `start_fn`.

    Returns:
        A `MetaLearner`. Its meta-parameters are the parameters with a head of one class: the mean
        over the classes of the head given to `init`.

    Raises:
        ValueError: if `ways` is not positive.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> learner = mamlax.unicorn_maml(
        ...     lambda params, batch: jnp.mean((batch @ params) ** 2),
        ...     head=lambda params: params, ways=3, inner_optimizer=optax.sgd(0.1),
        ...     num_inner_steps=1,
        ... )
        >>> meta_params = learner.init(jnp.array([[1.0, 3.0]]))
        >>> print(meta_params, learner.adapt(meta_params, jnp.zeros((4, 1))).params)
        [[2.]] [[2. 2. 2.]]

    References:
        Ye & Chao, ICLR 2022.
    """
    check_ways(ways)

    def in_head(fn, params):
        selected(params, head, "head")
        mask = mask_of(params, head)
        return jax.tree.map(lambda leaf, here: fn(leaf) if here else leaf, params, mask)

    def init(params):
        return learner.init(in_head(lambda leaf: jnp.mean(leaf, -1, keepdims=True), params))

    def start_fn(params, support):
        for leaf in selected(params, head, "head"):
            if jnp.shape(leaf)[-1:] != (1,):
                raise ValueError(
                    "the head of the meta-parameters must have one class, which all share; got "
                    f"shape {list(jnp.shape(leaf))}. learner.init(params) makes such "
                    "meta-parameters."
                )
        return in_head(lambda leaf: jnp.repeat(leaf, ways, -1), params)

    learner = maml(loss_fn, start_fn=start_fn, **options)
    return learner._replace(init=init)


def check_features(features: PyTree, targets: tuple[Any, ...], name: str) -> None:
    """Refuse features that are not real numbers of examples whose classes are given."""
    shape = jnp.shape(features)
    if len(shape) != 2 or shape[:1] != targets:
        raise ValueError(
            f"{name} needs features [examples, features] and support.targets [examples], the "
            f"number of each one's class; got shapes {list(shape)} and {list(targets)}."
        )
    if jnp.iscomplexobj(features):
        raise TypeError(
            f"{name} needs real features, got {features.dtype}. Let features_fn return their "
            "real and imaginary parts side by side."
        )


def weights_of(support: PyTree, features: Any) -> PyTree:
    """How much each example counts, `[examples, 1]`."""
    weights = getattr(support, "weights", None)
    return jnp.ones_like(features[:, :1]) if weights is None else weights[:, None]


def check_ways(ways: int) -> None:
    """Refuse a number of classes that is not positive."""
    if ways < 1:
        raise ValueError(f"ways must be positive, got {ways}.")
