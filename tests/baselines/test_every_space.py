"""Methods that need no cells of NAS-Bench-201 keep the protocol on every space that ships; the others are refused."""

from __future__ import annotations

import pytest

import nasbench_kd as nk
from nasbench_kd.simulation.registry import make_optimizer, optimizer_class, registered
from nasbench_kd.testing import landscapes
from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd_baselines.regularized_evolution import RegularizedEvolution

SPACES = ("autoformer-cifar100", "pit-chaoyang", "kd-resnet")
"""A task of each space beside NAS-Bench-201."""
RUNGS = ["none@3 images=1000", "target"]
ARGUMENTS = {
    **{name: {"rungs": RUNGS} for name in ("successive-halving", "hyperband", "asha", "bohb")},
    "mf-kd": {"low_fidelity": "none@3 images=1000", "initial_low": 6, "restarts": 0},
    "botorch-multi-fidelity": {"fidelities": RUNGS, "initial": 4},
    "dna": {"score": RUNGS[0], "candidates": 6},
}
SLOW = ("botorch-multi-fidelity", "optuna", "mf-kd")
GENERIC = [name for name in registered() if not optimizer_class(name).needs and name not in SLOW]


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


@pytest.mark.parametrize("name", [name for name in registered() if optimizer_class(name).needs])
def test_methods_that_need_cells_are_refused_in_words(name):
    run = nk.search(make_optimizer(name), "kd-resnet", "3 evaluations")
    assert run.ending == "failed"
    assert (
        "needs nas-bench-201, which the task kd-resnet does not offer; it offers kd-resnet, teacher"
        in run.reason
    )


class TestEvolutionOnASample(OptimizerContract):
    make = RegularizedEvolution
    task = "autoformer-cifar100"
