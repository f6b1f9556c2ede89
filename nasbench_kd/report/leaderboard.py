"""The numbers of a leaderboard: one row for each task, budget and optimizer."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.report.prefixes import SOURCES
from nasbench_kd.report.readings import Readings
from nasbench_kd.stats.order_statistics import RandomSearchCurve
from nasbench_kd.stats.statistics import Interval, iqm, mean, median, ranks, stratified_bootstrap

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One optimizer on one task at one budget. Statistics are None where every run had failed."""

    task: str
    budget: str
    optimizer: str
    runs: int
    failures: int
    reason: str
    """The most frequent reason of failure; empty where none failed."""
    without_answer: int
    """Runs that had no answer yet, counted with the mean accuracy of the space."""
    median_regret: Interval | None
    iqm_regret: Interval | None
    observed_regret: float | None
    """Interquartile mean, had every run answered with the best full training that it was shown."""
    accuracy_mean: float | None
    accuracy_deviation: float | None
    """Standard deviation over runs (n - 1 in the denominator); None for a single run."""
    mean_rank: Interval | None
    """None also where the optimizers have no repetition in common, and for an entry that is not ranked."""
    random_search_evaluations: float | None
    """Distinct random cells with the same expected score; 0 for less than one, infinite beyond the space."""
    random_search_ratio: float | None
    """What these cost on average, over the budget."""
    evaluations: float
    """Mean number of paid evaluations told within the budget."""
    shares: Mapping[str, float]
    """Share of these by source."""
    thinned: bool
    """Whether runs are stored without the steps that do not decide their scores, and these counts lack them."""
    teacher_hours: float
    """Mean charged for the teacher, over the whole run at the largest budget."""
    cut_short: bool
    """Whether it is the beginning of runs that were planned for more, and not ranked."""
    optimizer_seconds: float | None
    """Mean real time inside the optimizer over the same whole run; None where it was not recorded."""


@dataclass(frozen=True, slots=True)
class Overall:
    """One optimizer over all tasks at one budget."""

    budget: str
    optimizer: str
    normalised_regret: Interval
    """Interquartile mean over the runs of all tasks of regret over that of an uninformed pick."""
    mean_rank: float | None
    """Mean over tasks of the mean rank."""


@dataclass(frozen=True)
class Leaderboard:
    """Computes the rows from what was read.

    Attributes:
        scorers: by task.
        full_seconds: mean price of an evaluation at the target by task.
        overhead: mean optimizer seconds of a run by (optimizer, task).
    """

    readings: Readings
    scorers: Mapping[str, Scorer]
    full_seconds: Mapping[str, float]
    overhead: Mapping[tuple[str, str], float]

    def rows(self) -> list[LeaderboardRow]:
        """Every row, by task, budget and interquartile mean regret; failed optimizers last."""
        regret = regrets(self.readings, self.scorers, self.readings.at_budget)
        observed = regrets(self.readings, self.scorers, self.readings.best_observed)
        board: list[LeaderboardRow] = []
        for task in self.readings.tasks:
            curve = self.scorers[task].random_search(
                mean_over_seeds=self.readings.provenance.suite.mean_over_seeds
            )
            for number in range(len(self.readings.budgets)):
                ranked = self._ranks(task, number, regret)
                part = [
                    self._row(
                        task,
                        number,
                        name,
                        regret[rows, number],
                        observed[rows, number],
                        ranked.get(name),
                        curve,
                    )
                    for name in self.readings.optimizers
                    if (rows := self.readings.select(task, name)).size
                ]
                board += sorted(part, key=lambda row: row.iqm_regret.estimate if row.iqm_regret else np.inf)
        return board

    def overall(self, rows: Sequence[LeaderboardRow]) -> list[Overall]:
        """Every optimizer that has runs on every task, over all tasks, best first at each budget."""
        regret = regrets(self.readings, self.scorers, self.readings.at_budget)
        by_place = {(row.task, row.budget, row.optimizer): row for row in rows}
        found: list[Overall] = []
        for number, budget in enumerate(self.readings.budgets):
            part = []
            for name in contenders(self.readings):
                if cut_short(self.readings, name, number):
                    continue
                mine = [by_place.get((task, str(budget), name)) for task in self.readings.tasks]
                if not all(row and row.iqm_regret for row in mine):
                    continue
                strata = [
                    regret[self.readings.select(task, name), number]
                    / (self.scorers[task].best - self.scorers[task].uninformed)
                    for task in self.readings.tasks
                ]
                interval = stratified_bootstrap(
                    strata,
                    iqm,
                    generator("overall", str(budget), name),
                    resamples=resamples(sum(map(len, strata))),
                    groups=[
                        self.readings.groups(number, self.readings.select(task, name))
                        for task in self.readings.tasks
                    ],
                )
                mean_ranks = [row.mean_rank.estimate for row in mine if row and row.mean_rank]
                rank = float(np.mean(mean_ranks)) if len(mean_ranks) == len(mine) else None
                part.append(Overall(str(budget), name, interval, rank))
            found += sorted(part, key=lambda entry: entry.normalised_regret.estimate)
        return found

    def _ranks(self, task: str, number: int, regret: Array) -> dict[str, Interval]:
        names = alive(self.readings, task, number)
        blocks = common_runs(self.readings, task, names)
        ranked = ranks(regret[blocks, number])
        if not len(ranked):
            return {}
        groups = self.readings.groups(number, *blocks.T)
        budget = str(self.readings.budgets[number])
        return {
            name: stratified_bootstrap(
                [ranked[:, column]],
                mean,
                generator("rank", task, budget, name),
                resamples=resamples(len(ranked)),
                groups=[groups],
            )
            for column, name in enumerate(names)
        }

    def _row(
        self,
        task: str,
        number: int,
        name: str,
        regret: Array,
        observed: Array,
        rank: Interval | None,
        curve: RandomSearchCurve,
    ) -> LeaderboardRow:
        readings, scorer, budget = self.readings, self.scorers[task], self.readings.budgets[number]
        rows = readings.select(task, name)
        failed = readings.failed[rows, number]
        dead = bool(failed.all())
        reasons = Counter(readings.reason[rows[failed]].tolist())
        steps = readings.steps[rows, number]
        told = steps.sum(axis=0)
        accuracy = scorer.best - regret
        equivalent = curve.equivalent(float(accuracy.mean()))
        cost = equivalent if budget.unit == "evaluations" else equivalent * self.full_seconds[task] * 1e6
        draws = generator("regret", task, str(budget), name)
        count, groups = resamples(len(rows)), [readings.groups(number, rows)]
        return LeaderboardRow(
            task=task,
            budget=str(budget),
            optimizer=name,
            runs=len(rows),
            failures=int(failed.sum()),
            reason=min(reasons, key=lambda text: (-reasons[text], text)) if reasons else "",
            without_answer=int(np.isnan(readings.at_budget[rows, number]).sum()),
            median_regret=None
            if dead
            else stratified_bootstrap([regret], median, draws, resamples=count, groups=groups),
            iqm_regret=None
            if dead
            else stratified_bootstrap([regret], iqm, draws, resamples=count, groups=groups),
            observed_regret=None if dead else float(iqm(observed)),
            accuracy_mean=None if dead else float(accuracy.mean()),
            accuracy_deviation=None if dead or len(rows) < 2 else float(accuracy.std(ddof=1)),
            mean_rank=rank,
            random_search_evaluations=None if dead else equivalent,
            random_search_ratio=None if dead else cost / budget.amount,
            evaluations=float(steps.sum() / len(rows)),
            shares={
                source: float(part / max(1, told.sum())) for source, part in zip(SOURCES, told, strict=True)
            },
            thinned=not readings.provenance.whole,
            teacher_hours=float(readings.teacher_seconds[rows].mean() / 3600),
            cut_short=cut_short(readings, name, number),
            optimizer_seconds=self.overhead.get((name, task)),
        )


def regrets(readings: Readings, scorers: Mapping[str, Scorer], scores: Array) -> Array:
    """Regret in percentage points of scores with one row a run; no answer counts as an uninformed pick."""
    best = np.array([scorers[name].best for name in readings.tasks])[readings.task][:, None]
    uninformed = np.array([scorers[name].uninformed for name in readings.tasks])[readings.task][:, None]
    return np.asarray(best - np.where(np.isnan(scores), uninformed, scores))


def contenders(readings: Readings) -> list[str]:
    """Optimizers that are held against each other: those that pay for their teacher and that the suite ranks."""
    suite = readings.provenance.suite
    others = suite.unbilled | suite.unranked
    return [name for name in readings.optimizers if name not in others]


def cut_short(readings: Readings, name: str, number: int) -> bool:
    """Whether, at the budget of this position, there is the beginning of runs alone that were planned for more."""
    return name in readings.provenance.suite.planned and number < len(readings.budgets) - 1


def alive(readings: Readings, task: str, number: int) -> list[str]:
    """Contenders at the budget of this position: those with at least one run on the task that had not failed."""
    return [
        name
        for name in contenders(readings)
        if not cut_short(readings, name, number)
        and (rows := readings.select(task, name)).size
        and not readings.failed[rows, number].all()
    ]


def common_runs(readings: Readings, task: str, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Positions of the runs of several optimizers side by side, shape (repetitions, optimizers).

    Only repetitions that all of them have are kept, in ascending order.
    """
    if not names:
        return np.empty((0, 0), dtype=np.int64)
    found = [readings.select(task, name) for name in names]
    common = set.intersection(*(set(readings.repetition[rows].tolist()) for rows in found))
    kept = [rows[np.isin(readings.repetition[rows], sorted(common))] for rows in found]
    return np.stack(kept, axis=1)


def paired(readings: Readings, task: str, names: Sequence[str], values: Array) -> Array:
    """Values of the runs of `common_runs`, shape (repetitions, optimizers, columns)."""
    return np.asarray(values[common_runs(readings, task, names)])


def generator(*names: str) -> np.random.Generator:
    """A generator that depends on names alone, so that adding an optimizer changes no other interval."""
    return np.random.default_rng(zlib.crc32("\n".join(names).encode()))


def resamples(runs: int) -> int:
    """Bootstrap resamples for this many runs: 2,000, fewer beyond 1,000 runs, where intervals are narrow."""
    return int(np.clip(2_000_000 // max(1, runs), 200, 2000))
