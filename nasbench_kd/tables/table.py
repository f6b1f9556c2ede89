"""The columnar store of measured entries: opened by memory map, every column with its provenance.

A table is a folder with two files. `entries.npy` holds one row for each (task, fidelity, cell,
seed): the images answered correctly and the training time in whole microseconds of the table's
clock. `card.json` lists the columns (a contiguous block of rows for each task, fidelity and split)
with source, licence and provenance, and the SHA-256 of the rows.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.files import atomic_write, write_text
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tasks.fidelity import Fidelity

FORMAT = "nasbench-kd table 1"
ENTRY = np.dtype(
    [("cell", "<u2"), ("seed", "<u2"), ("correct", "<u2"), ("microseconds", "<i8")],
)
DIVERGED = 65535
"""The value of `correct` that records a training that diverged."""
MEAN_SEED = 0
"""The value of `seed` for an entry that is the mean over a source's seeds."""
Split = Literal["valid", "test"]


@dataclass(frozen=True, slots=True)
class Column:
    """The entries of one task at one fidelity on one split.

    Attributes:
        split: `valid`, which searches may see, or `test`, which only reports open.
        images: number of images behind `correct`. Where a source gives only the mean over
            seeds, it is a multiple of the split's size, and the rows have `MEAN_SEED`.
        rows: structured array of dtype `ENTRY`, sorted by (cell, seed), each pair once.
        provenance: source, licence, recipe and software, as JSON values.
    """

    task: str
    fidelity: Fidelity
    split: Split
    images: int
    rows: npt.NDArray[np.void]
    provenance: Mapping[str, Any]

    def accuracies(self) -> npt.NDArray[np.float64]:
        """Accuracy of every row in percent; NaN where the training diverged."""
        correct = self.rows["correct"]
        return np.where(correct == DIVERGED, np.nan, correct * (100.0 / self.images))


@dataclass(frozen=True, slots=True)
class Table:
    """A set of columns with one name and one checksum."""

    name: str
    sha256: str
    columns: tuple[Column, ...]
    card: Mapping[str, Any]

    @staticmethod
    def open(folder: Path, *, check_rows: bool = True) -> Table:
        """Open a table folder; raises `DataError` where it is absent, altered, of another format, or its rows
        are none: cells outside the space, entries unsorted or repeated, more answers than images, negative times.
        `check_rows=False` leaves the rows out, for tables whose checksum is known to be that of good ones.
        """
        card_path, rows_path = folder / "card.json", folder / "entries.npy"
        for path in (card_path, rows_path):
            if path.exists() and not path.is_file():  # a pipe would be waited for
                raise DataError(f"{path} of the table at {folder} is no plain file")
        try:
            card = json.loads(card_path.read_bytes())
            data = np.load(rows_path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise DataError(f"no table at {folder}: {error.filename} is absent") from error
        except Exception as error:  # NumPy reads the header as Python and raises whatever that raises
            raise DataError(f"the table at {folder} cannot be read: {error}") from error
        return _assemble(folder, card, data, check_rows)

    def select(self, task: str, split: Split) -> tuple[Column, ...]:
        """Return the columns of one task and split."""
        return tuple(column for column in self.columns if (column.task, column.split) == (task, split))


def write_table(folder: Path, name: str, columns: Iterable[Column], card: Mapping[str, Any]) -> Table:
    """Write columns as a table folder, atomically file by file, and open it.

    `card` holds what a reader must know of the whole table: title, source, licence, attribution,
    rebuild command. Raises `DataError` where a column is not sorted, repeats an entry or counts
    more correct answers than images.
    """
    ordered = sorted(columns, key=lambda column: (column.task, str(column.fidelity), column.split))
    listing, start = [], 0
    for column in ordered:
        stop = start + len(column.rows)
        listing.append(
            {
                "task": column.task,
                "fidelity": str(column.fidelity),
                "split": column.split,
                "images": column.images,
                "rows": [start, stop],
                "provenance": dict(column.provenance),
            }
        )
        start = stop
    blocks = [np.asarray(column.rows, dtype=ENTRY) for column in ordered]
    rows = np.concatenate(blocks) if blocks else np.empty(0, dtype=ENTRY)
    _check(ordered, rows)
    full_card = {
        "format": FORMAT,
        "name": name,
        "sha256": hashlib.sha256(rows.tobytes()).hexdigest(),
        **card,
        "columns": listing,
    }
    with atomic_write(folder / "entries.npy") as file:
        np.save(file, rows, allow_pickle=False)
    write_text(folder / "card.json", json.dumps(full_card, indent=1) + "\n")
    return Table.open(folder)


def make_rows(
    cells: npt.ArrayLike, seeds: npt.ArrayLike, correct: npt.ArrayLike, microseconds: npt.ArrayLike
) -> npt.NDArray[np.void]:
    """Build sorted `ENTRY` rows from four equally long columns."""
    rows = np.empty(len(np.asarray(cells)), dtype=ENTRY)
    rows["cell"], rows["seed"] = cells, seeds
    rows["correct"], rows["microseconds"] = correct, microseconds
    return rows[np.lexsort((rows["seed"], rows["cell"]))]


def _assemble(folder: Path, card: Any, data: npt.NDArray[Any], check_rows: bool) -> Table:
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise DataError(f"the table at {folder} has the format {found!r}; this version reads {FORMAT!r}")
    if data.dtype != ENTRY or data.ndim != 1:
        raise DataError(f"the table at {folder} has rows of {data.dtype}, not of {ENTRY}")
    if hashlib.sha256(data.data).hexdigest() != card.get("sha256"):
        raise DataError(
            f"the rows of the table at {folder} do not match the checksum in its card: the file was altered "
            "or truncated; install it again"
        )
    try:
        columns = tuple(_column(entry, data) for entry in card["columns"])
        if check_rows:
            _check(columns, data)
        return Table(name=str(card["name"]), sha256=card["sha256"], columns=columns, card=card)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the card of the table at {folder} is not usable: {error!r}") from error


def _column(entry: Mapping[str, Any], data: npt.NDArray[Any]) -> Column:
    """The column that an entry of a card describes; raises `ValueError` where it describes none."""
    task, split, images, provenance = (entry[name] for name in ("task", "split", "images", "provenance"))
    start, stop = entry["rows"]
    if not (isinstance(task, str) and split in get_args(Split) and isinstance(provenance, dict)):
        raise ValueError(f"no column of a task and a split with its provenance: {entry!r:.200}")
    if type(images) is not int or images < 1:
        raise ValueError(f"the number of images of a column is a positive integer, not {images!r:.60}")
    if not (type(start) is type(stop) is int and 0 <= start <= stop <= len(data)):
        raise ValueError(f"the rows {start!r:.60} to {stop!r:.60} of a column are not among the {len(data)}")
    return Column(task, Fidelity.parse(entry["fidelity"]), split, images, data[start:stop], provenance)


def _check(columns: Sequence[Column], rows: npt.NDArray[np.void]) -> None:
    """Raise `DataError` where the rows of a table, column after column, are not what a table holds.

    All columns at once, in plain copies of the fields: every opened table pays for this.
    """
    lengths = [len(column.rows) for column in columns]
    if sum(lengths) != len(rows):
        raise DataError(f"the columns have {sum(lengths)} of the {len(rows)} rows")
    starts = list(accumulate(lengths, initial=0))
    cell, correct = rows["cell"].copy(), rows["correct"].copy()
    key = (cell.astype(np.uint32) << 16) | rows["seed"]
    unsorted = key[1:] <= key[:-1]
    for start in starts[1:-1]:
        if 0 < start < len(rows):
            unsorted[start - 1] = False
    if unsorted.any():
        raise DataError(
            f"{_place(columns, starts, unsorted)} is not sorted by cell and seed, or repeats an entry"
        )
    if len(rows) and cell.max() >= SPACE_SIZE:
        raise DataError(f"{_place(columns, starts, cell >= SPACE_SIZE)} names a cell beyond {SPACE_SIZE - 1}")
    if len(rows) and rows["microseconds"].min() < 0:
        raise DataError(f"{_place(columns, starts, rows['microseconds'] < 0)} holds a negative time")
    for column, start in zip(columns, starts, strict=False):
        counts = correct[start : start + len(column.rows)]
        if (
            len(counts)
            and counts.max() > column.images
            and (counts[counts != DIVERGED] > column.images).any()
        ):
            raise DataError(
                f"the column {column.task} {column.fidelity} {column.split} counts more correct answers than its "
                f"{column.images} images"
            )


def _place(columns: Sequence[Column], starts: Sequence[int], wrong: npt.NDArray[np.bool_]) -> str:
    """Name the column that the first wrong row is in."""
    column = columns[bisect_right(starts, int(wrong.argmax())) - 1]
    return f"the column {column.task} {column.fidelity} {column.split}"
