"""Heads made for the task at hand, from its support; then they adapt with the rest.

    ProtoMAML   w_c = 2 μ_c,  b_c = −‖μ_c‖²,   μ_c the mean feature of class c in the support
    UNICORN     w_c = w,      b_c = b,         one vector shared by all classes
    ridge       W = W₀ + Fᵀ (F Fᵀ + λ I)⁻¹ (Y − F W₀),     F the features of the support, and a one

The first two are for classes, whose number may then differ from task to task; the third is for
regression.

Triantafillou et al., Meta-Dataset, ICLR 2020.
Ye & Chao, How to Train Your MAML to Excel in Few-Shot Classification, ICLR 2022.
Bertinetto et al., Meta-learning with differentiable closed-form solvers, ICLR 2019.
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
    """MAML whose head starts, in every task, as a classifier by the nearest class mean.

    With features f and class means μ_c of the support, the logits −‖f − μ_c‖² differ from
    2 μ_c·f − ‖μ_c‖² by the same number for all classes: a linear head, which then adapts. The
    head of θ is not used. For tasks of other ways build the learner again with another `ways`,
    for the same meta-parameters.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        features_fn: `features_fn(params, batch) -> [examples, features]`, what the head is given.
        set_head: `set_head(params, weight, bias) -> params`, the parameters with another head;
            `weight` `[features, ways]`, `bias` `[ways]`.
        ways: classes of a task; its support has `targets` `[examples]`, integers below it, and
            every class. (One without examples has a mean of zero; a query label that is not below
            `ways` makes the loss NaN.) Where it has `weights` `[examples]`, means are weighted.
        **options: those of `maml`, but for `start_fn`.

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
    _check_ways(ways)

    def start_fn(params, support):
        features = features_fn(params, support)
        _check_features(features, jnp.shape(support.targets))
        members = jax.nn.one_hot(support.targets, ways, dtype=features.dtype)
        members = members * _weights_of(support, features)
        counts = members.sum(0)[:, None]
        means = members.T @ features / jnp.where(counts > 0, counts, 1)
        return set_head(params, 2 * means.T, -jnp.sum(jnp.square(means), axis=1))

    return maml(loss_fn, start_fn=start_fn, **options)


def unicorn_maml(loss_fn: LossFn, *, head: Where, ways: int, **options: Any) -> MetaLearner:
    """MAML whose head starts with the same weights for every class.

    A head with other weights for each class makes the result depend on which class of a task is
    called the first; here it cannot. Where the loss is a cross-entropy of a softmax, the shared
    vector cancels: the same number added to all logits changes neither loss nor gradients. It is
    then MAML from a head of zeros that stays zero, and what is gained is that.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        head: `head(params)` are the arrays whose last axis is ways.
        ways: classes of a task; may be another than the parameters' head has.
        **options: those of `maml`, but for `start_fn`.

    Returns:
        A `MetaLearner`. Its meta-parameters are the parameters with a head of one class: the mean
        of those given to `init`.

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
    _check_ways(ways)

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


def _check_features(features: PyTree, targets: tuple[Any, ...]) -> None:
    shape = jnp.shape(features)
    if len(shape) != 2 or shape[:1] != targets:
        raise ValueError(
            "proto_maml needs features [examples, features] and support.targets [examples], the "
            f"number of each one's class; got shapes {list(shape)} and {list(targets)}."
        )
    if jnp.iscomplexobj(features):
        raise TypeError(
            f"proto_maml needs real features, got {features.dtype}: a distance to a class mean is "
            "no linear function of complex ones. Let features_fn return their real and imaginary "
            "parts side by side."
        )


def ridge_maml(
    loss_fn: LossFn,
    *,
    features_fn: Callable[[PyTree, PyTree], PyTree],
    set_head: Callable[[PyTree, PyTree, PyTree], PyTree],
    ridge: float,
    head: Callable[[Any], tuple[PyTree, PyTree]] | None = None,
    offset_fn: Callable[[PyTree, PyTree], PyTree] | None = None,
    **options: Any,
) -> MetaLearner:
    """MAML whose head starts, in every task, at the ridge regression of the support's targets.

    The minimum of ‖F W − Y‖² + λ ‖W − W₀‖² in closed form, with the features F of the support and a
    column of ones for the bias. A gradient step moves a linear head by the sum of what each example
    asks for; the solution takes into account that they overlap. It is differentiated, so that the
    features learn to be regressed on; then everything adapts, or with `where` a part.

    W₀ is zero, or with `head` that of θ, which learns as well: what holds for all tasks, so that
    the solution is what the support adds to it. An empty support leaves it as it is.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        features_fn: `features_fn(params, batch) -> [examples, features]`, what the head is given.
        set_head: `set_head(params, weight, bias) -> params`, the parameters with another head;
            `weight` `[features, outputs]`, `bias` `[outputs]`.
        ridge: λ, in the units of squared features. The support's `targets` are
            `[examples, outputs]`; where it has `weights` `[examples]`, its errors are weighted.
        head: `head(params) -> (weight, bias)`, where the regression starts from; None: at zero,
            and the head of θ is not used.
        offset_fn: `offset_fn(params, batch) -> [examples, outputs]`, what the model adds to the
            outputs of its head: the regression is then of what is left of the targets. None:
            nothing.
        **options: those of `maml`, but for `start_fn`.

    Returns:
        A `MetaLearner`, as `maml` returns it.

    Raises:
        ValueError: if `ridge` is not positive; when used, if targets are not `[examples, outputs]`.

    Differs from the paper, which regresses one-hot targets of classes, learns λ and a scale and
    offset of the outputs, and does not adapt after the solution. Here the bias is penalized like
    every weight.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> learner = mamlax.ridge_maml(
        ...     lambda params, batch: jnp.mean((batch.inputs @ params[0] + params[1]) ** 2),
        ...     features_fn=lambda params, batch: batch.inputs,
        ...     set_head=lambda params, weight, bias: (weight, bias),
        ...     ridge=1e-4, inner_optimizer=optax.sgd(0.1), num_inner_steps=0,
        ... )
        >>> support = mamlax.Batch(jnp.array([[0.0], [1.0]]), jnp.array([[3.0], [5.0]]))
        >>> weight, bias = learner.adapt((jnp.zeros((1, 1)), jnp.zeros(1)), support).params
        >>> print(f"{weight[0, 0]:.2f} x + {bias[0]:.2f}")
        2.00 x + 3.00

    References:
        Bertinetto, Henriques, Torr & Vedaldi, ICLR 2019.
    """
    if not 0 < ridge < float("inf"):
        raise ValueError(f"ridge must be a positive number, got {ridge}.")

    def start_fn(params, support):
        features, targets = features_fn(params, support), support.targets
        if jnp.ndim(targets) != 2:
            raise ValueError(
                "ridge_maml regresses targets [examples, outputs], got targets of shape "
                f"{list(jnp.shape(targets))}. For one output, add an axis: targets[:, None]."
            )
        if offset_fn is not None:
            targets = targets - offset_fn(params, support)
        features = jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)
        before = 0.0
        if head is not None:
            weight, bias = head(params)
            before = jnp.concatenate([weight, bias[None]])
            targets = targets - features @ before
        root = jnp.sqrt(_weights_of(support, features))
        weight = before + _ridge_solution(root * features, root * targets, ridge)
        return set_head(params, weight[:-1], weight[-1])

    return maml(loss_fn, start_fn=start_fn, **options)


def _ridge_solution(features: Any, targets: Any, ridge: float) -> Any:
    """The minimum of ‖F W − Y‖² + λ ‖W‖², by the smaller of two systems of equations.

    Of examples, Fᵀ (F Fᵀ + λ I)⁻¹ Y, or of features, (FᵀF + λ I)⁻¹ Fᵀ Y. A number of examples that
    is not known yet (`jax.export`) may be large.
    """
    adjoint = features.conj().T
    examples, width = features.shape
    if isinstance(examples, int) and examples <= width:
        gram = features @ adjoint + ridge * jnp.eye(examples, dtype=features.dtype)
        return adjoint @ jax.scipy.linalg.solve(gram, targets, assume_a="pos")
    gram = adjoint @ features + ridge * jnp.eye(width, dtype=features.dtype)
    return jax.scipy.linalg.solve(gram, adjoint @ targets, assume_a="pos")


def _weights_of(support: PyTree, features: Any) -> PyTree:
    """How much each example counts, `[examples, 1]`."""
    weights = getattr(support, "weights", None)
    return jnp.ones_like(features[:, :1]) if weights is None else weights[:, None]


def _check_ways(ways: int) -> None:
    if ways < 1:
        raise ValueError(f"ways must be positive, got {ways}.")
