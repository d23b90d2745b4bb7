"""The devices that tasks are spread over."""

import math

import jax
import numpy as np

from .._errors import MamlaxError


def mesh_for(num_tasks: int, num_devices: int | None) -> jax.sharding.Mesh | None:
    """The devices that share `num_tasks` tasks; None where it is one.

    Args:
        num_tasks: how many tasks there are; they must divide over the devices.
        num_devices: at most so many; None: all there are.

    Raises:
        MamlaxError: if there are fewer devices.
    """
    devices = jax.devices()
    if num_devices is not None and num_devices > len(devices):
        raise MamlaxError(f"num_devices={num_devices}, but this run can use {len(devices)}.")
    count = math.gcd(num_tasks, num_devices or len(devices))
    if count == 1:
        return None
    return jax.sharding.Mesh(np.array(devices[:count]), ("tasks",))
