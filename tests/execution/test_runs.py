"""Files of stored runs: the signal of every step, and files of before there were signals."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import StoreError
from nasbench_kd.execution import runs
from nasbench_kd.execution.runs import SCHEMA, RunRecord, RunsFile, read_runs, to_table, write_runs


def recorded():
    return [
        RunRecord("random", seed, nk.search("random", task="cifar10", budget="4 evaluations", seed=seed))
        for seed in range(3)
    ]


NEW = ["signal", "traceback"]


def write_old(path, table, **change):
    """As the version before signals wrote it."""
    old = table.drop_columns(NEW).rename_columns(
        [
            "valid_accuracy" if name == "value" else name
            for name in table.column_names
            if name not in ("signal", "traceback")
        ]
    )
    described = {"format": "nasbench-kd runs 1", "suite": {}, **change}
    described["digest"] = runs._digest(described)
    pq.write_table(old.replace_schema_metadata({b"nasbench_kd": json.dumps(described)}), path)


def test_every_step_has_its_signal(tmp_path):
    records = recorded()
    run = records[0].run
    loss = run.steps[1]._replace(value=-3.5, signal="train_loss")
    records[0] = records[0]._replace(run=nk.Run(**{**vars_of(run), "steps": (run.steps[0], loss)}))
    write_runs(tmp_path / "runs.parquet", to_table(records), {})
    row = read_runs(tmp_path / "runs.parquet").table.to_pylist()[0]
    assert row["signal"] == ["valid_accuracy", "train_loss"]
    assert row["value"] == [run.steps[0].value, -3.5]


def test_a_file_without_signals_reads_as_accuracies(tmp_path):
    table = to_table(recorded())
    write_old(tmp_path / "runs.parquet", table)
    assert read_runs(tmp_path / "runs.parquet").table.to_pylist() == table.to_pylist()
    some = read_runs(tmp_path / "runs.parquet", ["seed", "value"]).table
    assert some.to_pylist() == table.select(["seed", "value"]).to_pylist()
    batches = list(RunsFile(tmp_path / "runs.parquet").batches(SCHEMA.names, 2))
    assert [len(batch) for batch in batches] == [2, 1]
    assert pa.Table.from_batches(batches).to_pylist() == table.to_pylist()


def test_another_format_is_refused(tmp_path):
    write_old(tmp_path / "runs.parquet", to_table(recorded()), format="nasbench-kd runs 9")
    with pytest.raises(StoreError, match="runs 9"):
        read_runs(tmp_path / "runs.parquet")
    write_runs(tmp_path / "new.parquet", to_table(recorded()), {})
    assert read_runs(tmp_path / "new.parquet").metadata["format"] == "nasbench-kd runs 2"


def vars_of(run):
    return {name: getattr(run, name) for name in run.__dataclass_fields__}
