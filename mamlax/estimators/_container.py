"""A model in one file: safetensors, and all else as JSON in its header. Loading runs no code.

A container knows no class: what stands in its header is for the class that it is of.
"""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._errors import MamlaxError
from .._files import Json, replacing

FORMAT = 3
_FORMATS = (1, 2, FORMAT)
"""What is read; files of format 1 have no digest."""
_KEY, _DIGEST = "mamlax", "sha256"
_TABLE = "is a table. mamlax fit makes a model of a table"
_PROGRAM = "is a program for other software. Give the model that it was exported from"
_OTHERS = {
    **dict.fromkeys((".csv", ".tsv", ".parquet", ".feather"), _TABLE),
    **dict.fromkeys((".onnx", ".stablehlo"), _PROGRAM),
}
"""What other files are, by their suffix."""


class Container(NamedTuple):
    """The content of a file.

    Attributes:
        header: JSON; `kind` in it names the class.
        arrays: by name.
    """

    header: Json
    arrays: Mapping[str, np.ndarray]


def write_container(path: str | Path, content: Container) -> None:
    """Write a file, whole or not at all."""
    from safetensors.numpy import save

    versions = {name: version(name) for name in ("mamlax", "jax")}
    header = {"format": FORMAT, **versions, **content.header}
    header = json.loads(json.dumps(header, default=_plain))  # as it will be read
    text = json.dumps({**header, _DIGEST: digest_of(header, content.arrays)})
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(save(dict(content.arrays), metadata={_KEY: text}))


def read_container(path: Path) -> Container:
    """Read a file.

    Raises:
        MamlaxError: if it is no such file, is damaged or was changed, or was written by a newer
            version.
    """
    from safetensors import safe_open

    if path.is_dir():
        raise MamlaxError(
            f"{path} is a folder. A run is exported first: "
            f"mamlax export {shlex.quote(str(path))} --out MODEL."
        )
    if not path.exists():
        raise MamlaxError(
            f"{path} does not exist. A model is a file that mamlax fit, mamlax export or save "
            "wrote."
        )
    if not path.stat().st_size:
        raise MamlaxError(f"{path} is empty (0 bytes): writing it was not finished. Save again.")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise MamlaxError(f"{path} cannot be read ({error}).") from error
    except Exception as error:  # of the format, or numbers that NumPy lacks
        raise MamlaxError(f"{path} is no model that mamlax wrote{_why(path, error)}") from error
    try:
        header = json.loads(metadata[_KEY])
        number, written_by = header["format"], header["mamlax"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise MamlaxError(
            f"{path} holds arrays, but was not written by mamlax (its header has no {_KEY})."
        ) from error
    if number not in _FORMATS:
        raise MamlaxError(
            f"{path} was written by mamlax {written_by} in format {number}; mamlax "
            f"{version('mamlax')} reads up to format {FORMAT}. Install that version, or save it "
            "again."
        )
    found = header.pop(_DIGEST, None)
    if found != (None if number == 1 else digest_of(header, arrays)):
        raise MamlaxError(
            f"{path} was changed after it was written, or damaged: what is in it has not the "
            f"{_DIGEST} that was written with it. Copy it again, or save it again."
        )
    return Container(header, arrays)


def _why(path: Path, error: Exception) -> str:
    """What a file is that is no model, as the rest of a sentence."""
    kinds = (_OTHERS.get(suffix.lower()) for suffix in path.suffixes)
    found = next(filter(None, kinds), None)
    return f": it {found}." if found else f", or it is cut off ({error}). Copy it again."


@contextmanager
def header_errors(path: str | Path) -> Iterator[None]:
    """Name the file in whatever a header that was changed by hand leads to."""
    try:
        yield
    except MamlaxError as error:
        raise MamlaxError(f"{path} cannot be read: {error}") from error
    except Exception as error:
        raise MamlaxError(
            f"{path} was changed after it was written, or damaged: its header makes no sense "
            f"({type(error).__name__}: {error})."
        ) from error


def digest_of(header: Json, arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of the content of a file, independent of its order."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {list(array.shape)}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def named_arrays(prefix: str, tree: PyTree) -> dict[str, np.ndarray]:
    """The arrays of a pytree by name: a prefix, and where they lie in it."""
    return {
        prefix + jax.tree_util.keystr(path): np.asarray(leaf, order="C")
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def filled(like: PyTree, prefix: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """A pytree of the structure of `like`, with the arrays that `named_arrays` gave.

    Raises:
        MamlaxError: if one is missing, of another shape or type, or not finite.
    """

    def of(path, leaf):
        name = prefix + jax.tree_util.keystr(path)
        found = arrays.get(name)
        if found is None:
            raise MamlaxError(f"the array {name} is missing.")
        if found.shape != leaf.shape or found.dtype != leaf.dtype:
            raise MamlaxError(
                f"the array {name} has shape {list(found.shape)} of {found.dtype}, expected "
                f"{list(leaf.shape)} of {leaf.dtype}."
            )
        if not np.isfinite(found).all():
            raise MamlaxError(f"the array {name} has numbers that are not finite.")
        return jnp.asarray(found)

    return jax.tree_util.tree_map_with_path(of, like)


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be saved")
