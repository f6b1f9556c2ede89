"""Downloads pinned public files (resumed, retried, checked) and installs them whole or not at all."""

from __future__ import annotations

import http.client
import importlib
import os
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from nasbench_kd.confinement import Limits, run_confined
from nasbench_kd.errors import DataError, UnknownNameError, nearest
from nasbench_kd.sources.origin import PublicSource, RemoteFile
from nasbench_kd.sources.public import SOURCES
from nasbench_kd.tables.catalog import user_folder

PUBLIC_BASE = "https://raw.githubusercontent.com"
"""Base address; below it a file lies at OWNER/NAME/COMMIT/PATH."""
ATTEMPTS = 4
TIMEOUT_SECONDS = 30.0
"""How long a silent connection is waited for."""
FIRST_PAUSE_SECONDS = 1.0
"""Pause before the second attempt; it doubles with each further one."""
_CHUNK = 1 << 16
_MOST_BYTES = 1 << 30
"""Of a file whose size is not pinned."""

Progress = Callable[[RemoteFile, int], None]
"""Called with a file and the bytes of it that are there so far."""


def base_address() -> str:
    """The base address: `NASBENCH_KD_MIRROR` (an address or a folder), else the public one."""
    return os.environ.get("NASBENCH_KD_MIRROR") or PUBLIC_BASE


def pull(
    names: Sequence[str] = (),
    *,
    folder: Path | None = None,
    base: str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
    pause: float = FIRST_PAUSE_SECONDS,
) -> dict[str, Path]:
    """Install sources (where none is named, all that are not optional) and return their folders by name.

    What is installed already is left alone unless `force` is set. Raises `UnknownNameError` for a
    name that is no source, and `DataError` where a file cannot be had as it is pinned; then nothing
    of that source is installed, and a later call resumes its download.
    """
    for name in names:
        if name not in SOURCES:
            raise UnknownNameError(
                f"unknown source {name!r}: expected {', '.join(SOURCES)}.{nearest(name, SOURCES)}"
            )
    folder = folder or user_folder()
    installed = {}
    for name in names or default_names():
        installed[name] = folder / name
        if force or not installed[name].is_dir():
            _install(SOURCES[name], folder, base or base_address(), progress, timeout, pause)
    return installed


def default_names() -> list[str]:
    """The sources that are installed where none is named."""
    return [name for name, source in SOURCES.items() if not source.optional]


def _install(
    source: PublicSource,
    folder: Path,
    base: str,
    progress: Progress | None,
    timeout: float,
    pause: float,
) -> None:
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    files = tuple(
        fetch(file, downloads, base, progress=progress, timeout=timeout, pause=pause) for file in source.files
    )
    with replaced_folder(folder / source.name) as fresh:
        run_confined(
            convert_source,
            source.convert.__module__,
            source.convert.__qualname__,
            [str(file.resolve()) for file in files],
            str(fresh.resolve()),
            place=source.name,
            limits=Limits.of(*files),
        )
    for file in files:
        file.unlink(missing_ok=True)


def convert_source(module: str, function: str, files: Sequence[str], folder: str) -> None:
    """Call the `convert` of a source on downloaded files; raises `DataError`."""
    getattr(importlib.import_module(module), function)(tuple(map(Path, files)), Path(folder))


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without an error."""
    workshop = target.parent / "downloads"
    workshop.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=workshop, prefix=f".{target.name}.") as temporary:
        fresh, old = Path(temporary, "fresh"), Path(temporary, "old")
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.rename(old)
        fresh.rename(target)


def fetch(
    file: RemoteFile,
    folder: Path,
    base: str,
    *,
    progress: Progress | None = None,
    timeout: float = TIMEOUT_SECONDS,
    pause: float = FIRST_PAUSE_SECONDS,
) -> Path:
    """Download one file into a folder under the name of its checksum, or resume its download.

    Raises `DataError` that names the address, the cause and what to do, after `ATTEMPTS` tries for
    causes that may pass, at once for bytes that are not the pinned ones.
    """
    target, part = folder / file.checksum, folder / f"{file.checksum}.part"
    if target.is_file() and file.matches(target):
        return target
    address = _address(file, base)
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        resumed = part.is_file() and part.stat().st_size > 0
        try:
            announced = _receive(address, file, part, progress, timeout)
        except urllib.error.HTTPError as error:
            if error.code == 416:
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise DataError(f"{address} answers {error.code} {error.reason}. {_remedy(file)}") from error
            cause = f"answers {error.code} {error.reason}"
            continue
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            cause = f"cannot be read ({type(reason).__name__}: {reason})"
            if isinstance(reason, FileNotFoundError):
                break
            continue
        size, expected = part.stat().st_size, file.size or announced
        if size < expected:
            cause = f"ends after {size} of {expected} bytes"
            continue
        if size == expected and file.matches(part):
            part.replace(target)
            return target
        part.unlink()
        cause = f"does not hold the pinned bytes (checksum {file.checksum}, {expected} bytes)"
        if not resumed:
            break
    raise DataError(f"{address} {cause}. {_remedy(file)}")


def _address(file: RemoteFile, base: str) -> str:
    if "://" not in base:
        base = Path(base).resolve().as_uri()
    return f"{base.rstrip('/')}/{quote(file.place)}"


def _remedy(file: RemoteFile) -> str:
    return (
        "Nothing was installed; `nasbench-kd data pull` tries again, and goes on where a download stopped. "
        f"Without a network, put the file at {file.place} below a folder of this machine and set "
        "NASBENCH_KD_MIRROR to that folder; the embedded table needs no download."
    )


def _receive(address: str, file: RemoteFile, part: Path, progress: Progress | None, timeout: float) -> int:
    """Append what is missing to `part`, and return how large the server says the file is.

    A server that ignores the range starts it afresh.
    """
    have, most = part.stat().st_size if part.is_file() else 0, file.size or _MOST_BYTES
    if have >= most:
        part.unlink()
        have = 0
    request = urllib.request.Request(address, headers={"User-Agent": "nasbench-kd"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        if not (have and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")):
            have = 0
        announced = have + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if have else "wb") as output:
            while have <= most and (chunk := response.read1(_CHUNK)):
                output.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(file, have)
    return announced
