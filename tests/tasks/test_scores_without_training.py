"""Zero-cost scores as fidelities: the shipped numbers, their price, and a search that pays for them."""

from __future__ import annotations

import csv

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.spaces.nasbench201 import isomorphism_classes
from nasbench_kd.tasks.fidelity import Fidelity
from tests.conftest import ROOT

SCALE = 0.16133


@pytest.fixture(scope="module")
def measured() -> list[dict[str, str]]:
    with (ROOT / "reports" / "distillation-worth" / "zero_cost.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", ["cifar10", "cifar100"])
def test_every_score_stands_in_the_table_at_its_own_price(measured, task: str):
    bench = nk.load(task, data="embedded")
    mine = [row for row in measured if row["task"] == task]
    assert len(mine) >= 800
    cells = np.array([int(row["cell"]) for row in mine])
    for score in ("nwot", "jacov", "synflow"):
        found = bench.evaluate_many(cells, score, "score")
        np.testing.assert_allclose(found.value, [float(row[score]) for row in mine], rtol=1e-6)
        spent = np.array([float(row[f"{score}_seconds"]) for row in mine])
        np.testing.assert_allclose(found.seconds, spent * SCALE, atol=1e-6)
    assert bench.mean_seconds("synflow") < bench.mean_seconds("nwot") < bench.mean_seconds("jacov")


def test_an_isomorphic_cell_has_the_score_and_no_cell_has_an_accuracy_there(measured):
    bench = nk.load("cifar10", data="embedded")
    classes, known = isomorphism_classes(), np.array([int(row["cell"]) for row in measured])
    others = np.setdiff1d(np.flatnonzero(np.isin(classes, classes[known])), known)
    twin = nk.Cell.from_index(int(others[0]))
    scored = int(known[classes[known] == classes[twin.index]][0])
    evaluation = bench.evaluate(twin, "nwot", "score")
    assert evaluation.source == "isomorphic"
    assert (
        evaluation.utility
        == evaluation.value
        == bench.evaluate(nk.Cell.from_index(scored), "nwot", "score").value
    )
    with pytest.raises(MissingEntryError, match="there are score"):
        bench.evaluate(twin, "nwot")
    elsewhere = nk.load("imagenet16-120", data="embedded").evaluate(twin, "nwot on=cifar10", "score")
    assert elsewhere == evaluation


class ScoreFirst(nk.Optimizer):
    """Scores some cells and trains the best."""

    def __init__(self, cells: tuple[int, ...] = ()) -> None:
        self.cells = cells

    def setup(self, view, rng):
        super().setup(view, rng)
        self.left, self.best = list(self.cells), (-np.inf, -1)

    def ask(self):
        if self.left:
            return self.query(nk.Cell.from_index(self.left.pop()), Fidelity.parse("nwot"))
        return nk.Query(nk.Cell.from_index(self.best[1]))

    def tell(self, query, evaluation):
        if query.fidelity == Fidelity.parse("nwot"):
            self.best = max(self.best, (self.worth(evaluation), query.cell.index))
        self.keep_best(query, evaluation)


def test_a_search_pays_the_scores_and_no_teacher(measured):
    rows = [row for row in measured if row["task"] == "cifar10"][:20]
    cells = tuple(int(row["cell"]) for row in rows)
    run = nk.search(ScoreFirst(cells), task="cifar10", budget="21 evaluations", seed=0)
    best = max(rows, key=lambda row: float(row["nwot"]))
    assert run.answer.index == int(best["cell"])
    assert [step.signal for step in run.steps[:21]] == ["score"] * 20 + ["valid_accuracy"]
    spent = sum(float(row["nwot_seconds"]) for row in rows) * SCALE
    assert sum(step.charged for step in run.steps[:20]) / 1e6 == pytest.approx(spent, abs=1e-4)
    assert not any(step.teacher for step in run.steps)
