"""Writing files whole or not at all, and checking their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nasbench_kd.errors import DataError


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that takes the place of `path` when the block ends without an error.

    The bytes go to a temporary file in the same folder, are fsynced and renamed, so that a reader
    sees the old file or the new one, never a part. Raises `OSError` as the file system does.
    """
    import tempfile  # noqa: PLC0415  # deferred: reading needs it not, and it is slow to import

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically, as `atomic_write` does."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_between(page: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what stands between two marks of a text file; raises `DataError` where it has them not."""
    try:
        old = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{page} cannot be read: {error}") from error
    before, begin, rest = old.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise DataError(f"{page} has no marks {marks[0]} and {marks[1]} to write between")
    write_text(page, f"{before}{begin}\n{text}{end}{after}")


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob_of(path: Path) -> str:
    """Return the name that git gives to a file's bytes, in hexadecimal: 40 digits."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; file systems that cannot sync a folder are left alone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
