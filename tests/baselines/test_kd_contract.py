"""The distillation-aware searchers and the multi-fidelity standards keep the ask/tell protocol."""

from __future__ import annotations

from functools import partial

from baselines.mf_kd import MFKD
from baselines.trade import Trade
from nasbench_kd.testing.contract import OptimizerContract


class TestMFKD(OptimizerContract):
    make = partial(MFKD, "nst@12", initial_low=8, restarts=1, refit_growth=1.5)
    fidelities = ("nst@12", "none@200")


class TestCostAwareMFKD(OptimizerContract):
    make = partial(MFKD, "nst@4/12", initial_low=8, restarts=1, allocation="cost-aware", refit_growth=1.5)
    fidelities = ("nst@4/12", "none@200")
    task = "cifar100"


class TestHighOnlyMFKD(OptimizerContract):
    make = partial(MFKD, ratio=1, initial_low=0, restarts=1, refit_growth=1.5)
    task = "imagenet16-120"


class TestTrade(OptimizerContract):
    make = partial(Trade, "nst@12", initial=6)
    fidelities = ("nst@12",)
