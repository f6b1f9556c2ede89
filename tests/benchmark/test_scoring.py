"""Scores of answers by hand-picked entries of the real table."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_kd import Cell, load, search
from nasbench_kd.benchmark.scoring import NOT_SHOWN, Scorer, open_scorer
from nasbench_kd.errors import DataError, UnknownNameError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, isomorphism_classes
from nasbench_kd.tables.catalog import full_results
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd_baselines.random_search import RandomSearch

BEST = {"cifar10": 91.607, "cifar100": 73.493, "imagenet16-120": 46.733}

BEST_TEST = {"cifar10": 91.523, "cifar100": 73.513, "imagenet16-120": 47.311}


@pytest.mark.parametrize("task", BEST)
def test_best_cell_is_the_published_one(task):
    scorer = open_scorer(task, basis="hidden seeds")
    assert scorer.basis == "hidden seeds"
    assert scorer.best == pytest.approx(BEST[task], abs=5e-4)
    assert open_scorer(task).basis == "test"
    assert open_scorer(task).best == pytest.approx(BEST_TEST[task], abs=5e-4)


def test_hidden_seeds_leave_out_the_one_that_was_shown():
    bench, scorer = load("cifar100", data="embedded"), open_scorer("cifar100", basis="hidden seeds")
    cell = next(c for c in map(Cell.from_index, range(100)) if len(bench.seeds(c)) == 3)
    seen = {seed: bench.evaluate(cell, seed=seed).valid_accuracy for seed in (777, 888, 999)}
    scores = scorer.scores([cell.index] * 4, [777, 888, 999, NOT_SHOWN])
    assert scores.tolist() == pytest.approx(
        [
            (seen[888] + seen[999]) / 2,
            (seen[777] + seen[999]) / 2,
            (seen[777] + seen[888]) / 2,
            sum(seen.values()) / 3,
        ]
    )


def test_the_only_seed_cannot_be_both_shown_and_hidden():
    valid = np.array([[50.0, 60.0], [70.0, np.nan]])
    scorer = Scorer("cifar10", "hidden seeds", valid, np.array([777, 888]), np.nanmean(valid, axis=1))
    assert scorer.scores([0, 1], [777, 888]).tolist() == [60.0, 70.0]
    with pytest.raises(DataError, match="single training seed"):
        scorer.scores([1], [777])
    with pytest.raises(DataError, match="cell 1"):
        scorer.random_search()


def test_installed_test_accuracy_takes_over_when_it_is_complete(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    cells = np.repeat(np.arange(SPACE_SIZE), 2)
    seeds = np.tile([777, 888], SPACE_SIZE)
    correct = (cells % 5000) + (seeds == 888) * 10

    def install(rows: int) -> None:
        entries = make_rows(cells[:rows], seeds[:rows], correct[:rows], np.zeros(rows))
        column = Column("cifar100", FULL, "test", 10_000, entries, {"source": "measured"})
        write_table(tmp_path / "test", "test", [column], {})

    install(2 * SPACE_SIZE - 2)
    assert open_scorer("cifar100", "installed").origin == "nas-bench-201-test"
    install(2 * SPACE_SIZE)
    scorer = open_scorer("cifar100", "installed")
    assert scorer.basis == "test"
    assert scorer.scores([0, 4321], [777, NOT_SHOWN]).tolist() == pytest.approx([0.05, 43.26])
    assert (scorer.origin, open_scorer("cifar100").origin) == ("test", "nas-bench-201-test")
    # The closed form still chooses by validation accuracy, and is then worth the test accuracy.
    assert scorer.random_search().expected(1) == pytest.approx(scorer.uninformed)


def test_unknown_task():
    with pytest.raises(UnknownNameError, match="cifar10"):
        open_scorer("cifar")


def test_entries_are_resolved_as_the_benchmark_does(tmp_path, monkeypatch):
    """With entries for class representatives alone, every other cell gets those of its twin."""
    (column,) = full_results().select("cifar10", "valid")
    kept = column.rows[np.isin(column.rows["cell"], isomorphism_classes())]
    thin = write_table(
        tmp_path / "thin", "thin", [Column("cifar10", FULL, "valid", 25_000, kept, column.provenance)], {}
    )
    for module in ("opening", "benchmark.scoring"):
        monkeypatch.setattr(f"nasbench_kd.{module}.tables", lambda *_: (thin,))
    bench, scorer = load("cifar10"), open_scorer("cifar10")
    for index in range(0, SPACE_SIZE, 61):
        cell = Cell.from_index(index)
        expected = {seed: bench.evaluate(cell, seed=seed).valid_accuracy for seed in bench.seeds(cell)}
        found = dict(zip(scorer.seeds.tolist(), scorer.valid[index], strict=True))
        assert {seed: value for seed, value in found.items() if not np.isnan(value)} == pytest.approx(
            expected
        )
    thinner = write_table(
        tmp_path / "hole", "hole", [Column("cifar10", FULL, "valid", 25_000, kept[9:], column.provenance)], {}
    )
    monkeypatch.setattr("nasbench_kd.benchmark.scoring.tables", lambda *_: (thinner,))
    with pytest.raises(DataError, match="nor has an isomorphic cell"):
        open_scorer("cifar10")


def test_equal_scores_are_equal_numbers():
    """Scores are sixths of an image over 5,000 images: as many different numbers as different counts."""
    scorer = open_scorer("cifar100")
    cells = np.tile(np.arange(SPACE_SIZE), 2)
    scores = scorer.scores(cells, np.repeat([777, 888], SPACE_SIZE))
    sixths = np.round(scores * 5000 * 6 / 100)
    assert np.abs(scores - sixths * 100 / 30_000).max() < 1e-8
    assert len(np.unique(scores)) == len(np.unique(sixths))


@pytest.mark.parametrize("task", ["cifar10", "cifar100"])
def test_stored_random_searches_agree_with_the_closed_form(task):
    """200 real searches of 40 evaluations each, scored on their hidden seeds, within three standard errors."""
    bench, scorer = load(task, data="embedded"), open_scorer(task)
    scores = []
    for seed in range(200):
        run = search(RandomSearch(), task=bench, budget="40 evaluations", seed=seed)
        shown = next(step.seed for step in run.steps if step.cell == run.answer.index)
        scores.append(scorer.scores([run.answer.index], [shown])[0])
    error = np.std(scores, ddof=1) / np.sqrt(len(scores))
    assert scorer.random_search().expected(40) == pytest.approx(np.mean(scores), abs=3 * error)
