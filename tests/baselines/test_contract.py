"""Every baseline of the first set passes the conformance kit."""

from functools import partial

from baselines.bayesian_optimization import BayesianOptimization
from baselines.local_search import LocalSearch
from baselines.optuna_search import OptunaSearch
from baselines.random_search import RandomSearch
from baselines.regularized_evolution import RegularizedEvolution
from baselines.reinforce import Reinforce
from nasbench_kd.testing.contract import OptimizerContract


class TestRandomSearch(OptimizerContract):
    make = RandomSearch


class TestRegularizedEvolution(OptimizerContract):
    make = RegularizedEvolution


class TestLocalSearch(OptimizerContract):
    make = LocalSearch


class TestReinforce(OptimizerContract):
    make = Reinforce


class TestBayesianOptimization(OptimizerContract):
    make = BayesianOptimization


class TestTPE(OptimizerContract):
    make = OptunaSearch


class TestGeneticAlgorithmOfOptuna(OptimizerContract):
    make = partial(OptunaSearch, sampler="NSGAIISampler", arguments={"population_size": 8})


class TestAtAnotherFidelity(OptimizerContract):
    make = partial(RegularizedEvolution, fidelity="nst@4/12")
    fidelities = ("nst@4/12",)
