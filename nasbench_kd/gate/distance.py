"""How far from random search a reference stands: what the gate can guard of it, and with which region."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nasbench_kd.benchmark.scoring import Scorer, open_scorer
from nasbench_kd.execution.suite import Suite
from nasbench_kd.gate.regrets import Regrets
from nasbench_kd.opening import load
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.tables.catalog import Data


class Distance(NamedTuple):
    """Of one optimizer on one task at one budget; regrets are means, in points of accuracy."""

    optimizer: str
    task: str
    budget: str
    regret: float
    random_search: float
    """Expected regret of random search at the target with the same budget, in closed form from the table."""

    @property
    def distance(self) -> float:
        """What would be lost if random search took its place; negative where that would be a gain."""
        return self.random_search - self.regret


def random_regret(scorer: Scorer, budget: Budget, data: Data) -> float:
    """Expected regret of random search; less than one evaluation is an uninformed pick."""
    count = float(budget.amount)
    if budget.unit == "seconds":
        count /= 1e6 * load(scorer.task, data=data).mean_seconds()
    if count < 1:
        return scorer.best - scorer.uninformed
    curve = scorer.random_search()
    return scorer.best - curve.expected(min(count, curve.cells))


def distances(regrets: Regrets, suite: Suite, scorer: Callable[[str], Scorer]) -> list[Distance]:
    """All comparisons of a suite, in its order, by the runs of a reference."""
    random = cache(lambda task, number: random_regret(scorer(task), suite.budgets[number], suite.data))
    return [
        Distance(
            entry.name,
            task,
            str(budget),
            float(regrets.of(entry.name, task, number, suite.seeds).mean()),
            random(task, number),
        )
        for entry in suite.optimizers
        for task in suite.tasks
        for number, budget in enumerate(suite.budgets)
    ]


def advice(path: Path, suite: Suite) -> list[str]:
    """What the regions of a suite leave unguarded in its reference, and regions that would guard it, as lines.

    Empty where every method stands further from random search than its region reaches, and where the
    suite has no rules.
    """
    if suite.gate is None:
        return []
    scorer = cache(lambda task: open_scorer(task, suite.data))
    found = distances(Regrets(path, scorer), suite, scorer)
    lines = []
    for entry in suite.optimizers:
        for task in suite.tasks:
            rope = suite.gate.rope_of(entry.name, task)
            near = [
                each
                for each in found
                if (each.optimizer, each.task) == (entry.name, task) and each.distance <= rope
            ]
            lines += [
                f"{each.optimizer} on {each.task} at {each.budget} is {each.distance:+.3f} points from random search, "
                f"and {rope:g} counts as equivalent: replacing it by random search would pass"
                for each in near
            ]
            region = suggested(min((each.distance for each in near), default=math.inf))
            if region is not None:
                lines += [
                    f'  a region that guards it: [[gate.overrides]] optimizer = "{entry.name}", task = "{task}", '
                    f"rope = {region:g}"
                ]
    return lines


def suggested(distance: float) -> float | None:
    """Half a distance, rounded down to one digit; None where it is not finite or below a hundredth of a point."""
    if not 0.02 <= distance < math.inf:
        return None
    step = 10.0 ** math.floor(math.log10(distance / 2))
    return round(math.floor(distance / 2 / step + 1e-9) * step, 6)
