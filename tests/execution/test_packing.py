"""Packed files of runs: nothing is lost, whatever the runs, and every reader takes them as any other."""

from __future__ import annotations

import pyarrow as pa
import pytest

from nasbench_kd.execution.runs import SCHEMA, STEP_COLUMNS, RunsFile, read_runs, write_runs
from nasbench_kd.execution.study import run_suite
from nasbench_kd.execution.suite import parse_suite
from nasbench_kd.execution.verify import RunsToVerify
from nasbench_kd.report import write_report

SUITE = """
name = "packs"
tasks = ["cifar10"]
budgets = ["{budget}"]
seeds = 3
workers = {workers}
[[optimizers]]
optimizer = "random"
[[optimizers]]
optimizer = "successive-halving"
arguments = {{ rungs = ["nst-cheap", "none@200"], initial = 8 }}
"""


@pytest.mark.parametrize(
    ("budget", "workers"), [("20 gpu-hours", 1), ("20 gpu-hours", 3), ("12 evaluations", 3)]
)
def test_nothing_is_lost(tmp_path, budget, workers):
    """With a teacher that others wait for, several workers, budgets of both kinds, and runs without a step."""
    run_suite(parse_suite(SUITE.format(budget=budget, workers=workers)), tmp_path, jobs=1)
    stored = read_runs(tmp_path / "runs.parquet")
    (first, *others) = stored.table.to_pylist()
    nothing = {**first, **{name: [] for name in STEP_COLUMNS}}
    whole = pa.Table.from_pylist([nothing, first, nothing, nothing, *others, nothing], schema=SCHEMA)
    assert sum(map(sum, whole["teacher"].to_pylist())) > 0
    packed = tmp_path / "packed.parquet"
    write_runs(packed, whole, stored.metadata, packed=True)
    file = RunsFile(packed)
    assert file.table().equals(whole)
    assert pa.Table.from_batches(file.batches(SCHEMA.names, 2)).equals(whole)
    for columns in (["spent"], ["finish", "cell"], ["cell"]):
        assert file.table(columns).equals(whole.select(columns))
    write_runs(tmp_path / "again.parquet", stored.table, file.metadata)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "runs.parquet").read_bytes()


def test_a_packed_folder_is_reported_and_replayed_alike(tmp_path):
    run_suite(parse_suite(SUITE.format(budget="20 gpu-hours", workers=1)), tmp_path / "whole", jobs=1)
    whole = read_runs(tmp_path / "whole" / "runs.parquet")
    (tmp_path / "packed").mkdir()
    write_runs(tmp_path / "packed" / "runs.parquet", whole.table, whole.metadata, packed=True)
    (tmp_path / "whole" / "overhead.csv").rename(tmp_path / "packed" / "overhead.csv")
    assert not any(RunsToVerify(tmp_path / "packed").verify())
    text = write_report(tmp_path / "packed").markdown
    (tmp_path / "packed" / "overhead.csv").rename(tmp_path / "whole" / "overhead.csv")
    assert write_report(tmp_path / "whole").markdown == text
