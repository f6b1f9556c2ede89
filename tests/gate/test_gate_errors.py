"""The gate's error rates are measured on real runs, with a loss whose size is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import nasbench_kd as nk
from nasbench_kd.errors import DataError, GateError
from nasbench_kd.execution.gate_rules import GateRules
from nasbench_kd.execution.study import RUNS_FILE
from nasbench_kd.execution.suite import parse_suite
from nasbench_kd.gate import error_rates as gate_errors
from nasbench_kd.gate.error_rates import MARKS, PROBABILITIES, SHIFTS, markdown, measure, write_into
from nasbench_kd.testing.forgetful import Forgetful
from tests.gate.test_gate import run_in_process

EVOLUTION = "nasbench_kd_baselines.regularized_evolution:RegularizedEvolution"
SUITE = parse_suite(
    'name = "tiny"\ntasks = ["cifar10"]\nbudgets = ["10 evaluations", "40 evaluations"]\nseeds = 20\n'
    "[gate]\nrope = 0.3\nfirst_stage = 10\nlargest_loss = 0.3\n"
    f'[[optimizers]]\nname = "evolution"\noptimizer = "{EVOLUTION}"\n'
)


def course(optimizer: nk.Optimizer) -> tuple[nk.Step, ...]:
    return nk.search(
        optimizer, task=nk.load("cifar10", data="embedded"), budget="60 evaluations", seed=4
    ).steps


def test_without_forgetting_the_run_is_the_same_to_the_byte():
    plain = nk.search(
        EVOLUTION, task=nk.load("cifar10", data="embedded"), budget="60 evaluations", seed=4
    ).steps
    assert course(Forgetful(EVOLUTION, 0.0)) == plain


def test_forgetting_everything_is_random_search_that_still_answers_with_the_best():
    steps = course(Forgetful(EVOLUTION, 1.0))
    blind = nk.search(
        "nasbench_kd_baselines.random_search:RandomSearch",
        task=nk.load("cifar10", data="embedded"),
        budget="60 evaluations",
        seed=4,
    ).steps
    assert [step.cell for step in steps] == [step.cell for step in blind]
    assert steps[-1].answer == max(steps, key=lambda step: step.valid_accuracy).cell


def test_arguments_reach_the_other_optimizer_and_probabilities_are_checked():
    assert course(Forgetful(EVOLUTION, 0.0, {"population": 1})) != course(Forgetful(EVOLUTION, 0.0))
    with pytest.raises(ValueError, match="between 0 and 1, not at 1.5"):
        Forgetful(EVOLUTION, 1.5)


def test_rates_are_measured_and_written_into_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gate_errors, "run_suite", lambda suite, folder, **_: run_in_process(suite, folder))
    rates = measure(SUITE, "evolution", tmp_path, pool=60, gates=200)
    assert rates.test.stages == (10, 20)
    for measured in (*rates.shifted.values(), *rates.planted.values()):
        for each in measured.rates:
            assert sum(each.shares.values()) == pytest.approx(1)
            assert each.shares["worse"] <= measured.any_worse
            assert 10 <= each.pairs <= 20
    assert tuple(rates.shifted) == SHIFTS
    for factor, measured in rates.shifted.items():
        assert [each.loss for each in measured.rates] == pytest.approx([factor * 0.3] * 2)
    assert rates.shifted[0.0].any_worse <= rates.shifted[1.0].any_worse <= rates.shifted[3.0].any_worse
    assert rates.shifted[1.0].any_undecided > 0.9
    assert tuple(rates.planted) == PROBABILITIES
    for share, measured in rates.sparse.items():
        assert [each.loss for each in measured.rates] == pytest.approx([2 * 0.3] * 2)
        # Equal pairs alone at the first look, (1 - share)^10: the largest loss of this suite reckons with none other.
        assert measured.any_equivalent > (1 - share) ** 10 - 0.12
    blind = rates.planted[1.0].rates
    # The first ten cells are drawn blindly by both: no loss, and pairs that are all equal.
    assert (blind[0].loss, blind[0].shares["equivalent"], blind[0].pairs) == (0, 1, 10)
    assert blind[1].loss > 0.02

    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    write_into(page, rates)
    assert page.read_text() == f"before\n{MARKS[0]}\n{markdown(rates)}{MARKS[1]}\nafter\n"
    assert f"| {blind[1].loss:+.3f} | **{blind[1].shares['worse']:.1%}** |" in page.read_text()
    page.write_text("no marks")
    with pytest.raises(DataError, match="has no marks"):
        write_into(page, rates)


def test_sparse_losses_are_never_equivalent_where_they_are_reckoned_with(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(gate_errors, "run_suite", lambda suite, folder, **_: run_in_process(suite, folder))
    rules = GateRules(rope=0.3, first_stage=10)
    rates = measure(replace(SUITE, seeds=120, gate=rules), "evolution", tmp_path, pool=120, gates=300)
    for measured in rates.sparse.values():
        assert [each.loss for each in measured.rates] == pytest.approx([2 * 0.3] * 2)
        assert measured.any_equivalent < 0.05 + 0.04
    # The first ten cells are drawn blindly by both: pairs that are all equal, and enough of them.
    blind = rates.planted[1.0].rates[0]
    assert (blind.loss, blind.shares["equivalent"]) == (0, 1)
    assert "gates with anything equivalent" in markdown(rates)


def test_a_large_loss_is_caught_and_a_region_that_swallows_it_calls_it_equivalent(
    tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(gate_errors, "run_suite", lambda suite, folder, **_: run_in_process(suite, folder))
    wide = replace(SUITE, gate=GateRules(rope=5.0, first_stage=10))
    blind = measure(wide, "evolution", tmp_path, pool=40, gates=50).planted[1.0].rates[1]
    assert blind.shares["equivalent"] == 1
    narrow = replace(SUITE, gate=GateRules(rope=1e-6, first_stage=10))
    edge = measure(narrow, "evolution", tmp_path, pool=40, gates=50)
    assert edge.planted[1.0].rates[1].shares["worse"] > edge.shifted[0.0].rates[1].shares["worse"]


@pytest.mark.parametrize(("planted", "pool"), [("nobody", 60), ("evolution", 19)])
def test_what_cannot_be_measured_is_refused(planted: str, pool: int, tmp_path: Path):
    with pytest.raises(GateError, match="a pool of at least its 20 seeds"):
        measure(SUITE, planted, tmp_path, pool=pool)


def test_runs_without_a_loss_may_be_read_from_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made = []

    def run(suite, folder, **_):
        made.append(folder.name)
        run_in_process(suite, folder)

    monkeypatch.setattr(gate_errors, "run_suite", run)
    first = measure(SUITE, "evolution", tmp_path / "a", pool=20, gates=20)
    stored = tmp_path / "a" / "same" / RUNS_FILE
    assert measure(SUITE, "evolution", tmp_path / "b", pool=20, gates=20, reference=stored) == first
    assert made.count("same") == 1
    with pytest.raises(GateError, match="lacks repetition 20 of evolution"):
        measure(SUITE, "evolution", tmp_path / "b", pool=21, gates=20, reference=stored)
