"""The distillation-aware searchers and the multi-fidelity standards keep the ask/tell protocol."""

from __future__ import annotations

from functools import partial

from baselines.asha import ASHA
from baselines.bananas import Bananas
from baselines.bohb import BOHB
from baselines.hyperband import Hyperband
from baselines.mf_kd import MFKD
from baselines.npenas import Npenas
from baselines.pairwise_ranker import PairwiseRanker
from baselines.rank_nosh import RankNosh
from baselines.successive_halving import SuccessiveHalving
from baselines.trade import Trade
from nasbench_kd.testing.contract import OptimizerContract

RUNGS = ("nst@1/12", "nst@4/12", "nst@12", "none@200")


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


class TestSuccessiveHalving(OptimizerContract):
    make = partial(SuccessiveHalving, RUNGS, initial=8)
    fidelities = RUNGS


class TestHyperband(OptimizerContract):
    make = partial(Hyperband, ("none@12", "none@200"))
    fidelities = ("none@12", "none@200")
    task = "imagenet16-120"


class TestBOHB(OptimizerContract):
    make = partial(BOHB, RUNGS)
    fidelities = RUNGS
    budget = "60 evaluations"


class TestASHA(OptimizerContract):
    make = partial(ASHA, RUNGS)
    fidelities = RUNGS
    task = "cifar100"
    budget = "60 evaluations"


class TestRankNosh(OptimizerContract):
    make = partial(RankNosh, RUNGS, initial=8, proposals=4, ranker=PairwiseRanker(epochs=10))
    fidelities = RUNGS


class TestBananas(OptimizerContract):
    make = partial(Bananas, "nst@12", batch=5, epochs=5)
    fidelities = ("nst@12",)


class TestNpenas(OptimizerContract):
    make = partial(Npenas, batch=5, epochs=5)
    task = "cifar100"
