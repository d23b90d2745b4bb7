"""MAML with a trust region in the outer loop: the paper's Algorithm 3, as the authors ran it."""

import functools
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from .._types import OuterLoop
from ..algorithms._gradient import from_real_parts, real_parts
from ..algorithms._outer_loop import OuterState
from ..algorithms._over_tasks import map_tasks
from ..algorithms._params import split
from ._advantages import masked_mean
from ._meta_batch import MetaBatch, policy_outer_loop
from ._policy_learner import Exploration, PolicyLearner, Replay, policy_objective, replay
from ._trust_region import fisher_vector_product, line_search, longest_step

Fisher = Literal["exact", "adapted"]


def maml_trpo(
    learner: PolicyLearner,
    *,
    meta_batch_size: int,
    max_kl: float = 0.01,
    num_conjugate_gradient_steps: int = 10,
    damping: float = 1e-5,
    fisher: Fisher = "exact",
    fisher_fraction: float = 1.0,
    backtrack: float = 0.8,
    max_backtracks: int = 15,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> OuterLoop:
    """MAML-TRPO: explore `meta_batch_size` tasks, then step along the natural meta-gradient.

    The trust region limits the adapted policies: KL(π_φ(θ_old) ‖ π_φ(θ)) ≤ δ on the query, a mean
    over tasks. A step is accepted only if the outer loss falls and the KL is at most δ; both are
    computed exactly, not estimated. Otherwise θ does not change, bit for bit. (Only
    `ObservationMoments` are updated after every outer step.)

    Args:
        learner: how each task is learned; see `policy_learner`.
        meta_batch_size: tasks per outer step.
        max_kl: δ, in nats.
        num_conjugate_gradient_steps: number of iterations that solve for the direction.
        damping: number added to the diagonal of the Fisher matrix.
        fisher: the Fisher matrix that defines the direction. `"exact"`: the adapted policies as
            functions of θ. `"adapted"`: the adapted policies as functions of their own parameters,
            as if adaptation added a constant to θ (a first-order inner loop); this is cheaper, but
            worse per outer step. Neither changes which steps are accepted.
        fisher_fraction: share of the episodes, support and query, used for the Fisher matrix. If
            below 1, the policies for the matrix are adapted on this share.
        backtrack: a rejected step is shortened by this factor or more.
        max_backtracks: how often to shorten the step before giving up.
        batch_size: how many tasks per device at once, a divisor of the tasks per device. The
            gradient then takes less memory, and on a CPU less time. None: all tasks at once, which
            suits an accelerator.
        mesh: devices that share the tasks, as for `over_tasks`.

    Returns:
        An `OuterLoop`, as `outer_loop` returns it. Its metrics are those of `policy_gradient`, and
        `train/kl` of the adapted policies, `train/accepted` (1 or 0) and `train/backtracks`.

    Raises:
        ValueError: if a number is out of range, `fisher` is unknown, or the tasks do not divide
            evenly over the devices and into micro-batches.

    Example:
        >>> import jax, mamlax, optax
        >>> env = mamlax.rl.PointNavigation(horizon=10)
        >>> learner = mamlax.rl.policy_learner(
        ...     env, inner_optimizer=optax.sgd(0.1), num_inner_steps=1, episodes_per_task=5
        ... )
        >>> loop = mamlax.rl.maml_trpo(learner, meta_batch_size=4)
        >>> state = loop.init(mamlax.rl.mlp_policy(jax.random.key(0), env))
        >>> state, metrics = jax.jit(loop.step)(jax.random.key(1), state)
        >>> bool(metrics["train/kl"] <= 0.01)
        True

    References:
        Finn, Abbeel & Levine, ICML 2017, Algorithm 3 and section 5.3; Schulman et al., Trust
        Region Policy Optimization, ICML 2015.
    """
    if not max_kl > 0 or damping < 0 or not 0 < fisher_fraction <= 1 or not 0 < backtrack < 1:
        raise ValueError(
            "max_kl must be positive, damping 0 or more, fisher_fraction in (0, 1] and backtrack "
            f"in (0, 1), got {max_kl}, {damping}, {fisher_fraction} and {backtrack}."
        )
    if num_conjugate_gradient_steps < 1 or max_backtracks < 0:
        raise ValueError(
            "num_conjugate_gradient_steps must be 1 or more and max_backtracks 0 or more, got "
            f"{num_conjugate_gradient_steps} and {max_backtracks}."
        )
    if fisher not in get_args(Fisher):
        raise ValueError(f"fisher must be one of {get_args(Fisher)}, got {fisher!r}.")

    def update(meta_batch: MetaBatch, state: OuterState):
        learnable, rest = split(state.meta_params)

        def objective(policy, task):
            return policy_objective(learner, policy, *task)

        def policy_at(parts):
            return eqx.combine(from_real_parts(parts, learnable), rest)

        def evaluate(parts):
            def of_task(exploration, score, old):
                loss, new = policy_objective(learner, policy_at(parts), exploration, score)
                return loss, _kl(old, new)

            return meta_batch.mean(of_task, before.judged)

        def distributions(parts):
            policy = policy_at(parts)
            first_order = True if fisher == "adapted" else None
            return map_tasks(
                lambda one: replay(learner, policy, one, first_order=first_order).judged,
                some,
                batch_size=batch_size,
            )

        (loss, before), gradient = meta_batch.gradient(objective, state.meta_params)
        some = _some_episodes(meta_batch.explorations, fisher_fraction)
        mask = _some(before.experiences.trajectory.mask, fisher_fraction, axis=2)
        product = fisher_vector_product(
            distributions,
            _weights_in_time(mask, before.weights),
            real_parts(learnable),
            damping=damping,
            average=meta_batch.average,
        )
        step = longest_step(
            product,
            real_parts(gradient),
            max_kl=max_kl,
            num_iterations=num_conjugate_gradient_steps,
        )
        search = line_search(
            evaluate,
            real_parts(learnable),
            step,
            loss=loss,
            max_kl=max_kl,
            backtrack=backtrack,
            max_backtracks=max_backtracks,
        )
        metrics = {
            "train/query_loss": loss,
            "train/gradient_norm": optax.tree.norm(gradient),
            "train/kl": search.kl,
            "train/accepted": search.accepted.astype(jnp.float32),
            "train/backtracks": search.num_backtracks.astype(jnp.float32),
        }
        return state._replace(meta_params=policy_at(search.params)), metrics

    return policy_outer_loop(
        learner,
        optax.identity(),
        update,
        meta_batch_size=meta_batch_size,
        batch_size=batch_size,
        mesh=mesh,
    )


def _kl(old: PyTree, replayed: Replay) -> PyTree:
    """KL(old ‖ new) of the judged policies of one task, weighted as in the outer loss."""
    mask = replayed.experiences.trajectory.mask
    return jnp.sum(replayed.weights * jax.vmap(masked_mean)(old.kl(replayed.judged), mask))


def _some_episodes(explorations: Exploration, fraction: float) -> Exploration:
    """The first episodes of each task, a `fraction` of all."""

    def first(experience: PyTree, axis: int) -> PyTree:
        some = functools.partial(_some, fraction=fraction, axis=axis)
        trajectory = jax.tree.map(some, experience.trajectory)
        return experience._replace(trajectory=trajectory, advantages=some(experience.advantages))

    support = explorations.support
    return explorations._replace(
        support=None if support is None else first(support, 2), query=first(explorations.query, 1)
    )


def _some(array: PyTree, fraction: float, axis: int) -> PyTree:
    """The first episodes, which lie along `axis`."""
    count = max(1, round(fraction * array.shape[axis]))
    return jax.lax.slice_in_dim(array, 0, count, axis=axis)


def _weights_in_time(mask: PyTree, weights: PyTree) -> PyTree:
    """The weight of each time step in the mean over time, judged policies, and tasks.

    Args:
        mask: `[tasks, judged, episodes, time]`.
        weights: `[tasks, judged]`.
    """
    mask = mask.astype(weights.dtype)
    in_time = mask / jnp.maximum(jnp.sum(mask, axis=(2, 3), keepdims=True), 1)
    return in_time * weights[..., None, None] / len(mask)
