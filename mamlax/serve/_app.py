"""The HTTP interface: which address does what, and what goes wrong said as sentences."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from .._errors import MamlaxError
from ..config._serving import Serving
from ..estimators._load import Model
from ._adapted_models import AdaptedModels
from ._endpoints import Endpoints
from ._refusals import RefusedError

_SECONDS_OF_A_LOOK = 60.0
_LOG = logging.getLogger("mamlax.serve")


def app_of(
    models: Mapping[str, Model],
    settings: Serving,
    *,
    cards: Mapping[str, str] | None = None,
    hosts: tuple[str, ...] = ("*",),
) -> Starlette:
    """A web application that adapts and predicts.

    Args:
        models: by name.
        settings: what clients may do.
        cards: of models, a description in words.
        hosts: names that the service goes by; requests for others are refused, so that a page from
            elsewhere cannot talk to it under a name of its own.
    """
    to = Endpoints(models, settings, cards or {})

    def guarded(path: str, endpoint: Callable[[Request], Any], method: str = "GET") -> Route:
        return Route(path, _guarded(endpoint, settings), methods=[method])

    routes = [
        Route("/", _page),
        Route("/docs", _page),
        Route("/favicon.ico", _favicon),
        Mount("/page", StaticFiles(packages=[("mamlax.serve", "page")])),
        Route("/openapi.json", to.openapi),
        guarded("/models", to.listed),
        guarded("/models/{name}", to.described),
        guarded("/models/{name}/adapt", to.adapt, "POST"),
        guarded("/models/{name}/predict", to.predict, "POST"),
        guarded("/models/{name}/steps", to.steps, "POST"),
        guarded("/models/{name}/table", to.table, "POST"),
    ]

    @asynccontextmanager
    async def while_it_runs(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        looking = asyncio.create_task(_let_go_in_time(to.adapted, settings))
        yield {}
        looking.cancel()
        to.workers.end()

    app = Starlette(
        routes=routes,
        lifespan=while_it_runs,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: _http_error},
    )
    app.state.adapted = to.adapted
    return app


async def _let_go_in_time(adapted: AdaptedModels, settings: Serving) -> None:
    """Free the memory of adapted models that nobody uses, also where no other request comes."""
    while True:
        await asyncio.sleep(min(settings.seconds_kept, _SECONDS_OF_A_LOOK))
        adapted.let_go()


def _guarded(endpoint: Callable[[Request], Any], settings: Serving) -> Callable[[Request], Any]:
    """What answers with sentences where a request is refused or a model fails."""

    async def answer(request: Request) -> Response:
        try:
            _check_origin(request)
            _check_token(request, settings.token)
            return await endpoint(request)
        except RefusedError as error:
            return _error(str(error), error.status)
        except MamlaxError as error:
            return _error(str(error), 400)
        except MemoryError:
            return _error("there is not enough memory for so many rows. Send fewer.", 413)
        except Exception:
            _LOG.exception("%s %s", request.method, request.url.path)
            return _error("the model failed; the service's log says where.", 500)

    return answer


def _check_origin(request: Request) -> None:
    """Browsers say which page a request comes from; others say nothing."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    if origin is not None and origin.partition("://")[2] != host:
        raise RefusedError(f"requests from pages of {origin} are refused.", 403)


def _check_token(request: Request, token: str | None) -> None:
    given = request.headers.get("authorization", "")
    if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise RefusedError(
            "this service needs a token: Authorization: Bearer TOKEN; or, for the page, an address "
            "that ends in /#token=TOKEN.",
            401,
        )


def _error(words: str, status: int) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": words}, status, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: f"there is nothing at {request.url.path}; /docs says what there is.",
        405: f"{request.url.path} does not take {request.method}; /docs says what it takes.",
    }
    return _error(words.get(error.status_code, str(error.detail)), error.status_code)


async def _page(request: Request) -> Response:
    name = "docs.html" if request.url.path == "/docs" else "index.html"
    content = files("mamlax.serve").joinpath("page", name).read_bytes()
    return Response(content, media_type="text/html")


async def _favicon(request: Request) -> Response:
    return Response(status_code=204)
