"""Models from files behind an address, until the process is told to stop."""

import ipaddress
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any

from .._errors import MamlaxError
from .._extras import missing
from ..config._serving import Serving
from ..estimators._inspection import description_of
from ._models import models_in
from ._readiness import make_more_ready, make_ready

_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_DRAIN_SECONDS = 10
_BACKLOG = 2_048
_MOST_CONNECTIONS = 512  # each may hold a whole request in memory; of more, the last get 503
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Of every answer."""


def serve(
    paths: Sequence[Path],
    settings: Serving,
    *,
    host: str,
    port: int,
    warm: bool,
    say: Callable[[str], None],
) -> None:
    """Serve models until SIGINT or SIGTERM; requests that are being answered are finished first.

    Args:
        paths: of models, whose names are those of the files without the suffix.
        settings: what clients may do.
        host: address to listen on.
        port: 0: one that is free.
        warm: compile the programs of common sizes before the first client comes.
        say: called with what happens.

    Raises:
        MamlaxError: if a model cannot be served, the address is taken, or others could reach the
            service without a token.
    """
    try:
        import uvicorn

        from ._app import app_of
    except ModuleNotFoundError as error:
        raise missing(error.name or "starlette", "serve") from error
    is_own = _is_own(host)
    if not is_own and settings.token is None:
        raise MamlaxError(
            f"listening on {host} would let other machines in. Give a --token, which clients must "
            "then send; or leave --host away, to serve this machine alone."
        )
    if not paths:
        raise MamlaxError("there is nothing to serve: mamlax serve MODEL, one file or several.")
    models = models_in(paths)
    if warm:
        for name, model in models.items():
            say(f"{name}: compiling")
            make_ready(model)
    app = app_of(
        models,
        settings,
        cards=dict(zip(models, map(description_of, paths), strict=True)),
        hosts=(host, *_OWN_NAMES) if is_own else ("*",),
    )
    config = config_of(app, settings, host=host, port=port)
    server = uvicorn.Server(config)
    socket = _bound(config)
    shown = "localhost" if host in ("127.0.0.1", "localhost") else host
    shown = f"[{shown}]" if ":" in shown else shown
    address = f"http://{shown}:{socket.getsockname()[1]}"
    of_token = "" if settings.token is None else "/#token=TOKEN"
    say(f"serving {', '.join(models)} at {address}{of_token}; Ctrl-C ends it")
    is_ending = Event()
    if warm:  # no daemon: the process must not end while a program is compiled
        Thread(target=make_more_ready, args=(list(models.values()), is_ending)).start()
    try:
        server.run(sockets=[socket])
    finally:
        is_ending.set()


def config_of(app: Any, settings: Serving, *, host: str, port: int) -> Any:
    """How uvicorn runs the application."""
    import uvicorn

    from ._connections import connection_class

    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=connection_class(settings),
        ws="none",
        headers=list(_HEADERS.items()),
        log_config=None,  # and not its own, which would replace that of the whole process
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=64 * 1024,
        limit_concurrency=_MOST_CONNECTIONS,
        server_header=False,
    )


def _is_own(host: str) -> bool:
    """Whether nobody but this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bound(config: Any) -> Any:
    """A socket of the address; uvicorn by itself would end the process where it is taken."""
    import socket

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((config.host, config.port))
        found.listen(_BACKLOG)  # who comes before the first answer waits
    except (OSError, OverflowError) as error:
        found.close()
        raise MamlaxError(
            f"{config.host}:{config.port} cannot be listened on ({error}). Give another --port, or "
            "--port 0 for one that is free."
        ) from error
    return found
