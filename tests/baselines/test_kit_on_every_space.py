"""The conformance kit for every registered optimizer on every space of this package.

By default each optimizer on each space is held to one check, another one everywhere, so that every check has its
turn; with `NASBENCH_KD_WHOLE_KIT=1` to all of them. On the whole of NAS-Bench-201 `test_every_task` holds each of
them to all, always.
"""

from __future__ import annotations

import inspect
import os
import zlib

import pytest

import nasbench_kd as nk
from nasbench_kd.simulation.registry import make_optimizer, methods_for, optimizer_class, registered
from nasbench_kd.tasks.registry import PACKAGED
from nasbench_kd.testing import landscapes
from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker

pytestmark = pytest.mark.filterwarnings("ignore")

SPACES = {task.space.name: task.name for task in PACKAGED.values() if task.space.name != "nas-bench-201"}
"""The last task of each space."""
LOW = "none@3 images=1000"
RUNGS = [LOW, "target"]
CHEAP = {"fidelity": LOW, "cells": 8}
ARGUMENTS = {
    **{name: {"rungs": RUNGS} for name in ("successive-halving", "hyperband", "asha", "bohb")},
    **dict.fromkeys(("marginal-argmax", "predictor-argmax", "screening", "zero-cost"), CHEAP),
    "arch2vec": {"initial": 6, "batch": 8, "epochs": 2, "pretraining": 1, "units": 4},
    "arch2vec-reinforce": {"pretraining": 1, "episode": 4, "units": 4},
    "bananas": {"epochs": 3, "initial": 6, "batch": 4},
    "bayesian-optimization": {"initial": 5, "refit_growth": 2.0},
    "botorch-multi-fidelity": {
        "fidelities": RUNGS,
        "initial": 2,
        "candidates": 3,
        "maximum": 6,
        "refit_growth": 3.0,
    },
    "consensus": {"every": 5},
    "diffusion-nag": {**CHEAP, "favourites": 3, "samples": 8, "steps": 3, "training_steps": 5},
    "diffusion-nag-argmax": {**CHEAP, "favourites": 3, "training_steps": 5},
    "dna": {"score": LOW, "candidates": 6},
    "mf-kd": {"low_fidelity": LOW, "initial_low": 4, "restarts": 0, "refit_growth": 2.0},
    "npenas": {"batch": 4, "epochs": 3},
    "rank-nosh": {
        "rungs": RUNGS,
        "initial": 4,
        "proposals": 3,
        "random_candidates": 10,
        "ranker": PairwiseRanker(epochs=5),
    },
    "trade": {"fidelity": LOW, "initial": 4, "refit_growth": 2.0},
}
BUDGETS = {
    **dict.fromkeys(
        ("arch2vec", "bananas", "bayesian-optimization", "mf-kd", "npenas", "trade"), "12 evaluations"
    ),
    "rank-nosh": "14 evaluations",
    "botorch-multi-fidelity": "7 evaluations",
}
"""Shorter than the kit's own where a model takes its time."""
UNSEEDED = {("parameters", "pit"), ("parameters", "kd-resnet")}
"""No two networks are of one size, so that nothing is left to a seed."""
REFUSED = {
    (name, space)
    for space in SPACES
    for name in registered()
    if name not in methods_for(PACKAGED[SPACES[space]].offers)
}
REFUSED |= {("dass", space) for space in SPACES}
PLACES = [(name, space) for space in SPACES for name in registered() if (name, space) not in REFUSED]
REASONS = {
    "convolutions": "Convolutions needs graph, which the task {task} does not offer; it offers {offers}.",
    "npenas": "Npenas needs graph, which the task {task} does not offer; it offers {offers}. Take a task that does, "
    "or a method that needs less: arch2vec, ",
    "dass": "no predictor of DaSS ships for the task {task}; there are those of cifar10, cifar100, imagenet16-120",
}
"""Why the others are refused."""
KIT = sorted(test for test in vars(OptimizerContract) if test.startswith("test_"))
WHOLE = [(*place, test) for place in PLACES for test in KIT]
SLOW = {
    *((name, "nats-bench-size") for name in ("arch2vec", "arch2vec-reinforce", "bayesian-optimization")),
    *((name, "nats-bench-size") for name in ("botorch-multi-fidelity", "mf-kd", "parameters", "trade")),
    *((name, "nas-bench-201-sample") for name in ("arch2vec", "botorch-multi-fidelity", "trade")),
    ("arch2vec", "autoformer"),
}
"""Their models of so many architectures take seconds for a check."""


def turn(name, space):
    """The check that is this method's in this space, which does not change when others are added."""
    checks = [
        test for test in KIT if space != "nats-bench-size" or test != "test_it_survives_pickling_midway"
    ]
    return checks[zlib.crc32(f"{name} in {space}".encode()) % len(checks)]


TURNS = [(*place, turn(*place)) for place in PLACES if place not in SLOW]


def contract(name, space):
    """The kit for an optimizer on a space."""
    if name == "botorch-multi-fidelity":
        pytest.importorskip("botorch", reason="optional")
    arguments = ARGUMENTS.get(name, {})
    reading = None
    if "signal" in inspect.signature(optimizer_class(name)).parameters:
        reading = staticmethod(lambda signal: make_optimizer(name, arguments | {"signal": signal}))
    settings = {
        "make": staticmethod(lambda: make_optimizer(name, arguments)),
        "make_reading": reading,
        "fidelities": (LOW,),
        "task": SPACES[space],
        "workers": (4,) if name == "botorch-multi-fidelity" else (1, 4),
        "budget": BUDGETS.get(name, OptimizerContract.budget),
        "seeded": (name, space) not in UNSEEDED,
    }
    return type("Contract", (OptimizerContract,), settings)()


@pytest.mark.parametrize(
    ("name", "space", "test"), WHOLE if os.environ.get("NASBENCH_KD_WHOLE_KIT") else TURNS
)
def test_the_kit(name, space, test, monkeypatch):
    arguments = (monkeypatch,) if test == "test_it_holds_no_way_to_test_accuracy" else ()
    getattr(contract(name, space), test)(*arguments)


def test_every_check_has_its_turn():
    assert {test for *_, test in TURNS} == set(KIT)


def test_all_but_three_methods_are_generic():
    assert {name for name, _ in REFUSED} == {"convolutions", "npenas", "dass"}
    assert ("npenas", "nas-bench-201-sample") in PLACES


@pytest.mark.parametrize(("name", "space"), sorted(REFUSED))
def test_the_others_are_refused_in_words(name, space):
    task = SPACES[space]
    world = landscapes.landscape_benchmark(task, ("target",), landscapes.hilly)
    run = nk.search(make_optimizer(name), world, "3 evaluations")
    assert run.ending == "failed"
    assert REASONS[name].format(task=task, offers=", ".join(world.task.offers)) in run.reason
