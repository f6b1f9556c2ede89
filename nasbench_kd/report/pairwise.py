"""Optimizers against each other over all tasks: mean ranks with a critical difference, chances of improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.report.leaderboard import alive, paired, regrets
from nasbench_kd.report.readings import Readings
from nasbench_kd.stats.statistics import friedman, holm, probability_of_improvement

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All optimizers that did not fail on any task, at one budget. Arrays follow `names`.

    Attributes:
        blocks: number of (task, repetition) pairs in which all of them ran.
        mean_ranks: shape (k,), 1 is best.
        critical_difference, p_value: of Nemenyi's and Friedman's tests at the 5 % level.
        improvement: [i, j] is the chance that a run of i ends with less regret than one of j, mean over tasks.
        adjusted: [i, j] is the p value of Wilcoxon's signed-rank test on paired normalised regret, after Holm.
    """

    budget: str
    names: tuple[str, ...]
    blocks: int
    mean_ranks: Array
    critical_difference: float
    p_value: float
    improvement: Array
    adjusted: Array


def compare_all(
    readings: Readings, scorers: Mapping[str, Scorer], scores: Array, number: int
) -> Comparison | None:
    """Compare at the budget of this position; `scores` has shape (runs, budgets).

    None where fewer than two optimizers or two blocks are left.
    """
    names = [
        name
        for name in readings.optimizers
        if all(name in alive(readings, task, number) for task in readings.tasks)
    ]
    regret = regrets(readings, scorers, scores)[:, [number]]
    by_task = {task: paired(readings, task, names, regret)[:, :, 0] for task in readings.tasks}
    blocks = np.concatenate(list(by_task.values()))
    if len(names) < 2 or len(blocks) < 2:
        return None
    test = friedman(blocks)
    normalised = np.concatenate(
        [values / (scorers[task].best - scorers[task].uninformed) for task, values in by_task.items()]
    )
    return Comparison(
        budget=str(readings.budgets[number]),
        names=tuple(names),
        blocks=len(blocks),
        mean_ranks=test.mean_ranks,
        critical_difference=test.critical_difference,
        p_value=test.p_value,
        improvement=_improvement(list(by_task.values()), len(names)),
        adjusted=_adjusted(normalised),
    )


def wilcoxon_p(differences: npt.ArrayLike) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test, zeros split between the signs; 1 where all are zero."""
    values = np.asarray(differences, dtype=np.float64)
    if not np.any(values):
        return 1.0
    return float(stats.wilcoxon(values, zero_method="zsplit", method="approx").pvalue)


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
    raw = [wilcoxon_p(blocks[:, i] - blocks[:, j]) for i, j in zip(first, second, strict=True)]
    adjusted = np.ones((blocks.shape[1], blocks.shape[1]))
    adjusted[first, second] = adjusted[second, first] = holm(raw)
    return adjusted
