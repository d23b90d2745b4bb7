"""What every benchmark shares: timing, fresh processes, facts about the machine, and JSON files.

Only the standard library, because the peers' Python imports it too.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def seconds_per_call(fn: Callable[[], Any], at_least: float) -> float:
    """Mean wall-clock seconds of `fn()`, called again until `at_least` seconds have passed."""
    calls, began = 0, time.perf_counter()
    while True:
        fn()
        calls += 1
        elapsed = time.perf_counter() - began
        if elapsed >= at_least:
            return elapsed / calls


def peak_memory_mib() -> float:
    """The most memory this process has held so far (resident set)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def run_process(
    python: str, module: str, arguments: Iterable[Any], *, env: dict[str, str], cores: int | None
) -> dict[str, Any]:
    """Run a module of ours in a fresh process and read the JSON in its last line of output.

    Args:
        python: the interpreter.
        module: e.g. `benchmarks.peers.ours`.
        arguments: its command line.
        env: variables set on top of the present ones.
        cores: how many cores it may use (Linux); None: all.

    Raises:
        SystemExit: if it fails, with what it wrote.
    """

    def pin() -> None:
        if cores is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])

    command = [python, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, preexec_fn=pin
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def device_per_core(cores: int, num_tasks: int) -> dict[str, str]:
    """Variables that give JAX one CPU device per core, without threads of its own.

    Fewer devices than cores where the tasks would not divide over them.
    """
    devices = max(n for n in range(1, cores + 1) if num_tasks % n == 0)
    return {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    }


def versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages, and of this Python."""
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def machine() -> dict[str, Any]:
    """The kind of machine this is: nothing that names it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all, with the command line that made it."""
    document = {"command": _command(), "date": time.strftime("%Y-%m-%d"), **report}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(path)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows of the same keys, aligned."""
    lines = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))


def compare(
    runs: dict[str, dict[int, list[dict[str, Any]]]],
    summarize: Callable[[list[dict[str, Any]]], dict[str, Any]],
    time_key: str,
) -> dict[str, Any]:
    """Every library at its better thread count, with those of all counts and its ratio to ours.

    Args:
        runs: the repeats, by library and thread count.
        summarize: what to say of repeats.
        time_key: the key of its time there.
    """
    results: dict[str, Any] = {}
    for library, by_count in runs.items():
        by_threads = {count: summarize(repeats) for count, repeats in by_count.items()}
        best = min(by_threads, key=lambda count: by_threads[count][time_key])
        results[library] = {**by_threads[best], "threads": best, "by_threads": by_threads}
    for result in results.values():
        ratio = result[time_key] / results["mamlax"][time_key]
        result["ratio_to_mamlax"] = float(f"{ratio:.3g}")
    return results


def comparison_rows(
    results: dict[str, Any], time_key: str, more: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Rows for reading, with `more` columns: titles and keys."""
    return [
        {
            "library": library,
            "ms": result[time_key],
            "times ours": result["ratio_to_mamlax"],
            "threads": result["threads"],
            "peak MiB": result["peak_mib"],
            **{title: result[key] for title, key in (more or {}).items()},
            **{f"ms, {n} threads": one[time_key] for n, one in result["by_threads"].items()},
        }
        for library, result in results.items()
    ]


def rounded_median(numbers: Iterable[float]) -> float:
    """The median, to four significant digits."""
    return float(f"{median(numbers):.4g}")


def _command() -> str:
    """This command line, without paths of this machine."""
    arguments = ["PATH" if argument.startswith("/") else argument for argument in sys.argv[1:]]
    module = Path(sys.argv[0]).resolve().relative_to(ROOT).with_suffix("")
    return " ".join(["python -m", ".".join(module.parts), *arguments])


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
