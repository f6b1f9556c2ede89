"""What a search may pay."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nasbench_kd.errors import BudgetError, nearest

Unit = Literal["seconds", "evaluations"]
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_NAMES = [
    "evaluations",
    *(f"{name}s" for name in _SECONDS),
    *(f"gpu-{name}s" for name in _SECONDS),
]


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in simulated training time, or in evaluations that were paid for.

    Time is the sum over workers (GPU time), not the time on the clock.

    >>> Budget.parse("20 gpu-hours").amount
    72000000000
    """

    amount: int
    """Microseconds of training, or a number of evaluations."""
    unit: Unit
    text: str
    """As it was written; runs and reports name the budget so."""

    @staticmethod
    def parse(text: str | Budget) -> Budget:
        """Read `20 gpu-hours`, `3600 seconds` or `100 evaluations`; raises `BudgetError`."""
        if isinstance(text, Budget):
            return text
        match = re.fullmatch(r"\s*([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*([a-z-]+)\s*", str(text))
        if match is None:
            raise BudgetError(
                f"not a budget: {str(text)[:60]!r}; write '20 gpu-hours', '3600 seconds' or '100 evaluations'"
            )
        number, unit = float(match[1]), match[2]
        singular = unit.removeprefix("gpu-").removesuffix("s")
        clean = f"{match[1]} {unit}"
        if singular == "evaluation":
            if number < 1 or number != int(number):
                raise BudgetError(f"a budget in evaluations is a whole number of at least 1, not {match[1]}")
            return Budget(int(number), "evaluations", clean)
        if singular not in _SECONDS:
            raise BudgetError(
                f"unknown unit {unit!r} in the budget {clean!r}: expected {', '.join(_NAMES)}."
                f"{nearest(unit, _NAMES)}"
            )
        amount = round(number * _SECONDS[singular] * 1_000_000)
        if amount < 1:
            raise BudgetError(f"a budget must be positive, not {clean!r}")
        return Budget(amount, "seconds", clean)

    def __str__(self) -> str:
        return self.text
