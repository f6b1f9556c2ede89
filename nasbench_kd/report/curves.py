"""The curves of a report: anytime regret and mean rank over the budget, with bootstrap bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.scoring import Scorer
from nasbench_kd.report.leaderboard import common_runs, contenders, generator, regrets
from nasbench_kd.report.readings import Readings
from nasbench_kd.stats.statistics import bootstrap_band, iqm, mean, ranks

Array = npt.NDArray[np.float64]


class Curve(NamedTuple):
    """One optimizer's line over the amounts at which runs were read; arrays of shape (points,)."""

    name: str
    amounts: Array
    """Microseconds, or evaluations."""
    estimate: Array
    low: Array
    high: Array


def anytime_curves(readings: Readings, scorers: Mapping[str, Scorer], task: str) -> list[Curve]:
    """Interquartile mean regret over the budget with 95 % bootstrap bands, in percentage points.

    A curve begins where at least half of the runs have an answer.
    """
    regret = regrets(readings, scorers, readings.at_curve)
    amounts = readings.curve[readings.tasks.index(task)]
    curves = []
    for name in _with_answers(readings, task):
        rows = readings.select(task, name)
        begun = np.isnan(readings.at_curve[rows]).mean(axis=0) <= 0.5
        band = bootstrap_band(
            regret[rows].T[begun],
            iqm,
            generator("anytime", task, name),
            resamples=_resamples(len(rows)),
            groups=readings.groups(-1, rows),
        )
        curves.append(Curve(name, amounts[begun], *band))
    return curves


def rank_curves(readings: Readings, scorers: Mapping[str, Scorer], task: str) -> list[Curve]:
    """Mean rank over the budget with 95 % bootstrap bands; runs without an answer share the last ranks.

    The curves begin where most optimizers have an answer in at least half of their runs.
    """
    names = _with_answers(readings, task)
    runs = common_runs(readings, task, names)
    if not runs.size:
        return []
    values = regrets(readings, scorers, readings.at_curve)[runs]
    groups = readings.groups(-1, *runs.T)
    answered = [
        np.isnan(readings.at_curve[readings.select(task, name)]).mean(axis=0) <= 0.5 for name in names
    ]
    begun = np.mean(answered, axis=0) > 0.5
    ranked = ranks(values.swapaxes(1, 2)[:, begun])
    amounts = readings.curve[readings.tasks.index(task)][begun]
    count = _resamples(len(ranked))
    curves = []
    for column, name in enumerate(names):
        rng = generator("ranks", task, name)
        curves.append(
            Curve(
                name,
                amounts,
                *bootstrap_band(ranked[:, :, column].T, mean, rng, resamples=count, groups=groups),
            )
        )
    return curves


def _with_answers(readings: Readings, task: str) -> list[str]:
    """Contenders with a curve to show: not planned for one budget, and at least half of the runs with an answer."""
    return [
        name
        for name in contenders(readings)
        if name not in readings.provenance.suite.planned
        and (rows := readings.select(task, name)).size
        and np.isnan(readings.at_curve[rows, -1]).mean() <= 0.5
    ]


def _resamples(runs: int) -> int:
    """Bootstrap resamples for a band of many points: fewer where runs are many and the band narrow."""
    return int(np.clip(500_000 // max(1, runs), 200, 1000))
