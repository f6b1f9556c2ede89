"""The controls do what they say, and keep the ask/tell protocol."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, all_cells, code_matrix, isomorphism_classes
from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd.testing.tables import table_benchmark
from nasbench_kd_baselines.arch2vec import Arch2vec
from nasbench_kd_baselines.arch2vec_reinforce import Arch2vecReinforce
from nasbench_kd_baselines.consensus_search import ConsensusSearch
from nasbench_kd_baselines.convolutions import Convolutions
from nasbench_kd_baselines.marginal_argmax import MarginalArgmax
from nasbench_kd_baselines.parameters import Parameters
from nasbench_kd_baselines.predictor_argmax import PredictorArgmax
from nasbench_kd_baselines.screening import Screening
from nasbench_kd_baselines.zero_cost import ZeroCost

SIZES = np.array([parameters(cell, 10) for cell in all_cells()])
QUALITY = 5.0 * (code_matrix() == 3).sum(axis=1) + 2.0 * (code_matrix()[:, 3] == 1)


class TestParameters(OptimizerContract):
    make = Parameters


class TestConvolutions(OptimizerContract):
    make = Convolutions


class TestScreening(OptimizerContract):
    make = partial(Screening, cells=12)
    make_reading = staticmethod(
        lambda signal: Screening(fidelity="nst@12", cells=25, size=False, signal=signal)
    )
    fidelities = ("none@12", "nst@12", "none@200")


class TestPredictorArgmax(OptimizerContract):
    make = partial(PredictorArgmax, cells=12, favourites=4)
    fidelities = ("none@12", "none@200")
    budget = "22 evaluations"
    workers = (3,)


@pytest.fixture(scope="module")
def bench():
    noise = np.random.default_rng(0).normal(size=SPACE_SIZE)[isomorphism_classes()]
    quality = QUALITY[isomorphism_classes()]
    return table_benchmark(
        "cifar10", {"none@12": (20 + quality + noise, 5.0), "none@200": (50 + quality, 100.0)}
    )


def test_parameters_trains_the_largest_classes_first(bench):
    run = nk.search(Parameters(), task=bench, budget="60 evaluations", seed=0)
    trained = SIZES[[step.cell for step in run.steps]]
    assert (np.diff(trained) <= 0).all()
    classes = isomorphism_classes()
    largest = np.sort(SIZES[np.unique(classes)])[::-1]
    assert trained.tolist() == largest[:60].tolist()
    assert len({classes[step.cell] for step in run.steps}) == 60


def test_convolutions_trains_the_classes_with_most_of_them_first(bench):
    run = nk.search(Convolutions(), task=bench, budget="80 evaluations", seed=0)
    codes = code_matrix()
    counts = np.isin(codes, (2, 3)).sum(axis=1)
    trained = [step.cell for step in run.steps]
    every = np.sort(counts[np.unique(isomorphism_classes(), return_index=True)[1]])[::-1]
    assert counts[trained].tolist() == every[:80].tolist()
    assert len({isomorphism_classes()[cell] for cell in trained}) == 80


@pytest.mark.parametrize("size", [True, False])
def test_screening_reads_random_classes_once_and_trains_the_best(bench, size):
    run = nk.search(Screening(cells=40, size=size), task=bench, budget="60 evaluations", seed=1)
    read = [step for step in run.steps if step.fidelity == "none@12"]
    trained = [step.cell for step in run.steps if step.fidelity == "none@200"]
    assert len({isomorphism_classes()[step.cell] for step in read}) == 40
    assert [step.fidelity for step in run.steps] == ["none@12"] * 40 + ["none@200"] * len(trained)
    ranks = np.argsort(np.argsort([-step.valid_accuracy for step in read], kind="stable"))
    if size:
        by_worth = np.argsort(ranks)
        sizes = SIZES[[read[place].cell for place in by_worth]]
        ranks[by_worth] += np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")
    expected = sorted(range(40), key=lambda place: (ranks[place], -read[place].valid_accuracy))
    assert trained[:10] == [read[place].cell for place in expected[:10]]


def test_the_predictors_favourites_are_read_and_better_than_the_random_cells(bench):
    run = nk.search(PredictorArgmax(cells=60, favourites=20), task=bench, budget="90 evaluations", seed=2)
    accuracies = [step.valid_accuracy for step in run.steps if step.fidelity == "none@12"]
    assert len(accuracies) == 80
    assert np.mean(accuracies[60:]) > np.quantile(accuracies[:60], 0.9)
    trained = [step.cell for step in run.steps[80:]]
    cheap = {step.cell: step.valid_accuracy for step in run.steps[:80]}
    assert [cheap[cell] for cell in trained] == sorted(cheap.values(), reverse=True)[: len(trained)]


def test_the_marginal_argmax_is_trained_first(bench):
    run = nk.search(MarginalArgmax(cells=300), task=bench, budget="320 evaluations", seed=0)
    first = next(step.cell for step in run.steps if step.fidelity == "none@200")
    read = [step for step in run.steps if step.fidelity == "none@12"]
    codes = code_matrix()[[step.cell for step in read]]
    accuracies = np.array([step.valid_accuracy for step in read])
    best = [max(range(5), key=lambda op, e=e: accuracies[codes[:, e] == op].mean()) for e in range(6)]
    argmax = nk.Cell.from_codes(best)
    assert nk.Cell.from_index(first).isomorphism_class == argmax.isomorphism_class


def test_zero_cost_says_that_the_score_is_lacking_and_is_a_screening_where_it_is_there(bench):
    run = nk.search(ZeroCost(cells=5), task=bench, budget="6 evaluations")
    assert "no entries at the fidelity 'nwot' on cifar10" in run.reason
    scored = table_benchmark("cifar10", {"nwot": (QUALITY, 1.0), "none@200": (50 + QUALITY, 100.0)})
    run = nk.search(ZeroCost(cells=30), task=scored, budget="35 evaluations", seed=3)
    read = {step.cell: QUALITY[step.cell] for step in run.steps if step.fidelity == "nwot"}
    trained = [QUALITY[step.cell] for step in run.steps if step.fidelity == "none@200"]
    assert trained == sorted(read.values(), reverse=True)[: len(trained)]


def test_a_search_at_one_fidelity_asks_for_what_has_it():
    pytest.importorskip("torch")
    bench = nk.load("cifar10")
    for search in (
        ConsensusSearch(fidelity="nwot", every=4),
        Arch2vec(fidelity="nwot", initial=4, batch=20, model="gaussian-process"),
        Arch2vecReinforce(fidelity="nwot", episode=4, units=4),
    ):
        run = nk.search(search, bench, "12 evaluations", seed=0)
        assert (run.ending, len(run.steps)) == ("budget", 12)
        assert {step.cell for step in run.steps} <= set(bench.covered("nwot").tolist())


@pytest.mark.parametrize("control", [ZeroCost(cells=2000), PredictorArgmax(fidelity="nwot", cells=50)])
def test_a_control_reads_the_classes_that_its_fidelity_has(control):
    bench = nk.load("cifar10")
    known = set(bench.covered("nwot").tolist())
    assert 0 < len(known) < SPACE_SIZE
    run = nk.search(control, bench, "1000 evaluations", seed=0)
    assert run.ending == "budget"
    read = [step.cell for step in run.steps if step.fidelity == "nwot"]
    assert len(read) == len(set(read)) > 60
    assert set(read) <= known
