"""How fast point navigation runs: `results/speed_navigation.json`.

    .venv/bin/python -m benchmarks.speed.navigation      # about 10 minutes on 2 cores

Two things, on one device and on one device per core, in processes of their own and in turn:

- sampling: environment steps per second of `rollout` and `estimate_advantages`, 20 tasks at once,
  each with the parameters adapted to it;
- iterations: seconds of a whole outer step of `maml_trpo` (both phases of sampling, advantages,
  meta-gradient, natural direction, line search), for several natural directions.

All begin with the same policy, that of 20 iterations. A step is scheduled whether or not its
episode has ended before; the real ones are those until the end.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import report

NUM_TASKS, NUM_EPISODES, HORIZON = 20, 20, 100
INNER_LEARNING_RATE = 0.5
MAX_KL, DAMPING = 0.01, 1e-5
ITERATIONS_BEFORE, WARMUP_ITERATIONS = 20, 2
SCHEDULED_STEPS = NUM_TASKS * NUM_EPISODES * HORIZON
DEVICES = ("one device", "device per core")


class Direction(NamedTuple):
    """How the natural direction is found, and how many tasks at once, as `maml_trpo` has it."""

    fisher: str
    fisher_fraction: float
    num_conjugate_gradient_steps: int
    batch_size: int | None = 1

    def checked(self) -> "Direction":
        """The same, by so few conjugate gradients that rounding does not show in the step."""
        return self._replace(num_conjugate_gradient_steps=3)


RECIPE = "exact-1/4-3"
SETTINGS = {
    RECIPE: Direction("exact", 0.25, 3),
    "exact-1/4-3, all tasks at once": Direction("exact", 0.25, 3, None),
    "exact-1/4-10": Direction("exact", 0.25, 10),
    "exact-10": Direction("exact", 1.0, 10),
    "adapted-1/5-10": Direction("adapted", 0.2, 10),
}
WORK = ("sampling", *SETTINGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="at least, of sampling")
    parser.add_argument("--iterations", type=int, default=20, help="consecutive, per repeat")
    parser.add_argument("--work", nargs="+", default=list(WORK), choices=WORK)
    parser.add_argument("--devices", nargs="+", default=list(DEVICES), choices=DEVICES)
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_navigation.json")
    parser.add_argument("--start", help="only: the .npz file of the first policy")
    parser.add_argument("--one", choices=("start", *WORK), help="only print this one")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.start, args.seconds, args.iterations)))
        return
    machine = report.machine()
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        options = ["--start", Path(folder) / "start.npz", "--seconds", args.seconds]
        options += ["--iterations", args.iterations, "--one"]
        run_here([*options, "start"], settings_of_jax("one device"))
        for repeat in range(args.repeats):  # in turn, so that a disturbance meets all
            for work in args.work:
                for devices in args.devices:
                    run = run_here([*options, work], settings_of_jax(devices))
                    found = {"mamlax": run.pop("versions")}
                    runs.setdefault((work, devices), []).append(run)
                    print(
                        f"{repeat + 1}/{args.repeats}: {work}, {devices}: "
                        f"{run['milliseconds']:.4g} ms",
                        flush=True,
                    )
    results = [
        {"work": work, "mapping": devices, "settings": settings_of_jax(devices)}
        | summarize(repeats)
        for (work, devices), repeats in runs.items()
    ]
    sizes = {"tasks": NUM_TASKS, "episodes": NUM_EPISODES, "horizon": HORIZON}
    report.write_report(
        args.output, {"machine": machine, "versions": found, "sizes": sizes, "results": results}
    )
    report.print_table(
        [
            {
                "work": f"{result['work']}, {result['mapping']}",
                "ms": result["milliseconds"],
                "steps/s": f"{result.get('scheduled_steps_per_second', 0):.3g}",
                "real steps/s": f"{result.get('real_steps_per_second', 0):.3g}",
                "backtracks": result.get("backtracks", ""),
                "compile s": result["compile_seconds"],
                "peak MiB": result["peak_mib"],
            }
            for result in results
        ]
    )


def run_here(options: list[Any], env: dict[str, str], cores: int | None = None) -> dict[str, Any]:
    """Run this module with other options in a fresh process."""
    module = "benchmarks.speed.navigation"
    return report.run_process(sys.executable, module, options, env=env, cores=cores)


def settings_of_jax(devices: str) -> dict[str, str]:
    """Environment variables that make every core a device, without threads of its own."""
    if devices == "one device":
        return {}
    return report.device_per_core(os.cpu_count() or 1, NUM_TASKS)


def summarize(repeats: list[dict[str, Any]]) -> dict[str, Any]:
    """Median time of the repeats, which all do the same, and what one of them found."""
    summary = dict(repeats[0])
    summary["milliseconds"] = report.rounded_median(run["milliseconds"] for run in repeats)
    summary["repeats_milliseconds"] = [run["milliseconds"] for run in repeats]
    if "compile_seconds" in summary:
        summary["compile_seconds"] = report.rounded_median(
            run["compile_seconds"] for run in repeats
        )
    if "iterations_milliseconds" in summary:
        summary["iterations_milliseconds"] = [run["iterations_milliseconds"] for run in repeats]
    if "real_fraction" in summary:
        rate = SCHEDULED_STEPS / (1e-3 * summary["milliseconds"])
        summary["scheduled_steps_per_second"] = float(f"{rate:.4g}")
        summary["real_steps_per_second"] = float(f"{rate * summary['real_fraction']:.4g}")
    summary["peak_mib"] = max(run["peak_mib"] for run in repeats)
    return summary


def measure(work: str, start: str, seconds: float, iterations: int) -> dict[str, Any]:
    """Measure one kind of work in this process; `"start"` only writes the first policy."""
    import jax
    import numpy as np

    from benchmarks import loops

    if work == "start":
        np.savez(start, **parameters(first_policy()))
        return {}
    if work == "sampling":
        result = measure_sampling(read_policy(start), seconds)
    else:
        result = measure_iterations(SETTINGS[work], read_policy(start), iterations)
    return result | {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "peak_mib": report.peak_memory_mib(),
        "versions": report.versions(*loops.PACKAGES),
    }


def measure_sampling(policy: Any, seconds: float) -> dict[str, Any]:
    """Time `rollout` and `estimate_advantages` of all tasks, each with adapted parameters."""
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    import mamlax
    from benchmarks import loops

    env, learner = environment(), policy_learner()

    def sample(key, task, policy):
        trajectory = mamlax.rl.rollout(key, env, task, policy, num_episodes=NUM_EPISODES)
        return mamlax.rl.estimate_advantages(trajectory)

    sample_all = jax.vmap(sample)
    keys = jax.random.split(jax.random.key(2), NUM_TASKS)
    tasks = jax.jit(jax.vmap(env.sample_task))(keys)
    adapted = jax.jit(jax.vmap(learner.explore, (0, None, 0)))(keys, policy, tasks).policy
    arguments = (keys, tasks, adapted)
    mesh = loops.device_mesh()
    if mesh is not None:
        shards = PartitionSpec("tasks")
        sample_all = jax.shard_map(
            sample_all, mesh=mesh, in_specs=shards, out_specs=shards, check_vma=False
        )
        arguments = jax.device_put(arguments, NamedSharding(mesh, shards))
    keys, *others = arguments
    # the random draws must differ from call to call, or nothing is told from a cache
    program = jax.jit(lambda keys, *others: (jax.vmap(next_key)(keys), sample_all(keys, *others)))
    began = time.perf_counter()
    compiled = program.lower(keys, *others).compile()
    compile_seconds = time.perf_counter() - began
    real = []

    def run(count: bool = False) -> None:
        nonlocal keys
        keys, experience = jax.block_until_ready(compiled(keys, *others))
        if count:
            real.append(np.mean(experience.trajectory.mask))

    for _ in range(10):
        run(count=True)
    milliseconds = 1e3 * report.seconds_per_call(run, seconds)
    return {
        "milliseconds": float(f"{milliseconds:.4g}"),
        "real_fraction": round(float(np.mean(real)), 4),
        "compile_seconds": round(compile_seconds, 1),
    }


def measure_iterations(setting: Direction, policy: Any, iterations: int) -> dict[str, Any]:
    """Time consecutive outer steps, one dispatch each."""
    import jax
    import numpy as np

    from benchmarks import loops

    mesh = loops.device_mesh()
    began = time.perf_counter()
    step, key, state = compile_iteration(setting, policy, mesh)
    compile_seconds = time.perf_counter() - began
    memory = step.memory_analysis()
    seconds, found = [], []
    for _ in range(WARMUP_ITERATIONS + iterations):
        began = time.perf_counter()
        key, state, metrics = jax.block_until_ready(step(key, state))
        seconds.append(time.perf_counter() - began)
        found.append(jax.device_get(metrics))
    del seconds[:WARMUP_ITERATIONS], found[:WARMUP_ITERATIONS]

    def mean(name: str) -> float:
        return float(f"{np.mean([metrics[f'train/{name}'] for metrics in found]):.4g}")

    return setting._asdict() | {
        "milliseconds": report.rounded_median(1e3 * each for each in seconds),
        "iterations_milliseconds": [float(f"{1e3 * each:.4g}") for each in seconds],
        "backtracks": mean("backtracks"),
        "accepted": mean("accepted"),
        "pre_adaptation_return": mean("pre_adaptation_return"),
        "post_adaptation_return": mean("post_adaptation_return"),
        "real_steps": mean("environment_steps"),
        "scheduled_steps": 2 * SCHEDULED_STEPS,
        "temporary_mib": None if memory is None else round(memory.temp_size_in_bytes / 2**20, 1),
        "compile_seconds": round(compile_seconds, 1),
    }


def compile_iteration(setting: Direction, policy: Any, mesh: Any) -> tuple[Any, Any, Any]:
    """An outer step compiled, `(key, state) -> (key, state, metrics)`, and what it begins with."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    loop = outer_loop(setting, mesh)

    def step(key, state):
        state, metrics = loop.step(key, state)
        return next_key(key), state, metrics

    key, state = jax.random.key(1), loop.init(policy)
    if mesh is not None:
        key, state = jax.device_put((key, state), NamedSharding(mesh, PartitionSpec()))
    return jax.jit(step).lower(key, state).compile(), key, state


def environment() -> Any:
    """The paper's point navigation."""
    import mamlax

    return mamlax.rl.PointNavigation(horizon=HORIZON)


def policy_learner() -> Any:
    """One inner step on the log-likelihood, as in the paper."""
    import optax

    import mamlax

    return mamlax.rl.policy_learner(
        environment(),
        inner_optimizer=optax.sgd(INNER_LEARNING_RATE),
        num_inner_steps=1,
        episodes_per_task=NUM_EPISODES,
    )


def outer_loop(setting: Direction, mesh: Any) -> Any:
    """Algorithm 3."""
    import mamlax

    return mamlax.rl.maml_trpo(
        policy_learner(),
        meta_batch_size=NUM_TASKS,
        max_kl=MAX_KL,
        damping=DAMPING,
        mesh=mesh,
        **setting._asdict(),
    )


def first_policy() -> Any:
    """A policy in the middle of learning: that of some cheap iterations."""
    import jax

    import mamlax

    policy = mamlax.rl.mlp_policy(jax.random.key(0), environment())
    step, key, state = compile_iteration(SETTINGS[RECIPE], policy, None)
    for _ in range(ITERATIONS_BEFORE):
        key, state, _ = step(key, state)
    return state.meta_params


def parameters(policy: Any) -> dict[str, Any]:
    """Its arrays by name: `param_0` and so on, weights before biases before the deviation."""
    import jax
    import numpy as np

    return {f"param_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(policy))}


def read_policy(path: str) -> Any:
    """The policy whose `parameters` are in a .npz file."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import mamlax

    structure = jax.tree.structure(mamlax.rl.mlp_policy(jax.random.key(0), environment()))
    with np.load(path) as file:
        arrays = [jnp.asarray(file[f"param_{i}"]) for i in range(structure.num_leaves)]
    return jax.tree.unflatten(structure, arrays)


def next_key(key: Any) -> Any:
    import jax

    return jax.random.fold_in(key, 0)


if __name__ == "__main__":
    main()
