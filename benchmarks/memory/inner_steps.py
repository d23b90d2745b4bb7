"""Memory and time against the number of inner steps: `results/memory_inner_steps.json`.

    .venv/bin/python -m benchmarks.memory.inner_steps      # about 15 minutes on 2 cores

One outer step of one task, 5-way 1-shot with 15 query images per class, through the paper's
mini-ImageNet network (conv4, pooled, 32 channels, 84×84×3; random images). What the compiled
program says it needs, and the most that a process of its own really held. Those that would need
more than `--most` are compiled, not run. Draws docs/images/memory.png.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import report

NUM_STEPS = (1, 2, 5, 10, 20, 50, 100)
WAYS = {  # name: arguments of maml, or those of imaml
    "second order": {},
    'remat="steps"': {"remat": "steps"},
    'remat="sqrt"': {"remat": "sqrt"},
    "5 unrolled steps": {"num_unrolled_steps": 5},
    "first order": {"first_order": True},
    "iMAML, 5 conjugate gradients": {"proximal_strength": 2.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=list(NUM_STEPS))
    parser.add_argument("--most", type=float, default=6.0, help="GB that may be used")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "memory_inner_steps.json")
    parser.add_argument("--figure", type=Path, default=report.ROOT / "docs/images/memory.png")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "STEPS"), help="only print this one")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), args.most)))
        return
    if not args.draw:
        machine, results = report.machine(), []
        for way in WAYS:
            for steps in args.steps:
                options = ["--most", args.most, "--one", way, steps]
                module, env = "benchmarks.memory.inner_steps", {"JAX_PLATFORMS": "cpu"}
                found = report.run_process(sys.executable, module, options, env=env, cores=None)
                results.append({"way": way, "num_inner_steps": steps} | found)
                print(results[-1], flush=True)
        versions = report.versions("jax", "jaxlib", "mamlax")
        document = {"machine": machine, "versions": versions, "results": results}
        report.write_report(args.output, document)
    draw(json.loads(args.output.read_text())["results"], args.figure)


def measure(way: str, num_inner_steps: int, most: float) -> dict[str, Any]:
    """Of one outer step, in GB and seconds; what was not run is null."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import mamlax

    def loss_fn(params, batch):
        losses = optax.softmax_cross_entropy_with_integer_labels(
            params(batch.inputs), batch.targets
        )
        return jnp.mean(losses)

    options = {"inner_optimizer": optax.sgd(0.01), "num_inner_steps": num_inner_steps, **WAYS[way]}
    make = mamlax.imaml if "proximal_strength" in options else mamlax.maml
    rng = np.random.default_rng(0)
    data = mamlax.ClassArrays.of(
        {str(i): rng.integers(0, 256, (16, 84, 84, 3), dtype=np.uint8) for i in range(5)}
    )
    tasks = mamlax.FewShot(data, ways=5, shots=1, num_query=15)
    loop = mamlax.outer_loop(
        make(loss_fn, **options), optax.adam(1e-3), tasks.sample, meta_batch_size=1
    )
    params = mamlax.models.conv4(jax.random.key(0), (84, 84, 3), 5, channels=32, downsample="pool")
    before = report.peak_memory_mib()
    began = time.perf_counter()
    cost = mamlax.cost_of(loop, params)
    result = {
        "predicted_gb": round(cost.memory / 1e9, 3),
        "gflops": round(cost.flops / 1e9, 1),
        "compile_seconds": round(time.perf_counter() - began, 1),
        "peak_gb": None,
        "seconds": None,
    }
    if cost.memory <= most * 1e9:
        state, times = loop.init(params), []
        for index in range(2):
            began = time.perf_counter()
            state, _ = jax.block_until_ready(cost.step(jax.random.key(index), state))
            times.append(time.perf_counter() - began)
        # libraries, compiler and data are there without any step
        grown = report.peak_memory_mib() - before
        result |= {"peak_gb": round(grown * 2**20 / 1e9, 3), "seconds": round(min(times), 2)}
    return result


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """What programs ask for as lines, what processes held as points."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for way in dict.fromkeys(one["way"] for one in results):
        these = [one for one in results if one["way"] == way]
        steps = [one["num_inner_steps"] for one in these]
        (line,) = axes.plot(steps, [one["predicted_gb"] for one in these], label=way)
        run = [one for one in these if one["seconds"] is not None]
        steps = [one["num_inner_steps"] for one in run]
        axes.plot(steps, [one["peak_gb"] for one in run], "o", ms=4, color=line.get_color())
    axes.set(xscale="log", yscale="log", xlabel="inner steps", ylabel="memory of one task (GB)")
    axes.set_xticks(NUM_STEPS, [f"{steps}" for steps in NUM_STEPS])
    axes.set_yticks([0.5, 1, 2, 4, 8], ["0.5", "1", "2", "4", "8"])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize="small", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
