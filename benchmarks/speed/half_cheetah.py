"""How fast HalfCheetah is sampled and meta-learned: `results/speed_half_cheetah.json`.

    .venv/bin/python -m benchmarks.speed.half_cheetah      # about 4 minutes on 2 cores

In one process, in turn, with one JAX device per core as on the command line:

- sampling: environment steps per second of `rollout`, 40 tasks × 20 episodes × 200 steps, each task
  with a policy of its own (2×100 ReLU), policy, noise, observations and rewards included; beside it
  `mujoco.rollout` alone, given random controls for as many rows and steps. Both variants: one
  engine step per environment step (rllab) and five (gym);
- Gymnasium's `SyncVectorEnv` of `HalfCheetah-v5`, random actions ready-made, no policy;
- an outer step of `maml_trpo` with the recipe's settings, and what of it is exploring: acting, the
  inner gradient, acting again.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import report

NUM_TASKS, NUM_EPISODES, HORIZON = 40, 20, 200
NUM_ENVS, NUM_GYM_STEPS = 40, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_half_cheetah.json")
    args = parser.parse_args()
    machine = report.machine()
    os.environ.update(report.device_per_core(os.cpu_count() or 1, NUM_TASKS))
    steps = NUM_TASKS * NUM_EPISODES * HORIZON
    work: dict[str, tuple[int, Callable[[], Any]]] = {}
    for variant in ("rllab", "gym"):
        work[f"mujoco.rollout, {variant}"] = steps, engine_alone(variant)
        work[f"mamlax, {variant}"] = steps, sampling(variant)
    work["gymnasium SyncVectorEnv"] = NUM_ENVS * NUM_GYM_STEPS, gymnasium_alone()
    step, explore = outer_step()
    work["outer step"], work["its exploration"] = (2 * steps, step), (2 * steps, explore)
    for _, run in work.values():
        run()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(args.repeats):  # in turn, so that a disturbance meets all
        for name, (_, run) in work.items():
            seconds[name].append(report.seconds_per_call(run, 0.0))
    results = {
        name: {
            "seconds": report.rounded_median(seconds[name]),
            "repeats_seconds": seconds[name],
            "steps_per_second": count / report.rounded_median(seconds[name]) if count else None,
        }
        for name, (count, _) in work.items()
    }

    def ratio(name: str, other: str) -> float:
        rates = [results[one]["steps_per_second"] for one in (name, other)]
        return round(rates[0] / rates[1], 3)

    ratios = {
        "of the engine, rllab": ratio("mamlax, rllab", "mujoco.rollout, rllab"),
        "of the engine, gym": ratio("mamlax, gym", "mujoco.rollout, gym"),
        "of SyncVectorEnv, gym": ratio("mamlax, gym", "gymnasium SyncVectorEnv"),
    }
    sizes = {"tasks": NUM_TASKS, "episodes": NUM_EPISODES, "horizon": HORIZON}
    versions = report.versions("jax", "jaxlib", "numpy", "mujoco", "gymnasium")
    report.write_report(
        args.output,
        {
            "machine": machine,
            "versions": versions,
            "sizes": sizes,
            "results": results,
            "ratios": ratios,
        },
    )
    report.print_table(
        [
            {"work": name, "s": one["seconds"], "steps/s": f"{one['steps_per_second'] or 0:.4g}"}
            for name, one in results.items()
        ]
    )
    print(ratios)


def sampling(variant: str) -> Callable[[], Any]:
    """Acts out all episodes of all tasks."""
    import equinox as eqx
    import jax

    import mamlax

    env = mamlax.rl.HalfCheetah(variant=variant, horizon=HORIZON)
    keys = jax.random.split(jax.random.key(0), NUM_TASKS)
    policies, static = eqx.partition(
        eqx.filter_vmap(lambda key: mamlax.rl.mlp_policy(key, env))(keys), eqx.is_array
    )

    def act(key, arrays):
        task, policy = env.sample_task(key), eqx.combine(arrays, static)
        return mamlax.rl.rollout(key, env, task, policy, num_episodes=NUM_EPISODES)

    run = on_all_devices(lambda _, tasks: jax.vmap(act)(*tasks))
    return lambda: jax.block_until_ready(run((), (keys, policies)))


def on_all_devices(fn: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`fn(shared, tasks)`, its tasks spread."""
    import equinox as eqx
    from jax.sharding import PartitionSpec

    from benchmarks.loops import device_mesh
    from mamlax.algorithms._over_tasks import share

    mesh = device_mesh()
    spread = fn if mesh is None else share(fn, mesh, lambda x: x, PartitionSpec("tasks"))
    return eqx.filter_jit(spread)


def engine_alone(variant: str) -> Callable[[], Any]:
    """`mujoco.rollout` of as many rows, step by step, with all threads."""
    import mujoco
    import numpy as np
    from mujoco.rollout import Rollout

    import mamlax

    env = mamlax.rl.HalfCheetah(variant=variant)
    model, skip = env._engine.model, env._engine.frame_skip
    rows, threads = NUM_TASKS * NUM_EPISODES, os.cpu_count() or 1
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    start = np.zeros(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, mujoco.MjData(model), start, kind)
    pool, data = Rollout(nthread=threads), [mujoco.MjData(model) for _ in range(threads)]
    controls = np.random.default_rng(0).uniform(-1, 1, (HORIZON, rows, 1, model.nu))
    controls = np.repeat(controls, skip, axis=2)
    states, sensors = np.empty((rows, skip, len(start))), np.empty((rows, skip, 0))
    models = [model] * rows

    def run():
        now = np.tile(start, (rows, 1))
        for control in controls:
            pool.rollout(
                models,
                data,
                now,
                control,
                nstep=skip,
                skip_checks=True,
                state=states,
                sensordata=sensors,
            )
            now = states[:, -1].copy()

    return run


def gymnasium_alone() -> Callable[[], Any]:
    """Gymnasium's environments, one after another in Python."""
    import gymnasium
    import numpy as np

    vector = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("HalfCheetah-v5")] * NUM_ENVS)
    actions = np.random.default_rng(0).uniform(-1, 1, (NUM_GYM_STEPS, NUM_ENVS, 6))

    def run():
        vector.reset(seed=0)
        for action in actions:
            vector.step(action)

    return run


def outer_step() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A whole outer step with the recipe's settings, and its exploration alone."""
    import equinox as eqx
    import jax

    from mamlax.config import RECIPES
    from mamlax.experiments._experiment import experiment_of, loop_of
    from mamlax.experiments._policy_search import PolicySearch
    from mamlax.experiments.problems._build import parts_of

    recipe = RECIPES["half-cheetah-direction"]
    experiment = experiment_of(recipe, parts_of(recipe), Path())
    stage, method = experiment.stages["main"], experiment.method
    assert isinstance(method, PolicySearch)
    loop = loop_of(experiment, stage)
    learner = method.learner(
        stage.train_tasks,
        recipe.algorithm.num_inner_steps,
        recipe.algorithm.inner_learning_rate,
        num_episodes=recipe.episodes.episodes_per_task,
    )
    step = eqx.filter_jit(loop.step)
    state = loop.init(stage.init_params(jax.random.key(0)))
    for index in range(3):
        state, _ = step(jax.random.key(index), state)
    keys = jax.random.split(jax.random.key(9), recipe.training.meta_batch_size)

    def explore(policy, keys):
        def one(key):
            return learner.explore(key, policy, learner.sample_task(key))._replace(policy=None)

        return jax.vmap(one)(keys)

    explore = on_all_devices(explore)
    return (
        lambda: jax.block_until_ready(step(jax.random.key(9), state)),
        lambda: jax.block_until_ready(explore(state.meta_params, keys)),
    )


if __name__ == "__main__":
    main()
