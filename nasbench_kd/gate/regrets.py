"""Regrets of stored runs at the budgets of their suite."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasbench_kd.benchmark.scoring import Scorer, open_scorer
from nasbench_kd.execution.runs import RunsFile
from nasbench_kd.report.leaderboard import regrets
from nasbench_kd.report.readings import read
from nasbench_kd.stats.sequential import Array
from nasbench_kd.tables.catalog import Data


class MeanRegret(NamedTuple):
    """Mean regret of stored runs of one optimizer on one task at one budget, in points of accuracy."""

    optimizer: str
    task: str
    budget: str
    runs: int
    regret: float


def mean_regrets(path: Path, data: Data) -> list[MeanRegret]:
    """Mean regrets of a file of runs; raises `StoreError` and `DataError`."""
    found = Regrets(path, cache(lambda task: open_scorer(task, data)))
    readings = found.readings
    return [
        MeanRegret(optimizer, task, str(budget), len(rows), float(found.regret[rows, number].mean()))
        for optimizer in readings.optimizers
        for task in readings.tasks
        if len(rows := readings.select(task, optimizer))
        for number, budget in enumerate(readings.budgets)
    ]


class Regrets:
    """Regrets of a file of runs at the budgets of their suite."""

    def __init__(self, path: Path, scorer: Callable[[str], Scorer]) -> None:
        self.readings = read(RunsFile(path), scorer)
        scorers = {task: scorer(task) for task in self.readings.tasks}
        self.regret = regrets(self.readings, scorers, self.readings.at_budget)

    def of(self, optimizer: str, task: str, budget: int, pairs: int) -> Array:
        """Regrets of the first repetitions, shape (pairs,)."""
        return np.asarray(self.regret[self._rows(optimizer, task, pairs), budget])

    def answered(self, optimizer: str, task: str, budget: int, pairs: int) -> bool:
        """Whether any of these runs had an answer within the budget."""
        scores = self.readings.at_budget[self._rows(optimizer, task, pairs), budget]
        return not np.isnan(scores).all()

    def failures(self, optimizer: str, task: str, budget: int, pairs: int) -> list[str]:
        """Reasons of these runs that failed within the budget."""
        rows = self._rows(optimizer, task, pairs)
        return [str(reason) for reason in self.readings.reason[rows[self.readings.failed[rows, budget]]]]

    def _rows(self, optimizer: str, task: str, pairs: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.asarray(self.readings.select(task, optimizer)[:pairs])
