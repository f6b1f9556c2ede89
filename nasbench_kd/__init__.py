"""A benchmark for distillation-aware, multi-fidelity neural architecture search."""

from nasbench_kd.benchmark import Benchmark, Evaluation, load
from nasbench_kd.budget import Budget
from nasbench_kd.fidelity import Fidelity
from nasbench_kd.optimizer import WAIT, Incumbent, Optimizer, Query, SearchView
from nasbench_kd.search import Run, Step, search
from nasbench_kd.space import Cell

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
