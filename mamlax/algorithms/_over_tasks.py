"""From one task to many: the only place that maps over tasks.

Algorithms are written for one task. `mean_gradient` lifts an objective to a meta-batch with `vmap`.
`over_tasks` then chooses how the meta-batch is processed: all tasks at once, in micro-batches one
after another, or spread over devices. A meta-gradient is a mean over tasks, so none of this changes
it (beyond rounding).
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import PRNGKeyArray, PyTree

from .._types import MetaLearner, SampleTask
from ._gradient import value_and_gradient
from ._params import split

Objective = Callable[[Any, Any], tuple[PyTree, PyTree]]
MetaGradient = Callable[..., tuple[tuple[PyTree, PyTree], Any]]


def mean_gradient(objective: Objective) -> MetaGradient:
    """The meta-gradient of many tasks, from an objective for one task.

    It is ∇_θ (1/T) Σ_t objective(θ, task_t), by automatic differentiation of everything that the
    objective computes. Every learner whose meta-gradient is the gradient of a loss ends with it.

    Args:
        objective: `objective(meta_params, task) -> (loss, info)`.

    Returns:
        A `meta_gradient(meta_params, tasks, *, outer_step=0) -> ((loss, info), gradient)`: the mean
        loss, `info` stacked over tasks, and the gradient with respect to the learnable leaves (None
        elsewhere). It does not depend on `outer_step`.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> meta_gradient = mamlax.mean_gradient(lambda theta, task: (theta * task.query, {}))
        >>> tasks = mamlax.Task(support=jnp.zeros(2), query=jnp.array([1.0, 3.0]))
        >>> (loss, _), gradient = meta_gradient(jnp.array(2.0), tasks)
        >>> print(loss, gradient)
        4.0 2.0
    """

    def meta_gradient(meta_params, tasks, *, outer_step=0):
        count_tasks(tasks)
        learnable, rest = split(meta_params)

        def mean_objective(learnable):
            losses, info = map_tasks(
                lambda task: objective(eqx.combine(learnable, rest), task), tasks
            )
            if losses.ndim != 1:
                raise TypeError(
                    "an objective must return one number per task, got an array of shape "
                    f"{list(losses.shape[1:])}. Average it first."
                )
            return jnp.mean(losses), info

        return value_and_gradient(mean_objective, has_aux=True)(learnable)

    return meta_gradient


def mean_direction(
    direction: Callable[[Any, Any], tuple[tuple[PyTree, PyTree], Any]],
) -> MetaGradient:
    """The meta-gradient of many tasks, as the mean of a direction for one task.

    For learners whose direction is not the gradient of their loss by automatic differentiation,
    such as Reptile's displacement and implicit MAML's solution of a linear system.

    Args:
        direction: `direction(meta_params, task) -> ((loss, info), gradient)`; `gradient` has the
            learnable leaves of `meta_params` and None elsewhere.

    Returns:
        A `meta_gradient`, as `mean_gradient` returns it.

    Example:
        >>> import jax.numpy as jnp, mamlax
        >>> meta_gradient = mamlax.mean_direction(
        ...     lambda theta, task: ((theta**2, {}), jnp.sign(theta - task.query))
        ... )
        >>> tasks = mamlax.Task(support=jnp.zeros(4), query=jnp.array([1.0, 1.0, 1.0, 3.0]))
        >>> print(meta_gradient(jnp.array(2.0), tasks)[1])
        0.5
    """

    def meta_gradient(meta_params, tasks, *, outer_step=0):
        (losses, info), gradients = map_tasks(lambda task: direction(meta_params, task), tasks)
        loss, gradient = jax.tree.map(lambda x: jnp.mean(x, 0), (losses, gradients))
        return (loss, info), gradient

    return meta_gradient


def map_tasks(
    fn: Callable[[PyTree], PyTree], tasks: PyTree, *, batch_size: int | None = None
) -> PyTree:
    """`fn(task)` for all tasks, with results stacked along a leading axis `tasks`.

    Args:
        fn: a function of one task.
        tasks: tasks, stacked along a leading axis.
        batch_size: how many tasks to compute at once, in batches one after another. None: all.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}.")
    if count_tasks(tasks) == 1:  # spares XLA a batch dimension of one in every product
        result = fn(jax.tree.map(lambda x: x[0], tasks))
        return jax.tree.map(lambda x: jnp.asarray(x)[None], result)
    if batch_size is None or batch_size >= count_tasks(tasks):
        return jax.vmap(fn)(tasks)
    return jax.lax.map(fn, tasks, batch_size=None if batch_size == 1 else batch_size)


def sample_tasks(sample_task: SampleTask, key: PRNGKeyArray, num_tasks: int) -> PyTree:
    """Draw a meta-batch: independent tasks, stacked along a leading axis `tasks`.

    Args:
        sample_task: `sample_task(key) -> Task`.
        key: a PRNG key.
        num_tasks: the number of tasks.

    Example:
        >>> import jax, mamlax
        >>> tasks = mamlax.sample_tasks(mamlax.Sinusoids(shots=5).sample, jax.random.key(0), 3)
        >>> tasks.support.inputs.shape
        (3, 5, 1)
    """
    return jax.vmap(sample_task)(jax.random.split(key, num_tasks))


def over_tasks(
    learner: MetaLearner, *, batch_size: int | None = None, mesh: Mesh | None = None
) -> MetaLearner:
    """The same learner, with its meta-batch processed in micro-batches or on several devices.

    Args:
        learner: any meta-learner.
        batch_size: tasks per micro-batch. Micro-batches run one after another and their gradients
            are averaged (gradient accumulation), so memory is that of one micro-batch. None: all
            tasks at once.
        mesh: devices with one axis named "tasks". Tasks are spread over them; parameters are
            replicated. Processor cores count as devices if `jax_num_cpu_devices` is set.
            `outer_loop` then draws the tasks of each device on that device.

    Returns:
        A learner with the same `meta_gradient` up to rounding. Its `meta_gradient` raises a
        ValueError if the meta-batch does not divide evenly.

    Example:
        >>> import jax, jax.numpy as jnp, optax, mamlax
        >>> learner = mamlax.maml(
        ...     lambda params, batch: jnp.mean((params - batch) ** 2),
        ...     inner_optimizer=optax.sgd(0.1), num_inner_steps=1,
        ... )
        >>> tasks = mamlax.Task(support=jnp.ones((4, 3)), query=jnp.ones((4, 3)))
        >>> one_by_one = mamlax.over_tasks(learner, batch_size=1)
        >>> for way in learner, one_by_one:
        ...     print(f"{way.meta_gradient(jnp.zeros(()), tasks)[1]:.3f}")
        -1.280
        -1.280
    """

    def meta_gradient(meta_params, tasks, *, outer_step=0):
        walked = functools.partial(learner.meta_gradient, outer_step=outer_step)
        if batch_size is not None:
            walked = in_micro_batches(walked, batch_size)
        if mesh is not None:
            walked = _on_devices(walked, mesh)
        return walked(meta_params, tasks)

    if mesh is not None:
        check_mesh(mesh)
        if learner.mesh is not None:
            raise ValueError("the learner's tasks are shared among devices already. Give one mesh.")
    return learner._replace(
        meta_gradient=meta_gradient, mesh=learner.mesh if mesh is None else mesh
    )


def adaptation_curves(
    learner: MetaLearner,
    metric_fn: Callable[[PyTree, PyTree], PyTree],
    *,
    num_inner_steps: int,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> Callable[[PyTree, PyTree], PyTree]:
    """Make a function that computes the query metric of each task after 0, 1, … inner steps.

    Args:
        learner: any meta-learner.
        metric_fn: `metric_fn(params, batch) -> scalar` (or a pytree of arrays).
        num_inner_steps: number of inner steps; may be more than in training.
        batch_size: how many tasks to adapt at once. None: all.
        mesh: devices that share the tasks, as for `over_tasks`.

    Returns:
        `curves(meta_params, tasks) -> [tasks, num_inner_steps + 1]`.

    Example:
        >>> import jax.numpy as jnp, optax, mamlax
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((params - batch) ** 2)
        >>> learner = mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.25), num_inner_steps=1)
        >>> tasks = mamlax.Task(support=jnp.ones((2, 3)), query=jnp.ones((2, 3)))
        >>> curves = mamlax.adaptation_curves(learner, loss_fn, num_inner_steps=2)
        >>> curves(jnp.array(0.0), tasks)[0].tolist()
        [1.0, 0.25, 0.0625]
    """

    def curves(meta_params, tasks):
        def curve(task):
            adaptation = learner.adapt(
                meta_params,
                task.support,
                num_inner_steps=num_inner_steps,
                probe_fn=lambda params: metric_fn(params, task.query),
            )
            return adaptation.probes

        return map_tasks(curve, tasks, batch_size=batch_size)

    if mesh is None:
        return curves
    return share(curves, mesh, lambda curves: curves, PartitionSpec("tasks"))


def count_tasks(tasks: PyTree) -> int:
    """The length of the leading axis `tasks`, the same for every array of `tasks`.

    Raises:
        ValueError: if arrays disagree, or there are none.
    """
    if callable(tasks) or hasattr(tasks, "sample"):
        raise ValueError(
            f"tasks must be a meta-batch, got a distribution ({type(tasks).__name__}). Draw one: "
            "mamlax.sample_tasks(tasks.sample, key, 4)."
        )
    lengths = {
        jax.tree_util.keystr(path): jnp.shape(leaf)[:1]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tasks)
    }
    if len(set(lengths.values())) != 1 or () in lengths.values():
        found = ", ".join(f"{name or 'tasks'}: {list(length)}" for name, length in lengths.items())
        raise ValueError(
            "every array of tasks must have the same leading axis `tasks` (stack the tasks with "
            f"jax.vmap or jnp.stack); found leading axes {found or 'no arrays'}."
        )
    return next(iter(lengths.values()))[0]


def check_micro_batches(num_tasks: int, batch_size: int | None) -> None:
    """Raise if the tasks of a device do not divide evenly into micro-batches."""
    if batch_size is not None and (batch_size < 1 or num_tasks % batch_size):
        raise ValueError(
            f"{num_tasks} tasks do not divide into micro-batches of batch_size={batch_size} "
            "(both per device)."
        )


def in_micro_batches(meta_gradient: MetaGradient, batch_size: int) -> MetaGradient:
    """The same meta-gradient, computed `batch_size` tasks at a time."""

    def accumulated(meta_params, tasks):
        num_tasks = count_tasks(tasks)
        check_micro_batches(num_tasks, batch_size)
        num_batches = num_tasks // batch_size
        if num_batches == 1:
            return meta_gradient(meta_params, tasks)
        batches = jax.tree.map(
            lambda x: jnp.reshape(x, (num_batches, batch_size, *x.shape[1:])), tasks
        )

        def accumulate(total, batch):
            (loss, info), gradient = meta_gradient(meta_params, batch)
            return jax.tree.map(jnp.add, total, (loss, gradient)), info

        # sums at least in float32: bfloat16 would lose the later ones
        first = eqx.filter_eval_shape(
            meta_gradient, meta_params, jax.tree.map(lambda x: x[0], batches)
        )
        (loss, _), gradient = first
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)), (loss, gradient)
        )
        total, info = jax.lax.scan(accumulate, zeros, batches)
        loss, gradient = jax.tree.map(
            lambda x, like: (x / num_batches).astype(like.dtype), total, (loss, gradient)
        )
        info = jax.tree.map(lambda x: jnp.reshape(x, (num_tasks, *x.shape[2:])), info)
        return (loss, info), gradient

    return accumulated


def _on_devices(meta_gradient: MetaGradient, mesh: Mesh) -> MetaGradient:
    def average(result):
        (loss, info), gradient = result
        loss, gradient = mean_over_devices((loss, gradient))
        return (loss, info), gradient

    replicated = PartitionSpec()
    return share(meta_gradient, mesh, average, ((replicated, PartitionSpec("tasks")), replicated))


def mean_over_devices(tree: PyTree) -> PyTree:
    """The mean of each array over the devices of a mesh, inside of `share`.

    All arrays of a type travel as one message: between processes, every message waits for the
    slowest process, and on processors (Gloo) takes milliseconds, however small it is. The devices
    of one process do the same, so that both give the same bits.
    """
    leaves, structure = jax.tree.flatten(tree)
    means = list(leaves)
    for dtype in dict.fromkeys(leaf.dtype for leaf in leaves):  # in one order everywhere
        those = [i for i, leaf in enumerate(leaves) if leaf.dtype == dtype]
        flat = jnp.concatenate([jnp.ravel(leaves[i]) for i in those])
        ends = np.cumsum([leaves[i].size for i in those])
        parts = jnp.split(jax.lax.pmean(flat, "tasks"), ends[:-1])
        for i, part in zip(those, parts, strict=True):
            means[i] = jnp.reshape(part, leaves[i].shape)
    return jax.tree.unflatten(structure, means)


def check_mesh(mesh: Mesh) -> None:
    """Raise if the mesh has other axes than one named "tasks"."""
    if mesh.axis_names != ("tasks",):
        raise ValueError(f'mesh must have one axis named "tasks", got {mesh.axis_names}.')


def share(
    fn: Callable[[PyTree, PyTree], PyTree],
    mesh: Mesh,
    combine: Callable[[PyTree], PyTree],
    out_specs: Any,
) -> Callable[[PyTree, PyTree], PyTree]:
    """`fn(meta_params, tasks)` with tasks spread over devices and parameters replicated."""
    check_mesh(mesh)
    mesh = Mesh(mesh.devices, mesh.axis_names)  # jax.make_mesh makes axes that shard_map refuses

    def shared(meta_params, tasks):
        num_tasks = count_tasks(tasks)
        if num_tasks % mesh.size:
            raise ValueError(f"{num_tasks} tasks do not divide over {mesh.size} devices.")
        arrays, static = eqx.partition(meta_params, eqx.is_array)
        return jax.shard_map(
            lambda arrays, tasks: combine(fn(eqx.combine(arrays, static), tasks)),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec("tasks")),
            out_specs=out_specs,
            # results are averaged by hand, not by transposing the replication of parameters
            check_vma=False,
        )(arrays, tasks)

    return shared
