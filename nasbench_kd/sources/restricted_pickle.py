"""Unpicklers that import nothing but what is named: pickles from outside never run code."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from nasbench_kd.errors import DataError

Known = Mapping[tuple[str, str], Callable[..., Any]]
"""What a pickle may ask for, by (module, name), and what it gets instead of an import."""


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


def numpy_names() -> dict[tuple[str, str], Callable[..., Any]]:
    """The names behind pickled NumPy arrays and scalars, under the old and the new module path."""
    reconstruct: Any = np.empty(1).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    from_buffer: Any = np.empty(1).__reduce_ex__(5)[0]
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }
    for package in ("numpy.core", "numpy._core"):
        names[f"{package}.multiarray", "_reconstruct"] = reconstruct
        names[f"{package}.multiarray", "scalar"] = scalar
        names[f"{package}.numeric", "_frombuffer"] = from_buffer
    return names
