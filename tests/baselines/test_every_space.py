"""Methods keep the protocol on every space that ships, or are refused in words."""

from __future__ import annotations

from functools import partial

import pytest

import nasbench_kd as nk
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
    **dict.fromkeys(("marginal-argmax", "predictor-argmax", "screening", "zero-cost"), CHEAP),
    "bananas": {"epochs": 3, "initial": 6},
    "mf-kd": {"low_fidelity": "none@3 images=1000", "initial_low": 6, "restarts": 0},
    "botorch-multi-fidelity": {"fidelities": RUNGS, "initial": 4},
    "dna": {"score": RUNGS[0], "candidates": 6},
    "rank-nosh": {"rungs": RUNGS, "initial": 8, "proposals": 4, "ranker": PairwiseRanker(epochs=5)},
    "trade": {"initial": 6},
}
SLOW = ("botorch-multi-fidelity", "optuna", "mf-kd")
REFUSED = {
    "npenas": "Npenas needs graph, which the task {task} does not offer; it offers {offers}. Take a task that does, "
    "or a method that needs less: asha, bananas, ",
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
