"""Stored runs: one Parquet row for each run, its steps in list columns, the suite in the file's metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from nasbench_kd.errors import StoreError
from nasbench_kd.files import atomic_write
from nasbench_kd.search import Run

FORMAT = "nasbench-kd runs 1"
_METADATA_KEY = b"nasbench_kd"
_STEP_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("start", pa.int64()),
    ("finish", pa.int64()),
    ("cell", pa.int16()),
    ("fidelity", pa.string()),
    ("training_seed", pa.int32()),
    ("valid_accuracy", pa.float64()),
    ("charged", pa.int64()),
    ("teacher", pa.int64()),
    ("spent", pa.int64()),
    ("source", pa.string()),
    ("answer", pa.int16()),
)
SCHEMA = pa.schema(
    [
        ("optimizer", pa.string()),
        ("task", pa.string()),
        ("repetition", pa.int32()),
        ("seed", pa.int64()),
        ("budget", pa.string()),
        ("workers", pa.int32()),
        ("ending", pa.string()),
        ("reason", pa.string()),
        ("training_microseconds", pa.int64()),
        ("teacher_microseconds", pa.int64()),
        *((name, pa.list_(kind)) for name, kind in _STEP_FIELDS),
    ]
)
"""Columns of `runs.parquet`; list columns hold one value a step (`nasbench_kd.search.Step`)."""


class RunRecord(NamedTuple):
    """A run and its place in a suite."""

    optimizer: str
    """The name that the suite gives to the optimizer with its arguments."""
    repetition: int
    run: Run


@dataclass(frozen=True, slots=True)
class StoredRuns:
    """Runs read back: the Parquet table of `SCHEMA` and the metadata (suite, table versions)."""

    table: pa.Table
    metadata: Mapping[str, Any]


def to_table(records: Iterable[RunRecord]) -> pa.Table:
    """Convert runs to a table of `SCHEMA`, sorted by optimizer, task and repetition."""
    ordered = sorted(records, key=lambda record: (record.optimizer, record.run.task, record.repetition))
    rows = []
    for optimizer, repetition, run in ordered:
        steps = zip(*run.steps, strict=True) if run.steps else [()] * len(_STEP_FIELDS)
        rows.append(
            {
                "optimizer": optimizer,
                "task": run.task,
                "repetition": repetition,
                "seed": run.seed,
                "budget": str(run.budget),
                "workers": run.workers,
                "ending": run.ending,
                "reason": run.reason,
                "training_microseconds": round(run.training_seconds * 1e6),
                "teacher_microseconds": round(run.teacher_seconds * 1e6),
                **{name: list(values) for (name, _), values in zip(_STEP_FIELDS, steps, strict=True)},
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_runs(path: Path, table: pa.Table, metadata: Mapping[str, Any]) -> None:
    """Write a table of `SCHEMA` with its metadata, atomically; the same runs give the same bytes."""
    described = json.dumps({"format": FORMAT, **metadata}, sort_keys=True).encode()
    with atomic_write(path) as file:
        pq.write_table(table.replace_schema_metadata({_METADATA_KEY: described}), file, compression="zstd")


def read_runs(path: Path, columns: list[str] | None = None) -> StoredRuns:
    """Read stored runs, all columns or some; raises `StoreError` where the file is not usable."""
    try:
        table = pq.read_table(path, columns=columns)
        metadata = json.loads((table.schema.metadata or {})[_METADATA_KEY])
    except FileNotFoundError as error:
        raise StoreError(f"no stored runs at {path}; `nasbench-kd run SUITE` makes them") from error
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StoreError(f"{path} is not a readable file of stored runs: {error}") from error
    if metadata.get("format") != FORMAT:
        raise StoreError(f"{path} has the format {metadata.get('format')!r}; this version reads {FORMAT!r}")
    return StoredRuns(table, metadata)
