"""The BoTorch adapter asks cheaply where that tells enough, and names what it lacks."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.testing.tables import table_benchmark
from nasbench_kd.testing.worlds import kd_world
from nasbench_kd_baselines import multi_fidelity_botorch
from nasbench_kd_baselines.multi_fidelity_botorch import MultiFidelityBoTorch

pytestmark = pytest.mark.filterwarnings("ignore")


def search(budget, **arguments):
    pytest.importorskip("botorch")
    optimizer = MultiFidelityBoTorch(fidelities=("nst@12", "none@200"), candidates=50, **arguments)
    return nk.search(optimizer, task=kd_world(0.9), budget=budget, seed=0)


def test_initial_cells_are_spread_over_the_fidelities_and_the_model_takes_over():
    run = search("20 evaluations", initial=4)
    assert run.ending == "budget", run.reason
    asked = [step for step in run.steps if not step.teacher]
    fidelities = [step.fidelity for step in asked]
    assert fidelities[:8] == ["nst@12"] * 4 + ["none@200"] * 4
    # Twenty times cheaper and correlated by 0.9: the short training tells more for its price.
    assert fidelities[8:].count("nst@12") >= 8
    assert len({(step.cell, step.fidelity) for step in asked}) == len(asked) >= 19
    full = [step for step in run.steps if step.fidelity == "none@200"]
    assert run.answer.index == max(full, key=lambda step: step.valid_accuracy).cell


def test_from_the_maximum_on_the_last_model_ranks_the_cells_and_no_other_is_fitted(monkeypatch):
    fits, fit_model = [], multi_fidelity_botorch.fit_model

    def counting(optimizer):
        fits.append(len(optimizer.observed))
        return fit_model(optimizer)

    monkeypatch.setattr(multi_fidelity_botorch, "fit_model", counting)
    run = search("30 evaluations", initial=4, maximum=11, refit_growth=1.0)
    assert run.ending == "budget", run.reason
    assert fits == [8, 9, 10, 11]
    ranked = [step for step in run.steps if not step.teacher][11:]
    assert {step.fidelity for step in ranked} == {"none@200"}
    full = kd_world(0.9).evaluate_many(np.arange(SPACE_SIZE)).valid_accuracy
    assert np.mean([full[step.cell] for step in ranked]) > np.median(full)


def test_full_trainings_are_bought_and_parameters_are_fitted_when_the_evaluations_have_grown(monkeypatch):
    fits, fit_model = [], multi_fidelity_botorch.fit_model

    def counting(optimizer):
        fits.append(len(optimizer.observed))
        return fit_model(optimizer)

    monkeypatch.setattr(multi_fidelity_botorch, "fit_model", counting)
    run = search("23 evaluations", initial=4, cheap_in_row=3, refit_growth=1.5)
    assert run.ending == "budget", run.reason
    assert fits == [8, 12, 18]
    chosen = [step.fidelity for step in run.steps if not step.teacher][8:]
    assert chosen.count("none@200") >= len(chosen) // 4
    runs = "".join("f" if fidelity == "none@200" else "c" for fidelity in chosen).split("f")
    assert max(map(len, runs)) == 3


def test_a_maximum_within_the_initial_cells_is_refused():
    with pytest.raises(ArgumentError, match="more than the initial cells"):
        MultiFidelityBoTorch(maximum=10)


def test_a_lacking_ladder_is_named():
    pytest.importorskip("botorch")
    bench = table_benchmark("cifar10", {"none@200": (np.linspace(20, 80, SPACE_SIZE), 100.0)})
    run = nk.search(MultiFidelityBoTorch(), task=bench, budget="5 evaluations")
    assert "without distillation; cifar10 has none@200. Name the rungs" in run.reason
    run = nk.search(
        MultiFidelityBoTorch(fidelities=("nst@12", "none@200")), task=bench, budget="5 evaluations"
    )
    assert "no entries at the fidelity 'nst@12' on cifar10; there are: none@200" in run.reason


def test_a_lacking_botorch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "botorch", None)
    run = nk.search(MultiFidelityBoTorch(), task=kd_world(0.9), budget="2 evaluations")
    assert "this search needs BoTorch: pip install botorch" in run.reason


def test_a_single_fidelity_is_refused():
    with pytest.raises(ArgumentError, match="different fidelities, at least two"):
        MultiFidelityBoTorch(fidelities=["none@200"])
