"""A benchmark for distillation-aware, multi-fidelity neural architecture search."""

from typing import TYPE_CHECKING, Any

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.opening import load
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.optimizer import WAIT, Incumbent, Optimizer, Query, SearchView
from nasbench_kd.simulation.run import Run, Step
from nasbench_kd.simulation.search import search
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.spaces.space import Architecture, SearchSpace
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.prerequisites import Prerequisite
from nasbench_kd.tasks.task import Task

if TYPE_CHECKING:
    from nasbench_kd.execution.frames import open_runs

__all__ = [
    "WAIT",
    "Architecture",
    "Benchmark",
    "Budget",
    "Cell",
    "Evaluation",
    "Fidelity",
    "Incumbent",
    "Optimizer",
    "Prerequisite",
    "Query",
    "Run",
    "SearchSpace",
    "SearchView",
    "Step",
    "Task",
    "load",
    "open_runs",
    "search",
]


def __getattr__(name: str) -> Any:
    """What takes long to import, when it is asked for."""
    if name == "open_runs":
        from nasbench_kd.execution.frames import open_runs

        return open_runs
    if name == "__version__":
        from importlib.metadata import version

        return version("nasbench-kd")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
