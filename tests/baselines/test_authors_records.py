"""MF-KD on its authors' own trainings, by their training loss and by their accuracy: the suite that ships."""

from __future__ import annotations

import pytest

import nasbench_kd as nk
from nasbench_kd.execution.suite import load_suite
from nasbench_kd.simulation.registry import make_optimizer
from nasbench_kd.tables.catalog import tables
from tests.conftest import ROOT

SUITE = load_suite(ROOT / "suites" / "mf-kd-records.toml")


@pytest.mark.parametrize("entry", SUITE.optimizers, ids=lambda entry: entry.name)
def test_every_answer_is_measured_and_read_by_its_signal(entry):
    assert SUITE.data == "measured"
    bench = nk.load("cifar100", data=SUITE.data)
    arguments = dict(entry.arguments) | {"restarts": 1, "refit_growth": 2.0}
    run = nk.search(make_optimizer(entry.optimizer, arguments), task=bench, budget="2 gpu-hours", seed=0)
    low = [step for step in run.steps if step.fidelity == "nst@3/12"]
    assert len(low) >= 40
    assert {step.signal for step in low} == {arguments.get("signal", "valid_accuracy")}
    assert {step.source for step in run.steps} == {"measured"}
    teacher = bench.task.teacher.index
    assert {step.cell for step in run.steps} - {teacher} <= set(range(200))


def test_measured_data_has_no_table_of_a_surrogate():
    names = {table.name for table in tables("embedded")} - {table.name for table in tables("measured")}
    assert names == {"kd_surrogate", "mf-kd-surrogate"}
    bench = nk.load("cifar100", data="measured")
    assert "train_loss" in bench.common_signals(nk.Fidelity.parse("nst@12"))
    with pytest.raises(nk.errors.MissingEntryError):
        bench.evaluate(nk.Cell.from_index(900), "nst@12")
