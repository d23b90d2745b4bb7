"""What clients send, read within bounds: JSON, or a form with files."""

import asyncio
import difflib
import functools
import json
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from .._files import Json
from ..config._serving import Serving
from ._refusals import RefusedError

JSON_TYPE, FORM_TYPE = "application/json", "multipart/form-data"
_LONGEST_NAME = 60
_READ_AT_ONCE = 64 * 1024
"""Bytes of JSON that are read sooner than another thread would begin."""


class Form(NamedTuple):
    """The parts of a form, in their order.

    Attributes:
        fields: name → texts.
        files: name → contents.
    """

    fields: dict[str, list[str]]
    files: dict[str, list[bytes]]


async def json_of(request: Request, settings: Serving, known: Collection[str]) -> Json:
    """The JSON object that a request holds.

    Raises:
        RefusedError: if it holds none or a name that is not `known`, is too large or too slow.
    """
    _check_type(request, JSON_TYPE)
    content = await _in_time(_content_of(request, settings), settings)
    try:
        read = functools.partial(json.loads, content, parse_constant=_no_number)
        found = read() if len(content) < _READ_AT_ONCE else await run_in_threadpool(read)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the request is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise RefusedError(f"the request must be a JSON object, got a {type(found).__name__}.")
    _check_names(found, known)
    return found


async def form_of(request: Request, settings: Serving, known: Collection[str]) -> Form:
    """The form that a request holds.

    Raises:
        RefusedError: if it holds none or a name that is not `known`, is too large or too slow.
    """
    _check_type(request, FORM_TYPE)
    content = await _in_time(_content_of(request, settings), settings)
    again = Request(request.scope, _receiver(content))
    try:
        async with again.form(
            max_files=settings.most_images + 1,
            max_fields=settings.most_images + 1,
            max_part_size=settings.most_bytes,
        ) as parts:
            found = Form({}, {})
            for name, part in parts.multi_items():
                if isinstance(part, UploadFile):
                    found.files.setdefault(name, []).append(await part.read())
                else:
                    found.fields.setdefault(name, []).append(part)
    except HTTPException as error:
        raise RefusedError(f"the form cannot be read: {error.detail}") from error
    _check_names([*found.fields, *found.files], known)
    return found


def _check_type(request: Request, wanted: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise RefusedError(f"Content-Type must be {wanted}, got {given or 'none'!r}.", 415)


def _check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse a name that would be ignored."""
    for name in given:
        if name not in known:
            shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]} ..."
            near = difflib.get_close_matches(shown, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise RefusedError(
                f"nothing called {shown!r} is taken here, only {', '.join(known)}.{hint}"
            )


async def _in_time(reading: Any, settings: Serving) -> bytes:
    try:
        return await asyncio.wait_for(reading, settings.seconds_to_send)
    except TimeoutError as error:
        raise RefusedError(
            f"the request was not sent within {settings.seconds_to_send:g} seconds.", 408
        ) from error
    except ClientDisconnect as error:
        raise RefusedError("the client left before it had sent its request.") from error


async def _content_of(request: Request, settings: Serving) -> bytes:
    most, given = settings.most_bytes, request.headers.get("content-length", "0")
    content = bytearray()
    if given.isdecimal() and int(given) <= most:
        async for part in request.stream():
            content += part
            if len(content) > most:
                break
        else:
            return bytes(content)
    raise RefusedError(
        f"the request is larger than the {most:,} bytes that are read. Send less at a time, or "
        "start the service with a larger --most-bytes.",
        413,
    )


def _receiver(content: bytes) -> Callable[[], Any]:
    """What gives a request's body that was read before."""

    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON; null is a missing value")
