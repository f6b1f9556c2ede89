"""Reads stored runs at many budgets at once, column by column in batches, so that memory is bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.errors import StoreError
from nasbench_kd.execution.runs import RunsFile
from nasbench_kd.report.prefixes import SOURCES, STEP_COLUMNS, Prefixes
from nasbench_kd.report.provenance import Provenance, StoredSuite, read_provenance
from nasbench_kd.simulation.budget import Budget

_RUN_COLUMNS = (
    "optimizer",
    "task",
    "repetition",
    "seed",
    "budget",
    "ending",
    "reason",
    "training_microseconds",
    "teacher_microseconds",
)
_CURVE_POINTS = 40
BATCH = 2000
"""Runs held in memory at once."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What the runs of one file had reached at each checkpoint. Arrays have one row for each run.

    Attributes:
        provenance: what the file says of the suite and the tables.
        optimizers, tasks: names in the suite's order; `optimizer` and `task` hold positions in them.
        budgets: the suite's budgets, ascending; `curve` holds, for each task, amounts between the first
            evaluation, or a tenth of the smallest budget, and the largest budget, shape (tasks, points).
        at_budget, at_curve: score of the answer in percent, shapes (runs, budgets) and (runs, points);
            NaN where a run had no answer yet.
        best_observed: as `at_budget`, had every search answered with the best full training that it was shown.
        before_surrogate: as `at_budget`, each run read only up to its first entry from the surrogate.
        steps: paid evaluations told within each budget, by source, shape (runs, budgets, 4), `SOURCES` order.
        untold: paid evaluations that the answer at each budget did not know of, shape (runs, budgets).
        failed: whether the run failed within each budget, shape (runs, budgets).
        asked: the fidelities that the runs of an optimizer on a task were told of, by both names; empty where not all
            steps of the runs are kept.
        shared_draws: tasks on which all runs see the same draw of a surrogate, as its table holds no further ones.
    """

    provenance: Provenance
    optimizers: tuple[str, ...]
    tasks: tuple[str, ...]
    budgets: tuple[Budget, ...]
    curve: npt.NDArray[np.float64]
    optimizer: npt.NDArray[np.int64]
    task: npt.NDArray[np.int64]
    repetition: npt.NDArray[np.int64]
    seed: npt.NDArray[np.int64]
    reason: npt.NDArray[np.object_]
    teacher_seconds: npt.NDArray[np.float64]
    at_budget: npt.NDArray[np.float64]
    at_curve: npt.NDArray[np.float64]
    best_observed: npt.NDArray[np.float64]
    before_surrogate: npt.NDArray[np.float64]
    steps: npt.NDArray[np.int64]
    untold: npt.NDArray[np.int64]
    failed: npt.NDArray[np.bool_]
    asked: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    shared_draws: frozenset[str] = frozenset()

    def groups(self, number: int, *sides: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """What varies together at the budget of this position: a label for each run, or block of runs, shape (n,).

        A run has seeds of its own, and with them a draw of the surrogate: its label is its own. All runs that rest on
        a draw which their task's runs share have the label -1. Each side holds positions of runs, shape (n,); place by
        place they are blocks.
        """
        shared = np.zeros(len(sides[0]), dtype=bool)
        for rows in sides:
            drawn = self.steps[rows, number, SOURCES.index("surrogate")] > 0
            frozen = np.array([task in self.shared_draws for task in self.tasks], dtype=bool)
            shared |= drawn & frozen[self.task[rows]]
        return np.where(shared, -1, np.arange(len(shared)))

    def select(self, task: str, optimizer: str) -> npt.NDArray[np.int64]:
        """Positions of one optimizer's runs on one task, in order of repetition."""
        mask = (self.task == self.tasks.index(task)) & (self.optimizer == self.optimizers.index(optimizer))
        found = np.flatnonzero(mask)
        return found[np.argsort(self.repetition[found], kind="stable")]


def read(file: RunsFile, scorer: Callable[[str], Scorer]) -> Readings:
    """Read and score a file of stored runs.

    A run at the largest budget is read at a smaller one by what was paid for within it, evaluations that were
    still running included (`Prefixes`). Raises `StoreError` and what `scorer` raises.
    """
    path, runs = file.path, file.table(_RUN_COLUMNS)
    provenance = read_provenance(file.metadata, str(path))
    suite = provenance.suite
    if not runs.num_rows:
        raise StoreError(f"{path} holds no runs; `nasbench-kd run SUITE` makes them")
    budgets = _budgets(path, runs, suite)
    optimizers, optimizer = _codes(runs["optimizer"], [entry.name for entry in suite.optimizers])
    tasks, task = _codes(runs["task"], suite.tasks)
    scorers = [scorer(name) for name in tasks]
    curve = _curve(file, task, len(tasks), budgets)
    checkpoints = np.concatenate([np.tile([b.amount for b in budgets], (len(tasks), 1)), curve], axis=1)
    parts = []
    asked: dict[tuple[str, str], set[str]] = {}
    start = 0
    for batch in file.batches(STEP_COLUMNS, BATCH):
        here = task[start : start + len(batch)]
        prefixes = Prefixes(batch)
        parts.append(_read_batch(prefixes, here, checkpoints[here], len(budgets), scorers))
        if provenance.whole:
            for run, fidelity in prefixes.fidelities():
                place = optimizers[optimizer[start + run]], tasks[here[run]]
                asked.setdefault(place, set()).add(fidelity)
        start += len(batch)
    scores, observed, measured, steps, untold, last = (
        np.concatenate(values) for values in zip(*parts, strict=True)
    )
    training, teacher = (runs[f"{kind}_microseconds"].to_numpy() for kind in ("training", "teacher"))
    spent = training + teacher if budgets[0].unit == "seconds" else last
    failed = (runs["ending"].to_numpy() == "failed")[:, None] & (
        spent[:, None] <= checkpoints[0, : len(budgets)]
    )
    return Readings(
        provenance=provenance,
        optimizers=optimizers,
        tasks=tasks,
        budgets=budgets,
        curve=curve,
        optimizer=optimizer,
        task=task,
        repetition=runs["repetition"].to_numpy().astype(np.int64),
        seed=runs["seed"].to_numpy(),
        reason=runs["reason"].to_numpy(),
        teacher_seconds=teacher / 1e6,
        at_budget=scores[:, : len(budgets)],
        at_curve=scores[:, len(budgets) :],
        best_observed=observed,
        before_surrogate=measured,
        steps=steps,
        untold=untold,
        failed=failed,
        asked={place: frozenset(found) for place, found in asked.items()},
    )


def _budgets(path: Path, runs: pa.Table, suite: StoredSuite) -> tuple[Budget, ...]:
    stored = {str(text): Budget.parse(text) for text in pc.unique(runs["budget"]).to_pylist()}
    listed = suite.budgets or tuple(stored)
    budgets = sorted((Budget.parse(text) for text in listed), key=lambda budget: budget.amount)
    units = {budget.unit for budget in (*budgets, *stored.values())}
    if len(units) > 1:
        raise StoreError(f"{path} mixes budgets in time and in evaluations; report on them as two suites")
    smallest = min(budget.amount for budget in stored.values())
    if budgets[-1].amount > smallest:
        raise StoreError(f"{path} holds runs of a smaller budget than the suite's largest, {budgets[-1]}")
    return tuple(budgets)


def _codes(column: pa.ChunkedArray, order: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names in the suite's order (others after them, sorted) and each run's position among them."""
    present = set(pc.unique(column).to_pylist())
    names = [name for name in order if name in present]
    names += sorted(present.difference(names))
    return tuple(names), pc.index_in(column, pa.array(names)).to_numpy().astype(np.int64)


def _curve(
    file: RunsFile, task: npt.NDArray[np.int64], tasks: int, budgets: tuple[Budget, ...]
) -> npt.NDArray[np.float64]:
    """Amounts at which curves are read: from a task's cheapest first evaluation to the largest budget.

    Where budgets are times, a curve begins at a tenth of the smallest one at the earliest: a proxy of
    a second would otherwise stretch it over decades in which nothing happens.
    """
    largest = budgets[-1].amount
    earliest = np.full(tasks, largest, dtype=np.int64)
    start = 0
    for batch in file.batches(STEP_COLUMNS, BATCH):
        prefixes = Prefixes(batch)
        began = np.diff(prefixes.offsets) > 0
        np.minimum.at(earliest, task[start : start + len(batch)][began], prefixes.first_spent())
        start += len(batch)
    if budgets[0].unit == "evaluations":
        points = np.unique(np.round(np.geomspace(1, largest, _CURVE_POINTS)))
        return np.tile(points, (tasks, 1))
    begin = np.maximum(earliest, max(1, budgets[0].amount // 10))
    return np.array([np.geomspace(int(amount), largest, _CURVE_POINTS) for amount in begin])


def _read_batch(
    prefixes: Prefixes,
    task: npt.NDArray[np.int64],
    amounts: npt.NDArray[np.float64],
    budgets: int,
    scorers: Sequence[Scorer],
) -> tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
]:
    """Scores at every amount; at budgets, scores of the best observed, scores before the surrogate, paid steps and
    those that answers did not know of; most spent.
    """
    stops = prefixes.stops(amounts)
    at_budget = stops[:, :budgets]
    scores = prefixes.scores(stops, task, scorers)
    cut = prefixes.before_surrogate(at_budget)
    measured = scores[:, :budgets]
    if (cut != at_budget).any():
        measured = prefixes.scores(cut, task, scorers)
    observed = prefixes.scores(at_budget, task, scorers, prefixes.best_observed())
    untold = prefixes.untold_at(at_budget)
    return scores, observed, measured, prefixes.paid_steps(at_budget), untold, prefixes.most_spent()
