"""One measurement of mamlax, in a process of its own, some seconds; started by `run.py`.

Writes the problem that every library must solve alike (`--write-problem`), or times outer steps.
"""

import argparse
import json

import jax
import numpy as np
import optax
from jax.sharding import Mesh

import mamlax
from benchmarks import loops, report
from benchmarks.workloads import WORKLOADS, random_tasks

STEPS_PER_DISPATCH = {"sinusoid": 1000, "omniglot": 10, "cifar-fs": 2, "mini-imagenet": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=list(STEPS_PER_DISPATCH))
    parser.add_argument("problem", help="the .npz file to write; ignored when timing")
    parser.add_argument("--write-problem", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    imports_mib = report.peak_memory_mib()
    mesh = loops.device_mesh()
    if args.write_problem:
        result = write_problem(args.workload, args.problem, mesh)
    else:
        steps = STEPS_PER_DISPATCH[args.workload]
        block = loops.compile_block(setup(args.workload, mesh), steps, mesh)
        seconds = loops.seconds_per_step(block, args.seconds)
        result = {"milliseconds": 1e3 * seconds, "compile_seconds": block.compile_seconds}
    memory = {"peak_mib": report.peak_memory_mib(), "imports_mib": imports_mib}
    print(json.dumps(result | memory | {"versions": report.versions(*loops.PACKAGES)}))


def setup(workload: str, mesh: Mesh | None, *, first_order: bool = False) -> loops.Setup:
    """The workload; tasks of images one after another on each device."""
    if workload == "sinusoid":
        return loops.sinusoid(first_order=first_order)
    return loops.images(workload, first_order=first_order, batch_size=1, mesh=mesh)


def write_problem(workload: str, path: str, mesh: Mesh | None) -> dict[str, float]:
    """Write tasks, initial parameters and our meta-gradient; return our answer."""
    dtype = jax.numpy.result_type(float)  # of 64 bits where JAX_ENABLE_X64 is set
    arrays = [
        array.astype(dtype) if array.dtype.kind == "f" else array
        for array in random_tasks(workload, np.random.default_rng(0))
    ]
    tasks = mamlax.Task(mamlax.Batch(*arrays[:2]), mamlax.Batch(*arrays[2:]))
    learner, _, params = setup(workload, mesh)
    first_order = setup(workload, mesh, first_order=True).learner

    (loss, _), gradient = jax.jit(learner.meta_gradient)(params, tasks)
    _, without_second_order = jax.jit(first_order.meta_gradient)(params, tasks)
    optimizer = optax.adam(WORKLOADS[workload].outer_learning_rate)
    updates, _ = optimizer.update(gradient, optimizer.init(params), params)
    stepped = optax.apply_updates(params, updates)
    (loss_after, _), _ = jax.jit(learner.meta_gradient)(stepped, tasks)

    difference = jax.tree.map(lambda a, b: a - b, gradient, without_second_order)
    norm = float(optax.tree.norm(gradient))
    np.savez(
        path,
        **{f"task_{i}": array for i, array in enumerate(arrays)},
        **{f"param_{i}": array for i, array in enumerate(in_order(params))},
        **{f"gradient_{i}": array for i, array in enumerate(in_order(gradient))},
    )
    return {
        "meta_loss": float(loss),
        "meta_gradient_norm": norm,
        "meta_loss_after_outer_step": float(loss_after),
        "distance_of_first_order": float(optax.tree.norm(difference)) / norm,
    }


def in_order(model: mamlax.models.MLP | mamlax.models.Conv4) -> list[np.ndarray]:
    """The arrays of a model, layer after layer, weights before what is added to them."""
    if isinstance(model, mamlax.models.MLP):
        pairs = list(zip(model.weights, model.biases, strict=True))
    else:
        head = (model.head_weight, model.head_bias)
        pairs = [*zip(model.kernels, model.shifts, strict=True), head]
    return [np.asarray(array) for pair in pairs for array in pair]


if __name__ == "__main__":
    main()
