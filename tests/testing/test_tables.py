"""Benchmarks built in memory answer what they were given."""

import numpy as np
import pytest

from nasbench_kd import Cell, search
from nasbench_kd.errors import FidelityError, UnknownNameError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.testing.tables import table_benchmark


def test_entries_come_back_per_seed() -> None:
    accuracies = np.stack([np.full(SPACE_SIZE, 40.0), np.linspace(10, 90, SPACE_SIZE)], axis=1)
    accuracies[5] = np.nan
    seconds = np.arange(1, SPACE_SIZE + 1)
    bench = table_benchmark(
        "cifar100", {"none@200": (accuracies, seconds), "nst@12": (accuracies[:, 0], 2.5)}
    )
    assert bench.seeds(Cell.from_index(9)) == (777, 888)
    entry = bench.evaluate(Cell.from_index(15624), "none@200", seed=888)
    assert (entry.valid_accuracy, entry.seconds, entry.source) == (90.0, 15625.0, "measured")
    assert bench.evaluate(Cell.from_index(5)).failed
    assert bench.evaluate(Cell.from_index(6), "nst@12").seconds == 2.5
    assert [str(fidelity) for fidelity in bench.fidelities] == ["nst@12", "none@200"]


def test_it_can_be_searched() -> None:
    bench = table_benchmark("cifar10", {"none@200": (np.linspace(10, 90, SPACE_SIZE), 60.0)})
    run = search("nasbench_kd_baselines.random_search:RandomSearch", task=bench, budget="5 minutes", seed=1)
    assert len(run.steps) == 5
    assert run.answer is not None
    assert run.answer.index == max(step.cell for step in run.steps)


def test_surrogate_entries_are_labelled() -> None:
    bench = table_benchmark("cifar10", {"none@200": (np.full(SPACE_SIZE, 50.0), 60.0)}, source="surrogate")
    assert bench.evaluate(Cell.from_index(0)).source == "surrogate"


@pytest.mark.parametrize("accuracies", [np.zeros(5), np.zeros((SPACE_SIZE, 4)), np.full(SPACE_SIZE, 101.0)])
def test_bad_accuracies_are_refused(accuracies: np.ndarray) -> None:
    with pytest.raises(ValueError, match="accuracies"):
        table_benchmark("cifar10", {"none@200": (accuracies, 1.0)})


def test_bad_names_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="cifar10"):
        table_benchmark("cifar1O", {})
    with pytest.raises(FidelityError):
        table_benchmark("cifar10", {"200": (np.zeros(SPACE_SIZE), 1.0)})
