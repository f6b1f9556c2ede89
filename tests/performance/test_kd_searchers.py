"""Speed of the distillation-aware searchers beside BoTorch's multi-fidelity knowledge gradient, in one run.

`OMP_NUM_THREADS=1 pytest tests/performance/test_kd_searchers.py` prints the table.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE, all_cells
from nasbench_kd.tasks.fidelity import FULL
from nasbench_kd.testing.worlds import kd_world
from nasbench_kd_baselines.mf_kd import MFKD
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker
from nasbench_kd_baselines.multi_fidelity_botorch import MultiFidelityBoTorch, fit_model
from nasbench_kd_baselines.trade import Trade

OBSERVATIONS = 100
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def world():
    return kd_world(0.8)


def started(optimizer, world):
    view = nk.SearchView(
        "cifar10",
        10,
        1,
        world.fidelities,
        tuple(map(world.mean_seconds, world.fidelities)),
        0.0,
        space=SPACE,
        target=FULL,
    )
    optimizer.setup(view, np.random.default_rng(0))
    return optimizer


def seconds_per_ask(optimizer, world):
    """Processor seconds of every ask with 100 to 120 observations; refits fall on some of them."""
    times = []
    for step in range(OBSERVATIONS + 20):
        began = time.process_time()
        query = optimizer.ask()
        if step >= OBSERVATIONS:
            times.append(time.process_time() - began)
        optimizer.tell(query, world.evaluate(*query))
    return times


@pytest.fixture(scope="module")
def knowledge_gradient(world):
    """Processor seconds of one fit and one choice by BoTorch, far below its tutorial's effort.

    8 fantasies, 2 restarts of 20 steps; the tutorial has 128, 5 and 200.
    """
    pytest.importorskip("botorch")
    import torch
    from botorch.acquisition.cost_aware import InverseCostWeightedUtility
    from botorch.acquisition.knowledge_gradient import qMultiFidelityKnowledgeGradient
    from botorch.acquisition.utils import project_to_target_fidelity
    from botorch.models.cost import AffineFidelityCostModel
    from botorch.optim import optimize_acqf

    optimizer = started(
        MultiFidelityBoTorch(fidelities=("nst@12", "none@200"), initial=OBSERVATIONS // 2), world
    )
    for _ in range(OBSERVATIONS):
        query = optimizer.ask()
        optimizer.tell(query, world.evaluate(*query))
    began = time.process_time()
    model = fit_model(optimizer)
    gradient = qMultiFidelityKnowledgeGradient(
        model,
        num_fantasies=8,
        current_value=model.posterior(model.train_inputs[0]).mean.max().detach(),
        cost_aware_utility=InverseCostWeightedUtility(AffineFidelityCostModel({30: 1.0}, fixed_cost=1e-3)),
        project=lambda inputs: project_to_target_fidelity(inputs, {30: 1.0}, 31),
    )
    bounds = torch.stack((torch.zeros(31), torch.ones(31))).double()
    optimize_acqf(gradient, bounds, q=1, num_restarts=2, raw_samples=8, options={"maxiter": 20})
    return time.process_time() - began


@pytest.mark.parametrize("method", [MFKD, Trade])
def test_an_ask_takes_a_fraction_of_the_knowledge_gradient(world, method, knowledge_gradient, figure):
    times = seconds_per_ask(started(method(), world), world)
    name = method.__name__
    figure(f"{name}, ms of an ask with 100 observations, mean", 1e3 * np.mean(times))
    figure(f"{name}, ms of an ask with 100 observations, longest (with a refit)", 1e3 * max(times))
    figure("BoTorch qMultiFidelityKnowledgeGradient, ms of a fit and a choice", 1e3 * knowledge_gradient)
    assert max(times) < knowledge_gradient / 5
    assert np.mean(times) < knowledge_gradient / 20


def test_retraining_the_ranker_takes_a_fraction_of_the_knowledge_gradient(world, knowledge_gradient, figure):
    cells = all_cells()[:OBSERVATIONS]
    curves = [[world.evaluate(cell, "nst@12").valid_accuracy] for cell in cells]
    ranker = PairwiseRanker()
    began = time.process_time()
    ranker.fit(cells, curves, np.random.default_rng(0))
    seconds = time.process_time() - began
    figure("RANK-NOSH, seconds of retraining the ranker on 100 cells", seconds)
    assert len(ranker.score(all_cells()[:SPACE_SIZE:100])) == 157
    assert seconds < knowledge_gradient


def test_the_memory_of_botorchs_search_stays_flat(world, figure):
    """Resident memory after 120 asks beside that after 40, with fits all along."""
    pytest.importorskip("botorch")
    page = resource.getpagesize()
    small = {"candidates": 3, "maximum_observations": 12}
    optimizer = started(MultiFidelityBoTorch(fidelities=("nst@12", "none@200"), **small), world)
    used = {}
    for ask in range(1, 121):
        query = optimizer.ask()
        optimizer.tell(query, world.evaluate(*query))
        used[ask] = int(Path("/proc/self/statm").read_text().split()[1]) * page
    figure("BoTorch's search, memory after 120 asks over that after 40", used[120] / used[40])
    assert used[120] < 1.25 * used[40]  # it doubled in 80 asks while every fit left its graph behind
