"""A task is opened once on the same tables, and anew where anything about it differs."""

from __future__ import annotations

import subprocess
import sys

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


def test_other_spaces_cost_a_task_nothing():
    """Neither are their files opened, nor their codes, classes or architectures made."""
    script = (
        "import sys; opened = []\n"
        "sys.addaudithook(lambda event, given: event == 'open' and opened.append(str(given[0])))\n"
        "import nasbench_kd as nk; from nasbench_kd.tasks.registry import PACKAGED\n"
        "bench = nk.load('cifar100', data='embedded'); bench.evaluate(bench.task.space[7])\n"
        "nk.search('random', bench, '3 evaluations')\n"
        "made = {'codes', 'classes', '_by_codes', '_architectures'}\n"
        "others = [task for task in PACKAGED.values() if task.space != bench.task.space]\n"
        "print(len(others), [task.name for task in others if made & vars(task.space).keys()])\n"
        "files = ('.csv', 'entries.npy', 'card.json')\n"
        "print([file for file in opened if file.endswith(files) and 'tables/data' not in file])\n"
        "print(sum('nas_bench_201' in file for file in opened) > 0)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert told.splitlines() == ["12 []", "[]", "True"]
