"""Pickles from outside: honest ones read as NumPy reads them, all others end typed and reach nothing."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nasbench_kd.errors import DataError
from nasbench_kd.pickles import loads, numpy_names, plain_names
from nasbench_kd.sources import archive, mf_kd, nb201_12_epochs
from tests.counts import counted
from tests.fuzz.inputs import damaged_bytes, fuzzed, only_typed

ARRAYS = {
    "whole": np.arange(3),
    "matrix": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "text": np.array(["ab", "c"]),
    "bytes": np.array([b"ab", b"c"]),
    "flags": np.array([True, False]),
    "empty": np.empty((0, 2)),
    "one": np.array(1.5),
}
OBJECTS = np.array(["a", None, 1, b"", {2}], dtype=object)
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PICKLES = {
    protocol: pickle.dumps([np.float64(1.5), *ARRAYS.values()], protocol=protocol) for protocol in PROTOCOLS
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pickled_arrays_are_read_as_numpy_reads_them(protocol: int):
    scalar, *arrays = loads(PICKLES[protocol], numpy_names(), "here")
    assert (scalar, type(scalar)) == (1.5, np.float64)
    for read, written in zip(arrays, ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(read, written)
        assert read.shape == written.shape
        assert read.dtype.newbyteorder("=") == written.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_builtin_values_are_read_in_every_protocol(protocol: int):
    written = [b"", b"\x00\xff", bytearray(b"\xff"), {1, 2}, OrderedDict(a=1), (None, True), 2**70, -1.5, "é"]
    assert loads(pickle.dumps(written, protocol=protocol), plain_names(), "here") == written


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_objects_are_read_only_where_they_are_asked_for(protocol: int):
    data = pickle.dumps(OBJECTS, protocol=protocol)
    np.testing.assert_array_equal(loads(data, numpy_names(objects=True), "here"), OBJECTS)
    with pytest.raises(DataError, match="an array of 'O8'"):
        loads(data, numpy_names(), "here")


def test_arrays_of_python_2_are_read():
    text = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
    )
    text += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    text += b"\x89U\x02\x01\xfftb."
    assert loads(text, numpy_names(), "here", encoding="latin1").tolist() == [1, 255]


def call(function: bytes, *arguments: bytes, by: bytes = b"R") -> bytes:
    """The stream of a call: `by` is REDUCE or NEWOBJ."""
    return b"c" + function + b"(" + b"".join(arguments) + b"t" + by


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


NDARRAY, DTYPE, BYTES = b"numpy\nndarray\n", b"numpy\ndtype\n", b"C\x10" + b"A" * 16
OBJECT_TYPE = call(DTYPE, text("O8"), b"\x89", b"\x88")
SCALAR = b"numpy.core.multiarray\nscalar\n"


@pytest.mark.parametrize("by", [b"R", b"\x81"], ids=["REDUCE", "NEWOBJ"])
@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([b"K\x01\x85", text("O"), BYTES], id="objects over its own bytes"),
        pytest.param([b"K\x02\x85", text("u8"), BYTES], id="numbers over bytes"),
        pytest.param([b"K\x01\x85", text("u8"), call(NDARRAY, b"K\x01\x85", text("O"))], id="pointers read"),
        pytest.param([b"J\xff\xff\xff\x7f\x85", text("f8")], id="a giant"),
        pytest.param([], id="nothing"),
    ],
)
def test_no_constructor_of_numpy_is_reachable(arguments, objects, by):
    data = b"\x80\x04" + call(NDARRAY, *arguments, by=by) + b"."
    with pytest.raises(DataError):
        loads(data, numpy_names(objects), "here")


HOSTILE = {
    "a dtype that is subclassed": call(DTYPE, text("f8"), by=b"\x81"),
    "a dtype of fields": call(DTYPE, text("i4,O")),
    "a dtype of objects": OBJECT_TYPE,
    "a dtype of a dictionary": call(DTYPE, b"}"),
    "a scalar from a number": call(SCALAR, call(DTYPE, text("u1")), b"J\xff\xff\xff\x7f"),
    "a scalar of objects": call(SCALAR, OBJECT_TYPE, BYTES),
    "an array from another kind": call(
        b"numpy.core.multiarray\n_reconstruct\n", b"c" + DTYPE, b"K\x00\x85", b"C\x01b"
    ),
    "an array that begins with a size": call(
        b"numpy.core.multiarray\n_reconstruct\n", b"c" + NDARRAY, b"K\x40\x85", b"C\x01b"
    ),
    "bytes by their number": call(b"builtins\nbytes\n", b"J\xff\xff\xff\x7f"),
    "writable bytes by their number": call(b"builtins\nbytearray\n", b"J\xff\xff\xff\x7f"),
    "a changed function": b"c" + SCALAR + b"N}" + text("__code__") + b"Ns\x86b",
    "a changed attribute": b"c" + SCALAR + b"}" + text("__doc__") + b"Nsb",
    "an unknown name": b"cos\nsystem\n",
    "an extension": b"\x82\x01",
}


@pytest.mark.parametrize("stream", HOSTILE.values(), ids=HOSTILE)
def test_hostile_calls_are_refused(stream: bytes):
    with pytest.raises(DataError):
        loads(b"\x80\x04" + stream + b".", numpy_names(), "here")


def test_a_type_that_treats_bytes_as_pointers_is_not_built():
    """NumPy takes the flags of a type from a pickle, and follows the bytes of its arrays as pointers."""
    hostile = pickle.dumps(np.arange(3), protocol=4).replace(
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00", b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3f"
    )
    assert hostile != pickle.dumps(np.arange(3), protocol=4)
    read = loads(hostile, numpy_names(), "here")
    np.testing.assert_array_equal(read, np.arange(3))
    assert not read.dtype.hasobject


READERS = {
    "numpy": lambda data: loads(data, numpy_names(), "here"),
    "objects": lambda data: loads(data, numpy_names(objects=True), "here"),
    "frame": lambda data: loads(data, nb201_12_epochs._known(), "here"),
    "records": lambda data: loads(data, mf_kd._known(), "here"),
    "stream": lambda data: archive._StreamingUnpickler(io.BytesIO(data), lambda trial: None, "here").load(),
}
NAMES = sorted({*numpy_names(), *nb201_12_epochs._known(), *mf_kd._known(), *archive._known()})
HARMFUL = [("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("copyreg", "_reconstructor")]
ATOMS = st.one_of(
    st.sampled_from([b"N", b"\x88", b"\x89", b"]", b"}", b")", b"K\x00", b"K\x01", b"K\x08", b"\x8f"]),
    st.integers(-(2**31), 2**31 - 1).map(lambda value: b"J" + struct.pack("<i", value)),
    st.binary(max_size=24).map(lambda value: b"C" + bytes([len(value)]) + value),
    st.binary(max_size=24).map(lambda value: b"\x96" + struct.pack("<Q", len(value)) + value),
    st.sampled_from(
        ["O", "O8", "f8", "u1", "U2", "V8", "i4,O", "latin1", "__class__", "__setstate__", "<"]
    ).map(text),
    st.sampled_from([*NAMES, *HARMFUL]).map(lambda name: f"c{name[0]}\n{name[1]}\n".encode()),
)
# Whole types and arrays in which any part may be hostile: random calls alone hardly ever get as far.
DTYPES = st.tuples(st.sampled_from(["f8", "u1", "U2", "S1", "O", "O8"]), ATOMS, st.booleans()).map(
    lambda drawn: (
        call(DTYPE, text(drawn[0]), b"\x89", b"\x88")
        + (b"(K\x03" + drawn[1] + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb" if drawn[2] else b"")
    )
)
SHAPES = st.lists(ATOMS | st.sampled_from([b"K\x00", b"K\x01", b"K\x02"]), max_size=3).map(
    lambda sizes: b"(" + b"".join(sizes) + b"t"
)
EMPTY = call(b"numpy.core.multiarray\n_reconstruct\n", b"c" + NDARRAY, b"K\x00\x85", b"C\x01b")
ARRAY_STREAMS = st.tuples(
    SHAPES | ATOMS,
    DTYPES | ATOMS,
    st.sampled_from([b"\x88", b"\x89"]) | ATOMS,
    ATOMS | st.just(b"C\x08ABCDEFGH"),
).map(lambda state: EMPTY + b"(K\x01" + b"".join(state) + b"tb")
ONE = [b"0", b"2", b"\x85", b"\x94", b"a", b"b", b"R", b"\x81", b"s", b"\x86", b"\x87", b"\x92", b"\x93"]
MARKED = [b"l", b"t", b"d", b"e", b"u", b"o", b"\x90", b"\x91"]
STREAMS = st.recursive(
    ATOMS | DTYPES | ARRAY_STREAMS,
    lambda inner: st.one_of(
        st.tuples(st.lists(inner, min_size=1, max_size=4), st.sampled_from(MARKED)).map(
            lambda pair: b"(" + b"".join(pair[0]) + pair[1]
        ),
        st.tuples(inner, inner, st.sampled_from(ONE)).map(b"".join),
        st.tuples(inner, st.lists(inner, max_size=5), st.sampled_from([b"R", b"\x81", b"b"])).map(
            lambda call: call[0] + b"(" + b"".join(call[1]) + b"t" + call[2]
        ),
        st.tuples(inner, inner, inner).map(lambda item: b"".join(item) + b"s"),
    ),
    max_leaves=24,
)
OURS = ("builtins", "collections", "numpy", "nasbench_kd.pickles", "nasbench_kd.sources.nb201_12_epochs")


@fuzzed
@given(stream=STREAMS, reader=st.sampled_from(sorted(READERS)))
def test_streams_of_calls_reach_nothing(stream: bytes, reader: str):
    """Calls, subclassing, states and items, in any nesting, of all names and with any arguments."""
    counted("mutated input")
    try:
        loaded = READERS[reader](b"\x80\x04" + stream + b".")
    except Exception:  # the streaming reader's caller makes it a typed error
        if reader != "stream":
            with pytest.raises(DataError):
                READERS[reader](b"\x80\x04" + stream + b".")
        loaded = None
    assert type(loaded).__module__ in OURS
    if isinstance(loaded, np.ndarray):
        assert reader in ("objects", "frame") or not loaded.dtype.hasobject
        loaded.tolist()
    # What the names stand for is as it was.
    assert loads(PICKLES[2], numpy_names(), "here")[0] == 1.5


@pytest.mark.parametrize("reader", READERS)
def test_the_fuzzing_gets_as_far_as_arrays(reader: str):
    """A stream of the kind above that is honest is read, so that the hostile ones reach what they attack."""
    honest = EMPTY + b"(K\x01K\x01\x85" + call(DTYPE, text("f8"), b"\x89", b"\x88") + b"\x89C\x08ABCDEFGHtb"
    read = READERS[reader](b"\x80\x04" + honest + b".")
    assert read.tolist() == np.frombuffer(b"ABCDEFGH").tolist()


@fuzzed
@given(data=st.data())
def test_damaged_pickles(data: st.DataObject):
    """Whatever the bytes say, nothing but arrays and builtin values comes out, and nothing is imported."""
    protocol = data.draw(st.sampled_from(PROTOCOLS))
    damaged = data.draw(st.binary(max_size=40) | damaged_bytes(PICKLES[protocol]))
    assume(not asks_for_a_huge_memo(damaged))
    loaded: Any = only_typed(loads, damaged, numpy_names(), "here")
    assert isinstance(loaded, np.ndarray | np.generic) or type(loaded).__module__ in (
        "builtins",
        "collections",
        "nasbench_kd.pickles",
    )


def asks_for_a_huge_memo(data: bytes) -> bool:
    """Whether CPython's unpickler would fill gigabytes with an empty memo, which confinement ends."""
    try:
        return any(
            "PUT" in code.name and argument > 100_000 for code, argument, _ in pickletools.genops(data)
        )
    except Exception:  # the rest is damaged, and what came before asks for little
        return False
