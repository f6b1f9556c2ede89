"""The half that only reports open: test accuracy, or the training seeds that a run was not shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark import load
from nasbench_kd.catalog import Data, tables
from nasbench_kd.errors import DataError
from nasbench_kd.fidelity import FULL
from nasbench_kd.order_statistics import RandomSearchCurve
from nasbench_kd.space import SPACE_SIZE, all_cells

Array = npt.NDArray[np.float64]
Basis = Literal["test", "hidden seeds"]
NOT_SHOWN = -1
"""Training seed that stands for a cell which the run never saw at the full fidelity."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores answers on one task by what their search could not see, in percent.

    Attributes:
        basis: `test` is the mean test accuracy over the seeds; `hidden seeds` the mean validation
            accuracy over the training seeds that the run was not shown for that cell.
        valid: validation accuracy at none@200, shape (15625, seeds), NaN where a cell lacks a seed.
        seeds: training seed of each column of `valid`, shape (seeds,).
        reference: mean accuracy of every cell on the basis, over all its seeds, shape (15625,).
    """

    task: str
    basis: Basis
    valid: Array
    seeds: npt.NDArray[np.int64]
    reference: Array

    @property
    def best(self) -> float:
        """Best mean accuracy of any cell, from which regret is counted."""
        return float(self.reference.max())

    @property
    def uninformed(self) -> float:
        """Mean accuracy of the space: the expected score of a cell picked without looking."""
        return float(self.reference.mean())

    def scores(self, cells: npt.ArrayLike, shown: npt.ArrayLike) -> Array:
        """Score answers: official indices (n,) and the training seed each run was shown, or `NOT_SHOWN`.

        Raises `DataError` where a run was shown the only seed of its answer.
        """
        chosen, seen = np.asarray(cells), np.asarray(shown)
        if self.basis == "test":
            return np.asarray(self.reference[chosen])
        trained = self.valid[chosen]
        hidden = ~np.isnan(trained) & (self.seeds != seen[:, None])
        count = hidden.sum(axis=1)
        if not count.all():
            raise self._no_hidden_seed(int(chosen[count == 0][0]))
        return np.asarray(np.where(hidden, trained, 0.0).sum(axis=1) / count)

    def random_search(self) -> RandomSearchCurve:
        """Return the closed form of what random search at none@200 reaches on this basis.

        Raises `DataError` on hidden seeds where a cell has a single one.
        """
        present = ~np.isnan(self.valid)
        if self.basis == "test":
            worth = np.broadcast_to(self.reference[:, None], self.valid.shape)
        else:
            total = np.where(present, self.valid, 0.0).sum(axis=1, keepdims=True)
            others = present.sum(axis=1, keepdims=True) - 1
            if not others.all():
                raise self._no_hidden_seed(int(np.argmin(others)))
            worth = (total - self.valid) / others
        return RandomSearchCurve.from_table(self.valid, worth)

    def _no_hidden_seed(self, cell: int) -> DataError:
        return DataError(
            f"cell {cell} on {self.task} has a single training seed, so that none is hidden from a search "
            "that trains it; install test results with `nasbench-kd data pull` and report on installed data"
        )


def open_scorer(task: str, data: Data = "embedded") -> Scorer:
    """Open the scores of a task.

    The basis is `test` where a table of `data` has test accuracy at none@200 for every cell, else
    `hidden seeds`. Raises `UnknownNameError`, `DataError` where validation entries are missing.
    """
    valid, seeds = _validation(task, data)
    test = _test(task, data)
    if test is not None:
        return Scorer(task, "test", valid, seeds, test)
    return Scorer(task, "hidden seeds", valid, seeds, np.nanmean(valid, axis=1))


def _validation(task: str, data: Data) -> tuple[Array, npt.NDArray[np.int64]]:
    """What searches may be shown at none@200, as the benchmark resolves it."""
    benchmark = load(task, data=data)
    entries = [
        (cell.index, seed, benchmark.evaluate(cell, FULL, seed=seed))
        for cell in all_cells()
        for seed in benchmark.seeds(cell, FULL)
    ]
    measured = [
        (index, seed, entry.valid_accuracy) for index, seed, entry in entries if entry.source != "surrogate"
    ]
    seeds = np.unique([seed for _, seed, _ in measured])
    valid = np.full((SPACE_SIZE, len(seeds)), np.nan)
    cells, trained, accuracy = zip(*measured, strict=True)
    valid[np.array(cells), np.searchsorted(seeds, trained)] = accuracy
    lacking = np.isnan(valid).all(axis=1)
    if lacking.any():
        raise DataError(f"{int(lacking.sum())} cells have no measured accuracy at {FULL} on {task}")
    return valid, seeds.astype(np.int64)


def _test(task: str, data: Data) -> Array | None:
    """Mean test accuracy of every cell, from the first table that has the cell; None where cells lack one."""
    accuracy = np.full(SPACE_SIZE, np.nan)
    for table in tables(data):
        for column in table.select(task, "test"):
            if column.fidelity != FULL or column.provenance.get("source") == "surrogate":
                continue
            rows, values = column.rows["cell"], column.accuracies()
            trained = np.bincount(rows, minlength=SPACE_SIZE)
            mean = np.bincount(rows, weights=values, minlength=SPACE_SIZE) / np.maximum(trained, 1)
            accuracy = np.where(np.isnan(accuracy) & (trained > 0), mean, accuracy)
    return None if np.isnan(accuracy).any() else accuracy
