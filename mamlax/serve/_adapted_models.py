"""The adapted models of a service: each has an id, and goes if nobody uses it."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..config._serving import Serving
from ._refusals import RefusedError


class AdaptedModels:
    """Adapted models by id. Safe to use from several threads."""

    def __init__(self, settings: Serving, clock: Callable[[], float] = time.monotonic):
        self._settings, self._clock = settings, clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, name: str, adapted: Any) -> str:
        """Keep an adapted model of the model `name`; returns its id."""
        key = secrets.token_urlsafe(12)
        with self._lock:
            self._kept[name, key] = self._clock(), adapted
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
            _, adapted = self._kept[name, key]
            self._kept[name, key] = self._clock(), adapted
            self._kept.move_to_end((name, key))
            return adapted

    def _let_go(self) -> None:
        oldest = self._clock() - self._settings.seconds_kept
        while self._kept:
            used, _ = next(iter(self._kept.values()))
            if used >= oldest and len(self._kept) <= self._settings.most_adapted:
                return
            self._kept.popitem(last=False)
