"""Methods ask only for what is there: low fidelities that some architectures lack, and encodings of a space."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.simulation.optimizer import SearchView
from nasbench_kd.simulation.registry import make_optimizer, methods_for, registered
from nasbench_kd.tasks.registry import find_task
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker

LOW = "none@300 batch=128"
HALVED = {"eta": 1.3}
"""The low fidelity costs three quarters of the target."""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mf-kd", {"initial_low": 8, "ratio": 2, "restarts": 0}),
        ("mf-kd", {"initial_low": 8, "ratio": 2, "restarts": 0, "allocation": "cost-aware"}),
        ("successive-halving", HALVED | {"initial": 8}),
        ("hyperband", HALVED),
        ("asha", HALVED),
        ("bohb", HALVED | {"minimum_points": 1}),
        ("rank-nosh", {"keep": 0.76, "initial": 8, "ranker": PairwiseRanker(epochs=2)}),
        ("dna", {"score": LOW, "candidates": 8}),
        ("screening", {"cells": 8}),
        ("trade", {"fidelity": LOW, "maximum": 20, "refit_growth": 2.0}),
    ],
)
def test_a_low_fidelity_that_half_of_the_networks_have_is_asked_of_those_alone(name, arguments):
    task = "autoformer-cifar100"
    bench = nk.load(task, data="embedded")
    having = set(bench.covered(LOW).tolist())
    assert len(having) == 100
    run = nk.search(make_optimizer(name, arguments), bench, "40 evaluations", seed=2)
    assert run.ending == "budget", run.reason
    read = {step.cell for step in run.steps if step.fidelity == LOW}
    assert read
    assert read <= having
    assert any(step.fidelity == str(bench.task.target) for step in run.steps)


def test_networks_that_lack_the_low_fidelity_are_found_by_the_high_one():
    task = nk.load("autoformer-cifar100", data="embedded")
    search = make_optimizer("mf-kd", {"initial_low": 95, "ratio": 2, "restarts": 0, "refit_growth": 3.0})
    run = nk.search(search, task, "130 evaluations", seed=0)
    high = {step.cell for step in run.steps if step.fidelity == str(task.task.target)}
    assert high - set(task.covered(LOW).tolist())
    assert run.ending == "budget", run.reason


def test_a_ladder_that_no_network_can_climb_is_refused():
    view = SearchView(
        task="kd-resnet",
        classes=100,
        workers=1,
        fidelities=(low := nk.Fidelity.parse("none@1"), high := nk.Fidelity.parse("none@2")),
        mean_seconds=(1.0, 2.0),
        teacher_seconds=0.0,
        partial={low: np.array([1, 2]), high: np.array([3])},
        space=find_task("kd-resnet").space,
        target=find_task("kd-resnet").target,
    )
    with pytest.raises(
        MissingEntryError, match="no architecture of kd-resnet has an entry at each of none@1, none@2"
    ):
        make_optimizer("asha", {"rungs": ["none@1", "none@2"]}).setup(view, np.random.default_rng(0))
    assert view.covered(low).tolist() == [1, 2]
    assert view.covered(view.target).tolist() == list(range(64))


def test_the_methods_that_work_are_those_whose_needs_are_met():
    everywhere, here = (methods_for(find_task(name).offers) for name in ("kd-resnet", "cifar10"))
    assert set(here) - set(everywhere) == {"convolutions", "npenas"}
    assert set(here) == set(registered())
    assert set(methods_for(("codes", "one-hot"))) == set(here) - {
        "convolutions",
        "npenas",
        "parameters",
        "screening",
    }
