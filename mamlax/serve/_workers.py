"""Threads in which models compute, so that the event loop goes on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .._cores import num_cores
from ._refusals import RefusedError


class Workers:
    """Some threads for short work, and as many for work that may compile a program.

    More threads than cores would take the interpreter from one another and from the event loop.

    Args:
        seconds: after which a client gets an answer in any case.
    """

    def __init__(self, seconds: float):
        self._seconds = seconds
        number = max(2, num_cores())
        self._short, self._long = (ThreadPoolExecutor(number, "serve") for _ in range(2))

    async def run(self, work: Callable[..., Any], *args: Any, is_long: bool = True) -> Any:
        """What `work` returns.

        A thread cannot be stopped. After the time limit the client is free, but the thread stays
        taken until `work` returns. Work that has not begun by then never begins.

        Raises:
            RefusedError: if it takes too long.
        """
        future = (self._long if is_long else self._short).submit(work, *args)
        try:
            # this also cancels `future`, which has an effect only before it begins
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError as error:
            raise RefusedError(
                f"there was no answer within {self._seconds:g} seconds: the service is busy, or "
                "this takes long. Send fewer rows or images, or ask again later.",
                503,
            ) from error

    def end(self) -> None:
        """Begin nothing more."""
        for pool in (self._short, self._long):
            pool.shutdown(wait=False, cancel_futures=True)
