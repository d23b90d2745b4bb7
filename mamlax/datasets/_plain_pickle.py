"""Pickles of plain data, read without running what they say.

A pickle is a program: the ordinary unpickler imports and calls whatever it names. This one knows
numbers, strings, lists, dictionaries and NumPy arrays of bytes, and refuses all else.
"""

import io
import pickle
from typing import Any

import numpy as np

from .._errors import MamlaxError


def load_plain(content: bytes, source: str) -> Any:
    """What a pickle holds, byte strings of Python 2 as bytes.

    Args:
        content: the pickle.
        source: what to call it in errors.

    Raises:
        MamlaxError: if it is damaged, or names anything else than plain data.
    """
    unpickler = _PlainUnpickler(io.BytesIO(content), encoding="bytes")
    unpickler.source = source
    try:
        return _with_arrays(unpickler.load())
    except MamlaxError:
        raise
    except Exception as error:  # damage raises whatever comes of it
        raise MamlaxError(
            f"{source} is no whole pickle of plain data ({str(error) or type(error).__name__}). "
            "Fetch it again."
        ) from error


class _PlainUnpickler(pickle.Unpickler):
    source = ""

    def find_class(self, module: str, name: str) -> Any:
        """Stand-ins for what NumPy arrays are made of, made anew so that nothing can alter them."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return lambda *_: _Array()
        if (module, name) == ("numpy", "ndarray"):
            return None  # only ever an argument of the above
        if (module, name) == ("numpy", "dtype"):
            return lambda code, *_: _ByteType(code)
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 3 writes them for Python 2
            return lambda text, encoding: _encode_latin(text, encoding)
        raise MamlaxError(
            f"{self.source} is not what it should be: it asks for {module}.{name}, and reading it "
            "may run any code. Nothing was run. Delete it, and fetch it again from its publisher."
        )


def _encode_latin(text: str, encoding: Any) -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"text in {encoding!r}, expected latin1")
    return text.encode("latin1")


class _ByteType:
    """What a pickle makes of `np.dtype("uint8")`."""

    def __init__(self, code: Any):
        if code not in ("u1", b"u1", "|u1", b"|u1"):
            raise ValueError(f"an array of {code!r}, expected bytes")

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and the like: a byte has none


class _Array:
    """What a pickle makes of an array, until it is checked."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, content = state
        if not isinstance(dtype, _ByteType) or not isinstance(content, bytes):
            raise ValueError("an array of something else than bytes")
        order = "F" if fortran_order else "C"
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order=order)


def _with_arrays(value: Any) -> Any:
    """The dictionary read, with its arrays."""
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__}, expected a dictionary")
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: (
            item.array if isinstance(item, _Array) else item
        )
        for key, item in value.items()
    }
