"""The half that only reports open: test accuracy, or the training seeds that a run was not shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.stats.order_statistics import RandomSearchCurve
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tables.resolve import resolve
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.tasks.signals import ACCURACY
from nasbench_kd.tasks.task import Task

Array = npt.NDArray[np.float64]
Basis = Literal["test", "hidden seeds", "shown"]
NOT_SHOWN = -1
"""Training seed that stands for a cell which the run never saw at the full fidelity."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores answers on one task by what their search could not see, in percent.

    Attributes:
        basis: `test` is the mean test accuracy over the seeds; `hidden seeds` the mean validation
            accuracy over the training seeds that the run was not shown for that cell; `shown`, where the task
            holds nothing out, what the run was shown itself.
        valid: validation accuracy at the task's target, shape (architectures, seeds), NaN where one lacks a seed.
        seeds: training seed of each column of `valid`, shape (seeds,).
        reference: mean accuracy of every cell on the basis, over all its seeds, shape (architectures,).
        trained: where seeds are hidden and not every cell has trainings of its own, the cell whose trainings
            answer for each, shape (architectures,): what a run was shown of one, it was shown of the other.
        origin: the table that the test accuracy is from, and what its models were trained on.
    """

    task: str
    basis: Basis
    valid: Array
    seeds: npt.NDArray[np.int64]
    reference: Array
    origin: str = ""
    trained: npt.NDArray[np.int64] | None = None

    @property
    def best(self) -> float:
        """Best mean accuracy of any cell, from which regret is counted."""
        return float(self.reference.max())

    @property
    def uninformed(self) -> float:
        """Mean accuracy of the space: the expected score of a cell picked without looking."""
        return float(self.reference.mean())

    @property
    def uninformed_regret(self) -> float:
        """Regret of an uninformed pick: what a run without an answer is scored with."""
        return self.best - self.uninformed

    def scores(self, cells: npt.ArrayLike, shown: npt.ArrayLike) -> Array:
        """Score answers: official indices (n,) and the training seeds each run was shown of its answer.

        `shown` has the shape (n,) or (n, k); `NOT_SHOWN` stands for none.

        Raises `DataError` where a run was shown the only seed of its answer.
        """
        chosen, seen = np.asarray(cells), np.asarray(shown)
        if self.basis != "hidden seeds":
            return np.asarray(self.reference[chosen])
        trained = self.valid[chosen]
        seen = seen.reshape(len(chosen), -1)
        hidden = ~np.isnan(trained) & (self.seeds[None, :, None] != seen[:, None, :]).all(axis=2)
        count = hidden.sum(axis=1)
        if not count.all():
            raise self._no_hidden_seed(int(chosen[count == 0][0]))
        return _exact(np.where(hidden, trained, 0.0).sum(axis=1) / count)

    def random_search(self, *, mean_over_seeds: bool = False) -> RandomSearchCurve:
        """Return the closed form of what random search at the target reaches on this basis.

        With `mean_over_seeds` a query gives the mean over a cell's training seeds.

        Raises `DataError` on hidden seeds where a cell has a single one.
        """
        if mean_over_seeds:
            return RandomSearchCurve.from_table(
                np.nanmean(self.valid, axis=1, keepdims=True), self.reference[:, None]
            )
        present = ~np.isnan(self.valid)
        if self.basis != "hidden seeds":
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


def open_scorer(name: str, data: Data = "embedded", basis: Basis | None = None) -> Scorer:
    """Open the scores of a task.

    Without a `basis`, it is `test` where a table of `data` has test accuracy at its target for every cell, else
    `hidden seeds`, or `shown` where the task holds nothing out. Raises `UnknownNameError`, `DataError` where
    validation entries are missing.
    """
    task = find_task(name)
    valid, seeds, trained = _validation(task, data)
    test = None if basis == "hidden seeds" or not task.held_out else _test(task, data)
    if basis == "test" and test is None:
        raise DataError(f"no table has the test accuracy of every cell on {name} at {task.target}")
    if test is not None:
        return Scorer(name, "test", valid, seeds, _exact(test[0]), test[1])
    chosen: Basis = "hidden seeds" if task.held_out else "shown"
    own = bool((trained == np.arange(len(trained))).all())
    reference = _exact(np.nanmean(valid, axis=1))
    return Scorer(
        name, chosen, valid, seeds, reference, trained=None if own or chosen == "shown" else trained
    )


def _exact(accuracies: Array) -> Array:
    """Drop rounding errors of sums, so that equal accuracies are ties."""
    return np.round(accuracies, 9)


def _validation(task: Task, data: Data) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """What searches may be shown at the target, resolved as the benchmark does, the surrogate's entries left out.

    Accuracies (architectures, seeds), the seeds, and the cell whose trainings answer for each architecture.
    """
    columns = [
        column
        for table in tables(data, task)
        for column in table.select(task.name, "valid")
        if column.fidelity == task.target and ACCURACY in column.signals
    ]
    entries = resolve(columns, task.space, surrogate=False)
    lacking = np.flatnonzero(np.diff(entries.starts) == 0)
    if len(lacking):
        if not columns and task.obtain:
            raise DataError(f"there are no entries on {task.name}: {task.obtain}")
        raise DataError(
            f"cell {lacking[0]} has no measured accuracy at {task.target} on {task.name}, nor has an isomorphic cell"
        )
    seeds, place = np.unique(entries.seed, return_inverse=True)
    valid = np.full((len(task.space), len(seeds)), np.nan)
    valid[entries.cell, place] = entries.values(ACCURACY)[0]
    answering = ~np.isnan(valid).all(axis=0)
    return valid[:, answering], seeds[answering], entries.trained[entries.starts[:-1]]


def _test(task: Task, data: Data) -> tuple[Array, str] | None:
    """Mean test accuracy of every cell and what it is of, from one table that has all cells; None without any.

    Installed tables come before those that ship, and none completes another: two sources may have tested
    models that were trained on different images.
    """
    shipped, size = tables("embedded", task), len(task.space)
    installed = tables(data, task)[len(shipped) :]
    for table in (*installed, *shipped):
        total, trained, origins = np.zeros(size), np.zeros(size), set()
        for column in table.select(task.name, "test"):
            if column.fidelity == task.target and column.provenance.get("source") != "surrogate":
                rows = column.rows["cell"]
                total += np.bincount(rows, weights=column.accuracies(), minlength=size)
                trained += np.bincount(rows, minlength=size)
                origins.add(str(column.provenance.get("trained_on", "")))
        if trained.all():
            about = ", ".join(f"of models trained on {each}" for each in sorted(origins) if each)
            return total / trained, f"{table.name}{about and ': '}{about}"
    return None
