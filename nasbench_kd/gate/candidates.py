"""Opens the suite of a gate, its optimizers imported and constructed in a capped process of their own first.

A module that ends its process while it is imported (`sys.exit(0)`, `os._exit(0)`) would otherwise end
the gate itself, without a verdict and with the status of one that passed.
"""

from __future__ import annotations

from pathlib import Path

from nasbench_kd.confinement import Limits, run_confined
from nasbench_kd.errors import DataError, GateError
from nasbench_kd.execution.suite import Suite, load_suite
from nasbench_kd.simulation.registry import make_optimizer

_LIMITS = Limits(memory_bytes=16 << 30, seconds=300)


def open_candidates(file: Path) -> Suite:
    """Read a suite's file; raises `GateError` where importing or making one of its optimizers ends the process.

    Raises what `load_suite` and the registry raise.
    """
    try:
        run_confined(construct_all, str(file), place=f"the suite {file}", limits=_LIMITS)
    except DataError as error:
        raise GateError(f"no verdict: an optimizer could not be imported and made: {error}") from error
    return load_suite(file)


def construct_all(file: str) -> int:
    """Import and construct every optimizer of a suite's file; return how many there are."""
    suite = load_suite(file)
    for entry in suite.optimizers:
        make_optimizer(entry.optimizer, entry.arguments)
    return len(suite.optimizers)
