"""Connections of clients that are slow, or send what is no HTTP."""

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..config._serving import Serving

_GRACE_SECONDS = 5.0
"""The application itself refuses a slow body, with a sentence, so the connection waits longer."""


class Connection(H11Protocol):
    """A connection that is closed if the client takes too long to send a request.

    uvicorn by itself waits forever for the rest of a request that has begun.
    """

    seconds: float

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._awaited: object = None  # h11's name for what the client sends next
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for the rest."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._stop_waiting()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the form of all other errors."""
        self._refuse(400, msg)

    def _watch(self) -> None:
        """Limit the time for the head of a request, and then that for its body."""
        awaited = self.conn.their_state
        if awaited is self._awaited or self.transport.is_closing():
            return
        self._awaited = awaited
        self._stop_waiting()
        if awaited is h11.IDLE:
            self._timer = self.loop.call_later(self.seconds, self._refuse_head)
        elif awaited is h11.SEND_BODY:
            seconds = self.seconds + _GRACE_SECONDS
            self._timer = self.loop.call_later(seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _refuse_head(self) -> None:
        has_begun = bool(self.conn.trailing_data[0])
        if has_begun:
            words = f"the head of the request was not sent within {self.seconds:g} seconds."
            self._refuse(408, words)
        else:
            self.transport.close()

    def _refuse(self, status: int, words: str) -> None:
        """Answer, and end the connection."""
        content = json.dumps({"error": words}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def connection_class(settings: Serving) -> type[Connection]:
    """What uvicorn makes for each connection."""

    class Limited(Connection):
        seconds = settings.seconds_to_send

    return Limited
