"""Heads that are solved for in each task, by a regression of the support; then all adapts.

    ridge       W = W₀ + Fᵀ (F Fᵀ + λ I)⁻¹ (Y − F W₀),     F the features of the support, and a one
    logistic    the same of classes, by ridge regressions of working targets

Bertinetto et al., Meta-learning with differentiable closed-form solvers, ICLR 2019.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._linear_systems import solve_positive
from .._types import LossFn, MetaLearner
from ._heads import check_features, check_ways, weights_of
from ._maml import maml


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
    """Ridge MAML: in each task, the head starts at the ridge regression of the support's targets.

    The head is the minimum of ‖F W − Y‖² + λ ‖W − W₀‖² in closed form, with the features F of the
    support and a column of ones for the bias. A gradient step would move a linear head by the sum
    of the contributions of single examples; the closed form also accounts for their overlap. The
    solution is differentiated, so that the network learns features that suit the regression. Then
    everything adapts, or only a part if `where` is given.

    W₀ is zero. With `head`, W₀ is the head of θ, which is learned too. W₀ then represents what all
    tasks have in common, and the support determines the difference. With an empty support, the head
    is W₀.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        features_fn: `features_fn(params, batch) -> [examples, features]`, the inputs of the head.
        set_head: `set_head(params, weight, bias) -> params`, the parameters with another head;
            `weight` `[features, outputs]`, `bias` `[outputs]`.
        ridge: λ, in the units of squared features. The support's `targets` are
            `[examples, outputs]`. If the support has `weights` `[examples]`, errors are weighted.
        head: `head(params) -> (weight, bias)`, the head W₀ that the regression starts from. None:
            W₀ is zero, and the head of θ is not used.
        offset_fn: `offset_fn(params, batch) -> [examples, outputs]`, an offset that the model adds
            to the outputs of its head. The regression then fits the rest of the targets. None: no
            offset.
        **options: the arguments of `maml`, except `start_fn`.

    Returns:
        A `MetaLearner`, as `maml` returns it.

    Raises:
        ValueError: if `ridge` is not positive; when used, if targets are not `[examples, outputs]`.

    Differs from the paper: the paper regresses one-hot targets of classes, learns λ and a scale and
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
    _check_ridge(ridge)

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
            targets = targets - _product(features, before)
        root = jnp.sqrt(weights_of(support, features))
        weight = before + _ridge_solution(root * features, root * targets, ridge)
        return set_head(params, weight[:-1], weight[-1])

    return maml(loss_fn, start_fn=start_fn, **options)


def logistic_maml(
    loss_fn: LossFn,
    *,
    features_fn: Callable[[PyTree, PyTree], PyTree],
    set_head: Callable[[PyTree, PyTree, PyTree], PyTree],
    ways: int,
    ridge: float,
    head: Callable[[Any], tuple[PyTree, PyTree]] | None = None,
    offset_fn: Callable[[PyTree, PyTree], PyTree] | None = None,
    num_solver_steps: int = 10,
    **options: Any,
) -> MetaLearner:
    """Logistic MAML: in each task, the head starts at the logistic regression of the support.

    The head approaches the minimum of the cross-entropy of the support's classes, summed over its
    examples, plus λ/2 ‖W − W₀‖². Features F have a column of ones for the bias. A step solves the
    ridge regression

        W ← W₀ + argmin_D ½ ‖F D − Z‖² + λ ‖D‖²,     Z = F (W − W₀) + 2 (Y − softmax(F W)),

    with Y the classes as zeros and ones (an offset is added to F W in the softmax; weights weigh
    rows). No step increases what is minimized, since ½ FᵀF bounds its second derivatives (Böhning
    1992). All steps have the same matrix, which is inverted once. The steps are differentiated.
    W₀, `head` and `offset_fn` are as in `ridge_maml`.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        features_fn: `features_fn(params, batch) -> [examples, features]`, the inputs of the head.
        set_head: `set_head(params, weight, bias) -> params`, the parameters with another head;
            `weight` `[features, ways]`, `bias` `[ways]`.
        ways: classes per task. The support has `targets` `[examples]`, integers below `ways`; there
            need not be examples of every class. If the support has `weights` `[examples]`, its
            cross-entropy is weighted.
        ridge: λ.
        head: `head(params) -> (weight, bias)`, the head W₀. None: W₀ is zero.
        offset_fn: `offset_fn(params, batch) -> [examples, ways]`, logits that the model adds to
            those of its head. None: no offset.
        num_solver_steps: steps of the solver. Ten come near the minimum with a few classes that are
            about as likely. Where a class is rare, or classes are many, it takes more: near the
            minimum a step leaves the share 1 − 4 p (1 − p) of the way to go with two classes, of
            which one has the chance p.
        **options: the arguments of `maml`, except `start_fn`.

    Returns:
        A `MetaLearner`, as `maml` returns it.

    Raises:
        ValueError: if `ways`, `ridge` or `num_solver_steps` is not positive.

    Differs from the paper: LR-D2 there is for two classes, by Newton's method; it learns λ, and
    does not adapt after the solution.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> learner = mamlax.logistic_maml(
        ...     lambda params, batch: jnp.mean((batch.inputs @ params[0] + params[1]) ** 2),
        ...     features_fn=lambda params, batch: batch.inputs,
        ...     set_head=lambda params, weight, bias: (weight, bias),
        ...     ways=2, ridge=0.1, inner_optimizer=optax.sgd(0.1), num_inner_steps=0,
        ... )
        >>> support = mamlax.Batch(jnp.array([[-1.0], [1.0]]), jnp.array([0, 1]))
        >>> weight, bias = learner.adapt((jnp.zeros((1, 2)), jnp.zeros(2)), support).params
        >>> print(f"log odds {weight[0, 1] - weight[0, 0]:.1f} x + {bias[1] - bias[0]:.1f}")
        log odds 2.6 x + 0.0

    References:
        Böhning, Multinomial logistic regression algorithm, Annals of the Institute of Statistical
        Mathematics, 1992. Bertinetto, Henriques, Torr & Vedaldi, ICLR 2019.
    """
    check_ways(ways)
    _check_ridge(ridge)
    if num_solver_steps < 1:
        raise ValueError(f"num_solver_steps must be positive, got {num_solver_steps}.")

    def start_fn(params, support):
        features = features_fn(params, support)
        check_features(features, jnp.shape(support.targets), "logistic_maml")
        features = jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)
        before = jnp.zeros((features.shape[1], ways), features.dtype)
        if head is not None:
            weight, bias = head(params)
            before = jnp.concatenate([weight, bias[None]])
        start = _product(features, before)
        if offset_fn is not None:
            start = start + offset_fn(params, support)
        labels = jax.nn.one_hot(support.targets, ways, dtype=features.dtype)
        root = jnp.sqrt(weights_of(support, features) / 2)
        solved, predicted = _regression(features, root, ridge)

        def targets_of(moved):
            return root * (moved + 2 * (labels - jax.nn.softmax(start + moved)))

        def step(moved, _):
            return predicted(targets_of(moved)), None

        moved, _ = jax.lax.scan(step, jnp.zeros_like(start), length=num_solver_steps - 1)
        change = solved(targets_of(moved))
        weight = before + change
        return set_head(params, weight[:-1], weight[-1])

    return maml(loss_fn, start_fn=start_fn, **options)


def _ridge_solution(features: Any, targets: Any, ridge: float) -> Any:
    """The minimum of ‖F W − Y‖² + λ ‖W‖², by the smaller of two systems of equations.

    With one equation per example, Fᵀ (F Fᵀ + λ I)⁻¹ Y; with one per feature, (FᵀF + λ I)⁻¹ Fᵀ Y. If
    the number of examples is not known yet (`jax.export`), it may be large.
    """
    adjoint = features.conj().T
    examples, width = features.shape
    if isinstance(examples, int) and examples <= width:
        gram = _product(features, adjoint) + ridge * jnp.eye(examples, dtype=features.dtype)
        return _product(adjoint, solve_positive(gram, targets))
    gram = _product(adjoint, features) + ridge * jnp.eye(width, dtype=features.dtype)
    return solve_positive(gram, _product(adjoint, targets))


def _regression(
    features: Any, root: Any, ridge: float
) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Ridge regressions of many targets on the same features, each row times `root`.

    Returns:
        `solved(targets) -> W`, the minimum of ‖root F W − Y‖² + λ ‖W‖², and
        `predicted(targets) -> F W`. What both need is inverted once: a matrix of examples or of
        features, whichever is smaller.
    """
    rooted = root * features
    adjoint = rooted.T
    examples, width = features.shape
    if isinstance(examples, int) and examples <= width:
        each = jnp.eye(examples, dtype=features.dtype)
        inverse = solve_positive(_product(rooted, adjoint) + ridge * each, each)
        both = _product(_product(features, adjoint), inverse)

        def of_examples(targets):
            return _product(adjoint, _product(inverse, targets))

        return of_examples, lambda targets: _product(both, targets)
    each = jnp.eye(width, dtype=features.dtype)
    inverse = solve_positive(_product(adjoint, rooted) + ridge * each, each)

    def solved(targets):
        return _product(inverse, _product(adjoint, targets))

    return solved, lambda targets: _product(features, solved(targets))


def _product(left: Any, right: Any) -> Any:
    """Of matrices, in all bits: TensorFloat-32 of a GPU has ten, and small λ need more."""
    return jnp.matmul(left, right, precision="highest")


def _check_ridge(ridge: float) -> None:
    if not 0 < ridge < float("inf"):
        raise ValueError(f"ridge must be a positive number, got {ridge}.")
