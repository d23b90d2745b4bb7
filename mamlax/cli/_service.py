"""The commands that serve models, or write a page that needs no service."""

import os
import shlex
from pathlib import Path

import tyro

from .._errors import MamlaxError
from .._extras import missing
from ..config._serving import Serving
from . import _devices
from ._console import escape, say, say_paths


def serve(
    models: tyro.conf.Positional[tuple[Path, ...]],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    warm: bool = True,
    token: str | None = None,
    most_adapted: int = Serving.most_adapted,
    seconds_kept: float = Serving.seconds_kept,
    most_bytes: int = Serving.most_bytes,
    most_rows: int = Serving.most_rows,
    most_images: int = Serving.most_images,
) -> None:
    """Serve models: a page to try them on, and an HTTP interface.

    Args:
        models: What mamlax fit or mamlax export wrote, one or more.
        host: Address to listen on; another than this machine's own needs a token.
        port: Port to listen on; 0: one that is free.
        warm: Compile the usual sizes before the first client comes.
        token: What clients must send, as Authorization: Bearer TOKEN; MAMLAX_TOKEN where None.
        most_adapted: Adapted models that are kept; of more, those least recently used go.
        seconds_kept: How long an adapted model is kept that nobody uses.
        most_bytes: Largest request.
        most_rows: Most rows of a request.
        most_images: Most images of a request.
    """
    settings = Serving(
        most_adapted=most_adapted,
        seconds_kept=seconds_kept,
        most_bytes=most_bytes,
        most_rows=most_rows,
        most_images=most_images,
        token=os.environ.get("MAMLAX_TOKEN") if token is None else token,
    )
    _devices.prepare_jax()
    from ..serve import _server

    _server.serve(
        models, settings, host=host, port=port, warm=warm, say=lambda words: say(escape(words))
    )


def page(
    models: tyro.conf.Positional[tuple[Path, ...]],
    *,
    out: Path = Path("page"),
    runtime: Path = Path("node_modules/onnxruntime-web/dist"),
) -> None:
    """Write a page that runs models in the browser, for any web server.

    Args:
        models: What mamlax export wrote, one or more: of images, or of one column of numbers.
        out: The folder to write.
        runtime: The folder dist of onnxruntime-web, which npm install onnxruntime-web brings.
    """
    if not models:
        raise MamlaxError("give a model or several: mamlax page characters.safetensors.")
    _devices.prepare_jax()
    try:
        from ..serve import _static
    except ModuleNotFoundError as error:
        raise missing(error.name or "starlette", "serve") from error
    say_paths(_static.write_page(out, models, runtime))
    say(escape(f"to look at it: python -m http.server --directory {shlex.quote(str(out))}"))
