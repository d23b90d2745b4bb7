"""mamlax and its peers on the same work in one run: `results/peers.json`.

    make peers                                         # the peers' environment, once
    .venv/bin/python -m benchmarks.peers.run           # about 25 minutes on 2 cores

First every library must find the same on the same tasks, from the same parameters: in float64 the
same meta-loss, meta-gradient and meta-loss after the outer step; in float32, which is timed, the
same but for rounding (there a meta-gradient is compared by its norm).

Then each is timed in processes of its own, one at a time, libraries in turn in every repeat, pinned
to one core and to all cores; the better setting counts. All are warmed up. Data are not part of a
peer's time (generated beforehand) but are part of ours (tasks are drawn on the device inside the
timed program). Peak memory is that of the whole process: the interpreter, the libraries and, for
us, compilation.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.workloads import WORKLOADS

TOLERANCES = {"float64": 1e-6, "float32": 1e-3}
SECOND_ORDER_MATTERS = 1e-2
TIME = "milliseconds_per_outer_step"


def main() -> None:
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-python", default=str(report.ROOT / ".venv-peers/bin/python"))
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, cores}))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="at least, per measurement")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "peers.json")
    parser.add_argument("--check-only", action="store_true")
    args = parser.parse_args()
    if not Path(args.peers_python).exists():
        raise SystemExit(f"there is no {args.peers_python}: make it with `make peers`.")
    machine = report.machine()
    results: dict[str, Any] = {}
    versions: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for workload in args.workloads:
            bench = Bench(args.peers_python, workload, Path(folder) / f"{workload}.npz", versions)
            results[workload] = {"check": bench.check(max(args.threads))}
            if not args.check_only:
                measured = bench.measure(args.threads, args.repeats, args.seconds)
                results[workload]["libraries"] = measured
    if args.check_only:
        return
    report.write_report(
        args.output, {"machine": machine, "versions": versions, "workloads": results}
    )
    for workload in args.workloads:
        print(f"\n{workload}: one outer step of {WORKLOADS[workload].num_tasks} tasks")
        report.print_table(report.comparison_rows(results[workload]["libraries"], TIME))


class Bench:
    """One workload, in one process after another."""

    def __init__(self, peers_python: str, workload: str, problem: Path, versions: dict[str, Any]):
        self.peers_python, self.workload = peers_python, workload
        self.problem, self.versions = problem, versions
        self.peers = WORKLOADS[workload].peers

    def check(self, threads: int) -> dict[str, Any]:
        """Have every library solve the same problem; leaves the one in float32.

        Raises:
            SystemExit: if they disagree, or the problem would not notice a missing second order.
        """
        return {precision: self._check(precision, threads) for precision in TOLERANCES}

    def _check(self, precision: str, threads: int) -> dict[str, Any]:
        env = {"JAX_ENABLE_X64": str(int(precision == "float64"))}
        found = {"mamlax": self._process("mamlax", threads, "--write-problem", env=env)}
        for peer in self.peers:
            found[peer] = self._process(peer, threads, "--check")
        ours = found["mamlax"]
        if ours["distance_of_first_order"] < SECOND_ORDER_MATTERS:
            raise SystemExit(f"{self.workload}: the check cannot tell first from second order.")
        for library, answer in found.items():
            names = ("meta_loss", "meta_gradient_norm", "meta_loss_after_outer_step")
            errors = [abs(answer[name] / ours[name] - 1) for name in names]
            if precision == "float64" and library != "mamlax":
                errors.append(answer["distance_of_meta_gradient"])
            print(f"{self.workload}, {precision}: {library} is {max(errors):.1e} off", flush=True)
            if not all(error <= TOLERANCES[precision] for error in errors):  # NaN fails too
                raise SystemExit(f"{library} disagrees on {self.workload} in {precision}: {found}")
            for name in ("peak_mib", "imports_mib"):
                del answer[name]
        return found

    def measure(self, threads: list[int], repeats: int, seconds: float) -> dict[str, Any]:
        """Time every library at every thread count, in turn; the better count of each stands."""
        runs: dict[str, dict[int, list[dict[str, Any]]]] = {
            library: {count: [] for count in threads} for library in ("mamlax", *self.peers)
        }
        for repeat in range(repeats):
            for count in threads:
                for library in runs:
                    run = self._process(library, count, "--seconds", seconds)
                    runs[library][count].append(run)
                    print(
                        f"{self.workload} {repeat + 1}/{repeats}: {library}, threads {count}: "
                        f"{run['milliseconds']:.3g} ms, {run['peak_mib']} MiB",
                        flush=True,
                    )
        return report.compare(runs, summarize, TIME)

    def _process(
        self, library: str, threads: int, *options: Any, env: dict[str, str] | None = None
    ) -> dict[str, Any]:
        arguments = [self.workload, self.problem, *options]
        if library == "mamlax":
            python, module = sys.executable, "benchmarks.peers.ours"
            env = self._settings_of_jax(threads) | (env or {})
        else:
            python, module, env = self.peers_python, "benchmarks.peers.torch_peers", {}
            arguments += ["--library", library, "--threads", threads]
        result = report.run_process(python, module, arguments, env=env, cores=threads)
        key = "mamlax" if library == "mamlax" else "peers"
        self.versions[key] = result.pop("versions")
        return result

    def _settings_of_jax(self, threads: int) -> dict[str, str]:
        """For images one device per core, each without threads of its own."""
        if self.workload == "sinusoid":
            return {"JAX_PLATFORMS": "cpu"}
        return report.device_per_core(threads, WORKLOADS[self.workload].num_tasks)


def summarize(repeats: list[dict[str, Any]]) -> dict[str, Any]:
    """Median time, all times, peak memory over the repeats, memory after imports alone."""
    milliseconds = [float(f"{repeat['milliseconds']:.4g}") for repeat in repeats]
    summary = {
        "milliseconds_per_outer_step": report.rounded_median(milliseconds),
        "repeats_milliseconds": milliseconds,
        "peak_mib": max(repeat["peak_mib"] for repeat in repeats),
        "imports_mib": max(repeat["imports_mib"] for repeat in repeats),
    }
    if "compile_seconds" in repeats[0]:
        compile_seconds = [repeat["compile_seconds"] for repeat in repeats]
        summary["compile_seconds"] = report.rounded_median(compile_seconds)
    return summary


if __name__ == "__main__":
    main()
