"""The adapted models of a service: each has an id, and goes if nobody uses it."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax

from ..config._serving import Serving
from ._refusals import RefusedError


class AdaptedModels:
    """Adapted models by id. Safe to use from several threads."""

    def __init__(self, settings: Serving, clock: Callable[[], float] = time.monotonic):
        self._settings, self._clock = settings, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[float, int, Any]] = OrderedDict()
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, name: str, adapted: Any, num_bytes: int = 0) -> str:
        """Keep an adapted model of the model `name`, which takes so much memory; returns its id."""
        key = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name, key] = self._clock(), num_bytes, adapted
            self._num_bytes += num_bytes
            self._let_go()
        return key

    def of(self, name: str, key: str) -> Any:
        """The adapted model of this id.

        Raises:
            RefusedError: if there is none, or none any more.
        """
        with self._lock:
            self._let_go()
            if (name, key) not in self._kept:
                minutes = self._settings.seconds_kept / 60
                raise RefusedError(
                    f"{name!r} has no adapted model {key!r}. One that nobody uses for "
                    f"{minutes:.3g} minutes is let go, and of more than "
                    f"{self._settings.most_adapted} the oldest. Adapt again.",
                    404,
                )
            _, num_bytes, adapted = self._kept[name, key]
            self._kept[name, key] = self._clock(), num_bytes, adapted
            self._kept.move_to_end((name, key))
            return adapted

    def let_go(self) -> None:
        """Let those go that nobody has used for long."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        oldest = self._clock() - self._settings.seconds_kept
        while self._kept:
            used, num_bytes, _ = next(iter(self._kept.values()))
            most = self._settings.most_adapted, self._settings.most_bytes_kept
            if used >= oldest and len(self._kept) <= most[0] and self._num_bytes <= most[1]:
                return
            self._kept.popitem(last=False)
            self._num_bytes -= num_bytes


def num_bytes_of(adapted: Any) -> int:
    """The memory of what an adapted model does not share with the one it comes from."""
    params = adapted._adapted
    own = (params.own, params.supports, params.support_inputs, getattr(adapted, "support_", None))
    return sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(own))
