"""The distillation-aware searchers and the multi-fidelity standards keep the ask/tell protocol.

`test_every_task` holds all that are registered to it, BoTorch's search only there.
"""

from __future__ import annotations

from functools import partial

from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd_baselines.asha import ASHA
from nasbench_kd_baselines.bananas import Bananas
from nasbench_kd_baselines.bohb import BOHB
from nasbench_kd_baselines.hyperband import Hyperband
from nasbench_kd_baselines.mf_kd import MFKD
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker
from nasbench_kd_baselines.npenas import Npenas
from nasbench_kd_baselines.rank_nosh import RankNosh
from nasbench_kd_baselines.successive_halving import SuccessiveHalving
from nasbench_kd_baselines.trade import Trade

RUNGS = ("nst@1/12", "nst@4/12", "nst@12", "none@200")


class TestMFKD(OptimizerContract):
    make = partial(MFKD, low_fidelity="nst@12", initial_low=8, restarts=1, refit_growth=1.5)
    make_reading = staticmethod(lambda signal: TestMFKD.make(signal=signal))
    fidelities = ("nst@12", "none@200")


class TestCostAwareMFKD(OptimizerContract):
    make = partial(
        MFKD, low_fidelity="nst@4/12", initial_low=8, restarts=1, allocation="cost-aware", refit_growth=1.5
    )
    fidelities = ("nst@4/12", "none@200")
    task = "cifar100"


class TestHighOnlyMFKD(OptimizerContract):
    make = partial(MFKD, ratio=1, initial_low=0, restarts=1, refit_growth=1.5)
    task = "imagenet16-120"


class TestTrade(OptimizerContract):
    make = partial(Trade, fidelity="nst@12", initial=6)
    make_reading = staticmethod(lambda signal: TestTrade.make(signal=signal))
    fidelities = ("nst@12",)


class TestTradeOfTwoFamilies(OptimizerContract):
    make = partial(Trade, families=("nst@12", "nst@12 channels=8"), initial=6, refit_growth=2.0)
    fidelities = ("nst@12", "nst@12 channels=8")
    task = "cifar100"
    budget = "14 evaluations"


class TestSuccessiveHalving(OptimizerContract):
    make = partial(SuccessiveHalving, rungs=RUNGS, initial=8)
    make_reading = staticmethod(lambda signal: TestSuccessiveHalving.make(signal=signal))
    fidelities = RUNGS


class TestHyperband(OptimizerContract):
    make = partial(Hyperband, rungs=RUNGS)
    make_reading = staticmethod(lambda signal: TestHyperband.make(signal=signal))
    fidelities = RUNGS


class TestASHA(OptimizerContract):
    make = partial(ASHA, rungs=RUNGS)
    make_reading = staticmethod(lambda signal: TestASHA.make(signal=signal))
    fidelities = RUNGS


class TestBOHB(OptimizerContract):
    make = partial(BOHB, rungs=RUNGS)
    make_reading = staticmethod(lambda signal: TestBOHB.make(signal=signal))
    fidelities = RUNGS


class TestRankNosh(OptimizerContract):
    make = partial(RankNosh, rungs=RUNGS, initial=8, proposals=4, ranker=PairwiseRanker(epochs=10))
    make_reading = staticmethod(lambda signal: TestRankNosh.make(signal=signal))
    fidelities = RUNGS


class TestBananas(OptimizerContract):
    make = partial(Bananas, fidelity="nst@12", batch=5, epochs=5)
    fidelities = ("nst@12",)


class TestNpenas(OptimizerContract):
    make = partial(Npenas, batch=5, epochs=5)
    task = "cifar100"
