"""Unpicklers that import nothing but what is named: pickles from outside never run code.

What they cannot prevent is a file made to ask CPython for more memory than there is.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError

Known = Mapping[tuple[str, str], Callable[..., Any]]
"""What a pickle may ask for, by (module, name), and what it gets instead of an import."""
_CODE = re.compile(r"[?bBhHiIlLqQefdgO]|[biufc][0-9]{1,2}|b1|[SUO][0-9]{0,6}")


class Unpickler(pickle.Unpickler):
    """Reads builtin containers and numbers, and the names in `known`; all else is refused."""

    def __init__(self, file: IO[bytes], known: Known) -> None:
        super().__init__(file)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a known name; raises `DataError` on any other."""
        return look_up(self._known, module, name)

    def persistent_load(self, pid: Any) -> Any:
        """Stand in for tensor storages, which hold weights that nobody reads here."""
        return None


def look_up(known: Known, module: str, name: str) -> Callable[..., Any]:
    """Return the stand-in of a known name; raises `DataError` on any other."""
    try:
        return known[module, name]
    except KeyError:
        raise DataError(
            f"the pickle asks for {module}.{name}, which a file of results does not need; it is not read"
        ) from None


def loads(data: bytes, known: Known, place: str) -> Any:
    """Read one pickle from bytes; raises `DataError` where it is damaged or asks for other names."""
    try:
        return Unpickler(io.BytesIO(data), known).load()
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    except Exception as error:
        raise DataError(f"{place} is not a readable pickle: {type(error).__name__}: {error}") from error


class _Dtype:
    """Stands in for `numpy.dtype`, whose state could make NumPy treat plain bytes as pointers."""

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise DataError(
                f"the pickle holds an array of {code!r:.60}, which a file of results does not need"
            )
        self.real = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        """Take the byte order and nothing else."""
        if state[1] in ("<", ">"):
            self.real = self.real.newbyteorder(state[1])

    def read(self, shape: Any, data: Any, order: Any) -> npt.NDArray[Any]:
        """An array from its bytes, or from its list of objects; raises `ValueError` where they do not fit."""
        if self.real.hasobject:
            values = np.empty(len(data), dtype=object)
            values[:] = data
        else:
            plain = data.encode("latin1") if isinstance(data, str) else bytes(data)
            values = np.frombuffer(plain, dtype=self.real).copy()
        return values.reshape(shape, order=order)


class _Array(np.ndarray[Any, Any]):
    """Stands in for `numpy.ndarray`: an empty array until it gets its state."""

    def __setstate__(self, state: Any) -> None:
        *_, shape, dtype, by_columns, data = state
        if not isinstance(dtype, _Dtype):
            raise DataError("the pickle holds an array of no type")
        values = dtype.read(shape, data, "F" if by_columns else "C")
        content = values.ravel().tolist() if values.dtype.hasobject else values.tobytes()
        super().__setstate__((1, values.shape, values.dtype, False, content))  # type: ignore[arg-type]


def _reconstruct(kind: Any, shape: Any, code: Any) -> npt.NDArray[Any]:
    return np.ndarray.__new__(_Array, (0,))


def _scalar(dtype: _Dtype, data: Any = None) -> Any:
    return data if dtype.real.hasobject else dtype.read((), data, "C")[()]


def _from_buffer(buffer: Any, dtype: _Dtype, shape: Any, order: Any) -> npt.NDArray[Any]:
    return dtype.read(shape, buffer, "F" if order == "F" else "C")


def numpy_names() -> dict[tuple[str, str], Callable[..., Any]]:
    """The names behind pickled NumPy arrays and scalars, under the old and the new module path.

    None is NumPy's own: what it builds from the state of a damaged pickle can break the process.
    """
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }
    for package in ("numpy.core", "numpy._core"):
        names[f"{package}.multiarray", "_reconstruct"] = _reconstruct
        names[f"{package}.multiarray", "scalar"] = _scalar
        names[f"{package}.numeric", "_frombuffer"] = _from_buffer
    return names
