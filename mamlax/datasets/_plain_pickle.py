"""Read pickles of plain data without running code in them.

A pickle is a program: the ordinary unpickler imports and calls whatever it names. This one knows
numbers, strings, lists, dictionaries and NumPy arrays of bytes, and refuses everything else. The
memory and time it takes are limited by the size of the pickle: no memo of a size that the pickle
only claims, no dictionary with colliding keys, no bytes that are created repeatedly.
"""

import io
import pickle
from typing import Any, ClassVar

import numpy as np

from .._errors import MamlaxError


def load_plain(content: bytes, source: str) -> Any:
    """The content of a pickle. Byte strings of Python 2 become bytes.

    Args:
        content: the pickle.
        source: name of the pickle in errors.

    Raises:
        MamlaxError: if it is damaged, or contains anything other than plain data.
    """
    unpickler = _PlainUnpickler(io.BytesIO(content), encoding="bytes")
    unpickler.source, unpickler.budget = source, len(content)
    try:
        return _with_arrays(unpickler.load())
    except MamlaxError:
        raise
    except Exception as error:  # damage raises whatever comes of it
        raise MamlaxError(
            f"{source} is no whole pickle of plain data ({str(error) or type(error).__name__}). "
            "Fetch it again."
        ) from error


# Python's own: the memo of the one in C is an array as long as the largest index named
_InPython: Any = getattr(pickle, "_Unpickler")  # noqa: B009
_REFUSED = (
    *(pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.BYTEARRAY8, pickle.NEXT_BUFFER),
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2),
    *(pickle.EXT4, pickle.PERSID, pickle.BINPERSID),
)


def _refuse(unpickler: Any) -> None:
    raise ValueError("an instruction that plain data have no use for")


def _with_checked_keys(load: Any) -> Any:
    """The instruction that puts items into a dictionary, if their keys are strings."""

    def checked(unpickler: Any) -> None:
        items = unpickler.stack[-2:] if load is _InPython.load_setitem else unpickler.stack
        if not all(isinstance(key, str | bytes) for key in items[::2]):
            raise ValueError("a dictionary whose keys are no strings")
        load(unpickler)

    return checked


class _PlainUnpickler(_InPython):
    source, budget = "", 0
    dispatch: ClassVar = {
        **_InPython.dispatch,
        **{code[0]: _refuse for code in _REFUSED},
        pickle.DICT[0]: _with_checked_keys(_InPython.load_dict),
        pickle.SETITEM[0]: _with_checked_keys(_InPython.load_setitem),
        pickle.SETITEMS[0]: _with_checked_keys(_InPython.load_setitems),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Stand-ins for the parts of NumPy arrays, created anew so that nothing can alter them."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return lambda *_: _Array()
        if (module, name) == ("numpy", "ndarray"):
            return None  # only ever an argument of the above
        if (module, name) == ("numpy", "dtype"):
            return lambda code, *_: _ByteType(code)
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 3 writes them for Python 2
            return self._encode_latin
        raise MamlaxError(
            f"{self.source} is not what it should be: it asks for {module}.{name}, and reading it "
            "may run any code. Nothing was run. Delete it, and fetch it again from its publisher."
        )

    def _encode_latin(self, text: str, encoding: Any) -> bytes:
        if encoding not in ("latin1", b"latin1"):
            raise ValueError(f"text in {encoding!r}, expected latin1")
        self.budget -= len(text)
        if self.budget < 0:
            raise ValueError("one text made into bytes again and again")
        return text.encode("latin1")


class _ByteType:
    """Stands for `np.dtype("uint8")` in a pickle."""

    def __init__(self, code: Any):
        if code not in ("u1", b"u1", "|u1", b"|u1"):
            raise ValueError(f"an array of {code!r}, expected bytes")

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like: a byte has none."""


class _Array:
    """Stands for an array in a pickle, until it is checked."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, content = state
        if not isinstance(dtype, _ByteType) or not isinstance(content, bytes):
            raise ValueError("an array of something else than bytes")
        order = "F" if fortran_order else "C"
        self.array = np.frombuffer(content, np.uint8).reshape(shape, order=order)


def _with_arrays(value: Any) -> Any:
    """The dictionary with its arrays."""
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__}, expected a dictionary")
    return {
        key.decode("latin1") if isinstance(key, bytes) else key: (
            item.array if isinstance(item, _Array) else item
        )
        for key, item in value.items()
    }
