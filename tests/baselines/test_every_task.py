"""Every registered optimizer: the kit with and without distilled entries, and on every task what it lacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import full_results
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.testing import landscapes
from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd.testing.worlds import beside_real_results
from nasbench_kd_baselines.common.fidelities import LIVE_DISTILLED
from nasbench_kd_baselines.dass.embeddings import Embeddings
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")

REGISTERED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
    "nasbench_kd.optimizers"
]
PROXY = " images=2500 batch=32 size=16 cells=1"
PLAIN = ("none@12", *(f"none@{epochs}{PROXY}" for epochs in ("1/3", "2/3", "3")))
DISTILLED = tuple(f"{kind}@{epochs}{PROXY}" for kind in ("kd", "nst") for epochs in ("1/3", "2/3", "3"))
WORLDS = {"plain": PLAIN, "distilled": (*PLAIN, *DISTILLED)}

ARGUMENTS = {
    "arch2vec": {"initial": 8, "batch": 30, "units": 4, "epochs": 2},
    "arch2vec-reinforce": {"episode": 4, "units": 4},
    "diffusion-nag": {"cells": 6, "favourites": 3, "samples": 8, "steps": 3, "training_steps": 5},
    "diffusion-nag-argmax": {"cells": 6, "favourites": 3, "training_steps": 5},
    "dna": {"score": "none@12", "candidates": 8},
    "consensus": {"every": 5},
    "successive-halving": {"initial": 8},
    "mf-kd": {"initial_low": 4, "restarts": 1, "refit_growth": 2.0},
    "trade": {"initial": 4, "refit_growth": 2.0},
    "rank-nosh": {"initial": 4, "proposals": 3, "random_candidates": 10, "ranker": PairwiseRanker(epochs=5)},
    "bananas": {"batch": 4, "epochs": 3},
    "npenas": {"batch": 4, "epochs": 3},
    "bayesian-optimization": {"initial": 5, "refit_growth": 2.0},
    "botorch-multi-fidelity": {"initial": 2, "candidates": 3, "maximum": 6, "refit_growth": 3.0},
    "zero-cost": {"fidelity": "none@12", "cells": 6},
}
WITHOUT_DISTILLATION = {
    "mf-kd": {"low_fidelity": "none@12"},
    "trade": {"fidelity": "none@200"},
    "dass": {"fidelity": "none@200"},
}
BUDGETS = {
    **dict.fromkeys(ARGUMENTS, "12 evaluations"),
    "successive-halving": "30 evaluations",
    "rank-nosh": "14 evaluations",
    "botorch-multi-fidelity": "7 evaluations",
}
"""Shorter than the kit's own where a model takes its time."""
NEEDS_DISTILLED = {"dass": "fidelity", "mf-kd": "low_fidelity", "trade": "fidelity"}
"""Optimizers that need a distilled fidelity, unless this argument names another."""
NEEDS_SCORES = {"dna": "score"}
"""Optimizers that need scores of shared weights, unless this argument names another fidelity."""
NEEDS_CHEAP = (
    "diffusion-nag",
    "diffusion-nag-argmax",
    "marginal-argmax",
    "predictor-argmax",
    "screening",
    "zero-cost",
)
"""Controls that read cells at a cheap fidelity first: their argument `fidelity`."""
NEEDS_LOW = {
    **dict.fromkeys(("asha", "bohb", "hyperband", "rank-nosh", "successive-halving"), "rungs"),
    "botorch-multi-fidelity": "fidelities",
}


@cache
def dass_files():
    """A file of 15 embeddings for each task and one of an untrained predictor, until the interpreter ends."""
    pytest.importorskip("torch")
    from nasbench_kd_baselines.dass.predictor import first_weights, save_weights

    folder = tempfile.TemporaryDirectory()
    rng = np.random.default_rng(0)
    for task, settings in TASKS.items():
        embeddings = Embeddings(
            task,
            cells=rng.choice(SPACE_SIZE, 15, replace=False),
            students=rng.normal(size=(15, 32)).astype(np.float32),
            fresh=rng.normal(size=(15, 32)).astype(np.float32),
            teacher=0,
            teacher_description=rng.normal(size=32).astype(np.float32),
            teacher_accuracy=60.0,
            classes=settings.classes,
        )
        embeddings.save(Path(folder.name) / f"{task}.npz")
    save_weights(Path(folder.name) / "predictor.npz", first_weights(seed=0))
    return folder


def make(name, task, arguments):
    """The optimizer, with the files that it cannot do without; skips where its package is not installed."""
    if name == "dass":
        folder = Path(dass_files().name)
        files = {"embeddings": str(folder / f"{task}.npz"), "predictor": str(folder / "predictor.npz")}
        arguments = {**files, **arguments}
    if name == "botorch-multi-fidelity":
        pytest.importorskip("botorch")
    return make_optimizer(REGISTERED[name], arguments)


real = cache(beside_real_results)


@cache
def alone(task, live=None):
    """The 200-epoch results and nothing else."""
    return Benchmark(TASKS[task], [full_results()], live)


class OnRealResults(OptimizerContract):
    """The kit, whose ordinary landscape is the real 200-epoch results with made-up short trainings beside."""

    __test__ = False

    def world(self, landscape=landscapes.hilly):
        if landscape is not landscapes.hilly:
            return super().world(landscape)
        return real(self.task, self.fidelities[:-1])


def contract(name, task, world):
    """The kit for an optimizer in a world."""
    arguments = ARGUMENTS.get(name, {}) | (WITHOUT_DISTILLATION.get(name, {}) if world == "plain" else {})
    settings = {
        "make": staticmethod(lambda: make(name, task, arguments)),
        "fidelities": (*WORLDS[world], "none@200"),
        "task": task,
        "workers": (4,) if name == "botorch-multi-fidelity" else (1, 4),
        "budget": BUDGETS.get(name, OptimizerContract.budget),
    }
    return type("Contract", (OnRealResults,), settings)()


PLACES = [
    *((name, "cifar100", "distilled") for name in sorted(REGISTERED)),
    *((name, "cifar10", "plain") for name in sorted(NEEDS_DISTILLED)),
]
"""One task stands for all: its name and its numbers are all that the kit would see of another."""
KIT = sorted(test for test in vars(OptimizerContract) if test.startswith("test_"))


@pytest.mark.parametrize(("name", "task", "world"), PLACES)
@pytest.mark.parametrize("test", KIT)
def test_the_kit(name, test, task, world, monkeypatch):
    arguments = (monkeypatch,) if test == "test_it_holds_no_way_to_test_accuracy" else ()
    getattr(contract(name, task, world), test)(*arguments)


@pytest.mark.parametrize("name", sorted(REGISTERED.keys() - NEEDS_DISTILLED))
def test_distilled_entries_beside_change_no_other_search(name):
    """So that the kit needs to hold these in one of the worlds only."""
    distilled, plain = (contract(name, "cifar100", world).run(workers=4) for world in WORLDS)
    assert distilled.steps == plain.steps


def run(name, benchmark, **arguments):
    """A short search with the defaults, but for what the optimizer cannot do without."""
    return nk.search(
        make(name, benchmark.task.name, arguments), task=benchmark, budget="3 evaluations", workers=2
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(REGISTERED))
def test_where_a_fidelity_is_lacking_the_error_says_what_to_do(name, task):
    """On the 200-epoch results alone, with the defaults."""
    benchmark = alone(task)
    ended = run(name, benchmark)
    if name in NEEDS_CHEAP:
        assert re.match("MissingEntryError.*no entries at the fidelity", ended.reason)
        for told in (f"on {task}", "none@200", "data pull", "nasbench-kd fill"):
            assert told in ended.reason
        arguments = ARGUMENTS.get(name, {}) | {"fidelity": "none@200", "cells": 2}
        assert run(name, benchmark, **arguments).ending == "budget"
        return
    if name not in NEEDS_DISTILLED | NEEDS_LOW | NEEDS_SCORES:
        assert ended.ending == "budget", ended.reason
        return
    assert ended.ending == "failed"
    asked = "has no fidelity with distillation" if name in NEEDS_DISTILLED else r"at most 1/[234] of none@200"
    asked = "has no scores 'dna'" if name in NEEDS_SCORES else asked
    argument = (NEEDS_DISTILLED | NEEDS_LOW | NEEDS_SCORES)[name]
    assert re.match(f"MissingEntryError in setup: .*{asked}", ended.reason)
    for told in (
        f"{task} ha",
        "none@200",
        f"(argument `{argument}`)",
        "data pull",
        *(("nasbench-kd score",) if name in NEEDS_SCORES else (f"fill --task {task}", "live=True")),
    ):
        assert told in ended.reason
    if name != "botorch-multi-fidelity":  # it needs two fidelities
        named = {"rungs": ["none@200"]} if argument == "rungs" else {argument: "none@200"}
        if name == "mf-kd":
            named = {"ratio": 1, "initial_low": 0}
        assert run(name, benchmark, **named).ending == "budget"


@pytest.mark.parametrize("name", sorted(NEEDS_DISTILLED))
def test_the_default_is_the_end_of_a_distilled_curve(name):
    expected = {"mf-kd": f"kd@3{PROXY}"}.get(name, f"nst@3{PROXY}")
    ended = run(name, real("cifar100", WORLDS["distilled"]))
    assert {step.fidelity for step in ended.steps if not step.teacher} == {expected}, ended.reason


class Trainer:
    """Stands in for live training: every cell reaches its share of 15,625 in percent, in a second an epoch."""

    def evaluate(self, task, cell, fidelity, seed, signal):
        return nk.Evaluation(100 * cell.index / SPACE_SIZE, signal, float(fidelity.epochs), 777, "live")


TRAINER = Trainer()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", sorted(NEEDS_DISTILLED | NEEDS_LOW))
def test_with_live_training_nothing_is_lacking(name, task):
    ended = run(name, alone(task, TRAINER))
    assert ended.ending == "budget", ended.reason
    short = LIVE_DISTILLED if name in NEEDS_DISTILLED else LIVE_DISTILLED.without_distillation()
    asked = [step for step in ended.steps if not step.teacher]
    assert {step.fidelity for step in asked} == {str(short)}
    assert {step.source for step in asked} == {"live"}


def test_the_command_line_says_it_and_ends_with_2(tmp_path):
    suite = tmp_path / "lacking.toml"
    suite.write_text(
        'name = "lacking"\ntasks = ["cifar10", "cifar100"]\nbudgets = ["2 evaluations"]\nseeds = 2\n'
        'data = "embedded"\n[[optimizers]]\noptimizer = "nasbench_kd_baselines.mf_kd:MFKD"\n'
        'arguments = { low_fidelity = "pkt@7" }\n'
    )
    command = [sys.executable, "-c", "from nasbench_kd.cli import app; app()", "run", str(suite)]
    ended = subprocess.run(
        [*command, "--output", str(tmp_path / "out"), "--jobs", "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("MFKD on ") == 2
    assert "no entries at the fidelity 'pkt@7' on cifar10; there are: " in ended.stderr
    assert "Traceback" not in ended.stderr
