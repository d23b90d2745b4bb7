"""Ways of convolving, in an outer step on images of several sizes: `results/speed_images.json`.

    .venv/bin/python -m benchmarks.speed.images      # about 7 minutes, on one core

MAML of the second order with conv4, random images, tasks one after another, on one core; the mean
time of an outer step over two steps in one program. In one process, in turn:

- `convolve`: `mamlax.models.conv4` as it is;
- `patches`: every convolution as a product of patches, as in version 0.1, and normalized before it
  is pooled;
- `lax`: the same with `jax.lax.conv_general_dilated`, which JAX differentiates by itself.

All three must find the same meta-gradient. Memory is the scratch memory of the program, by XLA's
account.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import report

CASES = {  # image, ways, support and query images, inner steps, channels, tasks
    "omniglot, 5-way 1-shot": ((28, 28, 1), 5, 5, 5, 1, 64, 8),
    "omniglot, 20-way 1-shot": ((28, 28, 1), 20, 20, 20, 1, 64, 4),
    "omniglot, 20-way 5-shot": ((28, 28, 1), 20, 100, 20, 1, 64, 1),
    "cifar-fs, 5-way 1-shot": ((32, 32, 3), 5, 5, 75, 5, 64, 1),
    "cifar-fs, 16-way 1-shot, no inner step": ((32, 32, 3), 16, 16, 240, 0, 64, 2),
    "mini-imagenet, 5-way 1-shot": ((84, 84, 3), 5, 5, 75, 5, 32, 1),
}
WAYS_OF_CONVOLVING = ("convolve", "patches", "lax")
NUM_STEPS = 2
LONGEST = 15.0  # seconds; a way that took longer is not repeated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--note", default="")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_images.json")
    args = parser.parse_args()
    machine = report.machine()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    results: dict[str, Any] = {}
    for case in args.cases:
        results[case] = measure(case, args.repeats)
        print(case, results[case]["speedup"], flush=True)
    versions = report.versions("mamlax", "jax", "jaxlib")
    report.write_report(
        args.output,
        {"machine": machine, "versions": versions, "results": results}
        | ({"note": args.note} if args.note else {}),
    )


def measure(case: str, repeats: int) -> dict[str, Any]:
    """Seconds per outer step of each way, and how often ours fits into those of the others."""
    import jax
    import numpy as np

    ways = [way for way in WAYS_OF_CONVOLVING if way != "lax" or "mini" not in case]  # minutes
    programs = {way: outer_steps(case, way) for way in ways}
    norms = {
        way: float(sum((np.asarray(x) ** 2).sum() for x in jax.tree.leaves(run()))) ** 0.5
        for way, (run, _) in programs.items()
    }
    if not np.allclose(list(norms.values()), norms["convolve"], rtol=1e-2):  # float32
        raise SystemExit(f"{case}: the meta-gradients differ, their norms are {norms}")
    seconds: dict[str, list[float]] = {way: [] for way in programs}
    for _ in range(repeats):  # in turn, so that a disturbance meets all
        for way, (run, _) in programs.items():
            if NUM_STEPS * sum(seconds[way]) < LONGEST:
                seconds[way].append(report.seconds_per_call(run, 0.2) / NUM_STEPS)
    medians = {way: report.rounded_median(times) for way, times in seconds.items()}
    return {
        "seconds": medians,
        "repeats_seconds": seconds,
        "temporary_mib": {way: memory for way, (_, memory) in programs.items()},
        "speedup": {way: round(medians[way] / medians["convolve"], 2) for way in ways[1:]},
    }


def outer_steps(case: str, way: str) -> tuple[Callable[[], Any], float]:
    """The meta-gradients of some steps as one compiled program, and its scratch memory in MiB."""
    import jax
    import jax.numpy as jnp
    import optax

    import mamlax

    shape, ways, num_support, num_query, num_inner_steps, channels, num_tasks = CASES[case]
    downsample = "stride" if shape[2] == 1 else "pool"
    params = mamlax.models.conv4(
        jax.random.key(0), shape, ways, channels=channels, downsample=downsample, head_scale=0.1
    )
    if way != "convolve":
        apply = plain_network(way)
    else:

        def apply(params, images):
            return params(images)

    def loss_fn(params, batch):
        losses = optax.softmax_cross_entropy_with_integer_labels
        return losses(apply(params, batch.inputs), batch.targets).mean()

    learner = mamlax.over_tasks(
        mamlax.maml(loss_fn, inner_optimizer=optax.sgd(0.01), num_inner_steps=num_inner_steps),
        batch_size=1,
    )

    def batch(key, number):
        images = jax.random.uniform(key, (num_tasks, number, *shape))
        classes = jnp.arange(number) * ways // number
        return mamlax.Batch(images, jnp.broadcast_to(classes, (num_tasks, number)))

    support, query = jax.random.split(jax.random.key(1))
    tasks = mamlax.Task(batch(support, num_support), batch(query, num_query))

    @jax.jit
    def steps(params, tasks):
        def step(_, gradient):
            moved = jax.tree.map(lambda x, g: x - 1e-6 * g, params, gradient)
            return learner.meta_gradient(moved, tasks)[1]

        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.fori_loop(0, NUM_STEPS, step, zeros)

    compiled = steps.lower(params, tasks).compile()
    memory = compiled.memory_analysis()
    return (
        lambda: jax.block_until_ready(compiled(params, tasks)),
        round(memory.temp_size_in_bytes / 2**20, 1),
    )


def plain_network(way: str) -> Callable[[Any, Any], Any]:
    """Conv4 with batch moments, as one writes it down: normalized, then pooled."""
    import jax
    import jax.numpy as jnp

    def patches(x, kernel, stride):
        sizes = x.shape[1:3]
        height, width = (-(-size // stride) for size in sizes)
        pads = [max((-(-size // stride) - 1) * stride + 3 - size, 0) for size in sizes]
        x = jnp.pad(x, [(0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)])
        rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
        shifted = [
            x[:, i : i + rows : stride, j : j + columns : stride]
            for i in range(3)
            for j in range(3)
        ]
        patches = jnp.concatenate(shifted, -1)
        outputs = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
        return outputs.reshape(x.shape[0], height, width, -1)

    def lax(x, kernel, stride):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=layout
        )

    convolve = {"patches": patches, "lax": lax}[way]

    def apply(params, x):
        pools = params.downsample == "pool"
        for kernel, shift in zip(params.kernels, params.shifts, strict=True):
            x = convolve(x, kernel, 1 if pools else 2)
            mean = x.mean((0, 1, 2))
            variance = jnp.square(x - mean).mean((0, 1, 2))
            x = jax.nn.relu((x - mean) * jax.lax.rsqrt(variance + 1e-3) + shift)
            if pools:
                images, height, width, channels = x.shape
                x = x[:, : height // 2 * 2, : width // 2 * 2]
                x = x.reshape(images, height // 2, 2, width // 2, 2, channels).max((2, 4))
        x = x.reshape(len(x), -1) if pools else x.mean((1, 2))
        return x @ params.head_weight + params.head_bias

    return apply


if __name__ == "__main__":
    main()
