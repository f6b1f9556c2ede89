"""Classes of optimizers that reports may look at: those that ship. A report runs nobody else's code."""

from __future__ import annotations

from nasbench_kd.errors import NasbenchKDError
from nasbench_kd.simulation.optimizer import Optimizer
from nasbench_kd.simulation.registry import optimizer_class, registered

_SHIPPED = "nasbench_kd_baselines."


def shipped_class(name: str) -> type[Optimizer] | None:
    """The class of a registered name or of `package.module:Class`, where it is one of those that ship."""
    point = registered().get(name)
    target = name if point is None else point.value
    if not target.startswith(_SHIPPED):
        return None
    try:
        return optimizer_class(target)
    except NasbenchKDError:  # of another version, or without its optional package
        return None
