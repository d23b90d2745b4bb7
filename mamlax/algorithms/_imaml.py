"""Implicit MAML: the meta-gradient at the minimum of the inner problem, however it was found.

    φ = argmin_φ ℒ(φ, support) + λ/2 ‖φ − θ‖²
    meta-gradient  x,   (I + H/λ) x = ∇ℒ(φ, query),   H = ∇²ℒ(φ, support)

Rajeswaran, Finn, Kakade & Levine, Meta-Learning with Implicit Gradients, NeurIPS 2019.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg

from .._types import LossFn, MetaLearner
from ._gradient import conjugate, from_real_parts, real_parts, value_and_gradient
from ._inner_loop import inner_loop
from ._learned_optimizer import check_optimizer
from ._loss import check_task, query_loss, scalar_loss
from ._over_tasks import mean_direction
from ._params import Where, is_learnable, split


def imaml(
    loss_fn: LossFn,
    *,
    inner_optimizer: optax.GradientTransformation,
    num_inner_steps: int,
    proximal_strength: float,
    num_conjugate_gradient_steps: int = 5,
    damping: float = 0.0,
    where: Where | None = None,
) -> MetaLearner:
    """iMAML, by the implicit function theorem: memory does not grow with the inner steps.

    The inner loop minimizes ℒ(φ, support) + λ/2 ‖φ − θ‖² and is not differentiated. At the
    minimum dφ/dθ = (I + H/λ)⁻¹, so the meta-gradient is the solution of a linear system. It is
    found by a fixed number of conjugate gradient steps, each with one Hessian-vector product. The
    meta-gradient is only as exact as the inner loop and this solution are. If `train/residual` is
    large, raise λ (which makes the problem easier), the inner steps or the conjugate gradient
    steps. Where the loss curves downwards, H has negative eigenvalues; conjugate gradients then
    need a λ larger than the magnitude of these eigenvalues.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        inner_optimizer: any optax transformation.
        num_inner_steps: number of inner steps in training, and the default of `adapt`.
        proximal_strength: λ, how strongly φ is held near θ (paper: 2.0 for Omniglot, 0.5 for
            mini-ImageNet).
        num_conjugate_gradient_steps: number of conjugate gradient steps (paper: 5).
        damping: δ, added to λ only in the linear system: (I + H/(λ + δ)) x = ∇ℒ(φ, query). Zero
            gives the paper's gradient; a large δ nearly gives the first-order gradient,
            ∇ℒ(φ, query). Damping makes the system easier to solve, but changes the meta-gradient;
            it does not make it more exact.
        where: `where(params)` is the part that adapts. The rest, ψ, learns by
            ∇_ψ ℒ(φ, query) − xᵀ ∂²ℒ(φ, support)/∂φ∂ψ / (λ + δ). None: everything adapts.

    Returns:
        A `MetaLearner`. The losses of the inner loop include the proximal term. `info` has
        `query_loss` `[tasks]` and `support_losses` `[tasks, num_inner_steps]`. It also has
        `residual` `[tasks]`, how far the linear system is from solved,
        ‖(I + H/(λ + δ)) x − g‖ / ‖g‖, and `stationarity` `[tasks]`, the norm of the inner problem's
        gradient where the inner loop ended, relative to where it began.

    Raises:
        ValueError: if `proximal_strength` is not positive, `damping` or `num_inner_steps` is
            negative, or `num_conjugate_gradient_steps` is less than one.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> learner = mamlax.imaml(
        ...     lambda params, batch: 0.5 * jnp.sum((params - batch) ** 2),
        ...     inner_optimizer=optax.sgd(0.25), num_inner_steps=20, proximal_strength=1.0,
        ... )
        >>> print(f"{learner.adapt(jnp.zeros(1), jnp.array([8.0])).params[0]:.3f}")  # half way
        4.000

    References:
        Rajeswaran, Finn, Kakade & Levine, NeurIPS 2019.
    """
    if not 0 < proximal_strength < float("inf"):
        raise ValueError(f"proximal_strength must be a positive number, got {proximal_strength}.")
    if not 0 <= damping < float("inf"):
        raise ValueError(f"damping must be 0 or a positive number, got {damping}.")
    if num_conjugate_gradient_steps < 1:
        raise ValueError(
            f"num_conjugate_gradient_steps must be 1 or more, got {num_conjugate_gradient_steps}."
        )
    if num_inner_steps < 0:
        raise ValueError(f"num_inner_steps must be 0 or more, got {num_inner_steps}.")
    check_optimizer(inner_optimizer, learned=False)
    default_num_inner_steps, damped_strength = num_inner_steps, proximal_strength + damping

    def adapt(meta_params, support, *, num_inner_steps=None, probe_fn=None):
        start = split(meta_params, where)[0]

        def proximal_loss(params, batch):
            away = jax.tree.map(jnp.subtract, split(params, where)[0], start)
            proximity = sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(real_parts(away)))
            return scalar_loss(loss_fn, params, batch) + proximal_strength / 2 * proximity

        return inner_loop(
            proximal_loss,
            inner_optimizer,
            meta_params,
            support,
            num_steps=default_num_inner_steps if num_inner_steps is None else num_inner_steps,
            where=where,
            probe_fn=probe_fn,
        )

    def implicit_gradient(meta_params, task):
        check_task(task, support_per_step=False)
        adaptation = adapt(meta_params, task.support)
        start, _ = split(meta_params, where)
        adapted, rest = split(adaptation.params, where)
        fixed, static = eqx.partition(rest, is_learnable)

        def support_gradient(adapted, fixed):
            return value_and_gradient(
                lambda x: scalar_loss(loss_fn, eqx.combine(x, fixed, static), task.support)
            )(adapted)[1]

        def query_loss_of(adapted, fixed):
            return query_loss(loss_fn, eqx.combine(adapted, fixed, static), task)

        loss, (g, direct) = value_and_gradient(query_loss_of, (0, 1))(adapted, fixed)
        slope, hessian = jax.linearize(lambda x: support_gradient(x, fixed), adapted)

        def product(x):
            return jax.tree.map(lambda a, b: a + b / damped_strength, x, hessian(x))

        parts, _ = cg(
            lambda parts: real_parts(product(from_real_parts(parts, g))),
            real_parts(g),
            tol=0.0,
            maxiter=num_conjugate_gradient_steps,
        )
        x = from_real_parts(parts, g)
        _, pull = jax.vjp(lambda fixed: support_gradient(adapted, fixed), fixed)
        through_fixed = conjugate(pull(conjugate(x))[0])
        fixed_gradient = jax.tree.map(lambda a, b: a - b / damped_strength, direct, through_fixed)
        info = {
            "query_loss": loss,
            "support_losses": adaptation.support_losses,
            "residual": _ratio(jax.tree.map(jnp.subtract, product(x), g), g),
            "stationarity": _ratio(
                jax.tree.map(
                    lambda s, a, b: s + proximal_strength * (a - b), slope, adapted, start
                ),
                support_gradient(start, fixed),
            ),
        }
        return (loss, info), eqx.combine(x, fixed_gradient)

    return MetaLearner(lambda params: params, adapt, mean_direction(implicit_gradient), _ADVICE)


_ADVICE = (
    "An implicit gradient holds only where the inner loop nears its minimum, train/stationarity "
    "far below 1: take a smaller inner learning rate and more inner steps, or Adam as the inner "
    "optimizer, with a larger proximal strength. The recipe sinusoid-imaml shows settings that "
    "hold."
)


def _ratio(one, two):
    """‖one‖ / ‖two‖; zero if both are zero."""
    return optax.tree.norm(one) / jnp.maximum(optax.tree.norm(two), jnp.finfo(jnp.float32).tiny)
