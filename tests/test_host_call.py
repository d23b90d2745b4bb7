"""Functions of NumPy arrays, called by compiled programs."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from mamlax._host_call import host_call


def test_a_call_gets_all_rows_at_once_however_they_are_mapped():
    called = []

    def weighed(vector, scale, bias):
        called.append((vector.shape, scale.shape, bias.shape))
        return vector * scale[..., None] + bias

    def call(vector, scale):
        shape = jax.ShapeDtypeStruct((3,), jnp.float32)
        return host_call(weighed, shape, vector, scale, np.ones(3, np.float32))

    vectors = jax.random.normal(jax.random.key(0), (4, 5, 3))
    scales = jnp.arange(4.0)
    inner = jax.vmap(call, (0, None))
    together = jax.jit(jax.vmap(inner, (0, 0)))(vectors, scales)
    np.testing.assert_allclose(together, vectors * scales[:, None, None] + 1, rtol=1e-6)
    assert called == [((4, 5, 3), (4, 1), (1, 1, 3))]
    np.testing.assert_allclose(call(vectors[1, 2], scales[3]), 3 * vectors[1, 2] + 1, rtol=1e-6)


def test_a_large_argument_is_handed_over_in_pieces_and_arrives_whole():
    rows = jax.random.bits(jax.random.key(0), (1000, 70), jnp.uint32)
    shape = jax.ShapeDtypeStruct((70,), jnp.uint32)
    call = jax.jit(jax.vmap(lambda row: host_call(lambda rows: rows[:, ::-1], shape, row)))
    np.testing.assert_array_equal(call(rows), rows[:, ::-1])
    pieces = re.findall(r"vmap_method=None\s*\] (.*)", str(jax.make_jaxpr(call)(rows)))
    assert [len(made.split()) for made in pieces] == [5]  # of 64 KiB at most


TWO_DEVICES = """
import jax, jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from mamlax._host_call import host_call

def turned(rows):
    shape = jax.ShapeDtypeStruct((70,), jnp.float32)
    def turn(rows, _):
        return jax.vmap(lambda row: host_call(lambda x: x[..., ::-1], shape, row))(rows), None
    return jax.lax.scan(turn, rows, None, length=50)[0]

mesh, spec = Mesh(jax.devices()[:2], ("rows",)), PartitionSpec("rows")
spread = jax.jit(
    jax.shard_map(turned, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
)
rows = jax.random.normal(jax.random.key(0), (2000, 70))
assert (spread(rows) == rows).all()
"""


def test_devices_that_call_at_once_do_not_wait_for_one_another():
    """NPROC: as many threads as devices, as on a machine of two cores."""
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "NPROC": "2"}
    subprocess.run([sys.executable, "-c", TWO_DEVICES], env=environment, check=True, timeout=120)
