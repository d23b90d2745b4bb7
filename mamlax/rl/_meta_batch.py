"""The first part of every outer loop of policies: exploring a meta-batch of tasks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import PyTree

from .._types import Limit, OuterLoop
from ..algorithms._outer_loop import OuterState, initial_state
from ..algorithms._over_tasks import (
    check_mesh,
    check_micro_batches,
    in_micro_batches,
    map_tasks,
    mean_gradient,
    mean_over_devices,
    share,
)
from ._advantages import masked_mean
from ._moments import with_observations
from ._policy_learner import Exploration, PolicyLearner
from ._rollout import episode_lengths, successes, total_rewards

Update = Callable[["MetaBatch", OuterState], tuple[OuterState, dict[str, Any]]]


class MetaBatch(NamedTuple):
    """The explored tasks of this device, and how to average over the tasks of all devices.

    Attributes:
        explorations: explorations, stacked along a leading axis `tasks`.
        scores: `[tasks]`; see `policy_objective`.
        batch_size: how many tasks to compute at once. None: all.
        average: maps a tree of means over this device's tasks to means over all devices.
    """

    explorations: Exploration
    scores: Any
    batch_size: int | None
    average: Callable[[PyTree], PyTree]

    def gradient(
        self,
        objective: Callable[[Any, Any], tuple[PyTree, PyTree]],
        policy: PyTree,
        *others: PyTree,
    ) -> tuple[tuple[PyTree, PyTree], Any]:
        """`((loss, info), gradient)` of `objective(policy, (exploration, score, *others))`.

        These are means over all tasks, except `info`, which is for the tasks on this device.
        """
        tasks = (self.explorations, self.scores, *others)
        meta_gradient = mean_gradient(objective)
        if self.batch_size is not None:
            meta_gradient = in_micro_batches(meta_gradient, self.batch_size)
        (loss, info), gradient = meta_gradient(policy, tasks)
        loss, gradient = self.average((loss, gradient))
        return (loss, info), gradient

    def mean(self, fn: Callable[..., PyTree], *others: PyTree) -> PyTree:
        """The mean over all tasks of `fn(exploration, score, *others)`."""
        tasks = (self.explorations, self.scores, *others)
        values = map_tasks(lambda task: fn(*task), tasks, batch_size=self.batch_size)
        return self.average(jax.tree.map(lambda x: jnp.mean(x, axis=0), values))


def policy_outer_loop(
    learner: PolicyLearner,
    optimizer: optax.GradientTransformation,
    update: Update,
    *,
    meta_batch_size: int,
    batch_size: int | None,
    mesh: Mesh | None,
) -> OuterLoop:
    """An outer loop that explores a meta-batch of tasks and then updates the policy.

    Args:
        learner: how each task is learned.
        optimizer: the optimizer whose state is in the outer state.
        update: `update(meta_batch, state) -> (state, metrics)`. It runs on every device, and must
            average what it computes from a meta-batch over devices.
        meta_batch_size: tasks per outer step.
        batch_size: how many tasks per device at once. None: all.
        mesh: devices with one axis named "tasks", over which tasks are spread. None: one device.

    Raises:
        ValueError: if `meta_batch_size` is not positive, or does not divide evenly over the devices
            and into micro-batches.
    """
    if meta_batch_size < 1:
        raise ValueError(f"meta_batch_size must be positive, got {meta_batch_size}.")
    num_devices = 1
    if mesh is not None:
        check_mesh(mesh)
        num_devices = mesh.size
    if meta_batch_size % num_devices:
        raise ValueError(f"{meta_batch_size} tasks do not divide over {num_devices} devices.")
    check_micro_batches(meta_batch_size // num_devices, batch_size)

    def average(tree):
        return tree if mesh is None else mean_over_devices(tree)

    def init(policy):
        learner.check(policy)
        return initial_state(policy, optimizer)

    def explore(state, keys):
        def one(key):
            task_key, explore_key = jax.random.split(key)
            task = learner.sample_task(task_key)
            return learner.explore(explore_key, state.meta_params, task)._replace(policy=None)

        return map_tasks(one, keys, batch_size=None if learner.acts_together else batch_size)

    def improve(state, explorations):
        query = explorations.query
        returns = jnp.mean(total_rewards(query.trajectory), axis=-1)
        # judged by the other tasks: independent of what was recorded in this one
        total = meta_batch_size * average(jnp.mean(returns))
        others = (total - returns) / max(1, meta_batch_size - 1)
        gains = returns - others if meta_batch_size > 1 else returns
        # the units of the outer loss: per step, and as advantages are scaled
        lengths = jnp.mean(episode_lengths(query.trajectory), axis=-1)
        scores = gains / (lengths * query.scale)
        meta_batch = MetaBatch(explorations, scores, batch_size, average)
        new, metrics = update(meta_batch, state)
        described = _described(meta_batch, meta_batch_size)
        policy = with_observations(
            new.meta_params,
            [one.trajectory for one in (explorations.support, query) if one is not None],
            described["train/environment_steps"],
            average,
        )
        new = new._replace(meta_params=policy, outer_step=state.outer_step + 1)
        arrays = eqx.filter(new, eqx.is_array)  # all that a device can return
        return arrays, {**described, **metrics}

    def both(state, keys):
        return improve(state, explore(state, keys))

    on_devices = both
    if mesh is not None:
        on_devices = share(both, mesh, lambda result: result, PartitionSpec())

    def step(key, state):
        arrays, metrics = on_devices(state, jax.random.split(key, meta_batch_size))
        return eqx.combine(arrays, eqx.filter(state, eqx.is_array, inverse=True)), metrics

    limit = Limit(learner.max_unstable_share, _REMEDY)
    return OuterLoop(init, step, {"train/unstable_episodes": limit}, mesh=mesh)


_REMEDY = (
    "In such an episode a reward or an observation was infinite or NaN: look at what the "
    "environment returns (a step without a reward?), and at how large its actions are. A share "
    "that is to be expected is allowed by max_unstable_share."
)


def _described(meta_batch: MetaBatch, meta_batch_size: int) -> dict[str, Any]:
    """Metrics of the episodes themselves."""
    support, query = meta_batch.explorations.support, meta_batch.explorations.query
    # the mean of −log π over what π did is its entropy, but for noise
    entropy = jax.vmap(masked_mean)(-query.trajectory.log_probs, query.trajectory.mask)
    num_steps = jnp.sum(query.trajectory.mask, axis=(1, 2))
    metrics = {
        "train/post_adaptation_return": jnp.mean(total_rewards(query.trajectory), axis=-1),
        "train/explained_variance": query.explained_variance,
        "train/entropy": entropy,
        "train/episode_length": jnp.mean(episode_lengths(query.trajectory) * 1.0, axis=-1),
        "train/terminated_episodes": _share(query.trajectory.terminated),
        "train/unstable_episodes": _share(query.trajectory.unstable),
    }
    solved = query.trajectory.solved is not None
    if solved:
        metrics["train/post_adaptation_success_rate"] = _share(successes(query.trajectory))
    if support is not None and solved:
        before = successes(support.trajectory)[:, 0]
        metrics["train/pre_adaptation_success_rate"] = _share(before)
    if support is not None:
        of_support = _share(support.trajectory.unstable)
        metrics["train/unstable_episodes"] = jnp.maximum(
            metrics["train/unstable_episodes"], of_support
        )
        returns = total_rewards(support.trajectory)[:, 0]
        metrics["train/pre_adaptation_return"] = jnp.mean(returns, axis=-1)
        num_steps += jnp.sum(support.trajectory.mask, axis=(1, 2, 3))
    means = {name: jnp.mean(values, axis=0) for name, values in metrics.items()}
    means["train/environment_steps"] = jnp.mean(num_steps.astype(jnp.float32))
    means = meta_batch.average(means)
    means["train/environment_steps"] *= meta_batch_size
    return means


def _share(unstable: Any) -> PyTree:
    """The share of the episodes of each task."""
    return jnp.mean(unstable.astype(jnp.float32), axis=tuple(range(1, unstable.ndim)))
