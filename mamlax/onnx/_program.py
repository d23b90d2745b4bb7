"""A function of arrays as an ONNX file."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr

from .._errors import MamlaxError
from .._extras import optional
from .._files import Json, replacing
from ._conversion import check_type, converted
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
        MamlaxError: if an operation in it has no equivalent, an array is of another type than
            float32, int32 and bool, a name is reserved, or ONNX is not installed.

    Example:
        >>> import jax, jax.numpy as jnp, pathlib, tempfile
        >>> from mamlax.onnx import write_program
        >>> (rows,) = jax.export.symbolic_shape("rows")
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "f.onnx"
        >>> write_program(path, jnp.sin, {"x": jax.ShapeDtypeStruct((rows, 3), jnp.float32)})
        >>> path.exists()
        True
    """
    optional("onnx", "onnx")
    if reserved := [name for name in arguments if name.startswith("_") or name == _OUTPUT]:
        raise MamlaxError(f"an argument cannot be called {reserved[0]!r}. Give another name.")
    program = jax.jit(function).trace(*arguments.values()).jaxpr
    try:
        written = _written(program, list(arguments))
    except (NotImplementedError, TypeError, jax.errors.InconclusiveDimensionOperation) as error:
        raise MamlaxError(
            f"this cannot be written as ONNX: {error}. mamlax export --format stablehlo writes "
            "every model."
        ) from error
    with replacing(path) as temporary:
        temporary.write_bytes(written)


def _written(program: ClosedJaxpr, names: list[str]) -> bytes:
    if len(program.out_avals) != 1:
        raise NotImplementedError(f"a function of {len(program.out_avals)} results")
    graph = Graph()
    inputs = []
    for name, value in zip(names, program.in_avals, strict=True):
        check_type(value.dtype)
        inputs.append(graph.input(name, value.shape, value.dtype))
    (result,) = converted(graph, program, inputs)
    about = program.out_avals[0]
    return graph.model({_OUTPUT: (result, about.shape, about.dtype)}, version("mamlax"))
