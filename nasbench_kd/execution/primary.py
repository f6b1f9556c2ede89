"""The `[primary]` table of a suite: the one comparison that it is made for, named before it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nasbench_kd.errors import SuiteError, nearest
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.toml_values import abbreviated, read_table, text_line


@dataclass(frozen=True, slots=True)
class Primary:
    """A pair of a suite's entries on one task at one budget. All other comparisons are exploratory."""

    optimizer: str
    against: str
    task: str
    budget: str
    """As the suite writes it."""


def read_primary(value: Any) -> Primary:
    """Read the table; raises `SuiteError`."""
    if not isinstance(value, dict):
        raise SuiteError(f"expected a table with the keys {', '.join(_KEYS)}, not {abbreviated(value)}")
    return read_table(Primary, value, _KEYS, "the primary comparison")


def check_primary(
    primary: Primary,
    optimizers: Collection[str],
    tasks: Collection[str],
    budgets: Sequence[Budget],
    origin: str,
) -> None:
    """Raise `SuiteError` where the comparison does not fit the suite that it stands in."""
    listed = (
        ("optimizer", primary.optimizer, list(optimizers)),
        ("optimizer", primary.against, list(optimizers)),
        ("task", primary.task, list(tasks)),
        ("budget", primary.budget, [str(budget) for budget in budgets]),
    )
    for kind, name, known in listed:
        if name not in known:
            raise SuiteError(
                f"{origin}, primary: the suite has no {kind} {name!r}; it has {', '.join(known)}.{nearest(name, known)}"
            )
    if primary.optimizer == primary.against:
        raise SuiteError(f"{origin}, primary: {primary.optimizer!r} is compared with itself")


_KEYS: Mapping[str, Callable[[Any], Any]] = {
    "optimizer": text_line,
    "against": text_line,
    "task": text_line,
    "budget": text_line,
}
