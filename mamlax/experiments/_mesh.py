"""The devices that tasks are spread over, and how many each computes at once."""

import math

import jax
import numpy as np
from jaxtyping import PyTree

from .._errors import MamlaxError
from ..config._training import TrainingSettings


def mesh_for(num_tasks: int, num_devices: int | None) -> jax.sharding.Mesh | None:
    """The devices that share `num_tasks` tasks, as many in each process; None if it is one device.

    None also where the tasks do not divide over the processes: each then computes all of them.

    Args:
        num_tasks: the number of tasks.
        num_devices: the most devices to use in each process; None: all.

    Raises:
        MamlaxError: if a process has fewer than `num_devices` devices.
    """
    processes, available = jax.process_count(), jax.local_device_count()
    if num_devices is not None and num_devices > available:
        raise MamlaxError(f"num_devices={num_devices}, but this run can use {available}.")
    if num_tasks % processes:
        return None
    in_each = math.gcd(num_tasks // processes, num_devices or available)
    if in_each * processes == 1:
        return None
    devices = sorted(jax.devices(), key=lambda one: (one.process_index, one.id))
    chosen = np.array(devices).reshape(processes, available)[:, :in_each]
    return jax.sharding.Mesh(chosen.reshape(-1), ("tasks",))


def tasks_at_once(training: TrainingSettings) -> int | None:
    """How many tasks a device computes at once; None: all."""
    size = training.task_batch_size
    if size == "auto":
        return 1 if jax.default_backend() == "cpu" else None
    return size


def everywhere(values: PyTree, mesh: jax.sharding.Mesh) -> PyTree:
    """The same values, whole in each process; traceable."""
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, whole), values)
