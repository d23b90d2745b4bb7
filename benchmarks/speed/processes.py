"""How outer steps scale from one process to two: `results/speed_processes.json`.

    .venv/bin/python -m benchmarks.speed.processes      # mostly compilation

Outer steps per second of recipes as they are, but for their meta-batch where it does not divide:

- one process on one core;
- one process on two cores, a device on each;
- two processes of `jax.distributed` on this machine, one core each, which meet through Gloo.

In turn, in fresh processes, without logs, checkpoints and evaluation. `sent_per_step` is what each
of two processes sends in an outer step: how many messages (arrays of all-reduces) and how many
bytes. Those that the recipe asks for are counted in its program, once for each turn of a scan, one
turn of a loop that ends on a condition, the larger branch; those that the compiler adds (the means
of metrics) are what the compiled program has beside them. `message_milliseconds` is what a message
costs here: two processes less two devices of one, by message, the median over recipes.

`model` is on paper: what share of its time a host would compute in a ring of 8 or 256 hosts, each
with as many tasks as the one core here had, and of the same speed. An outer step of `s` seconds
then takes `s + n · (m + 2 (h − 2) · latency) + 2 (h − 1)/h · bytes / bandwidth`, for `n` messages
and `h` hosts; `m` is the message measured here, which has two hops, and later hops cost the latency
of the network. Assumed are the latencies and bandwidths of `NETWORKS`, that nothing overlaps, and
that no host is slower than the others.
"""

import argparse
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import report

RECIPES = {
    "sinusoid": {"meta_batch_size": 24},
    "omniglot-5-way-1-shot": {},
    "navigation-2d": {},
    "half-cheetah-direction": {},
}
NETWORKS = {  # of a message from host to host, and of each host's link
    "Ethernet of 10 Gbit/s": {"latency_seconds": 50e-6, "bytes_per_second": 1.25e9},
    "InfiniBand of 200 Gbit/s": {"latency_seconds": 5e-6, "bytes_per_second": 25e9},
}
HOSTS = (8, 256)
WAYS = {"one core": (1, 1), "two devices": (1, 2), "two processes": (2, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="at least, of steps")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_processes.json")
    parser.add_argument("--one", nargs=4, metavar=("RECIPE", "PROCESSES", "PROCESS", "PORT"))
    args = parser.parse_args()
    if args.one:
        recipe, processes, process, port = args.one
        print(json.dumps(measure(recipe, int(processes), int(process), int(port), args.seconds)))
        return
    machine = report.machine()
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for repeat in range(args.repeats):  # in turn, so that a disturbance meets all
        for recipe in args.recipes:
            for way in WAYS:
                run = run_together(recipe, *WAYS[way], args.seconds)
                runs.setdefault((recipe, way), []).append(run)
                print(
                    f"{repeat + 1}/{args.repeats}: {recipe}, {way}: "
                    f"{run['milliseconds']:.4g} ms a step",
                    flush=True,
                )
    results, alone = [], {}
    for (recipe, way), repeats in runs.items():
        milliseconds = report.rounded_median(run["milliseconds"] for run in repeats)
        alone.setdefault(recipe, milliseconds)
        results.append(
            {
                "recipe": recipe,
                "settings": RECIPES[recipe],
                "way": way,
                "milliseconds": milliseconds,
                "repeats_milliseconds": [run["milliseconds"] for run in repeats],
                "times_one_core": float(f"{alone[recipe] / milliseconds:.3g}"),
                "sent_per_step": repeats[0]["sent_per_step"],
            }
        )
    message, model = on_paper(results)
    versions = next(iter(runs.values()))[0]["versions"]
    report.write_report(
        args.output,
        {
            "machine": machine,
            "versions": versions,
            "results": results,
            "networks": NETWORKS,
            "message_milliseconds": message,
            "model": model,
        },
    )
    report.print_table(
        [
            {
                "work": f"{one['recipe']}, {one['way']}",
                "ms": one["milliseconds"],
                "times one core": one["times_one_core"],
                "messages": one["sent_per_step"]["messages"],
                "bytes": one["sent_per_step"]["bytes"],
            }
            for one in results
        ]
    )
    for one in model:
        print(json.dumps(one))


def run_together(recipe: str, processes: int, devices: int, seconds: float) -> dict[str, Any]:
    """What the first process measured, all of them started at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cores = sorted(os.sched_getaffinity(0))
    started = []
    for process in range(processes):
        mine = cores[process * devices : (process + 1) * devices]
        one = ["--one", recipe, str(processes), str(process), str(port)]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", __spec__.name, "--seconds", str(seconds), *one],
                cwd=report.ROOT,
                env=os.environ | report.device_per_core(devices, devices),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda mine=mine: os.sched_setaffinity(0, mine),
            )
        )
    said = [one.communicate() for one in started]
    if any(one.returncode for one in started):
        raise SystemExit("\n".join("".join(words) for words in said))
    return json.loads(said[0][0].splitlines()[-1])


def measure(name: str, processes: int, process: int, port: int, seconds: float) -> dict[str, Any]:
    """Time outer steps of a recipe in this process."""
    import equinox as eqx
    import jax

    if processes > 1:
        jax.distributed.initialize(f"127.0.0.1:{port}", processes, process)
    from benchmarks import loops
    from mamlax.config import RECIPES as CATALOG
    from mamlax.experiments._experiment import experiment_of, initial_params, loop_of
    from mamlax.experiments.problems._build import parts_of

    local = jax.local_device_count()
    recipe = CATALOG[name].changed(num_devices=local, **RECIPES[name])
    experiment = experiment_of(recipe, parts_of(recipe, None), Path("nowhere"))
    stage = experiment.stages["main"]
    loop = loop_of(experiment, stage)
    state, key = loop.init(initial_params(experiment, stage)), jax.random.key(1)
    step = eqx.filter_jit(loop.step).lower(key, state).compile()
    sent = 0, 0
    if processes > 1:
        program = eqx.filter_make_jaxpr(loop.step)(key, state)[0].jaxpr
        sent = sent_by(program, step.compiled.as_text())
    for index in range(2):
        state, _ = jax.block_until_ready(step(jax.random.fold_in(key, index), state))
    began = time.perf_counter()
    state, _ = jax.block_until_ready(step(jax.random.fold_in(key, 2), state))
    count = max(3, int(seconds / (time.perf_counter() - began)))
    if processes > 1:
        from jax.experimental.multihost_utils import broadcast_one_to_all

        count = int(broadcast_one_to_all(count))
    began = time.perf_counter()
    for index in range(count):
        state, _ = step(jax.random.fold_in(key, 3 + index), state)
    jax.block_until_ready(state)
    milliseconds = 1e3 * (time.perf_counter() - began) / count
    if processes > 1:
        jax.distributed.shutdown()
    return {
        "milliseconds": float(f"{milliseconds:.4g}"),
        "sent_per_step": dict(zip(("messages", "bytes"), sent, strict=True)),
        "versions": report.versions(*loops.PACKAGES),
    }


def sent_by(jaxpr: Any, compiled: str) -> tuple[int, int]:
    """How many messages an outer step sends, and how many bytes.

    Args:
        jaxpr: its program.
        compiled: the text of its compiled program, which has the all-reduces of means over tasks
            that the compiler has made.
    """
    arrays = [
        (math.prod(map(int, re.findall(r"\d+", sizes))), width // 8)
        for found in re.findall(r"= (.*?) all-reduce(?:-start)?\(", compiled)
        for width, sizes in (
            (int(width), sizes) for width, sizes in re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", found)
        )
    ]
    there = len(arrays), sum(size * width for size, width in arrays)
    asked, once = sent_in(jaxpr, with_turns=True), sent_in(jaxpr, with_turns=False)
    return tuple(a + max(t - o, 0) for a, t, o in zip(asked, there, once, strict=True))


def sent_in(jaxpr: Any, *, with_turns: bool) -> tuple[int, int]:
    """The arrays of all-reduces that a program asks for, and their bytes.

    Args:
        jaxpr: the program.
        with_turns: as often as they are sent, and of branches one; else as they stand there.
    """
    number = total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("psum", "psum2", "psum_invariant"):
            number += len(equation.outvars)
            total += sum(out.aval.size * out.aval.dtype.itemsize for out in equation.outvars)
        inside = []
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    inside.append(sent_in(inner, with_turns=with_turns))
        if equation.primitive.name == "cond" and with_turns:
            inside = [max(inside)]
        is_scan = with_turns and equation.primitive.name == "scan"
        turns = equation.params["length"] if is_scan else 1
        number += turns * sum(one[0] for one in inside)
        total += turns * sum(one[1] for one in inside)
    return number, total


def on_paper(results: list[dict[str, Any]]) -> tuple[float, list[dict[str, Any]]]:
    """Milliseconds of a message here, and by recipe, network and number of hosts the share of its
    time that a host computes."""
    by = {(one["recipe"], one["way"]): one for one in results}
    recipes = list(dict.fromkeys(one["recipe"] for one in results))
    message = report.rounded_median(
        (by[name, "two processes"]["milliseconds"] - by[name, "two devices"]["milliseconds"])
        / by[name, "two processes"]["sent_per_step"]["messages"]
        for name in recipes
    )

    def share(name: str, hosts: int, latency: float, bandwidth: float) -> float:
        step = 1e-3 * by[name, "one core"]["milliseconds"]
        sent = by[name, "two processes"]["sent_per_step"]
        waits = sent["messages"] * (1e-3 * message + 2 * (hosts - 2) * latency)
        sends = 2 * (hosts - 1) / hosts * sent["bytes"] / bandwidth
        return float(f"{step / (step + waits + sends):.3g}")

    model = [
        {
            "recipe": name,
            **{
                network: {f"{hosts} hosts": share(name, hosts, *of.values()) for hosts in HOSTS}
                for network, of in NETWORKS.items()
            },
        }
        for name in recipes
    ]
    return message, model


if __name__ == "__main__":
    main()
