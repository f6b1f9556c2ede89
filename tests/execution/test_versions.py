"""Runs stay readable where a table changes that none of them asked for anything, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_kd.execution.runs import KEPT, RunsFile, read_runs, write_runs
from nasbench_kd.execution.study import run_suite
from nasbench_kd.execution.suite import Suite, SuiteOptimizer
from nasbench_kd.execution.verify import RunsToVerify
from nasbench_kd.execution.versions import changed
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.tables.catalog import tables

OLD = "0" * 64


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    entries = (
        SuiteOptimizer("random", "random"),
        SuiteOptimizer("random", "none-cheap", {"fidelity": "none-cheap on=cifar100"}),
    )
    suite = Suite("versions", ("cifar10",), (Budget.parse("3 evaluations"),), 1, entries)
    run_suite(suite, folder, jobs=1)
    return read_runs(folder / "runs.parquet")


def with_old(stored, folder: Path, name: str, **more: str) -> RunsFile:
    metadata = {**stored.metadata, "tables": {**stored.metadata["tables"], name: OLD}, **more}
    write_runs(folder / "runs.parquet", stored.table, metadata)
    return RunsFile(folder / "runs.parquet")


def test_a_table_that_answered_no_step_may_change(stored, tmp_path):
    here = tables("embedded")
    assert changed(with_old(stored, tmp_path, "zero_cost"), here) == {}
    assert sum(len(found) for found in RunsToVerify(tmp_path / "runs.parquet").verify()) == 0


@pytest.mark.parametrize("name", ["nas-bench-201", "kd_readings"])
def test_a_table_that_answered_may_not(stored, tmp_path, name):
    here = tables("embedded")
    (sha256,) = (table.sha256 for table in here if table.name == name)
    assert changed(with_old(stored, tmp_path, name), here) == {name: sha256}


def test_of_thinned_runs_every_table_counts(stored, tmp_path):
    file = with_old(stored, tmp_path, "zero_cost", **{KEPT: "the steps that decide"})
    assert list(changed(file, tables("embedded"))) == ["zero_cost"]


def test_what_no_table_holds_any_more_is_not_taken_for_unchanged(stored, tmp_path):
    here = [table for table in tables("embedded") if table.name != "kd_readings"]
    assert set(changed(with_old(stored, tmp_path, "zero_cost"), here)) == {"zero_cost", "kd_readings"}
