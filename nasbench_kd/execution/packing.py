"""Times of runs as what is left of them when each is foretold by the others: most are zeros, and a file is a quarter.

A training starts when the one before has finished, lasts as long as it is charged for, and adds that to what was
spent. Where it is otherwise, as with several workers, the difference is kept: nothing is lost.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]
TIMES = ("start", "finish", "spent")
"""Columns that are packed."""
NEEDED = (*TIMES, "charged", "teacher", "budget")
"""Columns that packing and unpacking need."""


def pack(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same runs with packed times."""
    start, finish, spent = (_values(batch, name) for name in TIMES)
    lasting, paying, first = _foretold(batch)
    before = (_before(finish, first), start + lasting, _before(spent, first) + paying)
    kept = (start - before[0], finish - before[1], spent - before[2])
    return _with_times(batch, kept)


def unpack(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The runs that were packed."""
    waited, longer, more = (_values(batch, name) for name in TIMES)
    lasting, paying, first = _foretold(batch)
    finish = _summed(waited + lasting + longer, first)
    return _with_times(batch, (finish - lasting - longer, finish, _summed(more + paying, first)))


def _foretold(batch: pa.RecordBatch) -> tuple[Integers, Integers, Integers]:
    """How long every step lasts and what it adds to what was spent, and the first step of every run that has one."""
    lengths = np.diff(batch["start"].offsets.to_numpy())
    lasting = _values(batch, "charged") + _values(batch, "teacher")
    counted = np.array([text.endswith("evaluations") for text in batch["budget"].to_pylist()], dtype=bool)
    paying = np.where(np.repeat(counted, lengths), (lasting > 0).astype(np.int64), lasting)
    starts = np.cumsum(lengths) - lengths
    return lasting, paying, starts[lengths > 0]


def _before(values: Integers, first: Integers) -> Integers:
    """The value of the step before each, 0 before the first of a run."""
    found = np.concatenate((values[:1] * 0, values[:-1]))
    found[first] = 0
    return found


def _summed(values: Integers, first: Integers) -> Integers:
    """Sums from the first step of each run on."""
    total = np.cumsum(values)
    lengths = np.diff(np.append(first, len(values)))
    return np.asarray(total - np.repeat((total - values)[first], lengths))


def _values(batch: pa.RecordBatch, name: str) -> Integers:
    return np.asarray(batch[name].flatten().to_numpy(), dtype=np.int64)


def _with_times(batch: pa.RecordBatch, times: tuple[Integers, ...]) -> pa.RecordBatch:
    offsets = batch["start"].offsets
    offsets = pa.array(offsets.to_numpy() - offsets[0].as_py(), pa.int32())
    columns = {
        name: pa.ListArray.from_arrays(offsets, pa.array(each))
        for name, each in zip(TIMES, times, strict=True)
    }
    return pa.RecordBatch.from_arrays(
        [columns.get(name, batch[name]) for name in batch.schema.names],
        schema=batch.schema,
    )
