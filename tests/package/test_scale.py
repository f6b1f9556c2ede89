"""The costs on paper are sums over the tables, at the prices that were named."""

from __future__ import annotations

import importlib.util
import json

import pytest

from nasbench_kd.live.fill import class_order
from nasbench_kd.tables.catalog import tables
from tests.conftest import ROOT

FOLDER = ROOT / "reports" / "scale"
spec = importlib.util.spec_from_file_location("estimate", FOLDER / "estimate.py")
assert spec is not None
assert spec.loader is not None
estimate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(estimate)


def test_costs_are_sums_over_the_tables_at_the_prices_named():
    lines = {
        line.what: line for line in estimate.undertakings(json.loads((FOLDER / "rates.json").read_text()))
    }
    (short,) = (table for table in tables() if table.name == "nas-bench-201-12-epochs")
    first = {cell.index for cell in class_order()}
    seconds = sum(
        int(microseconds) / 1e6
        for column in short.columns
        if column.split == "valid"
        for cell, microseconds in zip(column.rows["cell"], column.rows["microseconds"], strict=True)
        if int(cell) in first
    )
    line = lines["a second seed of `nas-bench-201-12-epochs` (all classes, three data sets)"]
    assert line.gpu_hours == pytest.approx(seconds / 3600 / 6.31)
    shared, own = (line for what, line in lines.items() if what.startswith(("nst@12", "the same")))
    assert line.gpu_hours < shared.gpu_hours < own.gpu_hours < 2 * line.gpu_hours
    (row,) = estimate.table_of([line], 10, 1, 2.0, 0.0).splitlines()[2:]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells[0] == f"{line.gpu_hours:,.0f}"
    assert float(cells[2]) == pytest.approx(line.gpu_hours / 10, rel=0.01)
    assert cells[4] == f"{2 * line.gpu_hours:,.0f}"
