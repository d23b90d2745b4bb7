"""Algorithm 3 on point navigation, ours and in eager PyTorch: `results/peers_navigation.json`.

    make peers                                              # the peers' environment, once
    .venv/bin/python -m benchmarks.peers.navigation         # about 20 minutes on 2 cores

First both must find the same on the same recorded episodes, from the same policy: outer loss,
meta-gradient, a Fisher-vector product, and the accepted step of the line search; PyTorch given our
noise must also record the same episodes and advantages. In float64, and (but for rounding, without
the last) in float32, which is timed. The step is that of three iterations of conjugate gradients,
not ten: each multiplies what rounding has left, so after ten not even float64 agrees.

Then each takes consecutive outer steps from that policy, sampling included, in processes of its
own, one at a time and in turn, pinned to one core and to all cores; the better setting counts.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.speed import navigation as ours

LIBRARIES = ("mamlax", "torch")
# in float32, of 8 million ReLUs about one is so near to zero that rounding decides: 1e-4 by itself
TOLERANCES = {"float64": 1e-8, "float32": 1e-3}
SECOND_ORDER_MATTERS = 1e-2
COLUMNS = {"backtracks": "backtracks", "return": "post_adaptation_return"}


def main() -> None:
    cores = os.cpu_count() or 1
    settings = [ours.RECIPE, "exact-1/4-10"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers-python", default=str(report.ROOT / ".venv-peers/bin/python"))
    parser.add_argument("--settings", nargs="+", default=settings, choices=ours.SETTINGS)
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, cores}))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=10, help="consecutive, per repeat")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "peers_navigation.json")
    parser.add_argument("--check-only", action="store_true")
    parser.add_argument("--write-problem", help="only write this .npz file")
    args = parser.parse_args()
    if args.write_problem:
        write_problem(args.write_problem)
        print("{}")
        return
    if not Path(args.peers_python).exists():
        raise SystemExit(f"there is no {args.peers_python}: make it with `make peers`.")
    machine = report.machine()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args.peers_python, Path(folder) / "problem.npz")
        found = {precision: bench.check(precision, max(args.threads)) for precision in TOLERANCES}
        if args.check_only:
            return
        results = bench.measure(args.settings, args.threads, args.repeats, args.iterations)
    report.write_report(
        args.output,
        {"machine": machine, "versions": bench.versions, "check": found, "settings": results},
    )
    for setting, libraries in results.items():
        print(f"\n{setting}: one outer step of {ours.NUM_TASKS} tasks, sampling included")
        report.print_table(report.comparison_rows(libraries, "milliseconds", COLUMNS))


class Bench:
    """The problem, in one process after another."""

    def __init__(self, peers_python: str, problem: Path):
        self.peers_python, self.problem = peers_python, problem
        self.versions: dict[str, dict[str, str]] = {}

    def check(self, precision: str, threads: int) -> dict[str, Any]:
        """Write the problem in this precision, and have PyTorch solve it.

        Raises:
            SystemExit: if it finds something else, or the problem would not notice a missing second
                order or mask.
        """
        env = {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": str(int(precision == "float64"))}
        arguments = ["--write-problem", self.problem]
        module = "benchmarks.peers.navigation"
        report.run_process(sys.executable, module, arguments, env=env, cores=None)
        found = self._torch(threads, "--check")
        if found["distance_of_first_order"] < SECOND_ORDER_MATTERS or found["real_fraction"] == 1:
            raise SystemExit(f"the check cannot tell what it should: {found}")
        if precision == "float32":  # rounding may end an episode one step sooner or later
            del found["errors"]["support_episodes"], found["errors"]["query_episodes"]
        worst = max(found["errors"], key=found["errors"].__getitem__)
        print(
            f"{precision}: torch is {found['errors'][worst]:.1e} off at most ({worst})", flush=True
        )
        if not all(error <= TOLERANCES[precision] for error in found["errors"].values()):
            raise SystemExit(f"torch disagrees in {precision}: {found}")  # NaN does too
        return {name: found[name] for name in found if name != "peak_mib"}

    def measure(
        self, settings: list[str], threads: list[int], repeats: int, iterations: int
    ) -> dict[str, Any]:
        """Time both at every setting and thread count, in turn; the better count stands."""
        runs: dict[str, dict[str, dict[int, list[dict[str, Any]]]]] = {
            setting: {library: {count: [] for count in threads} for library in LIBRARIES}
            for setting in settings
        }
        for repeat in range(repeats):
            for setting in settings:
                for count in threads:
                    for library in LIBRARIES:
                        options = ["--one", setting, "--iterations", iterations]
                        run = {"mamlax": self._mamlax, "torch": self._torch}[library]
                        result = run(count, *options)
                        runs[setting][library][count].append(result)
                        print(
                            f"{repeat + 1}/{repeats}: {setting}, {library}, threads {count}: "
                            f"{result['milliseconds']:.4g} ms",
                            flush=True,
                        )
        return {
            setting: report.compare(of_setting, ours.summarize, "milliseconds")
            for setting, of_setting in runs.items()
        }

    def _mamlax(self, threads: int, *options: Any) -> dict[str, Any]:
        env = report.device_per_core(threads, ours.NUM_TASKS)
        result = ours.run_here(["--start", self.problem, *options], env, cores=threads)
        self.versions["mamlax"] = result.pop("versions")
        return result

    def _torch(self, threads: int, *options: Any) -> dict[str, Any]:
        result = report.run_process(
            self.peers_python,
            "benchmarks.peers.torch_navigation",
            [self.problem, "--threads", threads, *options],
            env={},
            cores=threads,
        )
        self.versions["peers"] = result.pop("versions")
        return result


def write_problem(path: str) -> None:
    """Write a policy, what it records, and what ours makes of that."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.flatten_util import ravel_pytree

    policy, learner, key = ours.first_policy(), ours.policy_learner(), jax.random.key(3)
    flat, unravel = ravel_pytree(policy)

    def explore(key):  # as the outer step does with its key
        task_key, explore_key = jax.random.split(key)
        goal = learner.sample_task(task_key)
        return goal, *learner.explore(explore_key, policy, goal)[:2]

    def adapted_loss(flat, support, query):
        adapted = learner.adapt(unravel(flat), support).params
        return learner.outer_surrogate(adapted, query)

    def outer_loss(flat, *experiences):
        return jnp.mean(jax.vmap(adapted_loss, (None, 0, 0))(flat, *experiences))

    goals, *experiences = jax.jit(jax.vmap(explore))(jax.random.split(key, ours.NUM_TASKS))
    loss, gradient = jax.jit(jax.value_and_grad(outer_loss))(flat, *experiences)
    vector = jax.random.normal(jax.random.key(4), flat.shape)
    arrays = {"goals": goals, "loss": loss, "gradient": gradient, "vector": vector}
    for name, setting in ours.SETTINGS.items():
        loop = ours.outer_loop(setting.checked(), None)
        state, metrics = jax.jit(loop.step)(key, loop.init(policy))
        if not metrics["train/accepted"]:
            raise SystemExit(f"{name}: no step was accepted, so none can be compared.")
        after, _ = ravel_pytree(state.meta_params)
        arrays[f"{name}_step"] = after - flat
        arrays[f"{name}_loss"] = jax.jit(outer_loss)(after, *experiences)
        product = jax.jit(fisher_product, static_argnums=(0, 1, 2))
        arrays[f"{name}_product"] = product(learner, unravel, setting, flat, vector, *experiences)
    for name, experience in zip(("support", "query"), experiences, strict=True):
        fields = experience.trajectory._asdict() | {"advantages": experience.advantages}
        del fields["terminated"]
        for field, array in fields.items():
            arrays[f"{name}_{field}"] = array[:, 0] if name == "support" else array
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez(path, **arrays, **ours.parameters(policy))


def fisher_product(
    learner: Any,
    unravel: Any,
    setting: ours.Direction,
    flat: Any,
    vector: Any,
    support: Any,
    query: Any,
) -> Any:
    """The Fisher-vector product of ours, at the first policy."""
    import jax
    import jax.numpy as jnp

    # the product itself is no part of the interface
    from mamlax.rl._trust_region import fisher_vector_product

    count = round(setting.fisher_fraction * ours.NUM_EPISODES)
    # [tasks, steps, episodes, ...]; a baseline's explained variance has no episodes
    support = jax.tree.map(lambda x: x[:, :, :count] if x.ndim > 2 else x, support)
    trajectory = jax.tree.map(lambda x: x[:, :count], query.trajectory)

    def distributions(flat):
        def of_task(support, observations):
            first_order = setting.fisher == "adapted"
            adapted = learner.adapt(unravel(flat), support, first_order=first_order).params
            return adapted(observations)

        return jax.vmap(of_task)(support, trajectory.observations)

    weights = trajectory.mask / jnp.sum(trajectory.mask, axis=(1, 2), keepdims=True)
    product = fisher_vector_product(
        distributions, weights / ours.NUM_TASKS, flat, damping=ours.DAMPING
    )
    return product(vector)


if __name__ == "__main__":
    main()
