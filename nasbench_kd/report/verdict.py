"""The verdict of a report in a sentence: who is best over all tasks at the largest budget, and who is level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nasbench_kd.report.leaderboard import (
    Overall,
    common_runs,
    contenders,
    generator,
    regrets,
    resamples,
)
from nasbench_kd.report.pairwise import LEVEL, compare_all, limit_text
from nasbench_kd.report.scored_runs import ScoredRuns
from nasbench_kd.report.tables import interval_text
from nasbench_kd.stats.statistics import iqm, resampled_groups

_SHOWN_NAMES = 5


def answering(scored: ScoredRuns, number: int) -> list[str]:
    """Contenders of which at least half of the runs on every task have an answer at the budget of this position."""
    readings = scored.readings
    return [
        name
        for name in contenders(readings)
        if all(
            (rows := readings.select(task, name)).size
            and np.isnan(readings.at_budget[rows, number]).mean() <= 0.5
            for task in readings.tasks
        )
    ]


def ranking(scored: ScoredRuns) -> list[Overall]:
    """The rows over all tasks at the largest budget, best first."""
    largest = str(scored.readings.budgets[-1])
    return [row for row in scored.overall if row.budget == largest]


def verdict(scored: ScoredRuns) -> str:
    """Name the best and those not shown to be worse; nobody where nobody has an answer, and ties as ties.

    The best is that of the least normalised interquartile mean. Another is shown to be worse where the signed-rank test
    on pairs of runs finds a difference, and a 95 % bootstrap interval of the difference in that mean excludes zero.
    """
    readings = scored.readings
    number = len(readings.budgets) - 1
    where = f"At {readings.budgets[-1]} " + (
        f"over {len(readings.tasks)} tasks" if len(readings.tasks) > 1 else f"on {readings.tasks[0]}"
    )
    able = answering(scored, number)
    rows = [row for row in ranking(scored) if row.optimizer in able]
    if not rows:
        return f"{where}, no optimizer has an answer in half of its runs on every task: nobody wins."
    first, others = rows[0], rows[1:]
    text = f"{where}, {first.optimizer} has the least regret, "
    least = first.normalised_regret.estimate
    tied = [row.optimizer for row in others if np.isclose(row.normalised_regret.estimate, least, atol=1e-9)]
    if tied:
        text = f"{where}, {names([first.optimizer, *tied])} are tied at the least regret, "
    text += f"normalised {interval_text(first.normalised_regret, 4)}"
    if not others:
        return f"{text}; there is no other to compare it with."
    compared = compare_all(readings, scored.scorers, readings.at_budget, number)
    if compared is None or first.optimizer not in compared.names:
        return f"{text}; there are too few repetitions in common to compare them."
    if limit_text(compared.blocks, len(compared.names) * (len(compared.names) - 1) // 2):
        return f"{text}; {compared.blocks} pairs of runs are too few to show any difference."
    mine = compared.adjusted[compared.names.index(first.optimizer)]
    level = [
        row.optimizer
        for row in others[len(tied) :]
        if row.optimizer not in compared.names
        or mine[compared.names.index(row.optimizer)] >= LEVEL
        or not _ahead(scored, first.optimizer, row.optimizer, number)
    ]
    worse = len(others) - len(tied) - len(level)
    if len(tied) == len(others):
        return f"{text}."
    if not level:
        return f"{text}; {worse} of {len(others)} others are shown to be worse."
    if not worse:
        return f"{text}; no other is shown to be worse."
    are = "is" if len(level) == 1 else "are"
    return f"{text}; {names(level)} {are} not shown to be worse, {worse} of {len(others)} others are."


def _ahead(scored: ScoredRuns, first: str, other: str, number: int) -> bool:
    """Whether the 95 % interval of the first's normalised interquartile mean less the other's lies below zero.

    Resampled are pairs of runs of one repetition, the tasks as strata.
    """
    readings = scored.readings
    regret = regrets(readings, scored.scorers, readings.at_budget)[:, number]
    rng = generator("verdict", str(readings.budgets[number]), first, other)
    sides = []
    for task in readings.tasks:
        runs, scorer = common_runs(readings, task, (first, other)), scored.scorers[task]
        values = regret[runs] / (scorer.best - scorer.uninformed)
        picks = resampled_groups(readings.groups(number, *runs.T), rng, resamples(len(runs)))
        sides.append([values[pick] for pick in picks])
    differences = [
        iqm(together[:, 0]) - iqm(together[:, 1])
        for together in (np.concatenate(parts) for parts in zip(*sides, strict=True))
    ]
    return bool(np.percentile(differences, 97.5) < 0)


def names(listed: Sequence[str]) -> str:
    """`a, b and c`, the first of them where they are many."""
    named = list(listed[:_SHOWN_NAMES])
    if len(listed) > _SHOWN_NAMES:
        return f"{', '.join(named)} and {len(listed) - _SHOWN_NAMES} more"
    return " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
