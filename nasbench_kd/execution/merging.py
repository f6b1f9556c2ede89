"""Brings stored runs of several folders together: shards of one suite, or one suite with more optimizers."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from nasbench_kd.errors import StoreError
from nasbench_kd.escaping import from_csv
from nasbench_kd.execution.gate_rules import RULES_KEY
from nasbench_kd.execution.missing import missing_runs
from nasbench_kd.execution.runs import KEPT, MADE_BY, MERGED, RunsFile, write_runs
from nasbench_kd.execution.store import FILE_NAME
from nasbench_kd.execution.study import OVERHEAD_FILE, RUNS_FILE
from nasbench_kd.files import write_text

_KEY = ("optimizer", "task", "repetition")
_MADE_ALIKE = {
    "package_version": "",
    "isolation": "; `nasbench-kd run --isolated` makes those of published boards",
}
_MAY_DIFFER = ("optimizers", "tasks", "seeds", "ablations")
"""What the suites of runs on one board may differ in."""


def merge_runs(sources: Sequence[Path], folder: Path) -> int:
    """Write the runs of several folders (or files of runs) into one folder, and return their number.

    All shards of a suite give the bytes that running it at once gives. Folders of suites that differ in their
    optimizers, tasks or seeds alone give one board: their seeds are the same, so nothing is made again. Raises
    `StoreError` where the runs were made under other conditions, overlap, or a shard is missing, and where
    `folder` holds runs that can still go on, or others than these.
    """
    if (folder / FILE_NAME).exists():
        raise StoreError(
            f"{folder} holds runs that a suite goes on from; choose another folder for the merged ones"
        )
    files = [RunsFile(source / RUNS_FILE if source.is_dir() else source) for source in sources]
    metadata = _merged_metadata(files)
    table = pa.concat_tables([file.table() for file in files]).sort_by([(name, "ascending") for name in _KEY])
    keys = list(zip(*(table[name].to_pylist() for name in _KEY), strict=True))
    for one, other in itertools.pairwise(keys):
        if one == other:
            optimizer, task, repetition = one
            raise StoreError(
                f"two of the folders hold {optimizer} on {task}, repetition {repetition}: leave one out"
            )
    _check_nothing_lost(folder, set(keys))
    if missing_runs(metadata, set(keys)):  # other tasks, or fewer seeds: not the runs of one suite
        metadata[MERGED] = True
    try:
        write_runs(folder / RUNS_FILE, _single_rows(table), metadata)
        write_text(folder / OVERHEAD_FILE, _merged_overhead(files))
    except OSError as error:
        raise StoreError(f"the runs cannot be written to {folder}: {error}") from error
    return len(keys)


def _check_nothing_lost(folder: Path, keys: set[tuple[Any, ...]]) -> None:
    """Raise `StoreError` where a folder has stored runs that would not be among those which replace them."""
    path = folder / RUNS_FILE
    if not path.is_file():
        return
    there = RunsFile(path).table(_KEY)
    lost = set(zip(*(there[name].to_pylist() for name in _KEY), strict=True)) - keys
    if lost:
        optimizer, task, repetition = min(lost)
        raise StoreError(
            f"{path} has {len(lost)} runs that these folders lack, such as {optimizer} on {task}, repetition "
            f"{repetition}: they would be lost. Choose another --output, or name {folder} among the folders"
        )


def optimizers_of(source: Path) -> frozenset[str]:
    """Names of the optimizers of a folder of runs, or of a file of them; raises `StoreError` where there is none."""
    file = RunsFile(source / RUNS_FILE if source.is_dir() else source)
    return frozenset(entry["name"] for entry in file.metadata["suite"]["optimizers"])


def _single_rows(table: pa.Table) -> Iterator[pa.RecordBatch]:
    for place in range(table.num_rows):
        yield table.slice(place, 1).combine_chunks().to_batches()[0]


def _merged_metadata(files: Sequence[RunsFile]) -> dict[str, Any]:
    first = dict(files[0].metadata)
    for file in files[1:]:
        for name in ("package_version", "isolation"):
            if file.metadata.get(name) != first.get(name):
                raise StoreError(
                    f"{name} of {files[0].path} is {first.get(name)!r} and of {file.path} "
                    f"{file.metadata.get(name)!r}: runs on one board were made alike{_MADE_ALIKE[name]}"
                )
        for name, sha256 in file.metadata["tables"].items():
            if first["tables"].get(name, sha256) != sha256:
                raise StoreError(f"{files[0].path} and {file.path} rest on two versions of the table {name}")
        for name in sorted({*first["suite"], *file.metadata["suite"]} - {*_MAY_DIFFER}):
            one, other = first["suite"].get(name), file.metadata["suite"].get(name)
            if one != other:
                hint = "; one that extends another keeps its name by giving none" if name == "name" else ""
                raise StoreError(
                    f"the suites differ in {name}: {json.dumps(one)} and {json.dumps(other)}{hint}"
                )
    _check_shards(files)
    first.pop("shard", None)
    if any(file.metadata.get(RULES_KEY) != first.get(RULES_KEY) for file in files):
        first.pop(RULES_KEY, None)  # those of one suite do not speak for the other
    first["tables"] = {name: sha256 for file in files for name, sha256 in file.metadata["tables"].items()}
    if thinned := [file.metadata[KEPT] for file in files if KEPT in file.metadata]:
        first[KEPT] = thinned[0]  # of some runs no others are there
    if made_by := {name: who for file in files for name, who in _made_by(file).items()}:
        first[MADE_BY] = made_by
    first["suite"] = _merged_suite([file.metadata["suite"] for file in files])
    return first


def _made_by(file: RunsFile) -> dict[str, str]:
    said = file.metadata.get(MADE_BY, {})
    if not (isinstance(said, dict) and all(isinstance(who, str) for who in said.values())):
        raise StoreError(f"{file.path} does not say in words who made its runs")
    return said


def _merged_suite(suites: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    optimizers: dict[str, Any] = {}
    for suite in suites:
        for entry in suite["optimizers"]:
            if optimizers.setdefault(entry["name"], entry) != entry:
                raise StoreError(f"two of the suites name different optimizers {entry['name']!r}: rename one")
    merged = {**suites[0], "optimizers": list(optimizers.values())}
    merged["tasks"] = list(dict.fromkeys(task for suite in suites for task in suite["tasks"]))
    merged["seeds"] = max(suite["seeds"] for suite in suites)
    return merged


def _check_shards(files: Sequence[RunsFile]) -> None:
    """Raise `StoreError` unless the files are whole suites, or all shards of one."""
    shards = {tuple(file.metadata["shard"]): file.path for file in files if "shard" in file.metadata}
    if not shards:
        return
    counts = {count for _, count in shards}
    if len(counts) > 1:
        raise StoreError(f"these are shards of a suite cut in {' and in '.join(map(str, sorted(counts)))}")
    (count,) = counts
    missing = [f"{number}/{count}" for number in range(1, count + 1) if (number, count) not in shards]
    if missing:
        raise StoreError(
            f"the shards {', '.join(missing)} are missing: `nasbench-kd run SUITE --shard` makes them"
        )


def _merged_overhead(files: Sequence[RunsFile]) -> str:
    text = io.StringIO()
    lines: list[list[str]] = []
    header: list[str] = []
    for file in files:
        path = file.path.parent / OVERHEAD_FILE
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as opened:
                header, *rows = csv.reader(opened)
            lines += rows
    lines.sort(key=lambda row: (from_csv(row[0]), row[1], int(row[2])))
    csv.writer(text, lineterminator="\n").writerows([header, *lines] if header else [])
    return text.getvalue()
