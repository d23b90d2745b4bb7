"""The HTTP interface: which address does what, and what goes wrong said as sentences."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from .._errors import MamlaxError
from .._files import Json
from ..config._serving import Serving
from ..estimators._images import FewShotImageClassifier
from ..estimators._load import Model
from ._adapted_models import AdaptedModels, num_bytes_of
from ._bodies import FORM_TYPE, JSON_TYPE, form_of, json_of
from ._images import ServedImages
from ._interface import interface_of, names_in
from ._readiness import MOST_WARM_ROWS
from ._refusals import RefusedError
from ._tables import ServedTable
from ._workers import Workers

Served = ServedTable | ServedImages
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
    served = {name: _served(model, settings) for name, model in models.items()}
    adapted, cards = AdaptedModels(settings), cards or {}
    interface = interface_of(settings)
    workers = Workers(settings.seconds_to_compute)

    async def body_of(request: Request, what: str, *, is_form: bool = False) -> Any:
        read = cast(Any, form_of if is_form else json_of)
        known = names_in(interface, what, FORM_TYPE if is_form else JSON_TYPE)
        return await read(request, settings, known)

    async def listed(request: Request) -> Response:
        return JSONResponse({"models": [_about(name, one) for name, one in served.items()]})

    async def described(request: Request) -> Response:
        name, one = _model_of(request, served)
        return JSONResponse({**_about(name, one), "card": cards.get(name, "")})

    async def adapt(request: Request) -> Response:
        name, one = _model_of(request, served)
        body = await body_of(request, "adapt", is_form=isinstance(one, ServedImages))
        work = cast(Any, one.adapt)
        model, said = await workers.run(work, body, is_long=_is_long(one, body))
        key = adapted.add(name, model, num_bytes_of(model))
        return JSONResponse({"id": key, "seconds_kept": settings.seconds_kept, **said})

    async def predict(request: Request) -> Response:
        name, one = _model_of(request, served)
        body = await body_of(request, "predict", is_form=isinstance(one, ServedImages))
        key = body.get("id") if isinstance(body, dict) else (body.fields.get("id") or [None])[0]
        if key is None and isinstance(one, ServedImages):
            raise RefusedError("the form must hold the id of an adapted model: see adapt.")
        if not isinstance(key, str | None):
            raise RefusedError(f"id must be text, got {key!r}.")
        model = None if key is None else adapted.of(name, key)
        work = cast(Any, one.predict)
        return JSONResponse(await workers.run(work, model, body, is_long=_is_long(one, body)))

    async def steps(request: Request) -> Response:
        _, one = _model_of(request, served)
        if not isinstance(one, ServedTable):
            raise RefusedError("steps is for models of tables; predict of images has by_step.", 404)
        return JSONResponse(await workers.run(one.steps, await body_of(request, "steps")))

    async def table(request: Request) -> Response:
        _, one = _model_of(request, served)
        if not isinstance(one, ServedTable):
            raise RefusedError("this model takes images, no tables.", 404)
        return JSONResponse(
            await workers.run(one.table, await body_of(request, "table", is_form=True))
        )

    async def openapi(request: Request) -> Response:
        return JSONResponse(interface)

    async def page(request: Request) -> Response:
        return _page("docs.html" if request.url.path == "/docs" else "index.html")

    async def favicon(request: Request) -> Response:
        return Response(status_code=204)

    routes = [
        Route("/", page),
        Route("/docs", page),
        Route("/favicon.ico", favicon),
        Mount("/page", StaticFiles(packages=[("mamlax.serve", "page")])),
        Route("/openapi.json", openapi),
        Route("/models", _guarded(listed, settings)),
        Route("/models/{name}", _guarded(described, settings)),
        Route("/models/{name}/adapt", _guarded(adapt, settings), methods=["POST"]),
        Route("/models/{name}/predict", _guarded(predict, settings), methods=["POST"]),
        Route("/models/{name}/steps", _guarded(steps, settings), methods=["POST"]),
        Route("/models/{name}/table", _guarded(table, settings), methods=["POST"]),
    ]

    @asynccontextmanager
    async def while_it_runs(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        looking = asyncio.create_task(_let_go_in_time(adapted, settings))
        yield {}
        looking.cancel()
        workers.end()

    app = Starlette(
        routes=routes,
        lifespan=while_it_runs,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: _http_error},
    )
    app.state.adapted = adapted
    return app


async def _let_go_in_time(adapted: AdaptedModels, settings: Serving) -> None:
    """Free the memory of adapted models that nobody uses, also where no other request comes."""
    while True:
        await asyncio.sleep(min(settings.seconds_kept, _SECONDS_OF_A_LOOK))
        adapted.let_go()


def _served(model: Model, settings: Serving) -> Served:
    if isinstance(model, FewShotImageClassifier):
        return ServedImages(model, settings)
    return ServedTable(model, settings)


def _about(name: str, one: Served) -> Json:
    return {"name": name, **one.describe()}


def _model_of(request: Request, served: Mapping[str, Served]) -> tuple[str, Served]:
    name = request.path_params["name"]
    if name not in served:
        raise RefusedError(f"there is no model {name!r}; there are {', '.join(served)}.", 404)
    return name, served[name]


def _is_long(one: Served, body: Any) -> bool:
    """Whether the work for a request may take more than some milliseconds: it is of images, or of
    more rows than programs were compiled for at the start."""
    if isinstance(one, ServedImages):
        return True
    rows = body.get("rows") if isinstance(body, dict) else None
    return isinstance(rows, list) and len(rows) > MOST_WARM_ROWS


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


def _page(name: str) -> Response:
    content = files("mamlax.serve").joinpath("page", name).read_bytes()
    return Response(content, media_type="text/html")
