"""Writing files and folders whole or not at all, and checking their bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
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


def check_writable(path: Path) -> None:
    """Raise `DataError` where no file can be written at a path: before long work, not after it."""
    import tempfile  # noqa: PLC0415  # deferred as above

    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}") from error


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


@contextmanager
def replace_folder(target: Path, check: Callable[[Path], object]) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without an error.

    It is filled beside the target, fsynced and swapped in by renames, and the old one is removed only after
    `check`, called with the target, has opened the new one. The target is locked meanwhile, so that what
    the block reads of it is what is replaced. After an error, or a kill at any moment, the old folder or
    the new one is there whole: `settled_folder` finishes what a kill has left. Raises `OSError` as the file system
    does, and what `check` raises.
    """
    fresh, old = _beside(target, "new"), _beside(target, "old")
    with settled_folder(target, check):
        fresh.mkdir()
        was_there = os.path.lexists(target)
        try:
            yield fresh
            _sync_tree(fresh)
            if was_there:
                target.rename(old)
            fresh.rename(target)
            _sync_folder(target.parent)
            check(target)
        except BaseException:
            if os.path.lexists(old) or not was_there:
                _undo(target, fresh, old)
            _remove(fresh)
            raise
        _discard(old, fresh)


def move_folder(old: Path, new: Path) -> None:
    """Move a folder to a place where none or an empty one is, also to another file system; raises `OSError`.

    The old one is removed only when the new one is there whole.
    """
    new.parent.mkdir(parents=True, exist_ok=True)
    if new.is_dir():
        new.rmdir()
    try:
        old.rename(new)
        _sync_folder(new.parent)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replace_folder(new, _listing) as fresh:
            shutil.copytree(old, fresh, symlinks=True, dirs_exist_ok=True)
            if _listing(fresh) != _listing(old):
                raise OSError(f"{old} changed while it was copied") from None
        shutil.rmtree(old)


@contextmanager
def settled_folder(target: Path, check: Callable[[Path], object]) -> Iterator[None]:
    """Hold the lock of a folder, and first finish or undo a replacement of it that was killed.

    Waits for another process that holds the lock. Raises `OSError` where the lock cannot be made.
    """
    with locked(target):
        fresh, old = _beside(target, "new"), _beside(target, "old")
        _remove(fresh)
        if os.path.lexists(old):
            if _passes(check, target):
                _discard(old, fresh)
            else:
                _undo(target, fresh, old)
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that all processes share for a path, `.NAME.lock` beside it; wait for who has it."""
    from filelock import FileLock  # noqa: PLC0415  # deferred: reading needs it not, and it is slow to import

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_beside(path, "lock"), is_singleton=True):  # so that whoever holds it may ask again
        yield


def folders_in(folder: Path) -> list[Path]:
    """The folders within one, sorted, with those whose replacement was killed between its two renames."""
    names = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        if not path.name.startswith("."):
            names.add(path.name)
        elif path.suffix == ".old":
            names.add(path.stem.removeprefix("."))
    return [folder / name for name in sorted(names) if not (folder / name).is_file()]


def is_special(path: Path) -> bool:
    """Whether a path is a pipe or a device, which a reader would wait for, or never come to the end of."""
    return path.exists() and not path.is_file() and not path.is_dir()


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


def _beside(target: Path, kind: str) -> Path:
    target = Path(os.path.abspath(target))
    return target.parent / f".{target.name}.{kind}"


def _passes(check: Callable[[Path], object], target: Path) -> bool:
    try:
        check(target)
    except Exception:
        return False
    return True


def _undo(target: Path, fresh: Path, old: Path) -> None:
    """Put the old folder back, where there is one; what was to be new goes."""
    if not fresh.exists() and os.path.lexists(target):  # it was swapped in
        target.rename(fresh)
    if os.path.lexists(old):
        old.rename(target)
    _remove(fresh)


def _discard(old: Path, fresh: Path) -> None:
    """Remove the old folder under the name of what may be removed at any time, so that no half of it comes back."""
    if os.path.lexists(old):
        old.rename(fresh)
        _remove(fresh)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _listing(folder: Path) -> list[tuple[Path, int]]:
    """The files below a folder with their sizes."""
    return [
        (path.relative_to(folder), path.lstat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _sync_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        if path.is_dir():
            _sync_folder(path)
        elif path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
