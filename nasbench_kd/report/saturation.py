"""When searches reach a regret below the noise between trainings: there, more budget tells them apart no longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.report.leaderboard import contenders, regrets
from nasbench_kd.report.readings import Readings
from nasbench_kd.report.tables import pipe_table

Array = npt.NDArray[np.float64]
_NORMAL_95 = 1.959964
_TOP = 0.01
"""Share of the cells, the best, whose deviation between seeds is the noise."""
_BY_MEANS = " by mean validation accuracy, which is what their queries show,"
_POOLED = 0.02
"""Share of the cells, the best by validation, whose variances between seeds are averaged."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a task in percentage points, and how many cells lie within it of the best one."""

    deviation: float
    """Standard deviation of one full training."""
    cells: int
    """Cells within that deviation of the best."""
    alike: int
    """Cells, the best included, whose mean validation accuracy over the seeds is not told from the largest by a 95 %
    interval of the difference."""


def noise(scorer: Scorer) -> Noise:
    """Median, over the best hundredth of the cells, of the standard deviation between full trainings.

    What is not told from the best is counted on the means of validation accuracies, which a search sees in the
    literature's protocol, with the pooled deviation of the best fiftieth by them. NaN where no cell was trained
    twice: then the noise is not known.
    """
    repeated = (~np.isnan(scorer.valid)).sum(axis=1) > 1
    best = repeated & (scorer.reference >= np.quantile(scorer.reference, 1 - _TOP))
    if not repeated.any():
        return Noise(float("nan"), 0, 0)
    if not best.any():
        return Noise(0.0, 1, 1)
    deviation = float(np.median(np.nanstd(scorer.valid[best], axis=1, ddof=1)))
    below = scorer.best - scorer.reference
    return Noise(deviation, int((below <= deviation).sum()), _alike(scorer.valid, repeated))


def _alike(valid: Array, repeated: npt.NDArray[np.bool_]) -> int:
    """Cells whose mean is not told from the largest; `valid` has shape (cells, seeds), `repeated` says which have two
    or more.
    """
    means, seeds = np.nanmean(valid, axis=1), (~np.isnan(valid)).sum(axis=1)
    pooled = valid[repeated & (means >= np.quantile(means, 1 - _POOLED))]
    deviation = np.sqrt(np.nanvar(pooled, axis=1, ddof=1).mean()) if len(pooled) else 0.0
    best = int(means.argmax())
    reach = _NORMAL_95 * deviation * np.sqrt(1 / seeds + 1 / seeds[best])
    return int((means[best] - means <= reach).sum())


def times_below(regret: Array, amounts: Array, level: float) -> Array:
    """Amount from which the regret of each run stays at or below a level; infinite for never.

    `regret` has shape (runs, points), NaN not being below, `amounts` shape (points,), ascending.
    """
    above = ~(regret <= level)
    last = np.where(above.any(axis=1), above.shape[1] - np.argmax(above[:, ::-1], axis=1), 0)
    return np.append(amounts, np.inf)[last]


def markdown(readings: Readings, scorers: Mapping[str, Scorer]) -> str:
    """For each optimizer and task, the median amount and the share of the runs that get there, with what it means."""
    regret = regrets(readings, scorers, readings.at_curve)
    timed = readings.budgets[0].unit == "seconds"
    seen = readings.provenance.suite.mean_over_seeds
    noises = {task: noise(scorers[task]) for task in readings.tasks}
    rows = []
    for name in contenders(readings):
        if name in readings.provenance.suite.planned:
            continue
        cells = [name]
        for number, task in enumerate(readings.tasks):
            mine = readings.select(task, name)
            times = times_below(regret[mine], readings.curve[number], noises[task].deviation)
            unknown = np.isnan(noises[task].deviation)
            cells.append("noise not known" if unknown else _cell(times, timed))
            cells.append(_optima(regret[mine, -1], scorers[task], seen=seen))
        rows.append(cells)
    levels = "; ".join(
        f"{task} {each.deviation:.2f} points, within which {each.cells} cell(s) lie of the best; by mean validation "
        f"accuracies over the seeds, {each.alike} are not told from the best by the 95 % interval of the difference"
        if each.cells
        else f"{task} not known, since no architecture was trained twice"
        for task, each in noises.items()
    )
    headers = [head for task in readings.tasks for head in (task, f"{task}, optimum")]
    return (
        "Median amount after which a run's regret stays below the noise, and the share of the runs that get there "
        f"within the largest budget; read at {readings.curve.shape[1]} amounts. The noise is the standard deviation "
        f"between trainings of a cell from different seeds, median over the best hundredth of the cells: {levels}. "
        f"*Optimum* is the share of the runs that answer with the best cell{_BY_MEANS if seen else ''} at the largest "
        "budget: where it is large, the task is saturated, and its leaderboard tells searches apart by their first "
        "evaluations alone.\n\n" + pipe_table(rows, ["optimizer", *headers])
    )


def _optima(regret: Array, scorer: Scorer, *, seen: bool) -> str:
    """Share of the runs with the best cell, by the means that queries show where they were `seen`, else by score.

    Empty where scores by hidden seeds do not say it.
    """
    if scorer.basis == "hidden seeds" or not regret.size:
        return ""
    best = int(np.nanmean(scorer.valid, axis=1).argmax()) if seen else int(scorer.reference.argmax())
    return f"{np.isclose(scorer.best - scorer.reference[best], regret, rtol=0, atol=1e-9).mean():.0%}"


def _cell(times: Array, timed: bool) -> str:
    if not times.size:
        return ""
    median = float(np.sort(times)[(len(times) - 1) // 2])
    share = f"({np.isfinite(times).mean():.0%})"
    if np.isinf(median):
        return f"not in half of the runs {share}"
    return f"{median / 3.6e9:.3g} GPU-hours {share}" if timed else f"{median:.0f} evaluations {share}"
