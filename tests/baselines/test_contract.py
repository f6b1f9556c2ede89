"""Baselines of the first set pass the conformance kit; `test_every_task` holds the quick ones to it on every task."""

from functools import partial

from nasbench_kd.testing.contract import OptimizerContract
from nasbench_kd_baselines.bayesian_optimization import BayesianOptimization
from nasbench_kd_baselines.optuna_search import OptunaSearch
from nasbench_kd_baselines.regularized_evolution import RegularizedEvolution


class TestBayesianOptimization(OptimizerContract):
    make = BayesianOptimization


class TestTPE(OptimizerContract):
    make = OptunaSearch


class TestGeneticAlgorithmOfOptuna(OptimizerContract):
    make = partial(OptunaSearch, sampler="NSGAIISampler", arguments={"population_size": 8})


class TestAtAnotherFidelity(OptimizerContract):
    make = partial(RegularizedEvolution, fidelity="nst@4/12")
    fidelities = ("nst@4/12",)
