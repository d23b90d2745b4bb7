"""One of two processes: trains for itself, then with the other; prints what came of it."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mamlax
from mamlax.algorithms._over_tasks import mean_over_devices
from mamlax.training._run import restore_run


def main():
    port, process, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
    alone = loop_on(None)
    # for itself: other numbers of steps, no common directory
    own = folder / f"alone-{process}"
    mine = run(alone, process, 2 + process, own if process == 0 else None)
    kept = refusal(lambda: restore_run(alone, params_of(0), own))
    together = loop_on(jax.sharding.Mesh(np.array(jax.devices()), ("tasks",)))
    ours = run(together, process, 4, folder / f"together-{process}")
    found = {
        "alone": mine.step,
        "kept": kept,
        "together": leaf(ours.state.meta_params),
        "is_here": all(x.is_fully_addressable for x in jax.tree.leaves(ours.state)),
        "key": refusal(lambda: run(together, process, 4, None, key=jax.random.key(process))),
        "means": means_of_types(process),
        "report": refusal(lambda: run(together, process, 4, None, report=refuse)),
    }
    print(json.dumps(found))
    jax.distributed.shutdown()


def means_of_types(process):
    """The mean over both processes of arrays of several types, which travel together."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("tasks",))
    whole = jax.sharding.PartitionSpec()
    tree = {
        "float32": jnp.array([1.0, 2.0]) + process,
        "bfloat16": jnp.array([[3.0]], jnp.bfloat16) + process,
        "int32": jnp.array([1, 2]) + process,
        "scalar": jnp.float32(5.0 + process),
    }
    mean = jax.shard_map(
        mean_over_devices,
        mesh=mesh,
        in_specs=whole,
        out_specs=whole,
        check_vma=False,
    )
    shared = jax.make_array_from_process_local_data
    sharding = jax.sharding.NamedSharding(mesh, whole)
    found = jax.jit(mean)(jax.tree.map(lambda x: shared(sharding, np.asarray(x)), tree))
    return {name: np.asarray(x, np.float64).tolist() for name, x in found.items()}


def loop_on(mesh):
    learner = mamlax.maml(
        lambda params, batch: jnp.mean((params * batch.inputs - batch.targets) ** 2),
        inner_optimizer=optax.sgd(0.01),
        num_inner_steps=1,
    )
    learner = mamlax.over_tasks(learner, mesh=mesh)
    sample = mamlax.Sinusoids(shots=5).sample
    return mamlax.outer_loop(learner, optax.adam(1e-2), sample, meta_batch_size=2)


def params_of(process):
    """Others in each process, as a careless script has them."""
    return jnp.full((1,), 1.0 + process)


def run(loop, process, num_outer_steps, directory, key=None, report=None):
    key = jax.random.key(7) if key is None else key
    return mamlax.run(
        loop,
        params_of(process),
        key=key,
        num_outer_steps=num_outer_steps,
        directory=directory,
        log_interval=1,
        report=report,
    )


def refuse(line):
    raise RuntimeError("enough")


def refusal(fn):
    try:
        return str(getattr(fn(), "step", None))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def leaf(params):
    return np.asarray(params).tobytes().hex()


if __name__ == "__main__":
    main()
