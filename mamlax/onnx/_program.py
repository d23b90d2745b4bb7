"""A function of arrays as an ONNX file."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from .._errors import MamlaxError
from .._extras import optional
from .._files import Json, replacing
from ._conversion import converted
from ._graph import OPSET, Graph

_OUTPUT = "outputs"
ABOUT_ONNX: Json = {"format": "onnx", "opset": OPSET, "output": _OUTPUT}
"""What is said of the form of such a program."""


def write_program(
    path: Path, function: Callable[..., Any], arguments: dict[str, jax.ShapeDtypeStruct]
) -> None:
    """Write a function of arrays, whose sizes may be symbols of `jax.export`.

    Args:
        path: of the file.
        function: what is written; of one result.
        arguments: what it takes, by the names that the file gives them.

    Raises:
        MamlaxError: if an operation in it has no equivalent, or ONNX is not installed.
    """
    optional("onnx", "onnx")
    program = jax.jit(function).trace(*arguments.values()).jaxpr
    graph = Graph()
    inputs = [graph.input(name, x.shape, x.dtype) for name, x in arguments.items()]
    try:
        (result,) = converted(graph, program, inputs)
    except NotImplementedError as error:
        raise MamlaxError(
            f"this model cannot be written as ONNX: {error}. mamlax export --format stablehlo "
            "writes every model."
        ) from error
    about = program.out_avals[0]
    written = graph.model({_OUTPUT: (result, about.shape, about.dtype)}, version("mamlax"))
    with replacing(path) as temporary:
        temporary.write_bytes(written)
