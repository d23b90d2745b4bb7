"""Outer loops that follow the meta-gradient: one step, or several steps on the same episodes."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from .._types import OuterLoop
from ..algorithms._optimizer import check_is_optimizer, optimizer_step
from ..algorithms._outer_loop import OuterState
from ..algorithms._over_tasks import map_tasks
from ..algorithms._params import split
from ._advantages import masked_mean
from ._meta_batch import MetaBatch, policy_outer_loop
from ._moments import without_moments
from ._policy_learner import Exploration, PolicyLearner, policy_objective, replay
from ._surrogates import clipped_likelihood_ratio


def policy_gradient(
    learner: PolicyLearner,
    optimizer: optax.GradientTransformation,
    *,
    meta_batch_size: int,
    num_gradient_steps: int = 1,
    kl_penalty: float = 0.0,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> OuterLoop:
    """Learn across tasks: explore `meta_batch_size` tasks, and follow their meta-gradient.

    Args:
        learner: how each task is learned; see `policy_learner`.
        optimizer: any optax transformation, e.g. `optax.adam(1e-3)`.
        meta_batch_size: tasks per outer step.
        num_gradient_steps: number of optimizer steps on the same episodes.
        kl_penalty: η, the weight of KL(π_old ‖ π) on the support, where π are the policies that
            acted there; a mean over inner steps and tasks.
        batch_size: how many tasks per device at once, a divisor of the tasks per device. The
            gradient then takes less memory, and on a CPU less time. None: all tasks at once, which
            suits an accelerator.
        mesh: devices that share the tasks, as for `over_tasks`.

    Returns:
        An `OuterLoop`, as `outer_loop` returns it. Its metrics are `train/pre_adaptation_return`,
        `train/post_adaptation_return`, `train/query_loss`, `train/gradient_norm`, `train/kl` (if
        there is a penalty), `train/entropy`, `train/explained_variance` and
        `train/environment_steps`.

    Raises:
        ValueError: if `meta_batch_size` or `num_gradient_steps` is not positive, `kl_penalty` is
            negative, or the tasks do not divide evenly over the devices and into micro-batches.

    Example:
        >>> import jax, mamlax, optax
        >>> env = mamlax.rl.PointNavigation(horizon=10)
        >>> learner = mamlax.rl.policy_learner(
        ...     env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=5
        ... )
        >>> loop = mamlax.rl.policy_gradient(learner, optax.adam(1e-3), meta_batch_size=4)
        >>> state = loop.init(mamlax.rl.mlp_policy(jax.random.key(0), env))
        >>> state, metrics = jax.jit(loop.step)(jax.random.key(1), state)
        >>> print(metrics["train/environment_steps"])
        400.0
    """
    if num_gradient_steps < 1:
        raise ValueError(f"num_gradient_steps must be positive, got {num_gradient_steps}.")
    if kl_penalty < 0:
        raise ValueError(f"kl_penalty must be 0 or more, got {kl_penalty}.")
    check_is_optimizer(optimizer, "outer")
    optimizer = without_moments(optimizer)

    def update(meta_batch: MetaBatch, state: OuterState):
        learnable, rest = split(state.meta_params)
        if kl_penalty and meta_batch.explorations.support is None:
            raise ValueError("a KL penalty on the support needs inner steps: give kl_penalty=0.")
        old = None
        if kl_penalty:
            old = map_tasks(
                lambda one: replay(learner, state.meta_params, one).acting,
                meta_batch.explorations,
                batch_size=batch_size,
            )

        def objective(policy, task):
            exploration, score, old = task
            loss, replayed = policy_objective(learner, policy, exploration, score)
            if old is not None:
                loss += kl_penalty * _mean_kl(old, replayed.acting, exploration)
            return loss, None

        def step(carry, _):
            learnable, optimizer_state = carry
            (loss, _), gradient = meta_batch.gradient(objective, eqx.combine(learnable, rest), old)
            learnable, optimizer_state = optimizer_step(
                optimizer, gradient, optimizer_state, learnable, loss, "outer"
            )
            return (learnable, optimizer_state), (loss, optax.tree.norm(gradient))

        carry = (learnable, state.optimizer_state)
        carry, (losses, norms) = jax.lax.scan(step, carry, None, length=num_gradient_steps)
        learnable, optimizer_state = carry
        policy = eqx.combine(learnable, rest)
        # the penalty is zero before the first step
        metrics = {"train/query_loss": losses[0], "train/gradient_norm": norms[0]}
        if old is not None:
            metrics["train/kl"] = meta_batch.mean(
                lambda one, _, old: _mean_kl(old, replay(learner, policy, one).acting, one), old
            )
        return state._replace(meta_params=policy, optimizer_state=optimizer_state), metrics

    return policy_outer_loop(
        learner,
        optimizer,
        update,
        meta_batch_size=meta_batch_size,
        batch_size=batch_size,
        mesh=mesh,
    )


def promp(
    learner: PolicyLearner,
    optimizer: optax.GradientTransformation,
    *,
    meta_batch_size: int,
    num_gradient_steps: int = 5,
    clip: float = 0.3,
    kl_penalty: float = 5e-4,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> OuterLoop:
    """ProMP (proximal meta-policy search): several steps on a clipped loss, on the same episodes.

    The loss is the clipped likelihood ratio of the adapted policies, plus η KL(π_old ‖ π) of the
    policies before adaptation. Use a learner with `surrogate=likelihood_ratio`.

    Args:
        learner: how each task is learned. Its outer surrogate is replaced by the clipped one.
        optimizer: any optax transformation, e.g. `optax.adam(1e-3)`.
        meta_batch_size: tasks per outer step.
        num_gradient_steps: number of optimizer steps on the same episodes.
        clip: likelihood ratios are clipped to 1 ± `clip`.
        kl_penalty: η.
        batch_size: how many tasks per device at once, as for `policy_gradient`.
        mesh: devices that share the tasks.

    References:
        Rothfuss et al., ProMP: Proximal Meta-Policy Search, ICLR 2019.
    """
    if not clip > 0:
        raise ValueError(f"clip must be positive, got {clip}.")
    clipped = functools.partial(clipped_likelihood_ratio, clip=clip)
    return policy_gradient(
        learner._replace(outer_surrogate=clipped),
        optimizer,
        meta_batch_size=meta_batch_size,
        num_gradient_steps=num_gradient_steps,
        kl_penalty=kl_penalty,
        batch_size=batch_size,
        mesh=mesh,
    )


def _mean_kl(old: PyTree, new: PyTree, exploration: Exploration) -> PyTree:
    """The mean over inner steps of KL(old ‖ new) on the support of one task."""
    assert exploration.support is not None
    mask = exploration.support.trajectory.mask
    return jnp.mean(jax.vmap(masked_mean)(old.kl(new), mask))
