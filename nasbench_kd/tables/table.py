"""The columnar store of measured entries: opened by memory map, every column with its provenance.

A table is a folder with two files. `entries.npy` holds one row for each (task, fidelity, cell,
seed): the images answered correctly, the training time in whole microseconds of the table's
clock, and a field for every further reading of the training. `card.json` names the type of the rows and
lists the columns (a contiguous block of rows for each task, fidelity and split) with their readings, source,
licence and provenance; its SHA-256 is over the card and the rows.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError, nearest
from nasbench_kd.files import is_special, replace_folder
from nasbench_kd.tables.draws import FILE as DRAWS_FILE
from nasbench_kd.tables.draws import Draws, Group, write_draws
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.registry import SHIPPED

FORMAT = "nasbench-kd table 2"
FORMAT_1 = "nasbench-kd table 1"
"""Rows of `ENTRY`, one reading a column, a checksum over the rows alone; still opened."""
ENTRY = np.dtype(
    [("cell", "<u2"), ("seed", "<u2"), ("correct", "<u2"), ("microseconds", "<i8")],
)
"""The fields of every row; a table of larger numbers has them as `WIDE_ENTRY`."""
WIDE_ENTRY = np.dtype(
    [("cell", "<u4"), ("seed", "<u4"), ("correct", "<u4"), ("microseconds", "<i8")],
)
DIVERGED = 65535
"""The value of `correct` that records in an `ENTRY` a training that diverged; in a wider row the largest one."""
_BASE = frozenset(ENTRY.names or ())
_FILES = frozenset({"card.json", "entries.npy", DRAWS_FILE})
_DRAWS = "draws_sha256"
Split = Literal["valid", "test"]


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


@dataclass(frozen=True, slots=True)
class Table:
    """A set of columns with one name and one checksum."""

    name: str
    sha256: str
    columns: tuple[Column, ...]
    card: Mapping[str, Any]
    draws: Draws | None = None
    """Further draws of a surrogate's entries."""

    @staticmethod
    def open(folder: Path, *, shipped: bool = False) -> Table:
        """Open a table folder; raises `DataError` where it is absent, altered, of another format, or its rows
        are none: cells outside the space, entries unsorted or repeated, more answers than images, negative times.

        One that is `shipped` with the package holds good rows as long as its checksum is right, which is compared
        when its entries are first looked at: opening a task stays quick.
        """
        card_path, rows_path = folder / "card.json", folder / "entries.npy"
        for path in (card_path, rows_path, folder / DRAWS_FILE):
            if is_special(path):
                raise DataError(f"{path} of the table at {folder} is no plain file")
        try:
            card = json.loads(card_path.read_bytes())
        except FileNotFoundError as error:
            raise DataError(f"no table at {folder}: {error.filename} is absent") from error
        except Exception as error:
            raise DataError(f"the table at {folder} cannot be read: {error}") from error
        return _assemble(folder, card, shipped)

    def select(self, task: str, split: Split) -> tuple[Column, ...]:
        """Return the columns of one task and split."""
        return tuple(column for column in self.columns if (column.task, column.split) == (task, split))


def write_table(
    folder: Path, name: str, columns: Iterable[Column], card: Mapping[str, Any], draws: Sequence[Group] = ()
) -> Table:
    """Write columns as a table folder and open it; a table that is there is replaced whole, or not at all.

    An empty folder is filled as it is: whoever made it will put it in its place.

    `card` holds what a reader must know of the whole table: title, source, licence, attribution,
    rebuild command; `draws` are further draws of a surrogate's entries. Raises `DataError` where a column is not
    sorted, repeats an entry or counts more correct answers than images, and where the folder holds something else
    than a table.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        _write(folder, name, columns, card, draws)
    else:
        with replaced_table(folder) as fresh:
            _write(fresh, name, columns, card, draws)
    return Table.open(folder)


def holds_table(folder: Path) -> bool:
    """Whether a folder holds a table, or what is left of one: without its card it is damaged, not absent."""
    return any(os.path.lexists(folder / name) for name in _FILES)


@contextmanager
def replaced_table(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for a table that takes the place of the one at `folder`, which is locked meanwhile.

    Raises `DataError` where that holds something else than a table.
    """
    here = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if folder.is_file() or any(name not in _FILES and not name.startswith(".") for name in here):
        raise DataError(
            f"{folder} holds something else than a table, which would be lost; name another folder"
        )
    with replace_folder(folder, Table.open) as fresh:
        yield fresh


def _write(
    folder: Path, name: str, columns: Iterable[Column], card: Mapping[str, Any], draws: Sequence[Group]
) -> None:
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
                "readings": dict(column.readings),
                "rows": [start, stop],
                **({} if column.means == _seed_0_alone(column.rows) else {"means": column.means}),
                "provenance": dict(column.provenance),
            }
        )
        start = stop
    dtype = _common_dtype(ordered)
    blocks = [_as_dtype(column.rows, dtype) for column in ordered]
    rows = np.concatenate(blocks) if blocks else np.empty(0, dtype=dtype)
    _check(ordered, rows)
    full_card = {"format": FORMAT, "name": name, **card, "dtype": dtype.descr, "columns": listing}
    if draws:
        full_card[_DRAWS] = write_draws(folder / DRAWS_FILE, draws)
    full_card["sha256"] = checksum(full_card, rows)
    np.save(folder / "entries.npy", rows, allow_pickle=False)
    (folder / "card.json").write_text(json.dumps(full_card, indent=1) + "\n", encoding="utf-8")


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


def _common_dtype(columns: Sequence[Column]) -> np.dtype[np.void]:
    """The narrowest type that holds the rows of all columns."""
    narrow = all(column.rows.dtype["correct"] == ENTRY["correct"] for column in columns)
    fields: dict[str, Any] = {}
    for column in columns:
        for name in column.readings:
            fields[name] = np.promote_types(column.rows.dtype[name], fields.get(name, "<u4"))
    kinds = [(name, "<u4" if kind == "<u4" else "<f4") for name, kind in sorted(fields.items())]
    return np.dtype((ENTRY if narrow else WIDE_ENTRY).descr + kinds)


def _as_dtype(rows: npt.NDArray[np.void], dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
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


def checksum(card: Mapping[str, Any], rows: npt.NDArray[np.void]) -> str:
    """SHA-256 in hex over all that a card says, its own checksum apart, and the rows: the version of a table."""
    text = json.dumps({key: value for key, value in card.items() if key != "sha256"}, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


def _assemble(folder: Path, card: Any, shipped: bool) -> Table:
    if not isinstance(card, dict) or card.get("format") not in (FORMAT, FORMAT_1):
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise DataError(
            f"the table at {folder} has the format {found!r}; this version reads {FORMAT_1!r} and {FORMAT!r}"
        )
    dtype = ENTRY if card["format"] == FORMAT_1 else _dtype(folder, card.get("dtype"))
    rows = _Rows(folder / "entries.npy", card, dtype)
    if not shipped:
        rows.read()
    try:
        columns = tuple(_column(entry, rows) for entry in card["columns"])
        if not shipped:
            _check(columns, rows.read())
        draws = Draws(folder / DRAWS_FILE, str(card[_DRAWS])) if _DRAWS in card else None
        return Table(str(card["name"]), card["sha256"], columns, card, draws)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"the card of the table at {folder} is not usable: {error!r}") from error


class _StoredColumn(Column):
    """A column of a stored table, whose rows are read when they are first looked at."""

    def __getattr__(self, name: str) -> Any:
        if name == "rows":
            data, start, stop = vars(self)["_block"]
            value = data.read(start, stop)
        elif name == "means":
            value = _seed_0_alone(self.rows)
        else:
            raise AttributeError(name)
        vars(self)[name] = value
        return value


class _Rows:
    """The rows of a table, mapped into memory and compared with the card's checksum when they are first needed."""

    def __init__(self, path: Path, card: Mapping[str, Any], dtype: np.dtype[np.void]) -> None:
        self.path = path
        self.card = card
        self.dtype = dtype
        self._rows: npt.NDArray[np.void] | None = None

    def read(self, start: int = 0, stop: int | None = None) -> npt.NDArray[np.void]:
        """Some of the rows, a view; raises `DataError` where they or the card are not what the checksum says."""
        if self._rows is None:
            self._rows = self._checked()
        if stop is not None and stop > len(self._rows):
            raise DataError(
                f"the card of the table at {self.path.parent} is not usable: the rows {start} to {stop} of a column "
                f"are not among the {len(self._rows)}"
            )
        return self._rows[start:stop]

    def _checked(self) -> npt.NDArray[np.void]:
        folder = self.path.parent
        try:
            rows = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise DataError(f"no table at {folder}: {error.filename} is absent") from error
        except Exception as error:  # NumPy reads the header as Python and raises whatever that raises
            raise DataError(f"the table at {folder} cannot be read: {error}") from error
        if rows.dtype != self.dtype or rows.ndim != 1:
            raise DataError(f"the table at {folder} has rows of {rows.dtype}, not of {self.dtype}")
        first = self.card["format"] == FORMAT_1
        digest = hashlib.sha256(rows.data).hexdigest() if first else checksum(self.card, rows)
        if digest != self.card.get("sha256"):
            raise DataError(
                f"the rows or the card of the table at {folder} do not match the checksum in the card: a file was "
                "altered or truncated; install it again"
            )
        return np.asarray(rows)


def _dtype(folder: Path, described: Any) -> np.dtype[np.void]:
    """The type of rows that a card names; raises `DataError` where it is none that a table has."""
    try:
        dtype = np.dtype([(str(name), str(kind)) for name, kind in described])
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the card of the table at {folder} names no type of rows: {described!r:.80}"
        ) from error
    kinds = {name: dtype[name] for name in dtype.names or ()}
    base = [kinds.pop(name, None) for name in ENTRY.names or ()]
    entries = [[entry[name] for name in entry.names or ()] for entry in (ENTRY, WIDE_ENTRY)]
    if base not in entries or not set(kinds.values()) <= {np.dtype("<u4"), np.dtype("<f4")}:
        raise DataError(f"the card of the table at {folder} names a type that rows do not have: {dtype}")
    return dtype


def _column(entry: Mapping[str, Any], data: _Rows) -> Column:
    """The column that an entry of a card describes; raises `ValueError` where it describes none."""
    task, split, images, provenance = (entry[name] for name in ("task", "split", "images", "provenance"))
    start, stop = entry["rows"]
    readings = entry.get("readings", {})
    if not (isinstance(task, str) and split in get_args(Split) and isinstance(provenance, dict)):
        raise ValueError(f"no column of a task and a split with its provenance: {entry!r:.200}")
    for name, count in {"images": images, **readings}.items():
        if name != "images" and name not in set(data.dtype.names or ()) - _BASE:
            raise ValueError(f"the rows have no field for the reading {name!r:.60}")
        if not (type(count) is int and count >= (name != "images")) and (
            name == "images" or count is not None
        ):
            raise ValueError(f"the number of images of {name} is a positive integer, not {count!r:.60}")
    if not images and not readings:
        raise ValueError("a column without readings")
    if not (type(start) is type(stop) is int and 0 <= start <= stop):
        raise ValueError(
            f"a column has the rows from one place to another, not {start!r:.60} to {stop!r:.60}"
        )
    fidelity = Fidelity.parse(entry["fidelity"])
    # Cards say it only where the seeds do not: earlier versions had seed 0 for means, and for nothing else.
    means = entry.get("means")
    if "means" in entry and type(means) is not bool:
        raise ValueError(f"whether a column holds means is true or false, not {means!r:.60}")
    column = _StoredColumn.__new__(_StoredColumn)
    vars(column).update(
        task=task,
        fidelity=fidelity,
        split=split,
        images=images,
        provenance=provenance,
        readings=readings,
        _block=(data, start, stop),
        **({} if means is None else {"means": means}),
    )
    return column


def _seed_0_alone(rows: npt.NDArray[np.void]) -> bool:
    """Whether all rows, of which there is one, have the seed 0."""
    return len(rows) > 0 and int(rows["seed"][0]) == 0 and not bool(rows["seed"].any())


def _check(columns: Sequence[Column], rows: npt.NDArray[np.void]) -> None:
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
    """Raise `DataError` where a sorted column of a shipped task names a cell beyond its space.

    What other packages register is held to its space where it is used (`tables.resolve`).
    """
    for column in columns:
        size = len(SHIPPED[column.task].space) if column.task in SHIPPED else None
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
