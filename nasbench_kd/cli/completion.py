"""What a shell completes: the names of suites, tasks, optimizers, fidelities and budgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

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


def chosen_optimizers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the optimizers of the suite, or of the stored runs, that the command line names."""
    return _starting((entry["name"] for entry in _chosen(ctx).get("optimizers", ())), incomplete)


def chosen_tasks(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of its tasks."""
    return _starting(_chosen(ctx).get("tasks", ()), incomplete)


def chosen_budgets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Its budgets."""
    return _starting(_chosen(ctx).get("budgets", ()), incomplete)


def fidelities(incomplete: str) -> list[str]:
    """Fidelities that some task has entries of, by their short names, cheapest first."""
    from nasbench_kd.opening import load
    from nasbench_kd.tasks.registry import task_names

    found: dict[str, None] = {}
    for task in task_names():
        try:
            found |= dict.fromkeys(fidelity.alias for fidelity in load(task).fidelities)
        except NasbenchKDError:  # a damaged table: the command itself says so
            continue
    return _starting(found, incomplete)


def _chosen(ctx: typer.Context) -> Mapping[str, Any]:
    """The suite that is named so far, or that of the runs; empty where there is none to be read."""
    from nasbench_kd.execution.runs import RunsFile
    from nasbench_kd.execution.study import RUNS_FILE
    from nasbench_kd.execution.suite import parse_suite, suite_path

    # An option that still lacks its value keeps Click from giving the arguments their names.
    named = [ctx.params.get("suite"), *(ctx.params.get("runs") or ()), *ctx.args]
    first = next(filter(None, named), None)
    if first is None:
        return {}
    try:
        if "suite" in ctx.params:
            return parse_suite(suite_path(first).read_text(encoding="utf-8")).describe()
        place = Path(first)
        return dict(RunsFile(place / RUNS_FILE if place.is_dir() else place).metadata["suite"])
    except (NasbenchKDError, OSError, UnicodeDecodeError):  # the command itself says so
        pass
    return {}


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
