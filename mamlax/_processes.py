"""Several processes that run one program together (`jax.distributed`), each on its own devices.

All of them make the same calls in the same order. The first one reads and writes the files, and
tells the others what it has read. So the others need not see its directory.
"""

import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from ._errors import MamlaxError

_PIECE_BYTES = 1 << 28


class OtherProcessError(MamlaxError):
    """Another process failed, and says why; or it has ended."""


def is_first() -> bool:
    """Whether this process is the one that reads and writes files; true where there is one."""
    return jax.process_index() == 0


def are_joined_by(mesh: jax.sharding.Mesh | None) -> bool:
    """Whether a mesh has devices of several processes, which then must call all that uses it."""
    return mesh is not None and len({device.process_index for device in mesh.devices.flat}) > 1


def from_first(fn: Callable[[], Any]) -> Any:
    """What `fn()` returns in the first process, which alone calls it; values and NumPy arrays.

    Raises:
        OtherProcessError: in the others, if `fn` raises an error, which the first process raises.
    """
    if jax.process_count() == 1:
        return fn()
    failure, told = None, b""
    if is_first():
        try:
            told = pickle.dumps((None, fn()))
        except Exception as error:
            failure = error
            told = pickle.dumps((str(error), None))
    words, result = pickle.loads(_told(told))
    if failure is not None:
        raise failure
    if words is not None:
        raise OtherProcessError(f"process 0 failed: {words}")
    return result


def in_each(fn: Callable[[], Any]) -> Any:
    """What `fn()` returns in this process, once it has returned in all of them.

    Raises:
        OtherProcessError: if it raises an error in another process.
    """
    if jax.process_count() == 1:
        return fn()
    result = failure = None
    try:
        result = fn()
    except Exception as error:
        failure = error
    said = of_each(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    for process, words in enumerate(said):
        if words is not None:
            raise OtherProcessError(f"process {process} failed: {words}")
    return result


def of_each(value: Any) -> list[Any]:
    """The value of each process, in their order; plain values."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental.multihost_utils import process_allgather

    _check_devices()
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    with words_where_one_has_ended():
        sizes = process_allgather(np.int32(data.size))
        rows = process_allgather(np.pad(data, (0, sizes.max() - data.size)))
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def largest(value: int) -> int:
    """The largest value of any process; cheap."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import process_allgather

    with words_where_one_has_ended():
        return int(process_allgather(np.int32(value)).max())


@contextmanager
def words_where_one_has_ended() -> Iterator[None]:
    """Say it where a program of all processes fails because another one has ended."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not has_lost_another(error):
            raise
        raise OtherProcessError(ENDED) from error


def has_lost_another(error: Exception) -> bool:
    """Whether an error of JAX is that another process does not answer."""
    words = str(error).lower()
    return jax.process_count() > 1 and any(one in words for one in _OF_CONNECTIONS)


ENDED = (
    "Another process of this job has ended, or cannot be reached: its own output says why. Start "
    "all processes again."
)
_OF_CONNECTIONS = ("gloo", "nccl", "connection", "coordination", "deadline_exceeded", "unavailable")


def _told(data: bytes) -> bytes:
    """The bytes of the first process, in pieces; JAX must know how many there are."""
    from jax.experimental.multihost_utils import broadcast_one_to_all

    _check_devices()
    pieces = range(0, len(data), _PIECE_BYTES)
    with words_where_one_has_ended():
        count, last = broadcast_one_to_all(
            np.array([len(pieces), len(data) - pieces[-1] if pieces else 0], np.int32)
        )
        found = []
        for index in range(count):
            size = last if index == count - 1 else _PIECE_BYTES
            piece = np.zeros(size, np.uint8)
            if is_first():
                piece = np.frombuffer(data, np.uint8, size, index * _PIECE_BYTES)
            found.append(broadcast_one_to_all(piece).tobytes())
    return b"".join(found)


def _check_devices() -> None:
    """Refuse processes with other numbers of devices, which JAX cannot gather from."""
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{counts[one]} in process {one}" for one in sorted(counts))
        raise MamlaxError(
            f"every process needs as many devices, found {found}. Bind each to as many cores "
            "(taskset, srun --cpus-per-task), or give each as many accelerators."
        )
