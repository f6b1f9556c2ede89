"""Who wins where: the best optimizer on each task at each budget, who is not shown to be worse, and whether
those that pay for a teacher are among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.escaping import Formatted, table_cell
from nasbench_kd.report.leaderboard import alive, common_runs, generator, regrets, resamples
from nasbench_kd.report.pairwise import LEVEL, limit_text
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.report.tables import pipe_table
from nasbench_kd.stats.signed_rank import signed_rank_p
from nasbench_kd.stats.statistics import group_means, holm, mean, stratified_bootstrap
from nasbench_kd.tasks.registry import find_task

_SHOWN_NAMES = 4
_ROUNDING = 1e-9
"""Percentage points by which means of the same regrets may differ."""


@dataclass(frozen=True, slots=True)
class Place:
    """The outcome on one task at one budget."""

    task: str
    budget: str
    best: tuple[str, ...]
    """The contender of the least mean regret, all of them where several tie; none where nobody has an answer
    in half of its runs.
    """
    regret: float
    """Their mean regret over the common repetitions in percentage points."""
    level: tuple[str, ...]
    """Contenders that are not shown to be worse than the best, by their regret; the best is left out."""
    distilling: frozenset[str]
    """Contenders that paid for a teacher."""
    pairs: int
    """Repetitions that all contenders have."""
    surrogate: float
    """Share of the first best's paid evaluations that the surrogate answered."""
    comparisons: int
    """Pairs of contenders of all places, which the p values are corrected for."""

    @property
    def outcome(self) -> int | None:
        """-1 where only searches that distil are level with the best, 1 where none is, 0 otherwise.

        None where nobody has an answer.
        """
        if not self.best:
            return None
        among = [name in self.distilling for name in (*self.best, *self.level)]
        return -1 if all(among) else 0 if any(among) else 1


class _Standing(NamedTuple):
    """The contenders of one task and budget, best first."""

    task: str
    number: int
    order: list[str]
    regrets: npt.NDArray[np.float64]
    """Shape (pairs, contenders), in this order."""
    groups: npt.NDArray[np.int64]
    """What varies together, shape (pairs,) (`Readings.groups`)."""


def places(scored: ScoredRuns) -> list[Place]:
    """Every task and budget at which at least two contenders have two repetitions in common.

    Any two contenders of a place might have been the first two, so that the p values are corrected (Holm) over all
    pairs of all places: the data choose the best, and its comparisons hold nevertheless.
    """
    standings = list(_standings(scored))
    pairs = [list(combinations(range(len(each.order)), 2)) for each in standings]
    raw = [
        signed_rank_p(group_means(each.regrets[:, i] - each.regrets[:, j], each.groups))
        for each, chosen in zip(standings, pairs, strict=True)
        for i, j in chosen
    ]
    adjusted = iter(holm(raw))
    return [
        _place(scored, each, {pair: float(next(adjusted)) for pair in chosen}, len(raw))
        for each, chosen in zip(standings, pairs, strict=True)
    ]


def _place(
    scored: ScoredRuns, standing: _Standing, p_values: dict[tuple[int, int], float], comparisons: int
) -> Place:
    """The outcome of a place from its corrected p values, by pairs of positions."""
    readings, (task, number, order, values, groups) = scored.readings, standing
    budget = str(readings.budgets[number])
    means = values.mean(axis=0)
    tied = [name for place, name in enumerate(order) if means[place] <= means.min() + _ROUNDING]
    level = []
    for place, name in enumerate(order[1:], start=1):
        difference = values[:, 0] - values[:, place]
        draws = generator("winner", task, budget, order[0], name)
        interval = stratified_bootstrap(
            [difference], mean, draws, resamples=resamples(len(difference)), groups=[groups]
        )
        if not (p_values[0, place] < LEVEL and interval.high < 0):
            level.append(name)
    if all(np.isnan(readings.at_budget[readings.select(task, name), number]).mean() > 0.5 for name in order):
        tied, level = [], []
    distilling = frozenset(
        name for name in order if (readings.teacher_seconds[readings.select(task, name)] > 0).any()
    )
    (first,) = (
        row for row in scored.rows if (row.task, row.budget, row.optimizer) == (task, budget, order[0])
    )
    return Place(
        task,
        budget,
        tuple(tied),
        float(means.min()),
        tuple(name for name in level if name not in tied),
        distilling,
        len(values),
        first.shares.get("surrogate", 0.0),
        comparisons,
    )


def _standings(scored: ScoredRuns) -> Iterator[_Standing]:
    """Every task and budget with at least two contenders and two common repetitions."""
    readings = scored.readings
    regret = regrets(readings, scored.scorers, readings.at_budget)
    for task in readings.tasks:
        for number in range(len(readings.budgets)):
            names = alive(readings, task, number)
            runs = common_runs(readings, task, names)
            if len(names) < 2 or len(runs) < 2:
                continue
            values = regret[runs, number]
            # Ranked by the mean, whose differences are tested.
            order = np.argsort(values.mean(axis=0), kind="stable")
            groups = readings.groups(number, *runs.T)
            yield _Standing(task, number, [names[i] for i in order], values[:, order], groups)


def markdown(found: Sequence[Place]) -> str:
    """A table of tasks and budgets, and where distillation wins, draws and loses, as GitHub Markdown."""
    tasks = list(dict.fromkeys(place.task for place in found))
    budgets = list(dict.fromkeys(place.budget for place in found))
    by_place = {(place.task, place.budget): _cell(place) for place in found}
    parts = [
        "The optimizer of the least mean regret, its regret, the share of its evaluations that the surrogate "
        "answered where it did, and those that are not shown to be worse (paired by repetition: Wilcoxon's signed-rank "
        f"test after Holm's correction over the {found[0].comparisons} pairs of contenders of all places, as the runs "
        "that are tested also choose the best, and a 95 % bootstrap interval of the mean difference, both at "
        f"{LEVEL:.0%}): over seeds, on these tables. The budgets of a task are read from the same runs, so that its "
        "places are no independent pieces of evidence and are not counted."
    ]
    limits = [limit_text(place.pairs, place.comparisons) for place in found if place.level]
    parts += sorted(set(filter(None, limits)))
    if any(place.distilling for place in found):
        parts[0] += " † marks searches that pay for a teacher."
        parts.append("\n".join(f"- {line}" for line in _distillation(found)))
    rows = [[budget, *(by_place.get((task, budget), "") for task in tasks)] for budget in budgets]
    parts.append(pipe_table(rows, ["budget", *tasks]))
    return "\n\n".join(parts)


def _cell(place: Place) -> str:
    def marked(name: str) -> str:
        return table_cell(f"{name}†" if name in place.distilling else name)

    if not place.best:
        return "nobody has an answer"
    text = ", ".join(f"**{marked(name)}**" for name in place.best[:_SHOWN_NAMES])
    if len(place.best) > _SHOWN_NAMES:
        text += f" and {len(place.best) - _SHOWN_NAMES} more"
    text += f" {'tie at ' if len(place.best) > 1 else ''}{place.regret:.3f}"
    if place.surrogate:
        text += f" ({place.surrogate:.0%} surrogate)"
    if place.level:
        more = len(place.level) - _SHOWN_NAMES
        text += "; level: " + ", ".join(map(marked, place.level[:_SHOWN_NAMES]))
        text += f" and {more} more" if more > 0 else ""
    return Formatted(text)


def _distillation(found: Sequence[Place]) -> list[str]:
    """Where distillation wins, draws and loses; no question where answers are judged after distillation."""
    found = [place for place in found if find_task(place.task).target.distillation == "none"]
    if not found:
        return [
            "Answers are judged after distillation, so that every search that trains its answer pays for a teacher."
        ]
    words = {
        -1: "Distillation wins, all searches without a teacher being shown worse",
        0: "Searches with and without a teacher are level at the top",
        1: "Distillation does not pay, all searches that distil being shown worse than the best",
    }
    lines = []
    for outcome, text in words.items():
        chosen = [place for place in found if place.outcome == outcome]
        by_task: dict[str, list[str]] = {}
        for place in chosen:
            by_task.setdefault(place.task, []).append(place.budget)
        listed = "; ".join(f"{task} at {', '.join(budgets)}" for task, budgets in by_task.items())
        lines.append(f"{text}: {listed or 'nowhere'}.")
    return lines
