"""Imports files that researchers have on disk into the user's folder of tables."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nasbench_kd.errors import DataError
from nasbench_kd.files import sha256_of
from nasbench_kd.sources.archive import META_FILE, Trial, read_archive
from nasbench_kd.sources.naslib import read_naslib
from nasbench_kd.sources.pull import replaced_folder
from nasbench_kd.sources.syne_tune import is_blackbox, read_syne_tune
from nasbench_kd.sources.trials import LEFT_OUT, TrialCollector
from nasbench_kd.tables.catalog import user_folder
from nasbench_kd.tables.table import Column, Table, write_table

_KINDS = (
    "the NAS-Bench-201 .pth file, a NATS-Bench topology folder or .pickle.pbz2 file, a NASLib "
    "nb201_*_full_training.pickle, or Syne Tune's blackbox folder nasbench201"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file is taken for, and what reading it takes.

    Attributes:
        kind: `official`, `naslib` or `syne-tune`.
        memory: what is streamed and what is not, in words, to be said before the start.
    """

    path: Path
    kind: str
    memory: str


def plan_import(path: Path) -> Plan:
    """Look at a file or folder without reading it whole; raises `DataError` on any other kind."""
    if path.is_dir():
        if (path / META_FILE).is_file():
            return Plan(path, "official", "Read one architecture at a time, in some hundred MB of memory.")
        if is_blackbox(path):
            return Plan(path, "syne-tune", "Read by memory map.")
        raise DataError(f"{path} is a folder of another kind; expected {_KINDS}")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    size = path.stat().st_size / 1e6
    if head[:3] == b"BZh" or head[:4] == b"PK\x03\x04" or b"\x8a\x0a" in head:
        return Plan(
            path,
            "official",
            f"Read as a stream: the file is one pickle of {size:.0f} MB, of which one architecture at a time "
            "is kept. The index of its names stays in memory, about 2 GB for the full file; that one takes "
            "half an hour.",
        )
    if head[:1] == b"\x80":
        return Plan(
            path,
            "naslib",
            f"Cannot be streamed: loaded whole, in about {max(1, round(4 * size / 1000))} GB of memory.",
        )
    raise DataError(f"{path} is a file of another kind; expected {_KINDS}")


def import_file(
    path: Path,
    *,
    name: str | None = None,
    curves: bool = True,
    folder: Path | None = None,
    progress: Callable[[Trial], None] | None = None,
) -> Table:
    """Convert a file to a table in the user's folder and open it.

    `name` is the table's (default: made from the file's); with `curves=False` only the last epoch
    of each schedule is kept. Raises `DataError`; then nothing is installed.
    """
    plan = plan_import(path)
    name = name or re.sub(r"[^a-z0-9.]+", "-", path.name.lower().split(".p")[0]).strip("-")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) or name == "downloads":
        raise DataError(f"{name!r} cannot name a table: use small letters, digits, '.' and '-'")
    notes = []
    columns: list[Column]
    if plan.kind == "official":
        collector = TrialCollector(curves)

        def take(trial: Trial) -> None:
            collector.add(trial)
            if progress is not None:
                progress(trial)

        read_archive(path, take)
        columns = collector.columns({"source": "measured", "origin": path.name})
        notes = [LEFT_OUT, _clock_note(collector)]
    elif plan.kind == "naslib":
        columns = read_naslib(path, curves)
    else:
        columns = read_syne_tune(path)
    card = {
        "title": f"NAS-Bench-201 results imported from {path.name}",
        "source": path.name,
        "source_sha256": _checksum(path),
        "licence": "facts: MIT (NAS-Bench-201, NATS-Bench)",
        "rebuild": f"nasbench-kd data import {path.name} --name {name}",
        "notes": notes,
    }
    target = (folder or user_folder()) / name
    with replaced_folder(target) as fresh:
        write_table(fresh, name, columns, card)
    return Table.open(target)


def _clock_note(collector: TrialCollector) -> str:
    found = collector.clock_agreement
    return (
        "Times are the table's own clock. The file's training times agree with it for "
        f"{found['agree']} trials, differ for {found['differ']}, and are absent for {found['absent']}."
    )


def _checksum(path: Path) -> str:
    """SHA-256 of a file, or of the names and sums of a folder's files."""
    if path.is_file():
        return sha256_of(path)
    lines = [f"{sha256_of(file)}  {file.name}\n" for file in sorted(path.iterdir()) if file.is_file()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
