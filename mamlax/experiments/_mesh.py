"""The devices that tasks are spread over."""

import math

import jax
import numpy as np

from .._errors import MamlaxError


def mesh_for(num_tasks: int, num_devices: int | None) -> jax.sharding.Mesh | None:
    """The devices that share `num_tasks` tasks; None if it is one device.

    Args:
        num_tasks: the number of tasks; it must be divisible by the number of devices.
        num_devices: the most devices to use; None: all.

    Raises:
        MamlaxError: if there are fewer than `num_devices` devices.
    """
    devices = jax.devices()
    if num_devices is not None and num_devices > len(devices):
        raise MamlaxError(f"num_devices={num_devices}, but this run can use {len(devices)}.")
    count = math.gcd(num_tasks, num_devices or len(devices))
    if count == 1:
        return None
    return jax.sharding.Mesh(np.array(devices[:count]), ("tasks",))
