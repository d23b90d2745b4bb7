"""Decisions that the processes of one run make together, or that a single process makes alone."""

from collections.abc import Callable
from signal import Signals
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from .._errors import MamlaxError
from .._processes import OtherProcessError, are_joined_by, from_first, is_first, largest, of_each
from ._state_arrays import arrays_of, with_arrays

_FAILED = 1 << 16
"""Above all signals."""


class ProcessGroup:
    """The processes of a run.

    Args:
        mesh: the devices of the outer loop. If they belong to several processes, these train
            together. Otherwise each process trains alone.
    """

    def __init__(self, mesh: Mesh | None):
        self.are_several = are_joined_by(mesh)
        self.is_first = not self.are_several or is_first()

    def start(self, state: PyTree, key: Any) -> PyTree:
        """The first process's state, from which all start: all then compute the same, bit for bit.

        Raises:
            MamlaxError: if the processes have different keys.
        """
        if not self.are_several:
            return state
        keys = of_each(np.asarray(jax.random.key_data(key)).tolist())
        other = next((process for process, one in enumerate(keys) if one != keys[0]), None)
        if other is not None:
            raise MamlaxError(
                f"process {other} was given another key than process 0. All need the same one: it "
                "decides which tasks each draws."
            )
        return with_arrays(state, from_first(lambda: arrays_of(state)))

    def of_first(self, values: Any) -> Any:
        """The first process's values, because machines may round differently."""
        return of_each(values)[0] if self.are_several else values

    def signal(
        self,
        received: Callable[[], Signals | None],
        first: Callable[[], None] | None = None,
    ) -> Signals | None:
        """The signal that any process has received, so that all stop after the same step.

        Args:
            received: returns the signal that this process has received.
            first: called before, only in the first process.

        Raises:
            Exception: in the first process, if `first` raises it.
            OtherProcessError: in the other processes, if `first` raises.
        """
        if not self.are_several:
            if first is not None:
                first()
            return received()
        failure = None
        if first is not None and self.is_first:
            try:
                first()
            except Exception as error:
                failure = error
        mine = received()
        number = largest(_FAILED if failure else 0 if mine is None else mine.value)
        if failure is not None:
            raise failure
        if number == _FAILED:
            raise OtherProcessError("process 0 failed, and says why.")
        return Signals(number) if number else None

    def on_this_process(self, state: PyTree) -> PyTree:
        """`state` on this process's own device, for programs that only this process runs."""
        return with_arrays(state, arrays_of(state)) if self.are_several else state
