"""Where examples are stored while tasks are drawn: on the device or in host memory."""

import os
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import MamlaxError
from ._class_arrays import ClassArrays
from ._streaming import Streamed

_Data = TypeVar("_Data", bound=ClassArrays | Sequence[ClassArrays])

# the rest is for parameters, activations and the program
_SHARE = 0.5


def place(data: _Data, *, stream: bool | None = None, max_bytes: int | None = None) -> _Data:
    """Put data on the device if it fits; otherwise leave it on the host, to be streamed.

    If the data are on the device, drawing a task is part of the compiled program. If they are
    streamed, the indices are still drawn on the device, and the host provides these rows, usually
    from a memory map. So data of any size take only the memory of the current tasks. The tasks are
    the same, bit for bit. But a step waits for the host, and its program is not stored in JAX's
    compilation cache.

    Args:
        data: `ClassArrays`, or `Splits`, whose parts are placed one by one, meta-training data
            first.
        stream: True: leave all data on the host. False: put all on the device. None: decide by
            size.
        max_bytes: how many bytes may be put on the device in total, if `stream` is None. Default:
            half of the free memory of the first device; on a CPU, half of the machine's memory.

    Raises:
        MamlaxError: if both `stream` and `max_bytes` are given, or `max_bytes` is negative.

    Example:
        >>> import jax, numpy as np, mamlax
        >>> data = mamlax.ClassArrays.of({f"{c}": np.full((4, 2), c) for c in range(6)})
        >>> key, settings = jax.random.key(0), dict(ways=5, shots=1)
        >>> resident, streamed = (mamlax.place(data, stream=stream) for stream in (False, True))
        >>> one, other = (
        ...     mamlax.FewShot(placed, **settings).sample(key) for placed in (resident, streamed)
        ... )
        >>> bool((one.support.inputs == other.support.inputs).all())
        True
    """
    if stream is not None and max_bytes is not None:
        raise MamlaxError(
            f"got stream={stream} and max_bytes={max_bytes}: stream already says where data go. "
            "Give one of them."
        )
    if max_bytes is not None and max_bytes < 0:
        raise MamlaxError(f"max_bytes must be 0 or more, got {max_bytes}.")
    free = max_bytes
    if free is None and stream is None:
        free = _free_bytes()

    def placed(part: ClassArrays) -> ClassArrays:
        nonlocal free
        examples = part.examples
        rows = examples.rows if isinstance(examples, Streamed) else examples
        streams = stream
        if streams is None:
            streams = free is not None and rows.nbytes > free
        if not streams and free is not None:
            free -= rows.nbytes
        examples = Streamed(np.asanyarray(rows)) if streams else jnp.asarray(rows)
        return ClassArrays(examples, jnp.asarray(part.starts), jnp.asarray(part.sizes), part.names)

    return jax.tree.map(placed, data, is_leaf=lambda part: isinstance(part, ClassArrays))


def _free_bytes() -> int | None:
    """How many bytes data may take on the first device; None if its memory is unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(_SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))
    try:  # a processor: its memory is the machine's
        return int(_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None
