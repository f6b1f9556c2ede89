"""Methods keep the protocol on every space that ships, or are refused in words."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import MissingEntryError
from nasbench_kd.simulation.optimizer import SearchView
from nasbench_kd.simulation.registry import make_optimizer, methods_for, registered
from nasbench_kd.tasks.registry import find_task
from nasbench_kd.testing import landscapes
from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd_baselines.bananas import Bananas
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker
from nasbench_kd_baselines.rank_nosh import RankNosh
from nasbench_kd_baselines.regularized_evolution import RegularizedEvolution
from nasbench_kd_baselines.trade import Trade

SPACES = ("autoformer-cifar100", "pit-chaoyang", "kd-resnet")
"""A task of each space beside NAS-Bench-201."""
RUNGS = ["none@3 images=1000", "target"]
CHEAP = {"fidelity": RUNGS[0], "cells": 8}
ARGUMENTS = {
    **{name: {"rungs": RUNGS} for name in ("successive-halving", "hyperband", "asha", "bohb")},
    **dict.fromkeys(
        (
            "marginal-argmax",
            "predictor-argmax",
            "screening",
            "zero-cost",
        ),
        CHEAP,
    ),
    "arch2vec": {"initial": 6, "batch": 8, "epochs": 2, "pretraining": 1},
    "arch2vec-reinforce": {"pretraining": 1},
    "bananas": {"epochs": 3, "initial": 6},
    "mf-kd": {"low_fidelity": "none@3 images=1000", "initial_low": 6, "restarts": 0},
    "botorch-multi-fidelity": {"fidelities": RUNGS, "initial": 4},
    "diffusion-nag": {**CHEAP, "samples": 8, "steps": 5, "training_steps": 5},
    "diffusion-nag-argmax": {**CHEAP, "training_steps": 5},
    "dna": {"score": RUNGS[0], "candidates": 6},
    "rank-nosh": {"rungs": RUNGS, "initial": 8, "proposals": 4, "ranker": PairwiseRanker(epochs=5)},
    "trade": {"initial": 6},
}
SLOW = ("botorch-multi-fidelity", "optuna", "mf-kd")
REFUSED = {
    "npenas": "Npenas needs graph, which the task {task} does not offer; it offers {offers}. Take a task that does, "
    "or a method that needs less: arch2vec, ",
    "dass": "no predictor of DaSS ships for the task {task}; there are those of cifar10, cifar100, imagenet16-120",
}
GENERIC = [name for name in registered() if name not in (*SLOW, *REFUSED)]


def world_of(task):
    """A made-up landscape in the space of a task, on which three trainings in ten diverge."""
    return landscapes.landscape_benchmark(task, tuple(RUNGS), landscapes.treacherous)


@pytest.mark.parametrize("task", SPACES)
@pytest.mark.parametrize("name", GENERIC)
def test_generic_methods_search_every_space(name, task):
    world, arguments = world_of(task), ARGUMENTS.get(name, {})
    budget = "13 evaluations" if name == "bayesian-optimization" else "30 evaluations"
    first, again = (
        nk.search(make_optimizer(name, arguments), world, budget, seed=1, workers=2) for _ in range(2)
    )
    assert first.ending == "budget", first.reason
    assert first.steps == again.steps
    assert first.answer in world.task.space
    diverged = {step.cell for step in first.steps if step.value != step.value}
    assert first.answer.index not in diverged


@pytest.mark.parametrize("name", SLOW)
def test_the_slow_ones_search_a_sample(name):
    if name.startswith("botorch"):
        pytest.importorskip("botorch", reason="optional")
    arguments = ARGUMENTS.get(name, {})
    run = nk.search(make_optimizer(name, arguments), world_of("pit-chaoyang"), "10 evaluations", seed=1)
    assert run.ending == "budget", run.reason


@pytest.mark.parametrize("task", SPACES)
@pytest.mark.parametrize("name", REFUSED)
def test_the_others_are_refused_in_words(name, task):
    run = nk.search(make_optimizer(name), task, "3 evaluations")
    assert run.ending == "failed"
    assert REFUSED[name].format(task=task, offers=", ".join(find_task(task).offers)) in run.reason


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
    assert set(here) - set(everywhere) == {"npenas"}
    assert set(here) == set(registered())
    assert set(methods_for(("codes", "one-hot"))) == set(here) - {"npenas", "parameters", "screening"}


class TestBananasByOneHotCodes(OptimizerContract):
    make = partial(Bananas, initial=5, batch=4, epochs=2)
    task = "pit-cifar100"


class TestTradeOnASample(OptimizerContract):
    make = partial(Trade, initial=4, refit_growth=2.0)
    task = "autoformer-cifar100"


class TestRankNoshOnParallelNodes(OptimizerContract):
    make = partial(
        RankNosh,
        rungs=RUNGS,
        initial=6,
        proposals=4,
        random_candidates=10,
        ranker=PairwiseRanker(epochs=4),
    )
    fidelities = (RUNGS[0],)
    task = "kd-resnet"


class TestEvolutionOnASample(OptimizerContract):
    make = RegularizedEvolution
    task = "autoformer-cifar100"
