"""Budgets as text and the ledger."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_kd.errors import BudgetError
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.ledger import Bill, Item, Ledger


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("20 gpu-hours", 72_000_000_000, "seconds"),
        ("1.5 hours", 5_400_000_000, "seconds"),
        ("2 gpu-days", 172_800_000_000, "seconds"),
        ("12000 seconds", 12_000_000_000, "seconds"),
        ("0.5 minutes", 30_000_000, "seconds"),
        ("100 evaluations", 100, "evaluations"),
        ("1 evaluation", 1, "evaluations"),
    ],
)
def test_budgets_are_read(text: str, amount: int, unit: str):
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit, str(budget)) == (amount, unit, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("20", "write '20 gpu-hours'"),
        ("20 gpu-hour-s", "unknown unit"),
        ("20 gpu-huors", "Did you mean 'gpu-hours'?"),
        ("-3 hours", "not a budget"),
        ("0 seconds", "positive"),
        ("1.5 evaluations", "whole number"),
        ("0 evaluations", "whole number"),
        ("nan hours", "not a budget"),
        (20, "not a budget"),
    ],
)
def test_other_text_is_refused_with_the_way_out(text: object, words: str):
    with pytest.raises(BudgetError, match=words.replace("?", r"\?")):
        Budget.parse(text)  # type: ignore[arg-type]


@given(st.text(max_size=40) | st.from_regex(r"[0-9.]{0,400} [a-z-]{1,12}"))
def test_only_typed_errors_come_from_parsing(text: str):
    with contextlib.suppress(BudgetError):
        assert Budget.parse(text).amount >= 1


PRICES = {"teacher": Item("teacher", 40, (), "teacher"), "map": Item("map", 7, ("teacher",), "map")}


def never(name: str) -> Item:
    raise AssertionError(f"nobody needs the price of {name}")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100), st.booleans())), st.integers(1, 1000))
def test_a_ledger_that_asks_first_never_exceeds_its_budget(asked: list[tuple[int, int, bool]], limit: int):
    for unit in ("seconds", "evaluations"):
        ledger = Ledger(Budget(limit, unit, "x"), PRICES.__getitem__)
        lines = 0
        for key, price, distilled in asked:
            bill = ledger.bill(key, price, ("map",) if distilled else ())
            if ledger.pay(bill):
                lines += (bill.amount > 0) + len(bill.prerequisites)
        assert ledger.spent <= limit
        assert ledger.spent == (lines if unit == "evaluations" else ledger.training + ledger.prerequisites)


def test_prerequisites_are_billed_once_in_their_order_and_resumed_trainings_by_the_difference():
    ledger = Ledger(Budget.parse("1 hour"), PRICES.__getitem__)
    first = ledger.bill("a", 10, ("map",))
    assert [(charge.item.name, charge.amount) for charge in first.prerequisites] == [
        ("teacher", 40),
        ("map", 7),
    ]
    assert first.total == 57
    assert ledger.pay(first)
    assert (ledger.training, ledger.prerequisites, ledger.evaluations) == (10, 47, 3)
    assert ledger.bill("a", 25, ("map",)) == Bill("a", 25, 15, ())
    assert ledger.bill("a", 5, ("map",)).total == 0


def test_a_prerequisite_that_the_search_trained_itself_is_not_billed_again():
    ledger = Ledger(Budget.parse("1 hour"), PRICES.__getitem__)
    ledger.pay(ledger.bill("teacher", 30))
    assert ledger.bill("a", 10, ("teacher",)).total == 20


def test_the_price_of_what_nothing_needs_is_never_asked_for():
    ledger = Ledger(Budget.parse("1 hour"), never)
    assert ledger.bill("a", 10).total == 10
    with pytest.raises(AssertionError, match="the price of teacher"):
        ledger.bill("b", 10, ("teacher",))


def test_a_bill_beyond_the_budget_books_nothing():
    ledger = Ledger(Budget(50, "seconds", "x"), PRICES.__getitem__)
    assert not ledger.pay(ledger.bill("a", 4, ("map",)))
    assert ledger.spent == 0
    assert ledger.bill("a", 4, ("map",)).total == 51
    assert ledger.pay(ledger.bill("a", 3, ("map",)))
    assert ledger.spent == 50
