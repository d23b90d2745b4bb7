"""The one inner loop: gradient steps on a task's support set, differentiable from end to end.

    φ₀ = θ,    φᵢ₊₁ = φᵢ + update(∇ℒ(φᵢ, support))        (Finn et al. 2017, Algorithm 1, line 6)

Every algorithm of the family runs this loop; they differ in what they pass to it.
"""

import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from .._types import Adaptation, LossFn
from ._loss import scalar_loss
from ._params import split


def inner_loop(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    params: Any,
    support: Any,
    *,
    num_steps: int,
    first_order: bool = False,
    probe_fn: Callable[[Any], Any] | None = None,
    remat: bool = False,
    support_per_step: bool = False,
    record_fn: Callable[[Any, Any], Any] | None = None,
) -> Adaptation:
    """Take `num_steps` optimizer steps on the support loss, from `params`.

    φ₀ = θ and φᵢ₊₁ = φᵢ + uᵢ, where uᵢ is what `optimizer` makes of gᵢ = ∇ℒ(φᵢ, support). The
    optimizer's state starts fresh and is differentiated through as well. With `optax.sgd(α)` this
    is φᵢ₊₁ = φᵢ − α gᵢ, the inner loop of MAML.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        optimizer: any optax transformation that needs gradients, parameters and at most the
            loss's value (not those that evaluate the loss again, as line searches do). Through
            Adam, set `eps_root > 0`: the derivative of √v at v = 0 is infinite.
        params: θ, any pytree. Its floating-point arrays learn; other leaves ride along. Under
            `jax.jit` Python numbers are arrays; compile with `eqx.filter_jit` to keep them.
        support: what `loss_fn` takes as `batch`; the same at every step, unless
            `support_per_step`.
        num_steps: number of inner steps, 0 or more; static.
        first_order: treat every gᵢ as a constant when differentiating the result.
        probe_fn: `probe_fn(params) -> pytree`, evaluated before the first step and after each.
        remat: recompute each step when differentiating, instead of storing it: less memory for
            about one more forward and backward pass per step.
        support_per_step: `support` carries a leading axis `[num_steps, ...]`, one batch a step.
        record_fn: `record_fn(params, batch) -> batch`, where data depend on who gathers them, as
            episodes do: what φᵢ makes of its batch (a PRNG key, say) is the batch of step i, a
            constant when differentiating.

    Returns:
        The adapted params, the `[num_steps]` support losses before each step, the
        `[num_steps + 1, ...]` probes and, with a `record_fn`, the `[num_steps, ...]` batches
        recorded: with `support_per_step` they replay the same loop.

    Raises:
        ValueError: if `num_steps` is negative, `params` has nothing to learn, or `support` has
            another number of batches than steps.
        TypeError: if `loss_fn` does not take two arguments or does not return a real
            floating-point scalar, or `num_steps` is traced.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     return 0.5 * jnp.sum((params - batch) ** 2)
        >>> adaptation = mamlax.inner_loop(
        ...     loss_fn, optax.sgd(0.5), jnp.array([0.0]), jnp.array([8.0]), num_steps=2
        ... )
        >>> print(adaptation.params, adaptation.support_losses)
        [6.] [32.  8.]

    References:
        Finn, Abbeel & Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks,
        ICML 2017.
    """
    num_steps = _static(num_steps)
    _check_nearly_right(params, support)
    learnable, rest = split(params)
    optimizer = optax.with_extra_args_support(optimizer)
    if support_per_step:
        _check_one_batch_per_step(support, num_steps)

    def loss_of(learnable, batch):
        return scalar_loss(loss_fn, eqx.combine(learnable, rest), batch)

    def probe(learnable):
        if probe_fn is None:
            return None
        return jax.tree.map(jnp.asarray, probe_fn(eqx.combine(learnable, rest)))

    def step(carry, batch):
        learnable, optimizer_state = carry
        batch = support if batch is None else batch
        recorded = None
        if record_fn is not None:
            batch = recorded = jax.lax.stop_gradient(record_fn(eqx.combine(learnable, rest), batch))
        loss, gradient = jax.value_and_grad(loss_of)(learnable, batch)
        value = loss
        if first_order:
            value, gradient = jax.lax.stop_gradient((loss, gradient))
        updates, optimizer_state = optimizer.update(
            gradient, optimizer_state, learnable, value=value
        )
        learnable = optax.apply_updates(learnable, updates)
        return (learnable, optimizer_state), (loss, probe(learnable), recorded)

    if remat:
        step = jax.checkpoint(step)
    before = probe(learnable)
    if num_steps == 0:
        return Adaptation(params, jnp.zeros(0), jax.tree.map(lambda x: x[None], before))

    # The first step stands outside the scan: it starts from the same θ for every task, so under a
    # vmap over tasks its parameters are shared, and a single step needs no loop at all.
    batches = support if support_per_step else None
    carry = (learnable, optimizer.init(learnable))
    carry, first = step(carry, jax.tree.map(lambda x: x[0], batches))
    stacked = jax.tree.map(lambda x: x[None], first)
    if num_steps > 1:
        later = jax.tree.map(lambda x: x[1:], batches)
        carry, others = jax.lax.scan(step, carry, later, num_steps - 1)
        stacked = _joined(stacked, others)
    losses, after, recorded = stacked
    probes = _joined(jax.tree.map(lambda x: x[None], before), after)
    return Adaptation(eqx.combine(carry[0], rest), losses, probes, recorded)


def _static(num_steps: Any) -> int:
    try:
        num_steps = operator.index(num_steps)
    except TypeError as error:
        raise TypeError(
            "the number of inner steps must be a Python integer, got "
            f"{type(num_steps).__name__}. It is part of the program: under jit name it in "
            "static_argnames, or bind it with functools.partial before."
        ) from error
    if num_steps < 0:
        raise ValueError(f"num_steps must be 0 or more, got {num_steps}.")
    return num_steps


def _check_nearly_right(params: Any, support: Any) -> None:
    if hasattr(params, "meta_params"):
        raise TypeError("adapting takes parameters, got a state. Give state.meta_params.")
    if hasattr(support, "support"):
        raise TypeError("adapting takes a support set, got a task. Give task.support.")


def _check_one_batch_per_step(support: Any, num_steps: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(support):
        if jnp.shape(leaf)[:1] != (num_steps,):
            raise ValueError(
                f"with support_per_step, support holds one batch per inner step: {num_steps} are "
                f"expected along the leading axis, but support{jax.tree_util.keystr(path)} has "
                f"shape {list(jnp.shape(leaf))}."
            )


def _joined(first: Any, later: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.concatenate([x, y]), first, later)
