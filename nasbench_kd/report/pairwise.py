"""Optimizers against each other over all tasks: mean ranks, which pairs differ, chances of improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.report.leaderboard import alive, common_runs, regrets
from nasbench_kd.report.readings import Readings
from nasbench_kd.stats.signed_rank import least_p, pairs_needed, signed_rank_p
from nasbench_kd.stats.statistics import (
    friedman,
    group_means,
    holm,
    probability_of_improvement,
)

Array = npt.NDArray[np.float64]
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class TaskRanks:
    """The optimizers of a comparison on one task, ranked in blocks of one repetition each, or of all that rest on one
    draw of a surrogate.

    Repetitions of a task have seeds of their own, so that the blocks are independent given the tables; repetitions of
    several tasks together would be none of either tasks or seeds.

    Attributes:
        mean_ranks: shape (k,), 1 is best.
        p_value: Friedman's, times the number of diagrams of all tasks and budgets.
        adjusted: [i, j] is the p value of Wilcoxon's signed-rank test on the regrets of a block, after Holm's
            correction over all pairs, times the same number. Tests of pairs stand in place of a critical difference
            of mean ranks, by which what is said of two depends on the others (Benavoli et al., JMLR 2016).
    """

    task: str
    blocks: int
    mean_ranks: Array
    p_value: float
    adjusted: Array


@dataclass(frozen=True, slots=True)
class Comparison:
    """All optimizers that did not fail on any task, at one budget. Arrays follow `names`.

    Attributes:
        blocks: number of (task, repetition) pairs in which all of them ran.
        by_task: tests on each task; what they say is over seeds, on these tables.
        mean_ranks: mean over the tasks, shape (k,).
        improvement: [i, j] is the chance that a run of i ends with less regret than one of j, mean over tasks.
        adjusted: [i, j] is the p value of Wilcoxon's signed-rank test on paired normalised regret, after Holm.
    """

    budget: str
    names: tuple[str, ...]
    blocks: int
    by_task: tuple[TaskRanks, ...]
    mean_ranks: Array
    improvement: Array
    adjusted: Array


def compare_all(
    readings: Readings, scorers: Mapping[str, Scorer], scores: Array, number: int
) -> Comparison | None:
    """Compare at the budget of this position; `scores` has shape (runs, budgets).

    None where fewer than two optimizers or two blocks on some task are left.
    """
    names = [
        name
        for name in readings.optimizers
        if all(name in alive(readings, task, number) for task in readings.tasks)
    ]
    regret = regrets(readings, scorers, scores)[:, [number]]
    by_task = {task: _blocks(readings, task, names, regret[:, 0], number) for task in readings.tasks}
    if len(names) < 2 or min(map(len, by_task.values())) < 2:
        return None
    diagrams = len(readings.tasks) * len(readings.budgets)
    tests = {task: friedman(values) for task, values in by_task.items()}
    normalised = np.concatenate(
        [values / (scorers[task].best - scorers[task].uninformed) for task, values in by_task.items()]
    )
    return Comparison(
        budget=str(readings.budgets[number]),
        names=tuple(names),
        blocks=sum(map(len, by_task.values())),
        by_task=tuple(
            TaskRanks(
                task,
                len(by_task[task]),
                test.mean_ranks,
                min(1.0, diagrams * test.p_value),
                np.minimum(1.0, diagrams * _adjusted(by_task[task])),
            )
            for task, test in tests.items()
        ),
        mean_ranks=np.mean([test.mean_ranks for test in tests.values()], axis=0),
        improvement=_improvement(list(by_task.values()), len(names)),
        adjusted=_adjusted(normalised),
    )


def _blocks(readings: Readings, task: str, names: Sequence[str], regret: Array, number: int) -> Array:
    """Regrets side by side, shape (blocks, optimizers): a row for each repetition that all have, and the mean of those
    that rest on one draw of a surrogate.
    """
    runs = common_runs(readings, task, names)
    return group_means(regret[runs], readings.groups(number, *runs.T)) if runs.size else np.empty((0, 0))


def limit_text(pairs: int, comparisons: int) -> str:
    """What so many pairs cannot show, in a sentence; empty where they can show something."""
    least = least_p(pairs, comparisons)
    if comparisons == 0 or least < LEVEL:
        return ""
    return (
        f"**{pairs} pairs of runs can show no difference here, however large**: if all favoured one side, the p value "
        f"after Holm's correction for {comparisons} comparison(s) would still be {least:.2g}, at or above {LEVEL:g}. "
        f"At least {pairs_needed(LEVEL, comparisons)} pairs are needed."
    )


def _improvement(tasks: Sequence[Array], count: int) -> Array:
    chance = np.full((count, count), 0.5)
    for i in range(count):
        for j in range(i + 1, count):
            chance[i, j] = np.mean(
                [probability_of_improvement(-values[:, i], -values[:, j]) for values in tasks]
            )
            chance[j, i] = 1 - chance[i, j]
    return chance


def _adjusted(blocks: Array) -> Array:
    first, second = np.triu_indices(blocks.shape[1], 1)
    raw = [signed_rank_p(blocks[:, i] - blocks[:, j]) for i, j in zip(first, second, strict=True)]
    adjusted = np.ones((blocks.shape[1], blocks.shape[1]))
    adjusted[first, second] = adjusted[second, first] = holm(raw)
    return adjusted
