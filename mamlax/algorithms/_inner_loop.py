"""The inner loop: gradient steps on a task's support set, differentiable from end to end.

    φ₀ = θ,    φᵢ₊₁ = φᵢ + update(∇ℒ(φᵢ, support))        (Finn et al. 2017, Algorithm 1, line 6)

All algorithms run this loop. They differ in the arguments that they pass to it.
"""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from .._types import Adaptation, LossFn
from ._gradient import value_and_gradient
from ._hoisting import hoisted
from ._loss import scalar_loss
from ._optimizer import optimizer_state, optimizer_step
from ._params import Where, split

Remat: TypeAlias = Literal["none", "steps", "sqrt"]
"""What to recompute instead of storing when the inner loop is differentiated; see `inner_loop`."""


def inner_loop(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    params: PyTree,
    support: PyTree,
    *,
    num_steps: int,
    where: Where | None = None,
    first_order: bool = False,
    num_unrolled_steps: int | None = None,
    probe_fn: Callable[[PyTree], PyTree] | None = None,
    remat: Remat = "none",
    support_per_step: bool = False,
    record_fn: Callable[[PyTree, PyTree], PyTree] | None = None,
    params_at: Callable[[PyTree, PyTree], PyTree] | None = None,
) -> Adaptation:
    """Take `num_steps` optimizer steps on the support loss, from `params`.

    φ₀ = θ and φᵢ₊₁ = φᵢ + uᵢ, where uᵢ is the update of `optimizer` for gᵢ = ∇ℒ(φᵢ, support). The
    optimizer's state starts fresh and is differentiated through as well. With `optax.sgd(α)` this
    is φᵢ₊₁ = φᵢ − α gᵢ, the inner loop of MAML.

    Args:
        loss_fn: `loss_fn(params, batch) -> scalar`.
        optimizer: any optax transformation that needs only gradients, parameters and the loss's
            value. (Those that evaluate the loss again, such as line searches, cannot be used.) To
            differentiate through Adam, set `eps_root > 0`: the derivative of √v at v = 0 is
            infinite.
        params: θ, any pytree. Its floating-point arrays learn, also complex ones (the gradient of
            z = x + iy is ∂ℒ/∂x + i ∂ℒ/∂y). Other leaves are kept unchanged. Under `jax.jit`, Python
            numbers become arrays; compile with `eqx.filter_jit` to keep them.
        support: the argument `batch` of `loss_fn`; the same at every step, unless
            `support_per_step`.
        num_steps: number of inner steps, 0 or more; static.
        where: `where(params)` is the part that adapts, e.g. `lambda params: params.head`: a leaf, a
            subtree, or several in any container. The optimizer sees only this part. The rest is the
            same at every step, and the result may be differentiated with respect to it. Whatever
            the loss and probes compute only from the rest is computed once, unless they are jitted.
            None: everything adapts.
        first_order: treat every gᵢ as a constant when differentiating the result.
        num_unrolled_steps: how many of the last steps to differentiate through; earlier gradients
            are treated as constants. Memory then grows only with these steps, provided that the
            optimizer has nothing to learn and no probe is differentiated. 0 is the same as
            `first_order`. None: all.
        probe_fn: `probe_fn(params) -> pytree`, evaluated before the first step and after each.
        remat: what to recompute instead of storing, when differentiating. `"none"`: nothing; every
            step stores all its intermediate values. `"steps"`: only the parameters between steps
            are stored; this costs about one more forward and backward pass per step. `"sqrt"`: only
            the parameters between √num_steps segments are stored; this costs about two.
        support_per_step: `support` has a leading axis `[num_steps, ...]`, one batch per step.
        record_fn: `record_fn(params, batch) -> batch`, for data that depend on the parameters, as
            episodes depend on the policy. Its result for φᵢ and the given batch (e.g. a PRNG key)
            is the batch of step i, and a constant when differentiating.
        params_at: `params_at(params, i) -> params`, for parameters that hold an array for each
            step: the parameters that the loss of step i (from 0, traced) uses, and the probe after
            that step. The probe before the first step uses those of the first step. The `params`
            returned are those used after the last step.

    Returns:
        The adapted params, the `[num_steps]` support losses before each step, the
        `[num_steps + 1, ...]` probes and, with a `record_fn`, the `[num_steps, ...]` recorded
        batches. Given as the support with `support_per_step`, these replay the same loop.

    Raises:
        ValueError: if `num_steps` is negative, `params` has nothing to learn, `where` selects
            nothing that can learn, or `support` does not have one batch per step.
        TypeError: if `loss_fn` does not take two arguments or does not return a real
            floating-point scalar, `num_steps` is traced, or the optimizer needs more.

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
    check_differentiation(first_order, num_unrolled_steps, remat)
    if support_per_step:
        _check_one_batch_per_step(support, num_steps)
    num_constant_steps = _num_constant_steps(num_steps, first_order, num_unrolled_steps)
    learnable, rest = split(params, where)

    def seen(learnable, index):
        params = eqx.combine(learnable, rest)
        return params if params_at is None else params_at(params, index)

    def loss_at(learnable, index, batch):
        return scalar_loss(loss_fn, seen(learnable, index), batch)

    def probe_at(learnable, index):
        if probe_fn is None:
            return None
        return jax.tree.map(jnp.asarray, probe_fn(seen(learnable, index)))

    def step(constant, carry, xs):
        (learnable, state), (index, batch) = carry, xs
        batch = support if batch is None else batch
        recorded = None
        if record_fn is not None:
            batch = recorded = jax.lax.stop_gradient(record_fn(seen(learnable, index), batch))
        loss, gradient = value_and_gradient(loss_of)(learnable, index, batch)
        value = loss
        if constant:
            value, gradient = jax.lax.stop_gradient((loss, gradient))
        learnable, state = optimizer_step(optimizer, gradient, state, learnable, value, "inner")
        return (learnable, state), (loss, probe(learnable, index), recorded)

    def computed_once(fn, *others):
        """`fn(learnable, *others)` for others that stay: what does not adapt is computed once."""
        fixed = hoisted(lambda learnable: fn(learnable, *others), learnable)
        return lambda learnable, *_: fixed(learnable)

    loss_of: Callable[..., PyTree] = loss_at
    probe: Callable[..., PyTree] = probe_at
    if where is not None and params_at is None and num_steps:
        probe = computed_once(probe_at, 0)
        if not support_per_step and record_fn is None:
            loss_of = computed_once(loss_at, 0, support)

    before = jax.tree.map(lambda x: x[None], probe(learnable, 0))
    if num_steps == 0:
        return Adaptation(seen(learnable, 0), jnp.zeros(0), before)

    # The first step stands outside the scan: it starts from the same θ for every task, so under a
    # vmap over tasks its parameters are shared, and a single step needs no loop at all.
    xs = (jnp.arange(num_steps), support if support_per_step else None)
    carry, outputs = (learnable, optimizer_state(optimizer, learnable, "inner")), []
    ends = sorted({1, num_constant_steps, num_steps} - {0})
    for start, end in zip([0, *ends], ends, strict=False):
        one = functools.partial(step, start < num_constant_steps)
        part = jax.tree.map(lambda x, start=start, end=end: x[start:end], xs)
        carry, output = _scan(one, carry, part, end - start, remat)
        outputs.append(output)
    losses, after, recorded = jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)
    probes = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), before, after)
    return Adaptation(seen(carry[0], num_steps - 1), losses, probes, recorded)


def _scan(
    step: Callable[[PyTree, PyTree], PyTree], carry: PyTree, xs: PyTree, length: int, remat: Remat
) -> PyTree:
    """`jax.lax.scan`; `remat` chooses what is stored for its derivative."""
    if length == 1:
        step = step if remat == "none" else jax.checkpoint(step)
        carry, output = step(carry, jax.tree.map(lambda x: x[0], xs))
        return carry, jax.tree.map(lambda x: x[None], output)
    if remat == "none":
        return jax.lax.scan(step, carry, xs, length)
    inside = jax.checkpoint(step, prevent_cse=False)  # a scan prevents it anyway
    size = math.isqrt(length)
    if remat == "steps" or size == 1:
        return jax.lax.scan(inside, carry, xs, length)

    # segments whose insides are recomputed, and the steps that fill no segment
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def segment(carry, xs):
        return jax.lax.scan(inside, carry, xs, size)

    whole = length // size * size
    segments = jax.tree.map(lambda x: x[:whole].reshape(-1, size, *x.shape[1:]), xs)
    carry, outputs = jax.lax.scan(segment, carry, segments, whole // size)
    outputs = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), outputs)
    if whole == length:
        return carry, outputs
    rest = jax.tree.map(lambda x: x[whole:], xs)
    carry, last = _scan(step, carry, rest, length - whole, "steps")
    return carry, jax.tree.map(lambda x, y: jnp.concatenate([x, y]), outputs, last)


def check_differentiation(first_order: bool, num_unrolled_steps: int | None, remat: str) -> None:
    """Raise if the arguments about differentiation are unknown or contradict one another."""
    if remat not in get_args(Remat):
        raise ValueError(f'remat must be "none", "steps" or "sqrt", got {remat!r}.')
    if num_unrolled_steps is not None:
        _static(num_unrolled_steps, "num_unrolled_steps")
    if first_order and num_unrolled_steps:
        raise ValueError(
            f"first_order=True unrolls no step, got num_unrolled_steps={num_unrolled_steps} as "
            "well. Give one of them."
        )


def _num_constant_steps(num_steps: int, first_order: bool, num_unrolled_steps: int | None) -> int:
    """How many of the first steps have gradients that are treated as constants."""
    if num_unrolled_steps is None:
        return num_steps if first_order else 0
    return max(num_steps - num_unrolled_steps, 0)


def _static(number: Any, name: str = "num_steps") -> int:
    try:
        number = operator.index(number)
    except TypeError as error:
        raise TypeError(
            f"the number of inner steps must be a Python integer, got {type(number).__name__} as "
            f"{name}. It is part of the program: under jit name it in static_argnames, or bind it "
            "with functools.partial before."
        ) from error
    if number < 0:
        raise ValueError(f"{name} must be 0 or more, got {number}.")
    return number


def _check_nearly_right(params: PyTree, support: PyTree) -> None:
    if hasattr(params, "meta_params"):
        raise TypeError("adapting takes parameters, got a state. Give state.meta_params.")
    if hasattr(support, "support"):
        raise TypeError("adapting takes a support set, got a task. Give task.support.")


def _check_one_batch_per_step(support: PyTree, num_steps: int) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(support):
        if jnp.shape(leaf)[:1] != (num_steps,):
            raise ValueError(
                f"with support_per_step, support holds one batch per inner step: {num_steps} are "
                f"expected along the leading axis, but support{jax.tree_util.keystr(path)} has "
                f"shape {list(jnp.shape(leaf))}."
            )
