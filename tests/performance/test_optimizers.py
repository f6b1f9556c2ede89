"""What the optimizers cost: the Gaussian process on the whole space, beside BoTorch's on a part of it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from nasbench_kd import load, search
from nasbench_kd.spaces.nasbench201 import code_matrix, one_hot_matrix
from nasbench_kd_baselines.bayesian_optimization import BayesianOptimization
from nasbench_kd_baselines.models.gaussian_process import GaussianProcess

EVALUATIONS = 100
PART_OF_THE_SPACE = 2048


def test_bayesian_optimization_seconds_per_ask(benchmark: Any, figure: Any) -> None:
    """A run of 100 evaluations, refits and answers included; every cell's class scored at each ask."""
    task = load("cifar100", data="embedded")
    search("nasbench_kd_baselines.random_search:RandomSearch", task=task, budget="1 evaluations")

    def whole_run() -> float:
        run = search(BayesianOptimization(), task=task, budget=f"{EVALUATIONS} evaluations", seed=0)
        assert len(run.steps) == EVALUATIONS
        return run.optimizer_seconds

    seconds = benchmark.pedantic(whole_run, rounds=3, warmup_rounds=1)
    benchmark.extra_info["milliseconds_per_ask"] = 1e3 * seconds / EVALUATIONS
    figure(
        "Gaussian-process optimizer, ms an ask over 100 evaluations, refits included",
        1e3 * seconds / EVALUATIONS,
    )


def test_whole_space_against_botorch_on_a_part(benchmark: Any, figure: Any) -> None:
    """Marginals of all 15,625 cells after one more observation, against BoTorch's posterior of 2,048.

    Both start from fitted parameters and 60 observations; both see the new one for the first time.
    """
    models = pytest.importorskip("botorch.models", reason="the comparison needs botorch")
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    observed = rng.choice(15625, size=61, replace=False).tolist()
    targets = rng.normal(size=61)
    ours = GaussianProcess(code_matrix())
    ours.condition(observed[:60])
    inputs = torch.tensor(one_hot_matrix())

    def botorch_step() -> None:
        theirs = models.SingleTaskGP(inputs[observed], torch.tensor(targets)[:, None])
        with torch.no_grad():
            posterior = theirs.posterior(inputs[:PART_OF_THE_SPACE])
            assert posterior.mean.shape[0] == posterior.variance.shape[0] == PART_OF_THE_SPACE

    def our_step() -> None:
        ours.add(observed[60])
        assert ours.mean(targets).shape == ours.variance().shape == (15625,)

    botorch_step()
    theirs_best = min(_seconds(botorch_step) for _ in range(5))
    benchmark.pedantic(our_step, setup=lambda: ours.condition(observed[:60]), rounds=20, warmup_rounds=1)
    ours_best = benchmark.stats.stats.min if benchmark.stats else _seconds(our_step)
    benchmark.extra_info["botorch_milliseconds"] = 1e3 * theirs_best
    benchmark.extra_info["times_faster"] = theirs_best / ours_best
    figure(
        "Gaussian process, marginals of all cells, times BoTorch's of 2,048 cells", theirs_best / ours_best
    )
    assert ours_best < theirs_best


def _seconds(step: Any) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started
