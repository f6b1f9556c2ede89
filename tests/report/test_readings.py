"""What is read at each budget, against a slow reading of the same runs step by step."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from nasbench_kd import Budget, Fidelity, load, search
from nasbench_kd.benchmark.scoring import Scorer, open_scorer
from nasbench_kd.errors import StoreError
from nasbench_kd.execution.runs import RunsFile, read_runs, write_runs
from nasbench_kd.report.prefixes import SOURCES
from nasbench_kd.report.readings import read
from nasbench_kd.tasks.fidelity import FULL

from .conftest import BUDGETS, OPTIMIZERS, make_folder


@cache
def scorers(task: str) -> Scorer:
    """What a run was not shown of its answer, which is harder to read than the test accuracy."""
    return open_scorer(task, basis="hidden seeds")


def best(steps: list[tuple]) -> int:
    """The cell of the best full training, the first told of equal ones; -1 for none."""
    full = [(value, -place, cell) for place, _, cell, _, _, _, _, value in steps if value == value]
    return max(full)[2] if full else -1


def slow_reading(row: dict, amount: float) -> tuple[float, int]:
    """Score and number of paid evaluations of one run at one budget."""
    scorer, answer = scorers(row["task"]), -1
    names = ("spent", "cell", "fidelity", "training_seed", "answer", "charged", "value")
    told = list(zip(range(len(row["spent"])), *(row[name] for name in names), strict=True))
    within = [step for step in told if step[1] <= amount]
    if all(step[5] == best(told[: place + 1]) for place, step in enumerate(told)):
        answer = best(within)
    else:
        for step in told:
            if step[1] > amount:
                break
            answer = step[5]
    shown = {
        cell: seed for _, _, cell, fidelity, seed, *_ in within if Fidelity.parse(fidelity).curve == FULL
    }
    paid = sum(step[6] > 0 for step in within)
    if answer < 0:
        return float("nan"), paid
    hidden = [
        value
        for value, seed in zip(scorer.valid[answer], scorer.seeds, strict=True)
        if seed != shown.get(answer)
    ]
    return float(np.nanmean(hidden)), paid


@pytest.mark.parametrize(
    ("budgets", "workers"),
    [
        (BUDGETS, 1),
        (("3 gpu-hours", "12 gpu-hours"), 3),
        (("1 evaluations", "7 evaluations", "15 evaluations"), 1),
    ],
)
def test_readings_equal_a_slow_reading(tmp_path, budgets, workers, monkeypatch):
    monkeypatch.setattr("nasbench_kd.report.readings.BATCH", 7)
    path = make_folder(tmp_path, budgets, workers, repetitions=4) / "runs.parquet"
    found = read(RunsFile(path), scorers)
    rows = read_runs(path).table.to_pylist()
    for number, row in enumerate(rows):
        amounts = [Budget.parse(text).amount for text in budgets]
        expected = [slow_reading(row, amount) for amount in amounts]
        assert found.at_budget[number].tolist() == pytest.approx(
            [score for score, _ in expected], nan_ok=True
        )
        assert found.steps[number].sum(axis=1).tolist() == [paid for _, paid in expected]
        curve = found.curve[found.tasks.index(row["task"])]
        assert found.at_curve[number].tolist() == pytest.approx(
            [slow_reading(row, amount)[0] for amount in curve], nan_ok=True
        )
    assert found.steps[:, :, SOURCES.index("measured")].sum() == found.steps.sum() > 0
    assert np.isnan(found.at_budget).any() or budgets[0] == "1 evaluations"


@pytest.mark.parametrize("workers", [1, 4])
def test_a_smaller_budget_reads_as_a_run_that_was_given_it(tmp_path, workers):
    """One run at 20 hours, read at 5, gives the answer of a run with a budget of 5, however many workers.

    With several, an answer by another rule than the best observed stands as it was before anything beyond the budget
    was told, and what a failed run had running is not recorded.
    """
    path = make_folder(tmp_path, workers=workers, repetitions=3) / "runs.parquet"
    found = read(RunsFile(path), scorers)
    untold = {}
    for task in found.tasks:
        bench = load(task, data="embedded")
        for number, (name, kind) in enumerate(OPTIMIZERS.items()):
            if workers > 1 and name == "fragile":
                continue
            for repetition, position in enumerate(found.select(task, name)):
                seed = 1000 * number + repetition
                small = search(kind, task=bench, budget="5 gpu-hours", seed=seed, workers=workers)
                assert found.failed[position, 1] == (small.ending == "failed")
                assert found.steps[position, 1].sum() == sum(step.charged > 0 for step in small.steps)
                untold[name] = untold.get(name, 0) + found.untold[position, 1]
                if small.answer is None:
                    assert np.isnan(found.at_budget[position, 1])
                    continue
                if untold[name]:
                    continue
                shown = [s.seed for s in small.steps if s.cell == small.answer.index] or [-1]
                expected = scorers(task).scores([small.answer.index], shown[:1])[0]
                assert found.at_budget[position, 1] == expected
    assert {name for name, count in untold.items() if count} == ({"shy"} if workers > 1 else set())


def test_evaluations_that_were_running_count(tmp_path):
    """Runs of 40 evaluations by 4 workers had 8.8 of 10 when they were read at 10."""
    path = make_folder(
        tmp_path, ("10 evaluations", "40 evaluations"), workers=4, repetitions=3, tasks=("cifar10",)
    )
    found = read(RunsFile(path / "runs.parquet"), scorers)
    healthy = np.concatenate([found.select("cifar10", name) for name in ("random", "hillclimb", "shy")])
    assert (found.steps[healthy].sum(axis=2) == [10, 40]).all()


def test_curves_begin_with_the_first_evaluation_and_end_with_the_budget(runs_folder):
    found = read(RunsFile(runs_folder / "runs.parquet"), scorers)
    assert found.curve[:, -1].tolist() == pytest.approx([found.budgets[-1].amount] * 2)
    np.testing.assert_array_equal(found.at_curve[:, -1], found.at_budget[:, -1])
    assert found.optimizers == tuple(OPTIMIZERS)
    firsts = [
        row[0] for row in read_runs(runs_folder / "runs.parquet", ["spent"]).table["spent"].to_pylist() if row
    ]
    assert found.curve[:, 0].min() == pytest.approx(min(firsts))


def test_unusable_stores_are_refused(tmp_path, runs_folder):
    stored = read_runs(runs_folder / "runs.parquet")
    path = tmp_path / "runs.parquet"
    write_runs(path, stored.table.slice(0, 0), stored.metadata)
    with pytest.raises(StoreError, match="no runs"):
        read(RunsFile(path), scorers)
    suite = {**stored.metadata["suite"], "budgets": ["1 gpu-hours", "40 gpu-hours"]}
    write_runs(path, stored.table, {**stored.metadata, "suite": suite})
    with pytest.raises(StoreError, match="smaller budget than the suite's largest, 40 gpu-hours"):
        read(RunsFile(path), scorers)
    for broken in ({"optimizers": [{}]}, {"data": "elsewhere"}, {"ablations": [{"of": 1}]}, "a suite"):
        write_runs(path, stored.table, {**stored.metadata, "suite": broken})
        with pytest.raises(StoreError, match=r"the suite that .*runs.parquet describes cannot be read"):
            read(RunsFile(path), scorers)
    mixed = stored.table.set_column(4, "budget", pa.array(["9 evaluations"] * stored.table.num_rows))
    write_runs(path, mixed, stored.metadata)
    with pytest.raises(StoreError, match="mixes budgets"):
        read(RunsFile(path), scorers)
