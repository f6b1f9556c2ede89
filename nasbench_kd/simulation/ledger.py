"""The ledger: what one evaluation costs, whether it fits into the budget, and what has been paid."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from nasbench_kd.simulation.budget import Budget


class Item(NamedTuple):
    """A prerequisite as something to be bought."""

    key: Hashable
    """What it is; of two things with one key the dearer contains the cheaper."""
    price: int
    """Whole microseconds, as if nothing of it had been paid."""
    needs: tuple[str, ...]
    """Names of the prerequisites that must have been bought before."""
    name: str


class Charge(NamedTuple):
    """A prerequisite on a bill."""

    item: Item
    amount: int
    """Microseconds that are still to be paid for it: a difference where a part has been paid."""


class Bill(NamedTuple):
    """What one evaluation costs a search now."""

    key: Hashable
    """Which training it is."""
    price: int
    """Of the training, as if nothing of it had been paid, in microseconds."""
    amount: int
    """What is still to be paid of it: 0 where it has been paid, a difference where a part has."""
    prerequisites: tuple[Charge, ...] = ()
    """What it needs and nobody has paid, in the order in which it is made."""

    @property
    def total(self) -> int:
        """Microseconds, prerequisites included."""
        return self.amount + sum(charge.amount for charge in self.prerequisites)


class Ledger:
    """What a search may pay and has paid. Simulated time is in whole microseconds.

    Args:
        budget: what it may pay.
        prerequisite: the item behind a name. It is asked only when something needs it, so that a task
            where a prerequisite has no price still answers what does not need it.
    """

    def __init__(self, budget: Budget, prerequisite: Callable[[str], Item]) -> None:
        self.budget = budget
        self.training = 0
        """Microseconds paid for trainings that were asked for."""
        self.prerequisites = 0
        """Microseconds paid for prerequisites."""
        self.evaluations = 0
        """Trainings and prerequisites that were paid for."""
        self._prerequisite = prerequisite
        self._paid: dict[Hashable, int] = {}
        self._settled: set[tuple[str, ...]] = set()
        """Prerequisites of which nothing is left to pay."""
        self._counts = budget.unit == "evaluations"

    @property
    def spent(self) -> int:
        """All that has been paid, in the unit of the budget."""
        return self.evaluations if self._counts else self.training + self.prerequisites

    def bill(self, key: Hashable, price: int, needs: tuple[str, ...] = ()) -> Bill:
        """What a training costs now, with what it needs; raises what the price of a prerequisite raises."""
        paid = self._paid.get(key, 0)
        amount = price - paid if price > paid else 0
        return Bill(key, price, amount, self._unpaid(needs) if needs else ())

    def pay(self, bill: Bill) -> bool:
        """Book a bill where it does not exceed the budget, and say whether it was booked.

        A line that costs nothing is not counted as an evaluation.
        """
        key, price, amount, unpaid = bill
        lines, before = 1 if amount else 0, 0
        if unpaid:
            lines += len(unpaid)
            before = sum(charge.amount for charge in unpaid)
        if self.spent + (lines if self._counts else amount + before) > self.budget.amount:
            return False
        self.evaluations += lines
        if amount:
            self.training += amount
            self._paid[key] = price
        if unpaid:
            self.prerequisites += before
            for (bought, whole, *_), _ in unpaid:
                self._paid[bought] = max(whole, self._paid.get(bought, 0))
        return True

    def _unpaid(self, names: tuple[str, ...]) -> tuple[Charge, ...]:
        """What is to be paid for prerequisites, and for those that they need themselves."""
        if names in self._settled:
            return ()
        needed: dict[Hashable, Charge] = {}
        self._add_needs(names, needed)
        unpaid = tuple(charge for charge in needed.values() if charge.amount)
        if not unpaid:
            self._settled.add(names)
        return unpaid

    def _add_needs(self, names: Sequence[str], needed: dict[Hashable, Charge]) -> None:
        for name in names:
            item = self._prerequisite(name)
            if item.key not in needed:
                self._add_needs(item.needs, needed)
                needed[item.key] = Charge(item, max(0, item.price - self._paid.get(item.key, 0)))
