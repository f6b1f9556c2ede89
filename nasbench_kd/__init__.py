"""A benchmark for distillation-aware, multi-fidelity neural architecture search."""

from nasbench_kd.benchmark.benchmark import Benchmark, Evaluation
from nasbench_kd.opening import load
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import WAIT, Incumbent, Optimizer, Query, SearchView
from nasbench_kd.simulation.run import Run, Step
from nasbench_kd.simulation.search import search
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity

__all__ = [
    "WAIT",
    "Benchmark",
    "Budget",
    "Cell",
    "Evaluation",
    "Fidelity",
    "Incumbent",
    "Optimizer",
    "Query",
    "Run",
    "SearchView",
    "Step",
    "load",
    "search",
]
