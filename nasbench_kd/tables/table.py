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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.files import is_special, replace_folder
from nasbench_kd.tables.checks import check_columns
from nasbench_kd.tables.column import ENTRY, WIDE_ENTRY, Column, Split, as_dtype, common_dtype
from nasbench_kd.tables.draws import FILE as DRAWS_FILE
from nasbench_kd.tables.draws import Draws, Group, write_draws
from nasbench_kd.tasks.fidelity import Fidelity

FORMAT = "nasbench-kd table 2"
FORMAT_1 = "nasbench-kd table 1"
"""Rows of `ENTRY`, one reading a column, a checksum over the rows alone; still opened."""
_BASE = frozenset(ENTRY.names or ())
_FILES = frozenset({"card.json", "entries.npy", DRAWS_FILE})
_DRAWS = "draws_sha256"


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
    dtype = common_dtype(ordered)
    blocks = [as_dtype(column.rows, dtype) for column in ordered]
    rows = np.concatenate(blocks) if blocks else np.empty(0, dtype=dtype)
    check_columns(ordered, rows)
    full_card = {"format": FORMAT, "name": name, **card, "dtype": dtype.descr, "columns": listing}
    if draws:
        full_card[_DRAWS] = write_draws(folder / DRAWS_FILE, draws)
    full_card["sha256"] = checksum(full_card, rows)
    np.save(folder / "entries.npy", rows, allow_pickle=False)
    (folder / "card.json").write_text(json.dumps(full_card, indent=1) + "\n", encoding="utf-8")


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
            check_columns(columns, rows.read())
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
