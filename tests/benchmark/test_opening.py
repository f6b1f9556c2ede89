"""A task is opened once on the same tables, and anew where anything about it differs."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.opening import _MOST_OPENED
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import Fidelity


def test_the_same_tables_are_one_benchmark_and_others_another(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    first = nk.load("cifar10")
    assert nk.load("cifar10") is first
    others = [
        nk.load("cifar100"),
        nk.load("cifar10", mean_over_seeds=True),
        nk.load("cifar10", data="measured"),
    ]
    assert len({id(each) for each in (first, *others)}) == 4

    def install(correct: int) -> nk.Benchmark:
        rows = make_rows(np.array([0]), np.array([777]), np.array([correct]), np.array([10**6]))
        column = Column("cifar10", Fidelity.parse("pkt@7"), "valid", 100, rows, {"source": "measured"})
        write_table(tmp_path / "own", "own", [column], {})
        return nk.load("cifar10")

    cell = nk.Cell.from_index(0)
    assert install(40).evaluate(cell, "pkt@7").valid_accuracy == 40
    assert install(50).evaluate(cell, "pkt@7").valid_accuracy == 50
    with pytest.raises(nk.errors.MissingEntryError):
        first.evaluate(cell, "pkt@7")


def test_what_was_opened_long_ago_is_let_go():
    first = nk.load("cifar10", data="embedded")
    for task in ("cifar100", "imagenet16-120"):
        for mean in (False, True):
            nk.load(task, data="embedded", mean_over_seeds=mean)
    assert _MOST_OPENED == 4
    assert nk.load("cifar10", data="embedded") is not first
