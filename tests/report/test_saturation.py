"""The time to a regret below the noise: by hand, and the noise against a second computation."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.report.leaderboard import regrets
from nasbench_kd.report.saturation import markdown, noise, times_below
from nasbench_kd.report.scored_runs import score_folder


def test_times_by_hand():
    regret = np.array(
        [[3.0, 1.0, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1], [0.1, 3.0, 0.1, 0.5], [0.1, 0.1, 0.1, 0.6], [np.nan] * 4]
    )
    amounts = np.array([1.0, 10.0, 100.0, 1000.0])
    assert times_below(regret, amounts, 0.5).tolist() == [100.0, 1.0, 100.0, np.inf, np.inf]


@pytest.mark.parametrize("task", ["cifar10", "cifar100"])
def test_the_noise_is_that_of_the_best_cells(task):
    scorer = open_scorer(task)
    found = noise(scorer)
    order = np.argsort(-scorer.reference, kind="stable")[:160]
    spreads = [np.std(row[~np.isnan(row)], ddof=1) for row in scorer.valid[order]]
    assert found.deviation == pytest.approx(np.median(spreads), rel=0.05)
    assert found.cells == sum(scorer.best - value <= found.deviation for value in scorer.reference)


@pytest.mark.parametrize(("task", "alike"), [("cifar10", 25), ("cifar100", 14), ("imagenet16-120", 66)])
def test_cells_that_are_not_told_from_the_best(task, alike):
    """By the mean validation accuracies alone, cell by cell."""
    scorer = open_scorer(task)
    seen = [row[~np.isnan(row)] for row in scorer.valid]
    means = np.array([row.mean() for row in seen])
    best = sorted(range(len(seen)), key=lambda cell: -means[cell])
    pooled = np.mean([np.var(seen[cell], ddof=1) for cell in best[:313] if len(seen[cell]) > 1])
    found = [
        cell
        for cell in best
        if means[best[0]] - means[cell]
        <= 1.959964 * np.sqrt(pooled / len(seen[cell]) + pooled / len(seen[best[0]]))
    ]
    assert len(found) == noise(scorer).alike == alike


def test_the_leaderboard_says_when(runs_folder):
    scored = score_folder(runs_folder)
    text = markdown(scored.readings, scored.scorers)
    level = noise(scored.scorers["cifar10"]).deviation
    assert "cifar10, optimum" in text
    assert f"cifar10 {level:.2f} points" in text
    readings = scored.readings
    rows = readings.select("cifar10", "hillclimb")
    ends = regrets(readings, scored.scorers, readings.at_curve)[rows, -1]
    assert f"({(ends <= level).mean():.0%})" in next(
        line for line in text.splitlines() if "hillclimb" in line
    )


def test_the_noise_is_not_known_where_nothing_was_trained_twice():
    found = noise(open_scorer("kd-resnet"))
    assert np.isnan(found.deviation)
    assert found.cells == 0
