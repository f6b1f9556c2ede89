"""Fidelities that were trained on another task's images: the same entries, at their price and their teacher's."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import DataError, MissingEntryError
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.simulation import Simulation
from nasbench_kd.spaces.nasbench201 import all_cells
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS

EVERY = np.arange(len(all_cells()))


@pytest.mark.parametrize(
    ("task", "elsewhere"), [("imagenet16-120", "cifar100"), ("cifar10", "cifar100"), ("cifar100", "cifar10")]
)
def test_the_answers_are_those_of_the_task_trained_on(task: str, elsewhere: str):
    here, there = nk.load(task, data="embedded"), nk.load(elsewhere, data="embedded")
    for name, signal in (("nst-cheap", "train_distillation"), ("none@12", "valid_accuracy")):
        fidelity = Fidelity.parse(name).on(elsewhere)
        mine, theirs = (
            bench.evaluate_many(EVERY, each, signal) for bench, each in ((here, fidelity), (there, name))
        )
        np.testing.assert_array_equal(mine.value, theirs.value)
        np.testing.assert_array_equal(mine.seconds, theirs.seconds)
        assert here.mean_seconds(fidelity) == there.mean_seconds(name)
    entry = here.evaluate(nk.Cell.from_index(3), f"nst-cheap on={elsewhere}", "train_loss")
    assert entry == there.evaluate(nk.Cell.from_index(3), "nst-cheap", "train_loss")
    assert entry.source in ("measured", "isomorphic")


def column(task: str, fidelity: str, seconds: float, source: str = "measured") -> Column:
    cells = [0, 1, 2, TASKS[task].teacher.index]
    rows = make_rows(cells, [777] * 4, [10, 20, 30, 40], [round(seconds * 1e6)] * 4)
    return Column(task, Fidelity.parse(fidelity), "valid", 100, rows, {"source": source})


def benchmark(*columns: Column) -> Benchmark:
    return Benchmark(TASKS["cifar10"], [Table("memory", "0", columns, {})])


class Ask(nk.Optimizer):
    def __init__(self, *fidelities: str) -> None:
        self.fidelities = fidelities

    def setup(self, view, rng):
        super().setup(view, rng)
        self.left = list(self.fidelities)

    def ask(self):
        return nk.Query(nk.Cell.from_index(0), self.left.pop(0))

    def tell(self, query, evaluation):
        self.keep_best(query, evaluation)


def test_a_distilled_training_elsewhere_is_billed_with_the_teacher_of_that_task():
    bench = benchmark(
        column("cifar10", "none@200", 50),
        column("cifar100", "none@200", 100),
        column("cifar100", "nst@4", 3),
        column("cifar10", "nst@4", 2),
    )
    optimizer = Ask("none@200", "nst@4 on=cifar100", "nst@4")
    run = nk.search(optimizer, task=bench, budget="205 seconds", seed=0)
    asked = [step for step in run.steps if step.charged]
    assert [step.charged for step in asked] == [50_000_000, 3_000_000, 2_000_000]
    paid = [(step.cell, step.fidelity, step.teacher) for step in run.steps if step.teacher]
    teacher = TASKS["cifar100"].teacher.index
    assert paid == [(teacher, "none@200 on=cifar100", 100_000_000), (teacher, "none@200", 50_000_000)]
    assert run.answer.index in (0, teacher)


def test_made_up_entries_stay_on_their_task():
    bench = benchmark(column("cifar10", "none@200", 50), column("cifar100", "nst@4", 3, source="surrogate"))
    assert bench.fidelities == (FULL,)
    with pytest.raises(MissingEntryError, match="there are: none@200"):
        bench.evaluate(nk.Cell.from_index(0), "nst@4 on=cifar100")


def test_the_error_says_where_there_is_what():
    bench = benchmark(column("cifar10", "none@200", 50), column("cifar100", "nst-cheap", 3))
    with pytest.raises(MissingEntryError, match=r"none@200, and what was trained on cifar100 \(on=...\)"):
        bench.evaluate(nk.Cell.from_index(0), "nst-cheap")
    with pytest.raises(MissingEntryError, match="leave out on=cifar10"):
        bench.evaluate(nk.Cell.from_index(0), "none@200 on=cifar10")
    with pytest.raises(MissingEntryError, match=r"Did you mean 'nst-cheap on=cifar100'"):
        bench.evaluate(nk.Cell.from_index(0), "nst-dear on=cifar100")


def test_a_table_keeps_them_where_they_were_trained(tmp_path):
    with pytest.raises(DataError, match="a column of that task"):
        write_table(tmp_path / "table", "mine", [column("cifar10", "none@4 on=cifar100", 1)], {})
    assert not (tmp_path / "table").exists()


def test_a_score_of_shared_weights_pays_for_them_once_and_with_its_first_query():
    rows = make_rows(
        [0, 1], [777, 777], [0, 0], [12_000, 13_000], {"score": np.array([-0.4, -0.5], np.float32)}
    )
    score = Column(
        "cifar100", Fidelity.parse("dna"), "valid", 0, rows, {"source": "measured"}, {"score": None}
    )
    teacher = column("cifar100", "none@200", 5000)
    for task, name in (("cifar100", "dna"), ("imagenet16-120", "dna on=cifar100")):
        bench = Benchmark(TASKS[task], [Table("memory", "0", (teacher, score), {})])
        run = Simulation(bench, Budget.parse("10 gpu-hours"), 0)
        stages = next(each.seconds for each in TASKS[task].prerequisites if each.name == "stages")
        told = []
        for cell, signal in ((0, "score"), (1, "score"), (0, "score")):
            run.start(nk.Query(nk.Cell.from_index(cell), name, signal))
            while (outcome := run.finish()) is not None:
                step = outcome.step()
                told.append((step.cell, step.charged, step.teacher, step.value))
        index = TASKS[task].teacher.index
        assert told == [
            (index, 0, 5_000_000_000, 40.0),
            (0, 12_000, round(stages * 1e6), pytest.approx(-0.4)),
            (1, 13_000, 0, pytest.approx(-0.5)),
            (0, 0, 0, pytest.approx(-0.4)),
        ]
        assert run.view().teacher_seconds == (
            5000 if task == "cifar100" else pytest.approx(float("nan"), nan_ok=True)
        )
        with pytest.raises(MissingEntryError, match="no entries at the fidelity .rmi."):
            bench.evaluate(nk.Cell.from_index(0), "rmi", "score")
