"""Variants of the distillation-aware searchers keep the ask/tell protocol, and what judges by a loss gains by it.

`test_every_task` holds all that are registered to the whole kit, with their defaults.
"""

from __future__ import annotations

from functools import partial

import pytest

from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd_baselines.asha import ASHA
from nasbench_kd_baselines.bananas import Bananas
from nasbench_kd_baselines.bohb import BOHB
from nasbench_kd_baselines.hyperband import Hyperband
from nasbench_kd_baselines.mf_kd import MFKD
from nasbench_kd_baselines.models.pairwise_ranker import PairwiseRanker
from nasbench_kd_baselines.rank_nosh import RankNosh
from nasbench_kd_baselines.successive_halving import SuccessiveHalving
from nasbench_kd_baselines.trade import Trade

RUNGS = ("nst@1/12", "nst@4/12", "nst@12", "none@200")


class TestCostAwareMFKD(OptimizerContract):
    make = partial(
        MFKD, low_fidelity="nst@4/12", initial_low=8, restarts=1, allocation="cost-aware", refit_growth=2.0
    )
    fidelities = ("nst@4/12", "none@200")
    task = "cifar100"
    budget = "16 evaluations"


class TestHighOnlyMFKD(OptimizerContract):
    make = partial(MFKD, ratio=1, initial_low=0, restarts=1, refit_growth=2.0)
    task = "imagenet16-120"
    budget = "16 evaluations"


class TestTradeOfTwoFamilies(OptimizerContract):
    make = partial(Trade, families=("nst@12", "nst@12 channels=8"), initial=6, refit_growth=2.0)
    fidelities = ("nst@12", "nst@12 channels=8")
    task = "cifar100"
    budget = "14 evaluations"


class TestHyperband(OptimizerContract):
    make = partial(Hyperband, rungs=RUNGS)
    fidelities = RUNGS


class TestBananas(OptimizerContract):
    make = partial(Bananas, fidelity="nst@12", batch=5, epochs=5)
    fidelities = ("nst@12",)
    budget = "12 evaluations"


@pytest.mark.parametrize(
    ("make", "fidelities"),
    [
        (partial(MFKD, low_fidelity="nst@12", initial_low=8, restarts=1, refit_growth=1.5), RUNGS[2:]),
        (partial(Trade, fidelity="nst@12", initial=6), RUNGS[2:]),
        (partial(SuccessiveHalving, rungs=RUNGS, initial=8), RUNGS),
        (partial(Hyperband, rungs=RUNGS), RUNGS),
        (partial(ASHA, rungs=RUNGS), RUNGS),
        (partial(BOHB, rungs=RUNGS), RUNGS),
        (partial(RankNosh, rungs=RUNGS, initial=8, proposals=4, ranker=PairwiseRanker(epochs=10)), RUNGS),
    ],
    ids=lambda given: given.func.__name__ if isinstance(given, partial) else "",
)
def test_an_informative_loss_is_worth_more_than_noise(make, fidelities):
    reading = staticmethod(lambda signal: make(signal=signal))
    settings = {"make": make, "make_reading": reading, "fidelities": fidelities}
    type("Contract", (OptimizerContract,), settings)().test_an_informative_loss_is_worth_more_than_noise()
