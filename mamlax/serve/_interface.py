"""The HTTP interface as an OpenAPI document, which other programs read."""

from .. import __version__
from .._files import Json
from ..config._serving import Serving
from ._bodies import FORM_TYPE, JSON_TYPE

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
_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_SAID = {"type": "array", "items": _TEXT, "description": "What the model warns of, in sentences."}
_STEPS = "After 0, 1, … inner steps"


def _list(items: Json, description: str = "") -> Json:
    return {"type": "array", "items": items} | ({"description": description} if description else {})


def _object(properties: Json, required: list[str] | None = None) -> Json:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names}


_CLASSES = _list({}, "Names, in the order of probabilities.")
_PREDICTIONS = _list({}, "One for each row or image: a number, a list of numbers, or a class.")
_PROBABILITIES = _list(_list(_NUMBER), "[rows or images][classes]")
_BY_STEP = _list(_list(_list(_NUMBER)), f"{_STEPS}: [steps + 1][images][classes]")
_ABOUT = _object(
    {
        "name": _TEXT,
        "kind": {"enum": ["table", "curve", "images"]},
        "num_inner_steps": {"type": "integer"},
        "has_pretrained": {"type": "boolean", "description": "Whether it holds that baseline."},
        "columns": _list(
            {"type": "object"},
            "Of tables: name, and mean and scale of numbers, categories, or parts of a date.",
        ),
        "named": {"type": "boolean", "description": "Of tables: whether columns have names."},
        "targets": _list(_TEXT, "Of tables: what is predicted."),
        "means": _list(_NUMBER, "Of targets that are numbers."),
        "scales": _list(_NUMBER, "Of targets that are numbers."),
        "classes": _CLASSES,
        "has_intervals": {"type": "boolean"},
        "image_shape": _list({"type": "integer"}, "Height, width, channels."),
        "is_drawing": {"type": "boolean"},
        "ways": {"type": ["integer", "null"], "description": "The most classes; null: any number."},
    },
    ["name", "kind", "num_inner_steps", "has_pretrained"],
)
_ADAPTED = _object(
    {
        "id": {**_TEXT, "description": "Of the adapted model, for predict."},
        "seconds_kept": {**_NUMBER, "description": "How long it is kept if nobody uses it."},
        "num_support": {"type": "integer"},
        "classes": _CLASSES,
        "said": _SAID,
    },
    ["id", "seconds_kept", "num_support"],
)
_PREDICTED = _object(
    {
        "predictions": _PREDICTIONS,
        "lower": _list({}, "Of the interval, where a coverage was asked for."),
        "upper": _list({}, "Of the interval."),
        "classes": _CLASSES,
        "probabilities": _PROBABILITIES,
        "by_step": _BY_STEP,
        "pretrained_by_step": {**_BY_STEP, "description": "The same of the pretrained network."},
        "pretrained_said": {**_TEXT, "description": "Why there is none of the pretrained network."},
        "said": _SAID,
    },
    ["predictions"],
)
_STEPPED = _object(
    {
        "predictions": _list(_PREDICTIONS, f"{_STEPS}: [steps + 1][queries]"),
        "pretrained": _list(_PREDICTIONS, "The same of the pretrained network."),
        "pretrained_said": {**_TEXT, "description": "Why there is none of the pretrained network."},
        "said": _SAID,
    },
    ["predictions", "said"],
)
_TABLE = _object(
    {
        "num_support": {"type": "integer"},
        "said": _SAID,
        "columns": _list(_TEXT),
        "rows": _list(_list({}), "The first rows of the query, with predictions."),
        "csv": {**_TEXT, "description": "All of it."},
    }
)


def interface_of(settings: Serving) -> Json:
    """The document of a service with these settings; it names no model."""
    paths: Json = {
        "/models": {
            "get": _operation("The models of this service.", {}, _object({"models": _list(_ABOUT)}))
        },
        "/models/{name}": {
            "get": _operation(
                "What a model takes and gives, and its card.",
                {},
                {
                    **_ABOUT,
                    "properties": {**_ABOUT["properties"], "card": _TEXT},
                    "required": [*_ABOUT["required"], "card"],
                },
            )
        },
        "/models/{name}/adapt": {
            "post": _operation(
                "Adapt to a support: the answer has the id of the adapted model.",
                {
                    JSON_TYPE: _object({"rows": _ROWS, "targets": _TARGETS}),
                    FORM_TYPE: _object(
                        {
                            "image": _IMAGES,
                            "label": {"type": "array", "items": {"type": "string"}},
                        }
                    ),
                },
                _ADAPTED,
            )
        },
        "/models/{name}/predict": {
            "post": _operation(
                "Predict, by the adapted model of an id; without one, by a model of tables as it "
                "was fitted.",
                {
                    JSON_TYPE: _object(
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
                    FORM_TYPE: _object({"image": _IMAGES, "id": {"type": "string"}}),
                },
                _PREDICTED,
            )
        },
        "/models/{name}/steps": {
            "post": _operation(
                "Predictions of a model of tables after 0, 1, … inner steps.",
                {
                    JSON_TYPE: _object(
                        {
                            "rows": _ROWS,
                            "targets": _TARGETS,
                            "queries": _ROWS,
                            "num_inner_steps": {"type": "integer", "minimum": 0},
                        },
                        required=["rows", "targets", "queries"],
                    )
                },
                _STEPPED,
            )
        },
        "/models/{name}/table": {
            "post": _operation(
                "Adapt to one csv file with the target and predict for another.",
                {
                    FORM_TYPE: _object(
                        {
                            "support": {"type": "string", "format": "binary"},
                            "query": {"type": "string", "format": "binary"},
                            "coverage": {"type": "string", "description": "Of intervals."},
                        },
                        required=["support", "query"],
                    )
                },
                _TABLE,
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
            "description": f"At most {settings.most_bytes:,} bytes a request, and "
            f"{settings.most_rows:,} rows in each of its tables. What cannot be served is answered "
            'with {"error": a sentence}.',
        },
        "paths": paths,
        **_security(settings),
    }


def names_in(interface: Json, what: str, kind: str) -> list[str]:
    """What a request to `what` a model, such as adapt, may hold; `kind` is its content type."""
    body = interface["paths"][f"/models/{{name}}/{what}"]["post"]["requestBody"]
    return list(body["content"][kind]["schema"]["properties"])


def _operation(summary: str, content: Json, answer: Json) -> Json:
    """An operation that takes one of `content`, and gives `answer`."""
    responses = {
        "200": ("The answer.", answer),
        "4XX": ("Refused; `error` says why.", _object({"error": _TEXT})),
        "503": ("Busy, or it takes too long; `error` says so.", _object({"error": _TEXT})),
    }
    found: Json = {
        "summary": summary,
        "responses": {
            status: {"description": words, "content": {JSON_TYPE: {"schema": schema}}}
            for status, (words, schema) in responses.items()
        },
    }
    if content:
        found["requestBody"] = {
            "required": True,
            "content": {
                kind: {"schema": {**schema, "additionalProperties": False}}
                for kind, schema in content.items()
            },
        }
    return found


def _security(settings: Serving) -> Json:
    if settings.token is None:
        return {}
    scheme = {"type": "http", "scheme": "bearer"}
    return {
        "components": {"securitySchemes": {"token": scheme}},
        "security": [{"token": []}],
    }
