"""Resolves what several tables say of one fidelity into one answer a cell and seed, for searches and scores alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd.tables.column import WIDE_ENTRY, Column

Source = Literal["measured", "isomorphic", "live", "surrogate"]
SOURCES: tuple[Source, ...] = get_args(Source)
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
MEAN_SEED = int(np.iinfo(WIDE_ENTRY["seed"]).max)
"""What stands in `Entries.seed` for a mean over training seeds; no training has it."""
_CELL, _SEED, _SOURCE, _COLUMN, _ROW = range(5)


class Entries:
    """The resolved entries of one fidelity, one for each cell and seed that is known, sorted by both.

    Attributes:
        columns: those that the entries are rows of.
        cell, seed: of every entry, shape (entries,); the seed of a mean over seeds is `MEAN_SEED`.
        source: position in `SOURCES` of where each is from, shape (entries,).
        starts: position of each cell's first entry, and the end, shape (size of the space + 1,).
    """

    def __init__(self, columns: Sequence[Column], space: SearchSpace, found: Integers) -> None:
        self.columns = tuple(columns)
        self.cell, self.seed, self.source, self._column, self._row = found.T
        self.starts: Integers = np.searchsorted(self.cell, np.arange(len(space) + 1))

    @cached_property
    def seconds(self) -> Floats:
        """Training time of every entry on the table's clock, shape (entries,)."""
        found = np.zeros(len(self.cell))
        for number, column in enumerate(self.columns):
            mine = self._column == number
            found[mine] = column.rows["microseconds"][self._row[mine]] / 1e6
        return found

    @property
    def signals(self) -> tuple[str, ...]:
        """Every signal that an entry can be read by."""
        return tuple(dict.fromkeys(signal for column in self.columns for signal in column.signals))

    @property
    def common_signals(self) -> tuple[str, ...]:
        """The signals that every entry can be read by."""
        used = np.unique(self._column).tolist()
        return tuple(
            signal
            for signal in self.signals
            if all(signal in self.columns[number].signals for number in used)
        )

    def values(self, signal: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Values of a signal, NaN where the training diverged, and which entries have it; shape (entries,) each."""
        values, there = np.full(len(self.cell), np.nan), np.zeros(len(self.cell), dtype=bool)
        for number, column in enumerate(self.columns):
            if signal in column.signals:
                mine = self._column == number
                # Rounding drops the last bits of the division by the number of images.
                values[mine] = np.round(column.values(signal), 10)[self._row[mine]]
                there |= mine
        return values, there

    @property
    def trained(self) -> Integers:
        """The cell whose trainings each entry is of: another than its own where that is isomorphic; (entries,)."""
        found = np.empty(len(self.cell), dtype=np.int64)
        for number, column in enumerate(self.columns):
            mine = self._column == number
            found[mine] = column.rows["cell"][self._row[mine]]
        return found

    def signals_of(self, cell: int) -> tuple[str, ...]:
        """Signals that some entry of a cell can be read by."""
        mine = self._column[self.starts[cell] : self.starts[cell + 1]].tolist()
        return tuple(dict.fromkeys(signal for number in mine for signal in self.columns[number].signals))


class MeanEntries(Entries):
    """One entry for each cell, the mean over its training seeds: what a query gives in much of the literature.

    A signal is there where all seeds of the cell have it; where one of them diverged, the mean has.
    """

    def __init__(self, single: Entries) -> None:
        self._single = single
        self.columns = single.columns
        self.cell, first = np.unique(single.cell, return_index=True)
        self.seed = np.full(len(self.cell), MEAN_SEED, dtype=np.int64)
        self.source = single.source[first]
        self._column, self._row = single._column[first], single._row[first]
        self.starts = np.searchsorted(self.cell, np.arange(len(single.starts)))

    @cached_property
    def seconds(self) -> Floats:
        """Mean training time of every cell, shape (entries,)."""
        return self._mean(self._single.seconds)

    def values(self, signal: str) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Means of a signal, and which cells have it; shape (entries,) each."""
        values, there = self._single.values(signal)
        known = self._mean(there.astype(np.float64)) == 1
        # As in `Entries.values`: the last bits of the division are dropped.
        return np.where(known, np.round(self._mean(values), 10), np.nan), known

    def signals_of(self, cell: int) -> tuple[str, ...]:
        """Signals that some training of a cell can be read by."""
        return self._single.signals_of(cell)

    def _mean(self, values: Floats) -> Floats:
        starts = self._single.starts[self.cell]
        return np.asarray(np.add.reduceat(values, starts) / np.diff(self._single.starts)[self.cell])


def resolve(columns: Sequence[Column], space: SearchSpace, *, surrogate: bool = True) -> Entries:
    """Resolve columns of one task, fidelity and split, in the order of their precedence.

    A column adds training seeds that are not there yet; single seeds take the place of a mean, never the
    reverse. A cell without an entry has those of its twin in the space's classes (an isomorphic cell), or
    else, with `surrogate`, the surrogate's. Raises `DataError` where a column names a cell beyond the space.
    """
    for column in columns:
        if len(column.rows) and column.rows["cell"][-1] >= len(space):
            raise DataError(
                f"the column {column.task} {column.fidelity} {column.split} names the cell {column.rows['cell'][-1]}, "
                f"and {space.name} ends at {len(space) - 1}"
            )
    found = np.empty((0, 5), dtype=np.int64)
    of_surrogate = [column.provenance.get("source") == "surrogate" for column in columns]
    for number, column in enumerate(columns):
        if not of_surrogate[number]:
            found = _joined(found, _rows(column, number, "measured"), len(space))
    found = _with_twins(found, space, "isomorphic")
    if surrogate and any(of_surrogate):
        known = np.bincount(found[:, _CELL], minlength=len(space)) > 0
        for number, column in enumerate(columns):
            if of_surrogate[number]:
                drawn = _rows(column, number, "surrogate")
                found = _joined(found, drawn[~known[drawn[:, _CELL]]], len(space))
        found = _with_twins(found, space, "surrogate")
    return Entries(columns, space, found)


def _rows(column: Column, number: int, source: Source) -> Integers:
    rows = np.empty((len(column.rows), 5), dtype=np.int64)
    rows[:, _CELL] = column.rows["cell"]
    rows[:, _SEED] = MEAN_SEED if column.means else column.rows["seed"]
    rows[:, _SOURCE], rows[:, _COLUMN] = SOURCES.index(source), number
    rows[:, _ROW] = np.arange(len(rows))
    return rows


def _joined(found: Integers, more: Integers, size: int) -> Integers:
    """Rows with those of a column of lower precedence that may join them."""
    if not len(found):
        return more
    count = np.bincount(found[:, _CELL], minlength=size)
    mean, more_mean = _with_mean(found, size), _with_mean(more, size)
    among_more = np.zeros(size, dtype=bool)
    among_more[more[:, _CELL]] = True
    replaced = mean & (count == 1) & among_more & ~more_mean
    cell = more[:, _CELL]
    keys, wanted = _key(found), _key(more)
    known = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
    new = (more[:, _SEED] != MEAN_SEED) & ~known
    taken = ((count == 0) | replaced)[cell] | (~mean[cell] & new)
    if not taken.any():
        return found
    joined = np.concatenate((found[~replaced[found[:, _CELL]]], more[taken]))
    return joined[np.argsort(_key(joined), kind="stable")]


def _with_twins(found: Integers, space: SearchSpace, source: Source) -> Integers:
    """Rows with those of an isomorphic cell, the first one that has any, for every cell without."""
    size, classes = len(space), space.classes
    count = np.bincount(found[:, _CELL], minlength=size)
    empty = np.flatnonzero(count == 0)
    if not len(empty) or len(empty) == size:
        return found
    present = np.flatnonzero(count)[::-1]
    donor = np.full(size, -1, dtype=np.int64)
    donor[classes[present]] = present
    empty = empty[donor[classes[empty]] >= 0]
    donors = donor[classes[empty]]
    lengths = count[donors]
    first = np.searchsorted(found[:, _CELL], donors) - (np.cumsum(lengths) - lengths)
    copies = found[np.repeat(first, lengths) + np.arange(lengths.sum())]
    copies[:, _CELL], copies[:, _SOURCE] = np.repeat(empty, lengths), SOURCES.index(source)
    joined = np.concatenate((found, copies))
    return joined[np.argsort(_key(joined), kind="stable")]


def _with_mean(rows: Integers, size: int) -> npt.NDArray[np.bool_]:
    """Which cells have an entry that is a mean over seeds, shape (size,)."""
    cells = np.zeros(size, dtype=bool)
    cells[rows[rows[:, _SEED] == MEAN_SEED, _CELL]] = True
    return cells


def _key(rows: Integers) -> Integers:
    return np.asarray(rows[:, _CELL] << 32 | rows[:, _SEED])
