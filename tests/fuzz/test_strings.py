"""No text makes a parser of strings fail in any other way than with an error of the project."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nasbench_kd import Budget, Cell, Fidelity
from nasbench_kd.execution.gate_rules import GateRules
from nasbench_kd.execution.suite import Suite, parse_suite
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from tests.fuzz.inputs import edited_text, fuzzed, only_typed

SUITES = sorted((Path(__file__).parents[2] / "suites").glob("*.toml"))
CELLS = st.integers(0, SPACE_SIZE - 1).map(Cell.from_index).map(str)
FIDELITIES = st.sampled_from(
    [
        "none@200",
        "none@12/200",
        "kd@12 images=5000 size=16",
        "nst@4 images=5000 size=16 channels=8 cells=1 batch=32",
        "none@1 images=5",
    ]
)
BUDGETS = st.sampled_from(["20 gpu-hours", "3600 seconds", "100 evaluations", "0.5 gpu-days", "1 minute"])
VALUES = st.sampled_from(
    [
        "0",
        "-1",
        "1e400",
        "nan",
        "inf",
        "true",
        '""',
        "[]",
        "{}",
        "9" * 400,
        '"cifar10"',
        "[[1]]",
        "1979-05-27",
    ]
)


@fuzzed
@given(text=st.text() | edited_text(CELLS))
def test_cell_strings(text: str):
    cell = only_typed(Cell.parse, text)
    if cell is not None:
        assert Cell.parse(str(cell)) is cell
        assert [code for code in "|~+" if code not in text] == []


@fuzzed
@given(text=st.text() | edited_text(FIDELITIES))
def test_fidelity_strings(text: str):
    fidelity = only_typed(Fidelity.parse, text)
    if fidelity is not None:
        assert Fidelity.parse(str(fidelity)) == fidelity
        assert fidelity.epochs >= 1


@fuzzed
@given(text=st.text() | edited_text(BUDGETS))
def test_budget_strings(text: str):
    budget = only_typed(Budget.parse, text)
    if budget is not None:
        assert budget.amount >= 1
        assert Budget.parse(str(budget)) == budget


@fuzzed
@given(text=st.text() | edited_text(st.sampled_from([path.read_text() for path in SUITES])))
def test_suites_as_text(text: str):
    check_suite(only_typed(parse_suite, text))


@fuzzed
@given(data=st.data())
def test_suites_with_a_value_replaced(data: st.DataObject):
    """Edits of single characters rarely stay valid TOML; these do, and say something else."""
    lines = data.draw(st.sampled_from(SUITES)).read_text().splitlines()
    settable = [place for place, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    for place in data.draw(st.lists(st.sampled_from(settable), min_size=1, max_size=3)):
        key = lines[place].partition("=")[0]
        lines[place] = f"{data.draw(st.sampled_from([key, 'rope', 'name', 'x']))} = {data.draw(VALUES)}"
    check_suite(only_typed(parse_suite, "\n".join(lines)))


def check_suite(suite: Suite | None) -> None:
    """What is read can be run: positive numbers, sorted budgets, rules that fit."""
    if suite is None:
        return
    assert suite.runs >= 1
    assert list(suite.budgets) == sorted(suite.budgets, key=lambda budget: budget.amount)
    assert suite.cap_seconds > 0
    if suite.gate is not None:
        assert isinstance(suite.gate, GateRules)
        assert suite.gate.rope > 0
        assert 0 < suite.gate.error <= 0.5
        stages = suite.gate.stages(suite.seeds)
        assert stages[-1] == suite.seeds
        assert list(stages) == sorted(set(stages))
