"""The workloads in mamlax, and many of their outer steps as one compiled program."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import mamlax

from . import report
from .workloads import WAYS, WORKLOADS

LossFn = Callable[[Any, mamlax.Batch], jax.Array]
SampleTask = Callable[[Any], mamlax.Task]
PACKAGES = ("mamlax", "jax", "jaxlib", "optax", "equinox")


class Setup(NamedTuple):
    """A workload in mamlax.

    Attributes:
        learner: MAML, its tasks mapped in the way asked for.
        loop: its outer loop.
        params: the initial parameters.
    """

    learner: mamlax.MetaLearner
    loop: mamlax.OuterLoop
    params: Any


class Block(NamedTuple):
    """Outer steps compiled into one program.

    Attributes:
        run: takes `num_steps` more steps and waits for them.
        num_steps: steps per run.
        compile_seconds: what compiling took.
        temporary_mib: the program's scratch memory per device, by XLA's account; None where XLA
            gives none.
    """

    run: Callable[[], None]
    num_steps: int
    compile_seconds: float
    temporary_mib: float | None


def device_mesh() -> Mesh | None:
    """All devices as one axis of tasks; None for one device."""
    devices = np.array(jax.devices())
    return Mesh(devices, ("tasks",)) if len(devices) > 1 else None


def sinusoid(*, first_order: bool = False) -> Setup:
    """The paper's regression, its tasks drawn on the device and mapped at once."""
    workload = WORKLOADS["sinusoid"]
    sinusoids = mamlax.Sinusoids(shots=workload.num_support, num_query=workload.num_query)
    # larger initial weights than the paper's, so that the second derivatives matter to the check
    params = mamlax.models.mlp(jax.random.key(0), 1, 1, weight_scale=0.3)
    return _setup("sinusoid", _squared_error, sinusoids.sample, params, first_order, None, None)


def images(
    name: str,
    *,
    first_order: bool = False,
    batch_size: int | None = None,
    mesh: Mesh | None = None,
) -> Setup:
    """A network on random images, which are drawn on the device, and turned if they are characters.

    Args:
        name: of a workload with images.
        first_order: leave out second derivatives.
        batch_size: tasks mapped at once (per device); None: all.
        mesh: devices that share the tasks.
    """
    workload, rng = WORKLOADS[name], np.random.default_rng(0)
    assert workload.images is not None
    shape, channels, downsample = dataclasses.astuple(workload.images)
    pixels = rng.integers(256, size=(100, 20, *shape), dtype=np.uint8)
    data = mamlax.ClassArrays.of({f"class {i}": pixels[i] for i in range(len(pixels))})
    few_shot = mamlax.FewShot(
        jax.tree.map(jnp.asarray, data),
        ways=WAYS,
        shots=workload.num_support // WAYS,
        num_query=workload.num_query // WAYS,
        rotations=name == "omniglot",
    )
    params = mamlax.models.conv4(
        jax.random.key(0), shape, WAYS, channels=channels, downsample=downsample
    )
    return _setup(name, _cross_entropy, few_shot.sample, params, first_order, batch_size, mesh)


def compile_block(setup: Setup, num_steps: int, mesh: Mesh | None = None) -> Block:
    """Compile `num_steps` outer steps, and take them once."""

    @eqx.filter_jit
    def block(step, key, state):
        def one(state, index):
            return step(jax.random.fold_in(key, index), state)

        return jax.lax.scan(one, state, jnp.arange(num_steps))

    step, key, state = setup.loop.step, jax.random.key(1), setup.loop.init(setup.params)
    if mesh is not None:
        everywhere = NamedSharding(mesh, PartitionSpec())
        step, key, state = eqx.filter_shard((step, key, state), everywhere)
    began = time.perf_counter()
    compiled = block.lower(step, key, state).compile()
    compile_seconds = time.perf_counter() - began
    memory = compiled.compiled.memory_analysis()
    temporary_mib = None if memory is None else round(memory.temp_size_in_bytes / 2**20, 1)

    def run() -> None:
        nonlocal key, state
        key = jax.random.fold_in(key, 0)
        state, _ = jax.block_until_ready(compiled(step, key, state))

    run()
    return Block(run, num_steps, round(compile_seconds, 1), temporary_mib)


def seconds_per_step(block: Block, at_least: float) -> float:
    """Mean seconds of an outer step, over runs of `at_least` seconds together."""
    return report.seconds_per_call(block.run, at_least) / block.num_steps


def summarize(block: Block, seconds: list[float]) -> dict[str, Any]:
    """The results of a block and its timings, for a report."""
    median = report.rounded_median(seconds)
    return {
        "outer_steps_per_second": float(f"{1 / median:.4g}"),
        "milliseconds_per_outer_step": float(f"{1e3 * median:.4g}"),
        "repeats_milliseconds": [float(f"{1e3 * each:.4g}") for each in seconds],
        "temporary_mib": block.temporary_mib,
        "compile_seconds": block.compile_seconds,
    }


def _setup(
    name: str,
    loss_fn: LossFn,
    sample_task: SampleTask,
    params: Any,
    first_order: bool,
    batch_size: int | None,
    mesh: Mesh | None,
) -> Setup:
    workload = WORKLOADS[name]
    learner = mamlax.maml(
        loss_fn,
        inner_optimizer=optax.sgd(workload.inner_learning_rate),
        num_inner_steps=workload.num_inner_steps,
        first_order=first_order,
    )
    learner = mamlax.over_tasks(learner, batch_size=batch_size, mesh=mesh)
    loop = mamlax.outer_loop(
        learner,
        optax.adam(workload.outer_learning_rate),
        sample_task,
        meta_batch_size=workload.num_tasks,
    )
    return Setup(learner, loop, params)


def _squared_error(model: Any, batch: mamlax.Batch) -> jax.Array:
    return jnp.mean((model(batch.inputs) - batch.targets) ** 2)


def _cross_entropy(model: Any, batch: mamlax.Batch) -> jax.Array:
    logits = model(batch.inputs)
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets).mean()
