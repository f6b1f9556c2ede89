"""The reproduction of published figures: the search loop gives back what is known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from authors_protocol import Bill, random_search, regularized_evolution, reinforce, twin_deviation
from nasbench_kd import load, search
from nasbench_kd.errors import DataError
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.spaces.nasbench201 import Cell, code_matrix, isomorphism_classes
from published import ORACLE
from reproduce import Figure, MethodFigures, nas_bench_201_rows, oracle, to_markdown

RUNS = 200
METHODS = {
    "random": "nasbench_kd_baselines.random_search:RandomSearch",
    "evolution": "nasbench_kd_baselines.regularized_evolution:RegularizedEvolution",
    "local search": "nasbench_kd_baselines.local_search:LocalSearch",
}


@pytest.fixture
def installed(pulled, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(pulled))


@pytest.mark.parametrize("method", METHODS)
def test_search_loop_agrees_with_independent_oracle_figures(installed, method):
    """Random 71.58, evolution 72.60, local search 73.42 on cifar100 with 100 evaluations, within three errors."""
    bench, accuracy = oracle("cifar100")
    found = [
        accuracy[
            search(
                make_optimizer(METHODS[method]), task=bench, budget="100 evaluations", seed=seed
            ).answer.index
        ]
        for seed in range(RUNS)
    ]
    mean, deviation = ORACLE[method, 100][1]
    error = np.hypot(deviation / 300**0.5, np.std(found, ddof=1) / RUNS**0.5)
    assert abs(np.mean(found) - mean) < 3 * error


def test_oracle_shows_test_accuracy_of_every_cell(installed):
    bench, accuracy = oracle("cifar100")
    assert accuracy.max() == pytest.approx(73.513, abs=1e-3)
    for index in (0, 77, 9930):
        assert bench.evaluate(Cell.from_index(index)).valid_accuracy == pytest.approx(accuracy[index])


def test_oracle_without_test_accuracy_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    with pytest.raises(DataError, match="data pull"):
        oracle("cifar100")


def test_both_implementations_of_reinforce_take_the_same_path(installed):
    """Two programs, one algorithm: the same seed gives the same answer until a cell is drawn twice."""
    bench = load("cifar100")
    entries = bench.evaluate_many(range(15_625), "none@12")
    compared = 0
    for seed in range(12):
        optimizer = make_optimizer("nasbench_kd_baselines.reinforce:Reinforce", {"fidelity": "none@12"})
        run = search(optimizer, task=bench, budget="40 evaluations", seed=seed)
        cells = [step.cell for step in run.steps]
        budget = sum(step.charged for step in run.steps) / 1e6
        bill = Bill(entries.valid_accuracy, entries.seconds, budget + 1e-3)
        reinforce(bill, np.random.default_rng(seed), learning_rate=0.01)
        if len(set(cells)) == len(cells):
            assert (bill.answer, bill.queries) == (run.answer.index, 40)
            compared += 1
    assert compared >= 6


def test_bill_pays_for_repeats_and_refuses_what_it_cannot_pay():
    bill = Bill(np.array([50.0, 60.0]), np.array([10.0, 30.0]), budget=45.0)
    rng = np.random.default_rng(0)
    assert [bill.query(cell, rng) for cell in (0, 0, 1)] == [50.0, 50.0, None]
    assert (bill.paid, bill.queries, bill.answer) == (20.0, 2, 0)


def test_random_search_spends_the_budget():
    prices = np.full(15_625, 7.0)
    bill = Bill(np.arange(15_625.0), prices, budget=100.0)
    random_search(bill, np.random.default_rng(0))
    assert bill.queries == 14
    assert bill.answer == bill.best


def test_authors_mutation_prefers_the_first_edge():
    """A uniform node, then a uniform edge: 0->1 changes in a third of the children, 0->3 in a ninth."""
    codes, visited = code_matrix(), []

    class Recorded(Bill):
        def query(self, cell, rng):
            visited.append(cell)
            return super().query(cell, rng)

    bill = Recorded(np.zeros(15_625), np.ones(15_625), budget=6_000.0)
    regularized_evolution(bill, np.random.default_rng(0), population=1, tournament=1)
    changes = np.array([codes[a] != codes[b] for a, b in pairwise(visited)])
    assert (changes.sum(axis=1) == 1).all()
    np.testing.assert_allclose(changes.mean(axis=0), [1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9], atol=0.03)


def test_twin_deviation_recovers_the_noise_of_a_made_up_table():
    rng = np.random.default_rng(0)
    classes = isomorphism_classes().astype(float)
    table = 50 + classes / 1000 + 0.4 * rng.standard_normal(15_625)
    assert twin_deviation(table, 0.0) == pytest.approx(0.4, rel=0.03)
    assert twin_deviation(table - classes / 1000 - 60 * (classes < 100), 0.0) == pytest.approx(0.4, rel=0.03)


def test_protocol_table_names_every_origin(installed):
    rows = list(nas_bench_201_rows(2))
    assert {row.origin for row in rows} == {"published (recalled)", "authors' accounting", "this benchmark"}
    assert all(len(row.figures) == 6 for row in rows)
    random = [row for row in rows if row.method == "random"]
    assert 90 < random[1].queries < 125
    assert 90 < random[2].queries < 125


def test_table_shows_distances_in_standard_errors():
    reference = (Figure(50.0, 3.0, 900),)
    row = MethodFigures("mine", "this benchmark", (Figure(50.5, 4.0, 1600),), reference, 12.25)
    text = to_markdown([MethodFigures("mine", "published", reference), row], ["cifar10"])
    assert "| mine | published | 50.00 ± 3.00 |  |" in text
    assert "| mine | this benchmark | 50.50 ± 4.00 (+3.5) | 12.2 |" in text
