"""Bundles: one file with a suite's runs, all that determined them, and the result of their replay."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from nasbench_kd.errors import StoreError
from nasbench_kd.execution.runs import RunsFile
from nasbench_kd.execution.store import FILE_NAME, RunStore
from nasbench_kd.execution.study import OVERHEAD_FILE, RUNS_FILE
from nasbench_kd.execution.verify import Verification
from nasbench_kd.files import atomic_write

FORMAT: Final = "nasbench-kd bundle 1"
SUFFIX: Final = ".nbkd"
_ABOUT: Final = "bundle.json"
_FILES: Final = (RUNS_FILE, OVERHEAD_FILE)
_MOST_BYTES: Final = 4 << 30
_MOST_ABOUT: Final = 1 << 26
_PIECE: Final = 1 << 20
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def write_bundle(folder: Path, path: Path, verification: Verification) -> None:
    """Write the runs of a folder, what determined them and the result of their replay into one file.

    The same runs give the same bytes. Raises `StoreError` where the folder holds no runs, or others than those that
    were replayed, and `OSError` as the file system does.
    """
    runs = RunsFile(folder / RUNS_FILE)
    contents = {name: folder / name for name in _FILES if (folder / name).is_file()}
    about = {
        "format": FORMAT,
        "suite": runs.metadata["suite"],
        "tables": runs.metadata["tables"],
        "package_version": runs.metadata.get("package_version"),
        "isolation": runs.metadata.get("isolation"),
        "conditions": _conditions(folder),
        "verification": asdict(verification),
        "sha256": {name: _sha256(file) for name, file in contents.items()},
    }
    if about["sha256"][RUNS_FILE] != verification.runs_sha256:
        raise StoreError(f"the runs in {folder} changed while they were replayed: bundle them again")
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        text = json.dumps(about, indent=2, sort_keys=True) + "\n"
        archive.writestr(zipfile.ZipInfo(_ABOUT, _EPOCH), text, zipfile.ZIP_DEFLATED)
        for name, content in contents.items():
            with archive.open(zipfile.ZipInfo(name, _EPOCH), "w") as entry, content.open("rb") as source:
                while piece := source.read(_PIECE):
                    entry.write(piece)


@contextmanager
def opened(*sources: Path) -> Iterator[list[Path]]:
    """Yield a folder of runs for each folder, file of runs or bundle; those of bundles are gone afterwards.

    Raises `StoreError` where a bundle is damaged.
    """
    with ExitStack() as stack:
        folders = []
        for source in sources:
            if source.suffix == SUFFIX and source.is_file():
                temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="nasbench-kd-"))
                folder = Path(temporary, source.name)  # messages name it
                folder.mkdir()
                _unpack(source, folder)
                folders.append(folder)
            else:
                folders.append(source)
        yield folders


def read_about(path: Path) -> dict[str, Any]:
    """What a bundle says of itself; raises `StoreError` where it is none."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_ABOUT) as entry:
            about = json.loads(entry.read(_MOST_ABOUT))
    except (OSError, EOFError, KeyError, ValueError, RecursionError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise StoreError(f"{path} is not a readable bundle: {error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise StoreError(f"{path} is not a readable bundle: its {_ABOUT} does not say {FORMAT!r}")
    named = about.get("sha256")
    if not isinstance(named, dict) or RUNS_FILE not in named or not {*named} <= {*_FILES}:
        raise StoreError(
            f"{path} is not a readable bundle: it holds {RUNS_FILE}, {OVERHEAD_FILE} and no others"
        )
    return about


def _unpack(path: Path, folder: Path) -> None:
    """Write the files of a bundle, those that it may hold and no others, each checked."""
    about = read_about(path)
    for name, sha256 in about["sha256"].items():
        try:
            _copy(path, name, folder / name)
        except (
            OSError,
            KeyError,
            EOFError,
            NotImplementedError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise StoreError(f"{path} is damaged: {name} cannot be read: {error}") from error
        if _sha256(folder / name) != sha256:
            raise StoreError(f"{path} is damaged: {name} does not match its checksum")


def _copy(path: Path, name: str, place: Path) -> None:
    written = 0
    with zipfile.ZipFile(path) as archive, archive.open(name) as entry, place.open("wb") as file:
        while piece := entry.read(_PIECE):
            written += len(piece)
            if written > _MOST_BYTES:
                raise StoreError(f"{path} is not unpacked: {name} has more than {_MOST_BYTES >> 30} GB")
            file.write(piece)


def _conditions(folder: Path) -> list[dict[str, Any]]:
    """All that determined the runs: code, libraries, arguments, tables, as the store beside them has it."""
    if not (folder / FILE_NAME).exists():
        return []
    with RunStore(folder) as store:
        fingerprints = sorted({row.fingerprint for row in store.rows()})
        return [{"fingerprint": each, **store.description(each)} for each in fingerprints]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
