"""Limits on what a file of images or weights may ask for, held before anything of it is unpacked."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.files import is_special

MOST_BYTES: Final = 4 << 30
"""What the images of a split, or the weights of a network, may take; all of ImageNet at 16 x 16 take 1 GB."""
MOST_TEXT: Final = 1 << 26
"""What a manifest or a split list may take."""


def check_file(path: Path, most: int = MOST_BYTES) -> None:
    """Raise `DataError` where a path is a pipe or a device, or a file of more than `most` bytes."""
    if is_special(path):
        raise DataError(f"{path} is a pipe or a device, not a file")
    if path.is_file() and path.stat().st_size > most:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes; such a file has {most:,} at most")


def read_member(archive: zipfile.ZipFile, name: str, most: int = MOST_BYTES) -> bytes:
    """Unpack one file of a zip; raises `DataError` where it says that it is larger, `KeyError` where it is absent."""
    size = archive.getinfo(name).file_size
    if size > most:
        raise DataError(f"{name} in {archive.filename} unpacks to {size:,} bytes; {most:,} are the most")
    return archive.read(name)  # zipfile stops at the size that the archive names


def read_array(archive: zipfile.ZipFile, name: str, most: int = MOST_BYTES) -> npt.NDArray[Any]:
    """Read one .npy of a zip; raises `DataError` where its header asks for more than the file holds."""
    content = io.BytesIO(read_member(archive, name, most))
    version = np.lib.format.read_magic(content)
    read_header = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(content)
    if math.prod(shape) * dtype.itemsize > len(content.getbuffer()):
        raise DataError(
            f"{name} in {archive.filename} is no array of {shape}: it is cut short, or made to do harm"
        )
    content.seek(0)
    return np.asarray(np.load(content, allow_pickle=False))
