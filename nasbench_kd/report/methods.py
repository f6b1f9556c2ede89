"""What stands behind the names of a leaderboard: the method, the arguments that are not its defaults, its basis."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from nasbench_kd.report.provenance import StoredOptimizer
from nasbench_kd.report.shipped import shipped_class
from nasbench_kd.report.tables import pipe_table
from nasbench_kd.simulation.optimizer import Optimizer

HEADERS = ("optimizer", "method", "arguments that are not its defaults", "basis")


def rows(optimizers: Sequence[StoredOptimizer]) -> list[tuple[str, str, str, str]]:
    """A row for each entry of a suite.

    Only classes that ship are looked up: a report runs nobody else's code, and shows all arguments of theirs.
    """
    found = []
    for entry in optimizers:
        kind = shipped_class(entry.optimizer)
        given = dict(entry.arguments)
        if kind is not None:
            given = _not_defaults(kind, given)
        written = ", ".join(f"{name} = {value!r}" for name, value in given.items())
        found.append((entry.name, entry.optimizer, written, kind.basis if kind is not None else ""))
    return found


def markdown(optimizers: Sequence[StoredOptimizer]) -> str:
    """The rows as a Markdown table."""
    return pipe_table(rows(optimizers), HEADERS)


def _not_defaults(kind: type[Optimizer], given: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {name: each.default for name, each in inspect.signature(kind).parameters.items()}
    return {name: value for name, value in given.items() if name not in defaults or value != defaults[name]}
