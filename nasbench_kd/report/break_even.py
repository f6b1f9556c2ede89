"""Break-even: after how many evaluated students a search that distils has earned the teacher's cost.

The distilled search after k paid evaluations is compared with its plain counterpart on the same seed at the
amount that the former has spent by then, teacher included. It is shown to have broken even where a signed-rank test
finds it better at the end, from the smallest k on from which the upper end of a simultaneous 95 % band of the mean
difference in regret stays at or below zero as far as the runs go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.execution.runs import RunsFile
from nasbench_kd.report.leaderboard import common_runs, generator
from nasbench_kd.report.pairwise import LEVEL
from nasbench_kd.report.prefixes import STEP_COLUMNS, Prefixes
from nasbench_kd.report.readings import BATCH, Readings
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.stats.signed_rank import signed_rank_p
from nasbench_kd.stats.statistics import Interval, group_means

Array = npt.NDArray[np.float64]
RESAMPLES = 1000
_MOST_POINTS = 200
_FIRST_POINTS = 50
"""Evaluations of which a curve has every one; beyond, it has points spread evenly on a log axis."""
_TIE = 1e-9
"""Percentage points below which a mean difference is rounding."""


@dataclass(frozen=True, slots=True)
class BreakEven:
    """One search that distils against its plain counterpart on one task.

    Attributes:
        billed: whether the search paid for the teacher.
        pairs: number of pairs of runs of one repetition.
        students: evaluations k at which the curve is given, shape (points,).
        difference, low, high: mean difference in regret to the counterpart, in percentage points, with
            its pointwise 95 % bootstrap band, each of shape (points,).
        full: mean number of full trainings among the first k, shape (points,).
        spent: mean amount spent by then, in microseconds or evaluations, shape (points,).
        shown: students from which on the upper end of the one-sided 95 % band over all k at once stays at or
            below zero.
        p_value: Wilcoxon's signed-rank test of the differences at the end.
        first: students after which the mean difference is at or below zero for the first time.
        settled: students from which on it stays there, with a percentile interval over resampled pairs.
            Infinite stands for never within the budget.
        never: share of the resamples in which it does not settle.
    """

    task: str
    optimizer: str
    without: str
    billed: bool
    pairs: int
    students: npt.NDArray[np.int64]
    difference: Array
    low: Array
    high: Array
    full: Array
    spent: Array
    shown: float
    p_value: float
    first: float
    settled: Interval
    never: float

    @property
    def pays_off(self) -> bool:
        """Whether the teacher's cost is shown to have paid off within the budget."""
        return bool(self.p_value < LEVEL and np.isfinite(self.shown))

    def at(self, students: float) -> tuple[float, float]:
        """Mean full trainings among this many students, and the mean amount spent by then."""
        return (
            float(np.interp(students, self.students, self.full)),
            float(np.interp(students, self.students, self.spent)),
        )


def break_evens(scored: ScoredRuns) -> list[BreakEven]:
    """Every ablation of the suite whose first entry pays for a teacher and whose second does not.

    The entry's unbilled twin, where the suite has one, follows it. Left out are those with fewer than two pairs of runs
    that vary independently (`Readings.groups`), and all where runs are thinned: what is counted are evaluations, and
    those that do not decide the scores are not stored.
    """
    readings = scored.readings
    suite = readings.provenance.suite
    found: list[BreakEven] = []
    if not readings.provenance.whole:
        return found
    for ablation in suite.ablations:
        name, without = ablation.optimizer, ablation.without
        if not {name, without} <= set(readings.optimizers):
            continue
        for task in readings.tasks:
            if not _pays(readings, task, name) or _pays(readings, task, without):
                continue
            plain = _steps(scored.file, task, without)
            for search in (name, suite.unbilled_twins.get(name)):
                if search in readings.optimizers:
                    runs = common_runs(readings, task, (search, without))
                    groups = readings.groups(-1, *runs.T)
                    if np.unique(groups).size < 2:
                        continue
                    one = _break_even(scored.scorers[task], _steps(scored.file, task, search), plain, groups)
                    found += [one] if one is not None else []
    return found


def settling(differences: Array) -> Array:
    """Number of students from which on differences stay at or below zero; infinite for never.

    `differences` has the shape (..., k), position 0 for one student; the result the shape (...).

    >>> settling(np.array([[1.0, -1.0, 0.5, -0.1, 0.0], [1.0, -1.0, -1.0, -1.0, 2.0]])).tolist()
    [4.0, inf]
    """
    above = ~(np.asarray(differences) <= _TIE)  # NaN is not at or below zero either
    count = above.shape[-1]
    trailing = np.where(above.any(axis=-1), np.argmax(above[..., ::-1], axis=-1), count)
    return np.where(trailing == 0, np.inf, count - trailing + 1.0)


def simultaneous_upper(estimate: Array, resampled: Array) -> Array:
    """Upper ends of a one-sided 95 % band that holds at all points at once, shape (points,).

    The largest studentized deviation of a resample, shape (resamples, points), from the estimate sets its width.
    """
    deviation = resampled.std(axis=0)
    scaled = np.divide(estimate - resampled, deviation, out=np.zeros_like(resampled), where=deviation > _TIE)
    return np.asarray(estimate + np.percentile(scaled.max(axis=1), 95) * deviation)


def first_time(difference: Array) -> float:
    """Number of students after which a difference, shape (k,), is first at or below zero; or infinite."""
    below = np.flatnonzero(np.asarray(difference) <= _TIE)
    return float(below[0] + 1) if below.size else np.inf


def _pays(readings: Readings, task: str, name: str) -> bool:
    return bool((readings.teacher_seconds[readings.select(task, name)] > 0).any())


def _steps(file: RunsFile, task: str, optimizer: str) -> pa.Table:
    """The runs of one optimizer on one task, by repetition."""
    columns = ("optimizer", "repetition", "teacher_microseconds", *STEP_COLUMNS)
    wanted = (pc.field("optimizer") == optimizer) & (pc.field("task") == task)
    found = [pa.Table.from_batches([batch]).filter(wanted) for batch in file.batches(columns, BATCH)]
    return pa.concat_tables(found).sort_by("repetition")


def _break_even(
    scorer: Scorer, search: pa.Table, plain: pa.Table, groups: npt.NDArray[np.int64]
) -> BreakEven | None:
    """Compare the repetitions that both have, as far as the shortest run goes; None where that is nothing.

    `groups` says which of these vary together, shape (pairs,).
    """
    common = np.intersect1d(search["repetition"], plain["repetition"])
    batches = [
        side.filter(pc.is_in(side["repetition"], pa.array(common, pa.int32()))).combine_chunks().to_batches()
        for side in (search, plain)
    ]
    distilled, counterpart = (Prefixes(one[0]) for one in batches)
    by_run = distilled.paid_stops()
    count = min(map(len, by_run))
    if count == 0:
        return None
    stops = np.array([run[:count] for run in by_run])
    spent = distilled.spent(stops)
    others = counterpart.stops(spent.astype(np.float64))
    regret = [_regret(side, at, scorer) for side, at in ((distilled, stops), (counterpart, others))]
    difference = regret[0] - regret[1]
    name, without = search["optimizer"][0].as_py(), plain["optimizer"][0].as_py()
    task = scorer.task
    by_group, sizes = group_means(difference, groups), np.unique(groups, return_counts=True)[1]
    draws = sizes * generator("break-even", task, name, without).multinomial(
        len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES
    )
    resampled = draws @ by_group / draws.sum(axis=1, keepdims=True)
    estimate = difference.mean(axis=0)
    settled = settling(resampled)
    low, high = np.percentile(settled, [2.5, 97.5], method="closest_observation")
    spread = np.round(np.geomspace(1, count, _MOST_POINTS))
    points = np.unique(np.append(spread, np.arange(1, min(count, _FIRST_POINTS) + 1))).astype(np.int64)
    band = np.percentile(resampled[:, points - 1], [2.5, 97.5], axis=0)
    return BreakEven(
        task=task,
        optimizer=name,
        without=without,
        billed=bool((search["teacher_microseconds"].to_numpy() > 0).any()),
        pairs=len(common),
        students=points,
        difference=estimate[points - 1],
        low=band[0],
        high=band[1],
        full=distilled.paid_full_steps(stops).mean(axis=0)[points - 1],
        spent=spent.mean(axis=0)[points - 1],
        shown=float(settling(simultaneous_upper(estimate, resampled))),
        p_value=signed_rank_p(by_group[:, -1]) if estimate[-1] < 0 else 1.0,
        first=first_time(estimate),
        settled=Interval(float(settling(estimate)), float(low), float(high)),
        never=float(np.isinf(settled).mean()),
    )


def _regret(side: Prefixes, stops: npt.NDArray[np.int64], scorer: Scorer) -> Array:
    """Regret of the answers at the ends of prefixes; no answer counts as an uninformed pick."""
    scores = side.scores(stops, np.zeros(len(stops), dtype=np.int64), [scorer])
    return np.asarray(scorer.best - np.where(np.isnan(scores), scorer.uninformed, scores))


def sentence(one: BreakEven, unit: str) -> str:
    """When the teacher's cost is shown to have paid off, in words; `unit` is that of the budget."""
    if not one.pays_off:
        return "not shown within the budget"
    full, spent = one.at(one.shown)
    amount = f"{spent / 3.6e9:.3g} GPU-hours" if unit == "seconds" else f"{spent:.0f} evaluations"
    low = one.shown - full
    return f"{one.shown:.0f} students ({full:.0f} full, {low:.0f} cheap), {amount}"


def students_text(count: float) -> str:
    """A number of students, or `never`."""
    return "never" if np.isinf(count) else f"{count:.0f}"


def rows(found: Sequence[BreakEven], unit: str) -> list[list[str]]:
    """Cells of a table with the headers `HEADERS`."""
    return [
        [
            f"{one.optimizer} against {one.without}",
            one.task,
            "billed" if one.billed else "not billed",
            sentence(one, unit),
            students_text(one.settled.estimate),
            f"{students_text(one.settled.low)} to {students_text(one.settled.high)}",
            students_text(one.first),
            f"{one.never:.0%}",
            f"{one.difference[-1]:+.3f} [{one.low[-1]:+.3f}, {one.high[-1]:+.3f}]",
            f"{one.p_value:.2g}",
        ]
        for one in found
    ]


HEADERS = (
    "search",
    "task",
    "teacher",
    "shown to pay off after",
    "on average after (students)",
    "95 % interval (students)",
    "first even after",
    "never in",
    "difference at the end",
    "p",
)
