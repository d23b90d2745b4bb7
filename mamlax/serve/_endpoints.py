"""What is answered at each address."""

from collections.abc import Mapping
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

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


class Endpoints:
    """Models in service. What a request does wrong is raised as a `RefusedError`.

    Args:
        models: by name.
        settings: what clients may do.
        cards: of models, a description in words.

    Attributes:
        adapted: the models that clients have adapted.
        workers: threads that compute.
    """

    def __init__(self, models: Mapping[str, Model], settings: Serving, cards: Mapping[str, str]):
        self.adapted, self.workers = AdaptedModels(settings), Workers(settings.seconds_to_compute)
        self._served = {name: _served(model, settings) for name, model in models.items()}
        self._settings, self._cards = settings, cards
        self._interface = interface_of(settings)

    async def openapi(self, request: Request) -> Response:
        """What there is, as OpenAPI says it."""
        return JSONResponse(self._interface)

    async def listed(self, request: Request) -> Response:
        """All models."""
        return JSONResponse({"models": [_about(name, one) for name, one in self._served.items()]})

    async def described(self, request: Request) -> Response:
        """One model."""
        name, one = self._model_of(request)
        return JSONResponse({**_about(name, one), "card": self._cards.get(name, "")})

    async def adapt(self, request: Request) -> Response:
        """Adapt a model, and keep it for a while."""
        name, one = self._model_of(request)
        body = await self._body_of(request, "adapt", is_form=isinstance(one, ServedImages))
        work = cast(Any, one.adapt)
        model, said = await self.workers.run(work, body, is_long=_is_long(one, body))
        key = self.adapted.add(name, model, num_bytes_of(model))
        kept = self._settings.seconds_kept
        return JSONResponse({"id": key, "seconds_kept": kept, **said})

    async def predict(self, request: Request) -> Response:
        """Predict by a model, adapted or not."""
        name, one = self._model_of(request)
        body = await self._body_of(request, "predict", is_form=isinstance(one, ServedImages))
        key = body.get("id") if isinstance(body, dict) else (body.fields.get("id") or [None])[0]
        if key is None and isinstance(one, ServedImages):
            raise RefusedError("the form must hold the id of an adapted model: see adapt.")
        if not isinstance(key, str | None):
            raise RefusedError(f"id must be text, got {key!r}.")
        model = None if key is None else self.adapted.of(name, key)
        work = cast(Any, one.predict)
        return JSONResponse(await self.workers.run(work, model, body, is_long=_is_long(one, body)))

    async def steps(self, request: Request) -> Response:
        """Predictions of a table's model after each inner step."""
        _, one = self._model_of(request)
        if not isinstance(one, ServedTable):
            raise RefusedError("steps is for models of tables; predict of images has by_step.", 404)
        body = await self._body_of(request, "steps")
        return JSONResponse(await self.workers.run(one.steps, body))

    async def table(self, request: Request) -> Response:
        """The rows of an uploaded table."""
        _, one = self._model_of(request)
        if not isinstance(one, ServedTable):
            raise RefusedError("this model takes images, no tables.", 404)
        body = await self._body_of(request, "table", is_form=True)
        return JSONResponse(await self.workers.run(one.table, body))

    async def _body_of(self, request: Request, what: str, *, is_form: bool = False) -> Any:
        read = cast(Any, form_of if is_form else json_of)
        known = names_in(self._interface, what, FORM_TYPE if is_form else JSON_TYPE)
        return await read(request, self._settings, known)

    def _model_of(self, request: Request) -> tuple[str, Served]:
        name = request.path_params["name"]
        if name not in self._served:
            there = ", ".join(self._served)
            raise RefusedError(f"there is no model {name!r}; there are {there}.", 404)
        return name, self._served[name]


def _served(model: Model, settings: Serving) -> Served:
    if isinstance(model, FewShotImageClassifier):
        return ServedImages(model, settings)
    return ServedTable(model, settings)


def _about(name: str, one: Served) -> Json:
    return {"name": name, **one.describe()}


def _is_long(one: Served, body: Any) -> bool:
    """Whether the work for a request may take more than some milliseconds: it is of images, or of
    more rows than programs were compiled for at the start."""
    if isinstance(one, ServedImages):
        return True
    rows = body.get("rows") if isinstance(body, dict) else None
    return isinstance(rows, list) and len(rows) > MOST_WARM_ROWS
