"""Several processes that run one program together (`jax.distributed`), each on its own devices.

All of them make the same calls in the same order. The first one reads and writes the files, and
tells the others what it has read. So the others need not see its directory.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from ._errors import MamlaxError


class OtherProcessError(MamlaxError):
    """The first process failed, and says why; or another one has ended."""


def is_first() -> bool:
    """Whether this process is the one that reads and writes files; true where there is one."""
    return jax.process_index() == 0


def from_first(fn: Callable[[], Any]) -> Any:
    """What `fn()` returns in the first process, which alone calls it; values and NumPy arrays.

    Raises:
        OtherProcessError: in the others, if `fn` raises an error, which the first process raises.
    """
    if jax.process_count() == 1:
        return fn()
    result = failure = None
    if is_first():
        try:
            result = fn()
        except Exception as error:
            failure = error
    told = pickle.dumps((None if failure is None else str(failure), result))
    words, result = pickle.loads(_told(told))
    if failure is not None:
        raise failure
    if words is not None:
        raise OtherProcessError(words)
    return result


def in_each(fn: Callable[[], Any]) -> Any:
    """What `fn()` returns in this process, once it has returned in all of them.

    Raises:
        OtherProcessError: if it raises an error in another process, which this one waits for in
            vain.
    """
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

    data = np.frombuffer(pickle.dumps(value), np.uint8)
    with _words_where_one_has_ended():
        sizes = process_allgather(np.int32(data.size))
        rows = process_allgather(np.pad(data, (0, sizes.max() - data.size)))
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def largest(value: int) -> int:
    """The largest value of any process; cheap."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import process_allgather

    with _words_where_one_has_ended():
        return int(process_allgather(np.int32(value)).max())


def _told(data: bytes) -> bytes:
    """The bytes of the first process; JAX must know how many there are."""
    from jax.experimental.multihost_utils import broadcast_one_to_all

    with _words_where_one_has_ended():
        size = int(broadcast_one_to_all(np.int64(len(data))))
        mine = np.frombuffer(data, np.uint8) if is_first() else np.zeros(size, np.uint8)
        return broadcast_one_to_all(mine).tobytes()


@contextmanager
def _words_where_one_has_ended() -> Iterator[None]:
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        raise OtherProcessError(ENDED) from error


ENDED = (
    "Another process of this job has ended, or cannot be reached: its own output says why. Start "
    "all processes again."
)
