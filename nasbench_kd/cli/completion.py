"""What a shell completes: the names of suites, tasks, optimizers, fidelities and signals."""

from __future__ import annotations

from collections.abc import Iterable

from nasbench_kd.errors import NasbenchKDError


def suites(incomplete: str) -> list[str]:
    """Names of the shipped suites; files are the shell's own to complete."""
    from nasbench_kd.execution.suite import shipped_suites

    return _starting(shipped_suites(), incomplete)


def tasks(incomplete: str) -> list[str]:
    """Names of the tasks."""
    from nasbench_kd.tasks.registry import task_names

    return _starting(task_names(), incomplete)


def optimizers(incomplete: str) -> list[str]:
    """Names of the registered optimizers."""
    from nasbench_kd.simulation.registry import registered

    return _starting(registered(), incomplete)


def fidelities(incomplete: str) -> list[str]:
    """Fidelities that some task has entries of, cheapest first."""
    from nasbench_kd.opening import load
    from nasbench_kd.tasks.registry import task_names

    found: dict[str, None] = {}
    for task in task_names():
        try:
            found |= dict.fromkeys(map(str, load(task).fidelities))
        except NasbenchKDError:  # a damaged table: the command itself says so
            continue
    return _starting(found, incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
