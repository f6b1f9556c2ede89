"""What the columns and rows of a table are held to when it is written, and when one from outside is opened."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.tables.column import Column
from nasbench_kd.tasks.registry import PACKAGED


def check_columns(columns: Sequence[Column], rows: npt.NDArray[np.void]) -> None:
    """Raise `DataError` where the rows of a table, column after column, are not what a table holds.

    All columns at once, in plain copies of the fields: every opened table pays for this.
    """
    _check_tasks(columns)
    lengths = [len(column.rows) for column in columns]
    if sum(lengths) != len(rows):
        raise DataError(f"the columns have {sum(lengths)} of the {len(rows)} rows")
    starts = list(accumulate(lengths, initial=0))
    cell, correct = rows["cell"].copy(), rows["correct"].copy()
    key = (
        (cell.astype(np.uint32) << 16) | rows["seed"]
        if cell.dtype == np.uint16
        else (cell.astype(np.uint64) << 32) | rows["seed"]
    )
    unsorted = key[1:] <= key[:-1]
    for start in starts[1:-1]:
        if 0 < start < len(rows):
            unsorted[start - 1] = False
    if unsorted.any():
        raise DataError(
            f"{_place(columns, starts, unsorted)} is not sorted by cell and seed, or repeats an entry"
        )
    _check_cells(columns)
    if len(rows) and rows["microseconds"].min() < 0:
        raise DataError(f"{_place(columns, starts, rows['microseconds'] < 0)} holds a negative time")
    failed = np.iinfo(correct.dtype).max
    for column, start in zip(columns, starts, strict=False):
        if column.means and column.rows["seed"].any():
            raise DataError(
                f"the column {column.task} {column.fidelity} {column.split} holds means over seeds and names seeds"
            )
        block = slice(start, start + len(column.rows))
        _check_counts(column, "correct", correct[block], column.images, failed)
        for name, images in column.readings.items():
            values = rows[name][block]
            if images is not None:
                _check_counts(column, name, values, images)
            elif not np.isfinite(values[correct[block] != failed]).all():
                raise DataError(
                    f"the column {column.task} {column.fidelity} {column.split} holds a {name} that is no number, "
                    "of a training that did not diverge"
                )


def _check_cells(columns: Sequence[Column]) -> None:
    """Raise `DataError` where a sorted column of a task of this package names a cell beyond its space.

    What other packages register is held to its space where it is used (`tables.resolve`).
    """
    for column in columns:
        size = len(PACKAGED[column.task].space) if column.task in PACKAGED else None
        if size is not None and len(column.rows) and column.rows["cell"][-1] >= size:
            raise DataError(
                f"the column {column.task} {column.fidelity} {column.split} names a cell beyond {size - 1}"
            )


def _check_tasks(columns: Sequence[Column]) -> None:
    """Raise `DataError` where a column is not of the task that it was trained on."""
    for column in columns:
        if column.fidelity.trained_on is not None:
            raise DataError(
                f"{column.fidelity} was trained on {column.fidelity.trained_on}: keep it as a column of that task, "
                "without on=; other tasks find it there"
            )


def _check_counts(
    column: Column, name: str, counts: npt.NDArray[Any], images: int, failed: int | None = None
) -> None:
    """Raise `DataError` where more images are answered correctly than there are; `failed` marks no count."""
    if len(counts) and counts.max() > images and (counts[counts != failed] > images).any():
        raise DataError(
            f"the column {column.task} {column.fidelity} {column.split} counts more correct answers ({name}) than "
            f"its {images} images"
        )


def _place(columns: Sequence[Column], starts: Sequence[int], wrong: npt.NDArray[np.bool_]) -> str:
    """Name the column that the first wrong row is in."""
    column = columns[bisect_right(starts, int(wrong.argmax())) - 1]
    return f"the column {column.task} {column.fidelity} {column.split}"
