"""A column of a table: the entries of one task at one fidelity on one split, and the rows that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError, nearest
from nasbench_kd.tasks.fidelity import Fidelity

ENTRY = np.dtype(
    [("cell", "<u2"), ("seed", "<u2"), ("correct", "<u2"), ("microseconds", "<i8")],
)
"""The fields of every row; a table of larger numbers has them as `WIDE_ENTRY`."""
WIDE_ENTRY = np.dtype(
    [("cell", "<u4"), ("seed", "<u4"), ("correct", "<u4"), ("microseconds", "<i8")],
)
DIVERGED = 65535
"""The value of `correct` that records in an `ENTRY` a training that diverged; in a wider row the largest one."""
Split = Literal["valid", "test"]
READ_ON_TEST = "test images"
"""What `read_on` of a column's provenance says where its readings were made on the test images of its task."""


@dataclass(frozen=True)
class Column:
    """The entries of one task at one fidelity on one split.

    Attributes:
        split: `valid`, which searches may see, or `test`, which only reports open.
        images: number of images behind `correct`; 0 where the trainings were made without validation.
            Where a source gives only the mean over seeds, it is a multiple of the split's size.
        rows: structured array with the fields of `ENTRY` and one for each further reading, sorted by (cell, seed),
            each pair once.
        provenance: source, licence, recipe and software, as JSON values.
        readings: what was read of these trainings besides the accuracy on the split: the name of a signal, and
            the number of images behind a count of correct answers, or None for a number as it is (a loss).
        means: whether every row is the mean over a source's training seeds; the rows' `seed`, 0 in all of them,
            then names none.
    """

    task: str
    fidelity: Fidelity
    split: Split
    images: int
    rows: npt.NDArray[np.void]
    provenance: Mapping[str, Any]
    readings: Mapping[str, int | None] = field(default_factory=dict)
    means: bool = field(default_factory=bool)

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of all that can be read, the accuracy on the split first."""
        return ((f"{self.split}_accuracy",) if self.images else ()) + tuple(self.readings)

    def accuracies(self) -> npt.NDArray[np.float64]:
        """Accuracy on the split of every row in percent; NaN where the training diverged.

        Raises `DataError` where the trainings were made without validation.
        """
        return self.values(f"{self.split}_accuracy")

    def values(self, signal: str) -> npt.NDArray[np.float64]:
        """A reading of every row: an accuracy in percent, a loss as it is; NaN where the training diverged.

        Raises `DataError` on a signal that was not read, with those that were.
        """
        if signal == f"{self.split}_accuracy" and self.images:
            values = self.rows["correct"] * (100.0 / self.images)
        elif signal in self.readings:
            images = self.readings[signal]
            values = self.rows[signal].astype(np.float64) * (1.0 if images is None else 100.0 / images)
        else:
            raise DataError(
                f"{self.task} {self.fidelity} {self.split} has no reading {signal!r}; it has "
                f"{', '.join(self.signals)}.{nearest(signal, self.signals)}"
            )
        return np.where(self.diverged, np.nan, values)

    @property
    def diverged(self) -> npt.NDArray[np.bool_]:
        """Which rows record a training that diverged, shape (rows,)."""
        correct = self.rows["correct"]
        return np.asarray(correct == np.iinfo(correct.dtype).max)


def make_rows(
    cells: npt.ArrayLike,
    seeds: npt.ArrayLike,
    correct: npt.ArrayLike,
    microseconds: npt.ArrayLike,
    readings: Mapping[str, npt.ArrayLike] = MappingProxyType({}),
    *,
    diverged: npt.ArrayLike | None = None,
) -> npt.NDArray[np.void]:
    """Build sorted rows from equally long columns: of `ENTRY` where the numbers fit, else of `WIDE_ENTRY`.

    Args:
        readings: further readings by the name of their signal; whole numbers are kept as counts, others in
            float32.
        diverged: which trainings diverged, shape (n,); else those whose `correct` is `DIVERGED`.
    """
    counts = np.asarray(correct)
    failed = counts == DIVERGED if diverged is None else np.asarray(diverged, dtype=bool)
    largest = max((int(np.max(each, initial=0)) for each in (cells, seeds, counts[~failed])), default=0)
    base = ENTRY if largest < DIVERGED else WIDE_ENTRY
    arrays = {name: np.asarray(values) for name, values in readings.items()}
    kinds = [(name, "<u4" if values.dtype.kind in "iu" else "<f4") for name, values in arrays.items()]
    rows = np.empty(len(np.asarray(cells)), dtype=np.dtype(base.descr + kinds))
    rows["cell"], rows["seed"], rows["microseconds"] = cells, seeds, microseconds
    rows["correct"] = np.where(failed, np.iinfo(base["correct"]).max, counts)
    for name, values in arrays.items():
        rows[name] = values
    return rows[np.lexsort((rows["seed"], rows["cell"]))]


def common_dtype(columns: Sequence[Column]) -> np.dtype[np.void]:
    """The narrowest type that holds the rows of all columns."""
    narrow = all(column.rows.dtype["correct"] == ENTRY["correct"] for column in columns)
    fields: dict[str, Any] = {}
    for column in columns:
        for name in column.readings:
            fields[name] = np.promote_types(column.rows.dtype[name], fields.get(name, "<u4"))
    kinds = [(name, "<u4" if kind == "<u4" else "<f4") for name, kind in sorted(fields.items())]
    return np.dtype((ENTRY if narrow else WIDE_ENTRY).descr + kinds)


def as_dtype(rows: npt.NDArray[np.void], dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """The rows as another type: what a column did not read is NaN or 0, and diverged stays diverged."""
    if rows.dtype == dtype:
        return np.asarray(rows)
    wider = np.zeros(len(rows), dtype=dtype)
    for name in dtype.names or ():
        if name in (rows.dtype.names or ()):
            wider[name] = rows[name]
        elif dtype[name].kind == "f":
            wider[name] = np.nan
    lost = rows["correct"] == np.iinfo(rows.dtype["correct"]).max
    wider["correct"][lost] = np.iinfo(dtype["correct"]).max
    return wider
