"""Unpicklers that import nothing but what is named: pickles from outside never run code.

A pickle can call whatever it can name, with any arguments, and set the state of whatever a call
returned. So nothing of NumPy's own is behind a name, not even a class: names stand for `Sealed`
functions of this module, which check their arguments and build arrays of plain numbers and text
from whole buffers. What no unpickler can prevent is a file made to ask CPython for more memory, or
a deeper stack, than there is: foreign files are read by `nasbench_kd.confinement`.
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError

_CODE = re.compile(r"[?bBhHiIlLqQefdg]|[iuf][0-9]{1,2}|b1|[SU][0-9]{1,6}")


class Sealed:
    """A function that a pickle can call, and that it can neither subclass nor change."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        """Call the function; what it cannot take is its own error."""
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise DataError("the pickle changes a function")

    def __setstate__(self, state: Any) -> None:
        raise DataError("the pickle changes a function")


Known = Mapping[tuple[str, str], Callable[..., Any]]
"""What a pickle may ask for, by (module, name), and what it gets instead of an import."""


class Unpickler(pickle.Unpickler):
    """Reads builtin containers and numbers, and the names in `known`; all else is refused."""

    def __init__(self, file: IO[bytes], known: Known, encoding: str = "ASCII") -> None:
        super().__init__(file, encoding=encoding)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a known name; raises `DataError` on any other."""
        return look_up(self._known, module, name)

    def persistent_load(self, _pid: Any) -> Any:
        """Stand in for tensor storages, which hold weights that nobody reads here."""
        return None


def look_up(known: Known, module: str, name: str) -> Callable[..., Any]:
    """Return the stand-in of a known name; raises `DataError` on any other."""
    try:
        return known[module, name]
    except KeyError:
        raise DataError(
            f"the pickle asks for {module:.60}.{name:.60}, which a file of results does not need; it is not read"
        ) from None


def loads(data: bytes, known: Known, place: str, encoding: str = "ASCII") -> Any:
    """Read one pickle from bytes; raises `DataError` where it is damaged or asks for other names.

    `encoding` is that of the text of Python 2; "latin1" keeps the bytes of its arrays.
    """
    try:
        return Unpickler(io.BytesIO(data), known, encoding).load()
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    except Exception as error:
        raise DataError(f"{place} is not a readable pickle: {type(error).__name__}: {error}") from error


class _Dtype:
    """Stands in for `numpy.dtype`, whose state could make NumPy treat plain bytes as pointers."""

    __slots__ = ("real",)
    real: np.dtype[Any]

    def __setstate__(self, state: Any) -> None:
        """Take the byte order and nothing else."""
        if type(state) is not tuple or len(state) < 2:
            raise DataError("the pickle holds a number type of an unknown form")
        if state[1] in ("<", ">"):
            self.real = self.real.newbyteorder(state[1])

    def read(self, shape: Any, data: Any, order: Any) -> npt.NDArray[Any]:
        """An array from its bytes; raises `DataError` or `ValueError` where they do not fit."""
        if type(data) is str:  # Python 2 wrote bytes as text
            data = data.encode("latin1")
        if type(data) not in (bytes, bytearray):
            raise DataError(f"the pickle holds an array whose bytes are a {type(data).__name__}")
        if type(shape) is not tuple or not all(type(size) is int and size >= 0 for size in shape):
            raise DataError("the pickle holds an array of no shape")
        return np.frombuffer(data, dtype=self.real).copy().reshape(shape, order="F" if order else "C")


class _Objects(_Dtype):
    """Stands in for the type of arrays of objects, which are read from a list of them."""

    __slots__ = ()

    def read(self, shape: Any, data: Any, order: Any) -> npt.NDArray[Any]:
        """An array from its list; raises `DataError` or `ValueError` where it does not fit."""
        if type(data) is not list or order or type(shape) is not tuple:
            raise DataError("the pickle holds an array of objects that is no list")
        values = np.empty(len(data), dtype=object)
        values[:] = data
        return values.reshape(shape)


def _dtype(code: Any, _align: Any = False, _copy: Any = True) -> _Dtype:
    if type(code) is bytes:  # Python 2, read with an encoding that keeps bytes
        code = code.decode("latin1")
    if type(code) is not str or not _CODE.fullmatch(code):
        kind = repr(code[:20]) if type(code) is str else f"a {type(code).__name__}"
        raise DataError(f"the pickle holds an array of {kind}, which a file of results does not need")
    dtype = _Dtype()
    dtype.real = np.dtype(code)
    return dtype


def _dtype_or_objects(code: Any, align: Any = False, copy: Any = True) -> _Dtype:
    if code not in ("O", "O8"):
        return _dtype(code, align, copy)
    dtype = _Objects()
    dtype.real = np.dtype(object)
    return dtype


class _Array(np.ndarray[Any, Any]):
    """What `_reconstruct` returns: an empty array until it gets its state. No pickle can name it."""

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) not in (4, 5):
            raise DataError("the pickle holds an array of an unknown form")
        *_, shape, dtype, by_columns, data = state
        if not isinstance(dtype, _Dtype):
            raise DataError("the pickle holds an array of no type")
        values = dtype.read(shape, data, by_columns)
        content = values.ravel().tolist() if values.dtype.hasobject else values.tobytes()
        super().__setstate__((1, values.shape, values.dtype, False, content))  # type: ignore[arg-type]


def _array(*_: Any) -> Any:
    raise DataError("the pickle calls numpy.ndarray, which a file of results does not need")


_ARRAY = Sealed(_array)


def _reconstruct(kind: Any, shape: Any, code: Any) -> npt.NDArray[Any]:
    if kind is not _ARRAY or shape != (0,) or code not in (b"b", "b"):
        raise DataError("the pickle begins an array in another way than NumPy does")
    return np.ndarray.__new__(_Array, (0,))


def _scalar(dtype: Any, data: Any) -> Any:
    if type(dtype) is not _Dtype:
        raise DataError("the pickle holds a number of no type")
    return dtype.read((), data, None)[()]


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    if type(dtype) is not _Dtype or order not in ("C", "F"):
        raise DataError("the pickle holds an array of an unknown form")
    return dtype.read(shape, buffer, order == "F")


def _encode(text: Any, encoding: Any) -> bytes:
    """Bytes as the protocols before 3 write them."""
    if type(text) is not str or encoding != "latin1":
        raise DataError("the pickle encodes text in another way than bytes are written")
    return text.encode("latin1")


def _bytes(*arguments: Any) -> bytes:
    """Empty bytes as the protocols before 3 write them."""
    if arguments:
        raise DataError("the pickle builds bytes in another way than they are written")
    return b""


def _bytearray(content: Any = b"", encoding: Any = "latin1") -> bytearray:
    """Writable bytes as the protocols before 5 write them."""
    return bytearray(content if type(content) is bytes else _encode(content, encoding))


def _set(items: Any = ()) -> set[Any]:
    if type(items) not in (list, tuple):
        raise DataError("the pickle builds a set in another way than it is written")
    return set(items)


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    if type(items) not in (list, tuple):
        raise DataError("the pickle builds a dictionary in another way than it is written")
    return OrderedDict(items)


def plain_names() -> dict[tuple[str, str], Callable[..., Any]]:
    """The names behind builtin values and ordered dictionaries, in all protocols."""
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): Sealed(_ordered),
        ("_codecs", "encode"): Sealed(_encode),
    }
    for module in ("builtins", "__builtin__"):
        names[module, "set"] = Sealed(_set)
        names[module, "bytes"] = Sealed(_bytes)
        names[module, "bytearray"] = Sealed(_bytearray)
    return names


def numpy_names(objects: bool = False) -> dict[tuple[str, str], Callable[..., Any]]:
    """The names of `plain_names` and those behind NumPy arrays and scalars, under old and new paths.

    With `objects`, also arrays that hold a list of Python objects.
    """
    names: dict[tuple[str, str], Callable[..., Any]] = {
        **plain_names(),
        ("numpy", "ndarray"): _ARRAY,
        ("numpy", "dtype"): Sealed(_dtype_or_objects if objects else _dtype),
    }
    for package in ("numpy.core", "numpy._core"):
        names[f"{package}.multiarray", "_reconstruct"] = Sealed(_reconstruct)
        names[f"{package}.multiarray", "scalar"] = Sealed(_scalar)
        names[f"{package}.numeric", "_frombuffer"] = Sealed(_from_buffer)
    return names
