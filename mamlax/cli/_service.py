"""Commands that serve models, or write a page that needs no server of models."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import tyro

from .._errors import MamlaxError
from .._extras import missing
from ..config._serving import Serving
from ..config._settings import Bound, Count, Positive
from . import _devices
from ._console import escape, say, say_paths

Port = Annotated[int, Bound("a whole number from 0 to 65535", lambda port: 0 <= port <= 65535)]


def serve(
    models: tyro.conf.Positional[tuple[Path, ...]],
    *,
    host: str = "127.0.0.1",
    port: Port = 8000,
    warm: bool = True,
    token: str | None = None,
    most_adapted: Count = Serving.most_adapted,
    seconds_kept: Positive = Serving.seconds_kept,
    most_bytes: Count = Serving.most_bytes,
    most_rows: Count = Serving.most_rows,
    most_images: Count = Serving.most_images,
    seconds_to_compute: Positive = Serving.seconds_to_compute,
) -> None:
    """Serve models over HTTP, with a web page to try them.

    Args:
        models: One or more model files of mamlax fit or mamlax export.
        host: Address to listen on. An address that other machines can reach needs a token.
        port: Port to listen on. 0: any free port.
        warm: Compile the usual sizes before the first request.
        token: The token that clients must send, as Authorization: Bearer TOKEN. Default:
            MAMLAX_TOKEN.
        most_adapted: How many adapted models to keep. Beyond that, the least recently used are
            dropped.
        seconds_kept: Seconds after which an unused adapted model is dropped.
        most_bytes: Largest size of a request, in bytes.
        most_rows: Largest number of rows in a request.
        most_images: Largest number of images in a request.
        seconds_to_compute: How long a request may wait for its answer before it gets an error.
    """
    settings = Serving(
        most_adapted=most_adapted,
        seconds_kept=seconds_kept,
        most_bytes=most_bytes,
        most_rows=most_rows,
        most_images=most_images,
        seconds_to_compute=seconds_to_compute,
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
    """Write a web page that runs models in the browser. Any web server can host it.

    It replaces a page that this command wrote into the folder earlier. All other files stay.

    Args:
        models: One or more model files of mamlax export, of images or of one column of numbers.
        out: The folder to write.
        runtime: The folder dist of onnxruntime-web (from npm install onnxruntime-web).
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
