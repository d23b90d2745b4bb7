"""Examples that stay with the host: only the rows that a task asks for go to the device."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._host_call import host_call


class Streamed(eqx.Module):
    """An array, memory-mapped as a rule, that no compiled program holds.

    To JAX it is a constant without content: not an argument, not copied to a device, and told from
    others by identity. `rows_of` fetches from it.
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
        """As of an array."""
        return self.rows.shape

    @property
    def dtype(self) -> np.dtype:
        """As of an array, in the precision that JAX is set to."""
        return jax.dtypes.canonicalize_dtype(self.rows.dtype)


class _Host:
    """Compared and hashed by identity, as static fields must be and arrays cannot."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows


def rows_of(examples, indices):
    """`examples[indices]` `[*indices.shape, ...]`, wherever the examples are; traceable.

    The same rows, bit for bit, of a streamed array as of one on the device. All rows that a vmapped
    program asks for are fetched in one call of the host.
    """
    if not isinstance(examples, Streamed):
        return jnp.asarray(examples)[indices]

    def fetch(indices):
        return examples.rows[indices]  # JAX converts what is in another precision

    shape = jax.ShapeDtypeStruct((*indices.shape, *examples.shape[1:]), examples.dtype)
    return host_call(fetch, shape, indices)
