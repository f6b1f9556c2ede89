"""Stored runs: one Parquet row for each run, its steps in list columns, the suite in the file's metadata."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nasbench_kd.errors import StoreError
from nasbench_kd.execution.packing import NEEDED, TIMES, pack, unpack
from nasbench_kd.files import atomic_write, is_special
from nasbench_kd.simulation.run import Run
from nasbench_kd.tasks.signals import ACCURACY

FORMAT = "nasbench-kd runs 2"
FORMAT_1 = "nasbench-kd runs 1"
"""Without signals and tracebacks: every evaluation is of the validation accuracy; still opened."""
FORMAT_PACKED = "nasbench-kd runs 2, packed"
"""With packed times (`packing`): what is published, and read as any other."""
KEPT = "kept"
"""Key of the description of runs of which only those steps are stored that decide their scores."""
MADE_BY = "made_by"
"""Key of the description of who made the runs: a text for an optimizer of the suite, where it was said."""
MERGED = "merged"
"""Key of the description of runs of several suites on one board."""
ROWS_IN_MEMORY = 1000
"""Runs in one row group of the file."""
_MOST_UNPACKED = 1 << 30
_LEVEL = 19
_METADATA_KEY = b"nasbench_kd"
_STEP_FIELDS: tuple[tuple[str, pa.DataType], ...] = (
    ("start", pa.int64()),
    ("finish", pa.int64()),
    ("cell", pa.int16()),
    ("fidelity", pa.string()),
    ("training_seed", pa.int32()),
    ("value", pa.float64()),
    ("charged", pa.int64()),
    ("teacher", pa.int64()),
    ("spent", pa.int64()),
    ("source", pa.string()),
    ("answer", pa.int16()),
    ("signal", pa.string()),
)
STEP_COLUMNS = tuple(name for name, _ in _STEP_FIELDS)
"""Columns with a list in each row, one value a step."""
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
        ("traceback", pa.string()),
        ("training_microseconds", pa.int64()),
        ("teacher_microseconds", pa.int64()),
        *((name, pa.list_(kind)) for name, kind in _STEP_FIELDS),
    ]
)
"""Columns of `runs.parquet`; list columns hold one value a step (`nasbench_kd.simulation.run.Step`)."""


_SCHEMA_1 = pa.schema(
    [
        field.with_name("valid_accuracy") if field.name == "value" else field
        for field in SCHEMA
        if field.name not in ("signal", "traceback")
    ]
)


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
                "traceback": run.traceback,
                "training_microseconds": round(run.training_seconds * 1e6),
                "teacher_microseconds": round(run.teacher_seconds * 1e6),
                **{name: list(values) for (name, _), values in zip(_STEP_FIELDS, steps, strict=True)},
            }
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def encode(record: RunRecord) -> bytes:
    """Serialize one run as its compressed Arrow row."""
    return zlib.compress(to_table([record]).to_batches()[0].serialize(), level=1)


def decode(payload: bytes) -> pa.RecordBatch:
    """Read back what `encode` wrote, a batch of one row; raises `StoreError`."""
    try:
        stream = zlib.decompressobj()
        unpacked = stream.decompress(payload, _MOST_UNPACKED)
        if not stream.eof or stream.unused_data:
            raise EOFError("its bytes are cut short, or more than one run's")
        return pa.ipc.read_record_batch(pa.py_buffer(unpacked), SCHEMA)
    except (zlib.error, OSError, EOFError, pa.ArrowException) as error:
        raise StoreError(f"a stored run cannot be read: {error}") from error


def write_runs(
    path: Path,
    runs: pa.Table | Iterable[pa.RecordBatch],
    metadata: Mapping[str, Any],
    *,
    packed: bool = False,
) -> None:
    """Write a table of `SCHEMA`, or a batch for each run, atomically; the same runs give the same bytes.

    Pages and metadata carry checksums, and no more than `ROWS_IN_MEMORY` rows are held at a time. A `packed` file is a
    quarter as large.
    """
    described = {**metadata, "format": FORMAT_PACKED if packed else FORMAT}
    described["digest"] = _digest(described)
    schema = SCHEMA.with_metadata({_METADATA_KEY: json.dumps(described, sort_keys=True).encode()})
    with (
        atomic_write(path) as file,
        pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            compression_level=_LEVEL if packed else None,
            write_page_checksum=True,
        ) as writer,
    ):
        for group in _row_groups(runs):
            whole = group.combine_chunks()
            if packed:
                whole = pa.Table.from_batches(map(pack, whole.to_batches()), SCHEMA)
            writer.write_table(whole.replace_schema_metadata(schema.metadata))


class RunsFile:
    """A file of stored runs, opened once, its description checked, and then read column by column.

    Raises `StoreError` where the file is absent or damaged, when it is opened or when it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if is_special(path):
            raise StoreError(f"{path} is a pipe or a device, not a file of stored runs")
        with _reading(path):
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            schema = self._file.schema_arrow
            metadata = json.loads((schema.metadata or {})[_METADATA_KEY])
            digest = metadata.pop("digest", None)
        if metadata.get("format") not in (FORMAT, FORMAT_1, FORMAT_PACKED):
            raise StoreError(
                f"{path} has the format {metadata.get('format')!r}; this version reads {FORMAT!r}"
            )
        self._old = metadata["format"] == FORMAT_1
        self._packed = metadata["format"] == FORMAT_PACKED
        if digest != _digest(metadata) or not schema.equals(_SCHEMA_1 if self._old else SCHEMA):
            raise StoreError(
                f"{path} is damaged: its description does not match its checksum; `nasbench-kd run` with the "
                "same suite writes it again from the store beside it"
            )
        self.metadata: Mapping[str, Any] = metadata

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All runs, all columns of `SCHEMA` or some."""
        with _reading(self.path):
            if self._old or self._packed:
                return pa.Table.from_batches(self.batches(columns or SCHEMA.names, ROWS_IN_MEMORY))
            return self._file.read(None if columns is None else list(columns))

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """All runs in their order, at most `size` at a time."""
        with _reading(self.path):
            if self._packed and not set(TIMES).isdisjoint(columns):
                every = list(dict.fromkeys((*columns, *NEEDED)))
                for batch in self._file.iter_batches(batch_size=size, columns=every):
                    yield unpack(batch).select(list(columns))
                return
            if not self._old:
                yield from self._file.iter_batches(batch_size=size, columns=list(columns))
                return
            for batch in self._file.iter_batches(batch_size=size, columns=_SCHEMA_1.names):
                yield _with_signal(batch).select(list(columns))


def _with_signal(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Runs of format 1 as those of `SCHEMA`: without tracebacks, and of the validation accuracy."""
    lengths = pc.list_value_length(batch["spent"]).to_numpy()
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
    signals = pa.ListArray.from_arrays(offsets, pa.repeat(ACCURACY, int(lengths.sum())))
    tracebacks = pa.repeat("", len(batch))
    place = SCHEMA.get_field_index("traceback")
    columns = [*batch.columns[:place], tracebacks, *batch.columns[place:], signals]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def read_runs(path: Path, columns: Sequence[str] | None = None) -> StoredRuns:
    """Read stored runs, all columns or some; raises `StoreError` where the file is absent or damaged."""
    file = RunsFile(path)
    return StoredRuns(file.table(columns), file.metadata)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong in reading a file into a `StoreError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"no stored runs at {path}; `nasbench-kd run SUITE` makes them") from error
    except (OSError, pa.ArrowException, KeyError, ValueError, AttributeError) as error:
        raise StoreError(f"{path} is not a readable file of stored runs: {error}") from error


def _digest(described: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _row_groups(runs: pa.Table | Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    if isinstance(runs, pa.Table):
        yield from (runs.slice(start, ROWS_IN_MEMORY) for start in range(0, runs.num_rows, ROWS_IN_MEMORY))
        return
    remaining = iter(runs)
    while group := list(islice(remaining, ROWS_IN_MEMORY)):
        yield pa.Table.from_batches(group, SCHEMA)
