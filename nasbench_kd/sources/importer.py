"""Imports files that researchers have on disk into the user's folder of tables."""

from __future__ import annotations

import hashlib
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nasbench_kd.confinement import Limits, run_confined
from nasbench_kd.errors import DataError
from nasbench_kd.files import replace_folder, sha256_of
from nasbench_kd.sources.archive import META_FILES, Trial, decompressed, is_old_torch, read_archive
from nasbench_kd.sources.few_shot_nas import NAMES, read_supernet
from nasbench_kd.sources.naslib import read_naslib
from nasbench_kd.sources.public import SOURCES
from nasbench_kd.sources.syne_tune import is_blackbox, read_syne_tune
from nasbench_kd.sources.trials import FILE_TIMES, LEFT_OUT, TrialCollector
from nasbench_kd.tables.catalog import tables, user_folder
from nasbench_kd.tables.column import Column
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.nasbench201 import TASKS

_KINDS = (
    "the NAS-Bench-201 .pth file, a NATS-Bench folder or .pickle.pbz2 file of either space, a NASLib "
    "nb201_*_full_training.pickle, Syne Tune's blackbox folder nasbench201, or few-shot-NAS's "
    f"{' or '.join(NAMES)}"
)
_OFFICIAL = frozenset({"meta_archs", "arch2infos", "evaluated_indexes", "arch_index", "all_results"})
"""Names at the beginning of NATS-Bench's pickles."""
_HEAD_BYTES = 1 << 16
_NO_TABLES = frozenset({"downloads", "images", "live.db", "teachers"})
"""Names in the user's folder of what is no table."""
_MADE_BY = {"measured": "nasbench-kd data merge", **dict.fromkeys(SOURCES, "nasbench-kd data pull")}
"""Names of tables that other commands make."""
Progress = Callable[[int, int], None]
"""Called with the trainings read so far and the index of the cell of the last one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file is taken for, and what reading it takes.

    Attributes:
        kind: `official`, `naslib`, `syne-tune` or `few-shot-nas`.
        memory: what is streamed and what is not, in words, to be said before the start.
    """

    path: Path
    kind: str
    memory: str


def plan_import(path: Path) -> Plan:
    """Look at a file or folder without reading it whole; raises `DataError` on any other kind."""
    if path.is_dir():
        if any((path / name).is_file() for name in META_FILES):
            return Plan(path, "official", "Read one architecture at a time, in some hundred MB of memory.")
        if is_blackbox(path):
            return Plan(path, "syne-tune", "Read by memory map.")
        raise DataError(f"{path} is a folder of another kind; expected {_KINDS}")
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder; expected {_KINDS}")
    with decompressed(path) as file:
        head = file.read(_HEAD_BYTES)
    size = path.stat().st_size / 1e6
    if head[:4] == b"PK\x03\x04" or is_old_torch(head) or _is_official(head):
        return Plan(
            path,
            "official",
            f"Read as a stream: the file is one pickle of {size:.0f} MB, of which one architecture at a time "
            "is kept. The index of its names stays in memory, about 2 GB for the full file; that one takes "
            "half an hour.",
        )
    if path.name in NAMES and head[:1] == b"{":
        return Plan(path, "few-shot-nas", "Loaded whole: it has some megabytes.")
    if head[:1] == b"\x80" or _first_texts(head, 1):
        return Plan(
            path,
            "naslib",
            f"Cannot be streamed: loaded whole, in about {max(1, round(4 * size / 1000))} GB of memory.",
        )
    raise DataError(f"{path} is a file of another kind; expected {_KINDS}")


def _first_texts(head: bytes, number: int) -> list[str]:
    """The first pieces of text in the pickle that begins so; empty where it is no pickle."""
    found: list[str] = []
    try:
        for _, value, _ in pickletools.genops(head):
            if isinstance(value, str):
                found.append(value)
            if len(found) == number:
                break
    except (ValueError, IndexError, OverflowError):  # the head of a pickle ends somewhere
        pass
    return found


def _is_official(head: bytes) -> bool:
    """Whether a pickle begins as NATS-Bench's do: with a list of names, or the results of one architecture."""
    return not _OFFICIAL.isdisjoint(_first_texts(head, 40))


def import_file(
    path: Path,
    *,
    name: str | None = None,
    curves: bool = True,
    folder: Path | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Table:
    """Convert a file to a table in the user's folder and open it.

    `name` is the table's (default: made from the file's); with `curves=False` only the last epoch
    of each schedule is kept. A table of that name is replaced only with `replace=True`, and nothing else
    ever. The file is read in a process of its own, under limits on memory and time.
    Raises `DataError`; then nothing is installed.
    """
    plan = plan_import(path)
    name = name or name_for(path)
    target = (folder or user_folder()) / name
    _check_free(name, folder, replace)
    with replace_folder(target, Table.open) as fresh:
        _check_free(name, folder, replace)  # now that nobody else can take it
        arguments = (str(path.resolve()), plan.kind, name, curves, str(fresh.resolve()))
        run_confined(
            convert, *arguments, place=str(path), limits=Limits.of(path), progress=progress or _silent
        )
    return Table.open(target)


def name_for(path: Path) -> str:
    """The name of the table that a file becomes where none is given."""
    return re.sub(r"[^a-z0-9.]+", "-", path.name.lower().split(".p")[0]).strip("-")


def what_has(name: str, folder: Path | None = None) -> str:
    """What has the name of a table already or will have it, in words; empty where the name is free.

    Raises `DataError` where it cannot name a table, or names what is none and is not to be replaced.
    """
    target = (folder or user_folder()) / name
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise DataError(f"{name!r} cannot name a table: use small letters, digits, '.' and '-'")
    if name in _NO_TABLES or (target.exists() and not (target / "card.json").is_file()):
        raise DataError(f"{target} is not for a table; take another name (--name)")
    if name in {table.name for table in tables("embedded")}:
        raise DataError(f"{name!r} is a table that ships with nasbench-kd; take another name (--name)")
    if target.exists():
        try:
            entries = f"of {sum(len(column.rows) for column in Table.open(target).columns):,} entries"
        except DataError as error:
            entries = f"that does not open ({error})"
        return f"{target} holds the table {name!r} {entries}"
    return f"{name!r} is the table that `{_MADE_BY[name]}` makes" if name in _MADE_BY else ""


def _check_free(name: str, folder: Path | None, replace: bool) -> None:
    if (taken := what_has(name, folder)) and not replace:
        raise DataError(f"{taken}: take another name (--name), or replace it (--replace)")


def _silent(seen: int, cell: int) -> None:
    """Show nothing."""


def convert(path: str, kind: str, name: str, curves: bool, folder: str, progress: Progress) -> None:
    """Read a file of a known kind and write it as a table into an empty folder; raises `DataError`."""
    source, notes, sized = Path(path), [], False
    columns: list[Column]
    if kind == "official":
        collector = TrialCollector(curves)
        seen = 0

        def take(trial: Trial) -> None:
            nonlocal seen
            collector.add(trial)
            seen += 1
            if seen % 100 == 0:
                progress(seen, trial.cell.index)

        read_archive(source, take)
        columns = collector.columns({"source": "measured", "origin": source.name})
        sized = any(column.task not in TASKS for column in columns)
        notes = [LEFT_OUT, FILE_TIMES if sized else _clock_note(collector)]
    elif kind == "naslib":
        columns = read_naslib(source, curves)
    elif kind == "few-shot-nas":
        columns = [read_supernet(source)]
    else:
        columns = read_syne_tune(source)
    card = {
        "title": f"{'NATS-Bench size' if sized else 'NAS-Bench-201'} results imported from {source.name}",
        "source": source.name,
        "source_sha256": _checksum(source),
        "licence": (
            "the repository states none"
            if kind == "few-shot-nas"
            else "facts: MIT (NAS-Bench-201, NATS-Bench)"
        ),
        "rebuild": f"nasbench-kd data import {source.name} --name {name}",
        "notes": notes,
    }
    write_table(Path(folder), name, columns, card)


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
