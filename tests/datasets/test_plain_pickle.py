"""Pickles of plain data are read; whatever else a pickle asks for is refused, and nothing runs."""

import pickle
import resource
import struct

import numpy as np
import pytest

import mamlax
from mamlax.datasets._plain_pickle import load_plain

PLAIN = {
    "number": 3,
    "half": 0.5,
    "words": ["a", b"\x00\xff", None, True],
    "inner": {"a": (1, 2)},
    "large": 1 << 100,
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_are_read_in_every_protocol(protocol):
    assert load_plain(pickle.dumps(PLAIN, protocol), "x") == PLAIN


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(3, 4), (5,), (2, 1, 3)])
def test_arrays_of_bytes_are_read(order, shape):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8, order=order)
    read = load_plain(pickle.dumps({"a": array}, 2), "x")["a"]
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.array([{}]), np.array(["a"]), np.zeros(2, [("a", np.uint8)])],
    ids=["floats", "objects", "words", "records"],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(mamlax.MamlaxError, match=r"file is no whole pickle|file is not what it"):
        load_plain(pickle.dumps({"a": array}, 2), "file")


def program(module, name):
    """A pickle that names something, and calls it with a string."""
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + b"X\x01\x00\x00\x00a\x85R."


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "apply"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "ufunc"),
        ("numpy.core.multiarray", "scalar"),
        ("_codecs", "decode"),
        ("copyreg", "_reconstructor"),
        ("mamlax.datasets._plain_pickle", "load_plain"),
    ],
)
def test_whatever_else_a_pickle_names_is_refused(module, name):
    with pytest.raises(mamlax.MamlaxError, match=rf"asks for {module}\.{name}.*Nothing was run"):
        load_plain(program(module, name), "file")


def test_nothing_allowed_leads_further():
    """What is allowed are stand-ins: no attribute of theirs, no state set on them, gets out."""
    names = [
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    ]
    for module, name in names:
        dotted = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode()
        path = f"{name}.__globals__"
        with pytest.raises(mamlax.MamlaxError, match="asks for"):
            load_plain(dotted + b"\x8c" + bytes([len(path)]) + path.encode() + b"\x93.", "file")
        # state set on what was named: forgotten with this pickle
        named = f"c{module}\n{name}\n".encode()
        state = b"}X\x0c\x00\x00\x00__defaults__X\x01\x00\x00\x00as"
        with pytest.raises(mamlax.MamlaxError):
            load_plain(b"\x80\x02" + named + b"N" + state + b"\x86b.", "file")
    array = np.arange(3, dtype=np.uint8)
    read = load_plain(pickle.dumps({"a": array}, 2), "x")["a"]
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("encoding", ["rot13", "zip", "idna", "utf-8"])
def test_codecs_are_not_to_be_chosen(encoding):
    text = f"X\1\0\0\0aX{chr(len(encoding))}\0\0\0{encoding}".encode()
    with pytest.raises(mamlax.MamlaxError, match=rf"text in '{encoding}', expected latin1"):
        load_plain(b"\x80\x02c_codecs\nencode\n" + text + b"\x86R.", "file")


@pytest.mark.parametrize("opcode", [b"\x82\x01", b"P1\n", b"X\x00\x00\x00\x00Q"])
def test_extensions_and_persistent_ids_are_refused(opcode):
    with pytest.raises(mamlax.MamlaxError, match="no whole pickle of plain data"):
        load_plain(b"\x80\x02" + opcode + b".", "file")


def test_whatever_byte_is_garbled_the_error_is_ours():
    content = pickle.dumps({"a": np.arange(6, dtype=np.uint8), "b": [1, "c"]}, 2)
    strangers = set()
    for place in range(len(content)):
        for flip in (0x55, 0x01, 0x80):
            garbled = bytearray(content)
            garbled[place] ^= flip
            try:
                load_plain(bytes(garbled), "file")
            except mamlax.MamlaxError as error:
                assert "file" in str(error)
            except Exception as error:
                strangers.add(f"{type(error).__name__}: {error}")
    assert not strangers


def test_an_index_that_a_pickle_only_names_takes_no_memory():
    """Python's unpickler in C makes a memo as long as the largest index: gigabytes for 2^28."""
    content = b"\x80\x02}r" + struct.pack("<I", (1 << 32) - 1) + b"."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert load_plain(content, "file") == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_keys_that_collide_are_refused():
    """2^61 - 1 is the modulus of the hash of integers: all of these are of one hash."""
    colliding = {(1 + i * ((1 << 61) - 1)): None for i in range(3)}
    for protocol in range(5):
        with pytest.raises(mamlax.MamlaxError, match="keys are no strings"):
            load_plain(pickle.dumps({"a": colliding}, protocol), "file")
    with pytest.raises(mamlax.MamlaxError, match="no use for"):
        load_plain(pickle.dumps({"a": {1, 2}}, 4), "file")


def test_one_text_is_not_made_into_bytes_again_and_again():
    text = b"X" + struct.pack("<I", 1000) + b"a" * 1000 + b"q\x01" + b"X\x06\0\0\0latin1q\x02"
    encode = b"c_codecs\nencode\nq\x03"
    again = b"h\x03h\x01h\x02\x86R0" * 100
    with pytest.raises(mamlax.MamlaxError, match="again and again"):
        load_plain(b"\x80\x02" + text + encode + again + b"}.", "file")


def test_a_torn_pickle_is_named():
    content = pickle.dumps(PLAIN, 2)
    for kept in range(0, len(content), 5):
        with pytest.raises(mamlax.MamlaxError, match="train is no"):
            load_plain(content[:kept], "train")
