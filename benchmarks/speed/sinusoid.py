"""How fast the paper's sinusoid regression trains: `results/speed_sinusoid.json`.

    .venv/bin/python -m benchmarks.speed.sinusoid      # about a minute

Outer steps per second of second and first order, 1000 steps a dispatch, sampling included.
"""

import argparse
from pathlib import Path
from typing import Any

import jax

from benchmarks import loops, report

STEPS_PER_DISPATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="at least, per repeat")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_sinusoid.json")
    args = parser.parse_args()
    machine = report.machine()
    blocks = {
        order: loops.compile_block(loops.sinusoid(first_order=order == "first"), STEPS_PER_DISPATCH)
        for order in ("second", "first")
    }
    seconds: dict[str, list[float]] = {order: [] for order in blocks}
    for _ in range(args.repeats):  # in turn, so that a disturbance meets both
        for order, block in blocks.items():
            seconds[order].append(loops.seconds_per_step(block, args.seconds))
    results = [
        {"order": order, "device": jax.devices()[0].device_kind}
        | loops.summarize(blocks[order], seconds[order])
        for order in blocks
    ]
    found: dict[str, Any] = {"mamlax": report.versions(*loops.PACKAGES)}
    report.write_report(args.output, {"machine": machine, "versions": found, "results": results})
    report.print_table(
        [
            {
                "order": result["order"],
                "outer steps/s": result["outer_steps_per_second"],
                "ms": result["milliseconds_per_outer_step"],
                "temporary MiB": result["temporary_mib"],
                "compile s": result["compile_seconds"],
            }
            for result in results
        ]
    )


if __name__ == "__main__":
    main()
