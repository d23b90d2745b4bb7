"""The HTTP interface as an OpenAPI document, which other programs read."""

from .. import __version__
from .._files import Json
from ..config._serving import Serving

_ROWS = {
    "type": "array",
    "description": "Objects by the names of columns, or lists of cells in their order; null is a "
    "missing value.",
    "items": {"oneOf": [{"type": "object"}, {"type": "array", "items": {}}]},
}
_TARGETS = {"type": "array", "items": {}, "description": "One for each row."}
_IMAGES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "Files of pictures, as PNG or JPEG.",
}


def interface_of(settings: Serving) -> Json:
    """The document of a service with these settings; it names no model."""
    paths: Json = {
        "/models": {"get": _operation("The models of this service.", {})},
        "/models/{name}": {"get": _operation("What a model takes and gives, and its card.", {})},
        "/models/{name}/adapt": {
            "post": _operation(
                "Adapt to a support: the answer has the id of the adapted model.",
                {
                    "application/json": _object({"rows": _ROWS, "targets": _TARGETS}),
                    "multipart/form-data": _object(
                        {
                            "image": _IMAGES,
                            "label": {"type": "array", "items": {"type": "string"}},
                        }
                    ),
                },
            )
        },
        "/models/{name}/predict": {
            "post": _operation(
                "Predict, by the adapted model of an id; without one, by a model of tables as it "
                "was fitted.",
                {
                    "application/json": _object(
                        {
                            "rows": _ROWS,
                            "id": {"type": "string"},
                            "coverage": {
                                "type": "number",
                                "description": "Of intervals, which are given as lower and upper; "
                                "between 0 and 1.",
                            },
                        },
                        required=["rows"],
                    ),
                    "multipart/form-data": _object({"image": _IMAGES, "id": {"type": "string"}}),
                },
            )
        },
        "/models/{name}/steps": {
            "post": _operation(
                "Predictions of a model of tables after 0, 1, … inner steps.",
                {
                    "application/json": _object(
                        {
                            "rows": _ROWS,
                            "targets": _TARGETS,
                            "queries": _ROWS,
                            "num_inner_steps": {"type": "integer", "minimum": 0},
                        },
                        required=["rows", "targets", "queries"],
                    )
                },
            )
        },
        "/models/{name}/table": {
            "post": _operation(
                "Adapt to one csv file with the target and predict for another.",
                {
                    "multipart/form-data": _object(
                        {
                            "support": {"type": "string", "format": "binary"},
                            "query": {"type": "string", "format": "binary"},
                            "coverage": {"type": "string", "description": "Of intervals."},
                        },
                        required=["support", "query"],
                    )
                },
            )
        },
    }
    name = {"name": "name", "in": "path", "required": True}
    for path, operations in paths.items():
        if "{name}" in path:
            operations["parameters"] = [{**name, "schema": {"type": "string"}}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mamlax serve",
            "version": __version__,
            "description": f"At most {settings.most_bytes:,} bytes and {settings.most_rows:,} rows "
            'a request. What cannot be served is answered with {"error": a sentence}.',
        },
        "paths": paths,
        **_security(settings),
    }


def _operation(summary: str, content: Json) -> Json:
    refused = {"description": "Refused; `error` says why."}
    found: Json = {
        "summary": summary,
        "responses": {"200": {"description": "The answer."}, "4XX": refused},
    }
    if content:
        found["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in content.items()},
        }
    return found


def _object(properties: Json, required: list[str] | None = None) -> Json:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


def _security(settings: Serving) -> Json:
    if settings.token is None:
        return {}
    scheme = {"type": "http", "scheme": "bearer"}
    return {
        "components": {"securitySchemes": {"token": scheme}},
        "security": [{"token": []}],
    }
