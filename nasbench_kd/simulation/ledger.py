"""The ledger: what one evaluation costs, whether it fits into the budget, and what has been paid."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from nasbench_kd.simulation.budget import Budget


class Item(NamedTuple):
    """What can be bought once: a training up to an epoch, or a prerequisite of trainings."""

    key: Hashable
    """What it is; of two items with one key the dearer contains the cheaper."""
    price: int
    """Whole microseconds, as if nothing of it had been paid."""
    needs: tuple[str, ...] = ()
    """Names of the prerequisites that must have been bought."""
    prerequisite: str = ""
    """Its name, where it is a prerequisite."""


class Charge(NamedTuple):
    """A line of a bill."""

    item: Item
    amount: int
    """Microseconds that are still to be paid for it: 0 where it has been paid, a difference where a part has."""


class Bill(NamedTuple):
    """What one evaluation costs a search now."""

    prerequisites: tuple[Charge, ...]
    """What it needs and nobody has paid, in the order in which it is made."""
    training: Charge
    total: int
    """Microseconds."""
    paid: int
    """Lines that cost something; a budget in evaluations counts these."""

    @property
    def lines(self) -> tuple[Charge, ...]:
        """All that is charged, in the order in which it is made, the training last."""
        return (*self.prerequisites, self.training)


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

    @property
    def spent(self) -> int:
        """All that has been paid, in the unit of the budget."""
        if self.budget.unit == "evaluations":
            return self.evaluations
        return self.training + self.prerequisites

    def bill(self, item: Item) -> Bill:
        """What a training costs now, with what it needs; raises what the price of a prerequisite raises."""
        amount = max(0, item.price - self._paid.get(item.key, 0))
        training = Charge(item, amount)
        if not item.needs:
            return Bill((), training, amount, int(amount > 0))
        needed: dict[Hashable, Charge] = {}
        self._add_needs(item.needs, needed)
        unpaid = tuple(charge for charge in needed.values() if charge.amount)
        amounts = [amount, *(charge.amount for charge in unpaid)]
        return Bill(unpaid, training, sum(amounts), sum(each > 0 for each in amounts))

    def fits(self, bill: Bill) -> bool:
        """Whether a bill can be paid without exceeding the budget."""
        more = bill.paid if self.budget.unit == "evaluations" else bill.total
        return self.spent + more <= self.budget.amount

    def pay(self, bill: Bill) -> None:
        """Book a bill; a line that costs nothing is not counted as an evaluation."""
        amount = bill.training.amount
        self.training += amount
        self.prerequisites += bill.total - amount
        self.evaluations += bill.paid
        for item, _ in bill.lines:
            self._paid[item.key] = max(item.price, self._paid.get(item.key, 0))

    def _charge(self, item: Item) -> Charge:
        return Charge(item, max(0, item.price - self._paid.get(item.key, 0)))

    def _add_needs(self, names: Sequence[str], needed: dict[Hashable, Charge]) -> None:
        for name in names:
            item = self._prerequisite(name)
            if item.key not in needed:
                self._add_needs(item.needs, needed)
                needed[item.key] = self._charge(item)
