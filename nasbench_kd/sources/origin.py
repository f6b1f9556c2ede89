"""What a public source is: files pinned by commit and checksum, and how they become installed data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.files import git_blob_of, sha256_of
from nasbench_kd.tables.table import Table


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a public repository at one commit."""

    repository: str
    """`OWNER/NAME`."""
    commit: str
    path: str
    checksum: str
    """SHA-256 of the bytes (64 hexadecimal digits), or the name of their git blob (40)."""
    size: int | None
    """Bytes; None where it is not known."""

    def matches(self, path: Path) -> bool:
        """Whether a file holds the pinned bytes."""
        return (sha256_of if len(self.checksum) == 64 else git_blob_of)(path) == self.checksum

    @property
    def place(self) -> str:
        """`OWNER/NAME/COMMIT/PATH`: the file's address below the base address of a mirror."""
        return f"{self.repository}/{self.commit}/{self.path}"


@dataclass(frozen=True, slots=True)
class PublicSource:
    """A source that `nasbench-kd data pull` installs.

    Attributes:
        name: of the source, and of the folder that it becomes.
        title: what it holds, in one line.
        convert: writes the installed form into an empty folder, from the downloaded files in
            the order of `files`; raises `DataError` where they hold something unexpected.
        open: opens the installed form; raises `DataError` where it is not whole.
        optional: whether it is installed only where it is named.
    """

    name: str
    title: str
    licence: str
    files: tuple[RemoteFile, ...]
    convert: Callable[[tuple[Path, ...], Path], None]
    open: Callable[[Path], object] = Table.open
    optional: bool = False

    def card(self) -> dict[str, object]:
        """What the installed form says of its source."""
        kind = "sha256" if all(len(file.checksum) == 64 for file in self.files) else "git_blob"
        return {
            "title": self.title,
            "source": "; ".join(file.place for file in self.files),
            f"source_{kind}": "; ".join(file.checksum for file in self.files),
            "licence": self.licence,
            "rebuild": f"nasbench-kd data pull {self.name} --force",
        }


def whole_counts(percent: npt.ArrayLike, images: int, place: str) -> npt.NDArray[np.int64]:
    """Return how many of `images` each accuracy in percent stands for, shape as given.

    Raises `DataError` where an accuracy is more than 0.01 images away from a whole number: then it
    is a mean over seeds, or was measured on other images.
    """
    exact = np.asarray(percent, dtype=np.float64) * images / 100
    counts = np.rint(exact)
    wrong = ~(np.abs(exact - counts) <= 0.01)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        value = np.asarray(percent).ravel()[first]
        raise DataError(f"{place}: entry {first}, {value} %, is no whole number of {images} images")
    return counts.astype(np.int64)
