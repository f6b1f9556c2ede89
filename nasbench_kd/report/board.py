"""The board: one table of every method's place over all tasks, what it was billed, given, and verified."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasbench_kd.execution.verify import stored_verification
from nasbench_kd.report.bought_once import bought_once, made_before_any_search
from nasbench_kd.report.controls import missing_controls
from nasbench_kd.report.leaderboard import alive, common_runs, generator, regrets, resamples
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.report.tables import interval_text, pipe_table
from nasbench_kd.stats.statistics import Interval, ranks, resampled_groups

HEADERS = (
    "place",
    "method",
    "mean rank",
    "suite",
    "budgets",
    "billed for teacher and the like",
    "given",
    "made by",
    "verified",
)


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One method of one suite."""

    suite: str
    budgets: str
    """What its ranks are over: all budgets of the suite, or the largest where a method works through a plan for it."""
    method: str
    place: Interval | None
    """Among the ranked methods of the suite; None for one that is not ranked."""
    mean_rank: Interval | None
    """Mean of the rank by regret over all tasks, these budgets and all repetitions, 1 is best."""
    billed: str
    """What a run was charged for what is bought once, such as its teacher."""
    given: str
    """What it had without paying for it."""
    made_by: str
    """Who made its runs, in their own words."""
    verified: str
    """Whether its suite's stored runs were replayed, and how many agreed."""
    lacks: str
    """The control that it must stand beside, where its suite lacks that; else empty."""


def board(scored: ScoredRuns, folder: Path) -> list[BoardRow]:
    """The rows of a folder of runs, best first, those that are not ranked last.

    Ranks are averaged over tasks and budgets within a repetition, or over tasks at the largest budget where a method
    works through a plan for it; the intervals are 95 % percentile intervals over resampled repetitions, which are
    independent, where the budgets of a run are not.
    """
    names, ranked, groups = _ranks(scored)
    count = len(ranked)
    found: dict[str, tuple[Interval, Interval]] = {}
    if count:
        means = ranked.mean(axis=0)
        places = ranks(means[None])[0]
        unknown = np.full((2, len(names)), np.nan)
        rank_ends, place_ends = unknown, unknown
        if np.unique(groups).size > 1:
            suite = scored.readings.provenance.suite.name
            drawn = resampled_groups(groups, generator("board", suite), resamples(count))
            again = np.array([ranked[pick].mean(axis=0) for pick in drawn])
            rank_ends = np.quantile(again, [0.025, 0.975], axis=0)
            place_ends = np.quantile(ranks(again), [0.025, 0.975], axis=0)
        found = {
            name: (
                Interval(float(places[i]), float(place_ends[0, i]), float(place_ends[1, i])),
                Interval(float(means[i]), float(rank_ends[0, i]), float(rank_ends[1, i])),
            )
            for i, name in enumerate(names)
        }
    verified = _verified(folder)
    lacking = missing_controls(scored.readings.provenance.suite)
    planned = _has_plan(scored, names)
    over = str(scored.readings.budgets[-1]) if planned else "all"
    rows = []
    for name in scored.readings.optimizers:
        place, rank = found.get(name, (None, None))
        suite_name = scored.readings.provenance.suite.name
        billed, given = _billed(scored, name), _given(scored, name)
        made_by = scored.readings.provenance.made_by.get(name, "not said")
        lacks = lacking.get(name, "")
        rows.append(BoardRow(suite_name, over, name, place, rank, billed, given, made_by, verified, lacks))
    return sorted(rows, key=lambda row: row.mean_rank.estimate if row.mean_rank else np.inf)


def markdown(rows: Iterable[BoardRow]) -> str:
    """The board as a GitHub table."""
    return pipe_table([cells(row) for row in rows], HEADERS)


def cells(row: BoardRow) -> list[str]:
    """The texts of a row under `HEADERS`."""
    return [
        _place(row.place),
        f"{row.method} (without its control, {row.lacks})" if row.lacks else row.method,
        interval_text(row.mean_rank, 2),
        row.suite,
        row.budgets,
        row.billed,
        row.given,
        row.made_by,
        row.verified,
    ]


def _place(place: Interval | None) -> str:
    if place is None:
        return "not ranked"
    if not place.known:
        return f"{place.estimate:g}"
    return f"{place.estimate:g} [{place.low:.0f}, {place.high:.0f}]"


def _ranks(scored: ScoredRuns) -> tuple[Sequence[str], np.ndarray, np.ndarray]:
    """Ranked methods, the mean rank of each in every repetition that all of them have, shape (repetitions, k), and
    what varies together among these, shape (repetitions,) (`Readings.groups`).
    """
    readings = scored.readings
    last = len(readings.budgets) - 1
    names = [
        name
        for name in alive(readings, readings.tasks[0], last)
        if all(name in alive(readings, task, last) for task in readings.tasks)
    ]
    first = last if _has_plan(scored, names) else 0
    regret = regrets(readings, scored.scorers, readings.at_budget)[:, first:]
    by_task = [common_runs(readings, task, names) for task in readings.tasks]
    count = min(map(len, by_task))
    if not names or not count:
        return [], np.empty((0, 0)), np.empty(0)
    ranked = [ranks(regret[runs[:count]].swapaxes(1, 2)).mean(axis=1) for runs in by_task]
    groups = np.min([readings.groups(last, *runs[:count].T) for runs in by_task], axis=0)
    return names, np.mean(ranked, axis=0), groups


def _has_plan(scored: ScoredRuns, names: Sequence[str]) -> bool:
    """Whether one works through a plan: it is ranked at the budget of its runs alone, and all others with it."""
    return not scored.readings.provenance.suite.planned.isdisjoint(names)


def _billed(scored: ScoredRuns, name: str) -> str:
    readings, suite = scored.readings, scored.readings.provenance.suite
    rows = np.concatenate([readings.select(task, name) for task in readings.tasks])
    hours = float(readings.teacher_seconds[rows].mean() / 3600) if len(rows) else 0.0
    if hours:
        return f"{hours:.2f} GPU-hours"
    return "nothing" if not suite.bill_teacher or name in suite.unbilled else "no teacher"


def _given(scored: ScoredRuns, name: str) -> str:
    suite = scored.readings.provenance.suite
    found = list(bought_once(scored.readings, name).left_out)
    if not found and (name in suite.unbilled or not suite.bill_teacher):
        found = ["teacher"]
    found += made_before_any_search(scored.readings, name)
    if found:
        return f"its {', '.join(found)}"
    return "knowledge that others must pay for" if name in suite.unranked else "nothing"


def _verified(folder: Path) -> str:
    checked = stored_verification(folder)
    return "not yet" if checked is None else checked.short
