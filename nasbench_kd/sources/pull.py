"""Downloads pinned public files (resumed, retried, checked) and installs them whole or not at all."""

from __future__ import annotations

import http.client
import importlib
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nasbench_kd.confinement import Limits, run_confined
from nasbench_kd.errors import DataError, UnknownNameError, nearest
from nasbench_kd.files import locked, replace_folder, settled_folder
from nasbench_kd.sources.origin import PublicSource, RemoteFile
from nasbench_kd.sources.public import BY_HAND, SOURCES
from nasbench_kd.tables.catalog import user_folder

PUBLIC_BASE = "https://raw.githubusercontent.com"
"""Base address; below it a file lies at OWNER/NAME/COMMIT/PATH."""
ATTEMPTS = 4
TIMEOUT_SECONDS = 30.0
"""How long a silent connection is waited for."""
TRANSFER_SECONDS = 3600.0
"""How long one file may take in all, however lively its connection is."""
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
    limit: float = TRANSFER_SECONDS,
) -> dict[str, Path]:
    """Install sources (where none is named, all that are not optional) and return their folders by name.

    What is installed already, and opens, is left alone unless `force` is set. Where two processes pull into one
    folder, the second waits for the first. `timeout` is for a silent connection, `limit` for a whole file, both
    in seconds. Raises `UnknownNameError` for a
    name that is no source, and `DataError` where a file cannot be had as it is pinned; then nothing
    of that source is installed, and a later call resumes its download.
    """
    for name in names:
        if name in BY_HAND:
            raise UnknownNameError(f"{name} cannot be pulled: {BY_HAND[name]}")
        if name not in SOURCES:
            raise UnknownNameError(
                f"unknown source {name!r}: expected {', '.join(SOURCES)}.{nearest(name, SOURCES)}"
            )
    folder = folder or user_folder()
    transfer = Transfer(base or base_address(), timeout, pause, limit, progress)
    with locked(folder / "downloads"):
        for name in names or default_names():
            if force or not is_installed(name, folder):
                _install(SOURCES[name], folder, transfer)
    return {name: folder / name for name in names or default_names()}


def is_installed(name: str, folder: Path) -> bool:
    """Whether a source is in a folder of tables and opens; empty, truncated and altered ones are not installed."""
    target, source = folder / name, SOURCES[name]
    if not folder.is_dir():
        return False
    try:
        with settled_folder(target, source.open):
            source.open(target)
    except DataError:
        return False
    return True


def default_names() -> list[str]:
    """The sources that are installed where none is named."""
    return [name for name, source in SOURCES.items() if not source.optional]


def _install(source: PublicSource, folder: Path, transfer: Transfer) -> None:
    downloads = folder / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    files = tuple(fetch(file, downloads, transfer) for file in source.files)
    with replace_folder(folder / source.name, source.open) as fresh:
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


@dataclass(frozen=True, slots=True)
class Transfer:
    """How files are fetched: from where, with which patience in seconds (as `pull` has them), shown by what."""

    base: str
    timeout: float = TIMEOUT_SECONDS
    pause: float = FIRST_PAUSE_SECONDS
    limit: float = TRANSFER_SECONDS
    progress: Progress | None = None


def fetch(file: RemoteFile, folder: Path, transfer: Transfer) -> Path:
    """Download one file into a folder under the name of its checksum, or resume its download.

    Raises `DataError` that names the address, the cause and what to do, after `ATTEMPTS` tries for
    causes that may pass, at once for bytes that are not the pinned ones or a transfer that takes too long.
    """
    target, part = folder / file.checksum, folder / f"{file.checksum}.part"
    if target.is_file() and file.matches(target):
        return target
    address, deadline = _address(file, transfer.base), time.monotonic() + transfer.limit
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(transfer.pause * 2 ** (attempt - 1))
        resumed = part.is_file() and part.stat().st_size > 0
        try:
            announced = _receive(address, file, part, transfer, deadline)
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


def _receive(address: str, file: RemoteFile, part: Path, transfer: Transfer, deadline: float) -> int:
    """Append what is missing to `part`, and return how large the server says the file is.

    A server that ignores the range starts it afresh. Raises `DataError` at the deadline (`time.monotonic()`).
    """
    have, most = part.stat().st_size if part.is_file() else 0, file.size or _MOST_BYTES
    if have >= most:
        part.unlink()
        have = 0
    request = urllib.request.Request(address, headers={"User-Agent": "nasbench-kd"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    too_long = f"{address} took more than {transfer.limit:g} s. {_remedy(file)}"
    with closing(_read(request, transfer.timeout, deadline, too_long)) as answer:
        headers = next(answer)
        if not (have and headers.get("Content-Range", "").startswith(f"bytes {have}-")):
            have = 0
        announced = have + int(headers.get("Content-Length") or 0)
        with part.open("ab" if have else "wb") as output:
            for chunk in answer:
                output.write(chunk)
                have += len(chunk)
                if transfer.progress is not None:
                    transfer.progress(file, have)
                if have > most:
                    break
    return announced


def _read(
    request: urllib.request.Request, timeout: float, deadline: float, too_long: str
) -> Generator[Any, None, None]:
    """Yield the headers of an answer, then its bytes in pieces; raises `DataError(too_long)` at the deadline.

    A thread reads: each byte of headers or body starts the time of a socket anew, so that a server which sends
    one now and then would hold us for ever.
    """
    pieces: queue.Queue[Any] = queue.Queue(maxsize=4)
    left = threading.Event()

    def put(piece: Any) -> None:
        while not left.is_set():
            with suppress(queue.Full):
                pieces.put(piece, timeout=0.1)
                return

    def read() -> None:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                put(response.headers)
                while not left.is_set() and (chunk := response.read1(_CHUNK)):
                    put(chunk)
            put(None)
        except Exception as error:
            put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            try:
                piece = pieces.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise DataError(too_long) from None
            if piece is None:
                return
            if isinstance(piece, Exception):
                raise piece
            yield piece
    finally:
        left.set()
