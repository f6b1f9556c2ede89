"""Budgets as text and the ledger."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_kd.errors import BudgetError
from nasbench_kd.simulation.budget import Budget, Ledger


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


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100))), st.integers(1, 1000))
def test_a_ledger_that_asks_first_never_exceeds_its_budget(prices: list[tuple[int, int]], limit: int):
    for unit in ("seconds", "evaluations"):
        budget, ledger = Budget(limit, unit, "x"), Ledger()
        for training, teacher in prices:
            if ledger.fits(budget, training, teacher):
                ledger.pay(training, teacher)
        spent = ledger.evaluations if unit == "evaluations" else ledger.training + ledger.teacher
        assert spent <= limit
