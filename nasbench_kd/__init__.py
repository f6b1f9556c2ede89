"""A benchmark for distillation-aware, multi-fidelity neural architecture search."""

from nasbench_kd.fidelity import Fidelity
from nasbench_kd.space import Cell

__all__ = ["Cell", "Fidelity"]
