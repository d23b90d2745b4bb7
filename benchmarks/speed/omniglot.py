"""Ways of mapping tasks, on the paper's Omniglot network: `results/speed_omniglot.json`.

    .venv/bin/python -m benchmarks.speed.omniglot      # about 4 minutes on 2 cores

Outer steps per second of second and first order, 10 steps a dispatch, sampling included; each way
in a process of its own, since the number of devices is fixed once JAX has started.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.workloads import WORKLOADS

STEPS_PER_DISPATCH = 10
# tasks mapped at once on a device (None: all), and whether every core is a device
WAYS_OF_MAPPING = {
    "vmap": (None, False),
    "sequence": (1, False),
    "vmap, device per core": (None, True),
    "sequence, device per core": (1, True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="at least, per repeat")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_omniglot.json")
    parser.add_argument(
        "--ways",
        nargs="+",
        default=list(WAYS_OF_MAPPING),
        choices=list(WAYS_OF_MAPPING),
        help="on a GPU: vmap sequence",
    )
    parser.add_argument("--one", nargs=2, metavar=("WAY", "ORDER"), help="only print this one")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one, args.repeats, args.seconds)))
        return
    machine = report.machine()
    results, found = [], {}
    for order in ("second", "first"):
        for way in args.ways:
            options = ["--repeats", args.repeats, "--seconds", args.seconds, "--one", way, order]
            module, env = "benchmarks.speed.omniglot", settings_of_jax(way)
            result = report.run_process(sys.executable, module, options, env=env, cores=None)
            found = {"mamlax": result.pop("versions")}
            results.append({"order": order, "mapping": way, "settings": env} | result)
            print(f"{order} order, {way}: {result['milliseconds_per_outer_step']} ms", flush=True)
    report.write_report(args.output, {"machine": machine, "versions": found, "results": results})
    report.print_table(
        [
            {
                "mapping": result["mapping"],
                "order": result["order"],
                "outer steps/s": result["outer_steps_per_second"],
                "ms": result["milliseconds_per_outer_step"],
                "temporary MiB/device": result["temporary_mib"],
                "peak MiB": result["peak_mib"],
                "compile s": result["compile_seconds"],
            }
            for result in results
        ]
    )


def settings_of_jax(way: str) -> dict[str, str]:
    """Environment variables that make every core a device, without threads of its own."""
    _, device_per_core = WAYS_OF_MAPPING[way]
    if not device_per_core:
        return {}
    return report.device_per_core(os.cpu_count() or 1, WORKLOADS["omniglot"].num_tasks)


def measure(way: str, order: str, repeats: int, seconds: float) -> dict[str, Any]:
    """Time one way in this process."""
    import jax

    from benchmarks import loops

    batch_size, _ = WAYS_OF_MAPPING[way]
    mesh = loops.device_mesh()
    setup = loops.images("omniglot", first_order=order == "first", batch_size=batch_size, mesh=mesh)
    block = loops.compile_block(setup, STEPS_PER_DISPATCH, mesh)
    times = [loops.seconds_per_step(block, seconds) for _ in range(repeats)]
    return loops.summarize(block, times) | {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "peak_mib": report.peak_memory_mib(),
        "versions": report.versions(*loops.PACKAGES),
    }


if __name__ == "__main__":
    main()
