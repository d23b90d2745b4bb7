"""Examples that stay on the host: only the rows that a task needs are sent to the device."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._host_call import host_call


class Streamed(eqx.Module):
    """An array on the host, usually memory-mapped, that is not part of any compiled program.

    To JAX it is a constant without content: it is not an argument, is not copied to a device, and
    is compared by identity. `rows_of` fetches rows from it.
    """

    _host: "_Host" = eqx.field(static=True)

    def __init__(self, rows: np.ndarray):
        self._host = _Host(rows)

    @property
    def rows(self) -> np.ndarray:
        """The array itself, on the host."""
        return self._host.rows

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.rows.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of the array, in the precision that JAX is set to."""
        return jax.dtypes.canonicalize_dtype(self.rows.dtype)


class _Host:
    """Compared and hashed by identity, as static fields must be and arrays cannot."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows


def rows_of(examples, indices):
    """`examples[indices]` `[*indices.shape, ...]`, from examples on the device or host; traceable.

    A streamed array gives the same rows, bit for bit, as an array on the device. All rows that a
    vmapped program needs are fetched in one call of the host.
    """
    if not isinstance(examples, Streamed):
        return jnp.asarray(examples)[indices]

    def fetch(indices):
        return examples.rows[indices]  # JAX converts what is in another precision

    shape = jax.ShapeDtypeStruct((*indices.shape, *examples.shape[1:]), examples.dtype)
    return host_call(fetch, shape, indices)
