"""Evaluations: where answers come from, what is said when there is none, and that no test accuracy leaks."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import ArgumentError, CellError, FidelityError, MissingEntryError, UnknownNameError
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, all_cells, isomorphism_classes
from nasbench_kd.tables.column import DIVERGED, Column, make_rows
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS

BEST_CIFAR100 = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
)
NST = Fidelity.parse("nst@4")


def in_memory(*columns: Column, live=None) -> Benchmark:
    return Benchmark(TASKS["cifar10"], [Table("memory", "0", columns, {})], live)


def column(cells, seeds, correct, fidelity=NST, source="measured", seconds=2.0) -> Column:
    rows = make_rows(cells, seeds, correct, [round(seconds * 1e6)] * len(cells))
    return Column("cifar10", fidelity, "valid", 1000, rows, {"source": source})


class TestRealTable:
    def test_published_entries(self):
        bench = nk.load("cifar100", data="embedded")
        first = nk.Cell.from_index(0)
        assert bench.evaluate(first) == (
            51.88,
            "valid_accuracy",
            pytest.approx(2888.4372, abs=1e-6),
            777,
            "measured",
        )
        assert bench.evaluate(first, "none@200", seed=999).valid_accuracy == 53.14
        assert bench.seeds(first) == (777, 888, 999)

    def test_best_cell_of_cifar100(self):
        bench = nk.load("cifar100", data="embedded")
        cell = nk.Cell.parse(BEST_CIFAR100)
        accuracies = [bench.evaluate(cell, seed=seed).valid_accuracy for seed in bench.seeds(cell)]
        assert round(float(np.mean(accuracies)), 3) == 73.493

    def test_times_of_the_three_tasks_stand_in_the_known_ratios(self):
        cell = nk.Cell.from_index(11)
        seconds = [nk.load(task, data="embedded").evaluate(cell).seconds for task in TASKS]
        assert seconds[1] / seconds[0] == pytest.approx(2, rel=1e-9)
        assert seconds[2] / seconds[1] == pytest.approx(3.034, rel=1e-9)
        assert seconds[0] / 200 == pytest.approx(12.46, abs=0.005)

    def test_a_batch_equals_single_evaluations(self):
        bench = nk.load("imagenet16-120", data="embedded")
        indices = np.random.default_rng(0).integers(SPACE_SIZE, size=200)
        batch = bench.evaluate_many(indices)
        single = [bench.evaluate(nk.Cell.from_index(index)) for index in indices]
        assert batch.valid_accuracy.tolist() == [entry.valid_accuracy for entry in single]
        assert batch.seconds.tolist() == [entry.seconds for entry in single]

    def test_a_run_always_sees_the_same_seed_and_runs_differ(self):
        bench = nk.load("cifar10", data="embedded")
        cell = nk.Cell.from_index(0)
        assert len({bench.draw(cell, FULL, 5) for _ in range(10)}) == 1
        drawn = [bench.draw(cell, FULL, run).seed for run in range(3000)]
        counts = np.array([drawn.count(seed) for seed in (777, 888, 999)])
        assert np.all(np.abs(counts - 1000) < 5 * np.sqrt(3000 * 2 / 9))
        # Golden: the draw must be the same on every machine, for ever.
        assert drawn[:8] == [777, 777, 777, 777, 888, 777, 777, 888]

    def test_the_teacher_costs_its_own_training(self):
        bench = nk.load("cifar10", data="embedded")
        assert bench.teacher_seconds == bench.evaluate(bench.task.teacher).seconds > 0


class TestOrderOfSources:
    def test_measured_then_twin_then_surrogate(self):
        classes = isomorphism_classes()
        representative, twin = next(
            (cell.representative.index, cell.index) for cell in all_cells() if cell.representative is not cell
        )
        other = next(i for i in range(SPACE_SIZE) if classes[i] == i and i != representative)
        everything = column([representative, other], [0, 0], [1, 2], source="surrogate")
        bench = in_memory(column([representative], [111], [500]), everything)
        cells = [nk.Cell.from_index(index) for index in (representative, twin, other)]
        assert [bench.evaluate(cell, NST).source for cell in cells] == ["measured", "isomorphic", "surrogate"]
        assert [bench.evaluate(cell, NST).valid_accuracy for cell in cells] == [50.0, 50.0, 0.2]

    def test_live_answers_what_the_tables_lack_and_only_once(self):
        class Trainer:
            calls = 0

            def evaluate(self, task, cell, fidelity, seed, signal):
                self.calls += 1
                return nk.Evaluation(12.5, signal, 3.0, 777 if seed is None else seed, "live")

        trainer = Trainer()
        bench = in_memory(column([0], [111], [500]), live=trainer)
        far = nk.Cell.from_index(77)
        assert bench.evaluate(far, NST).source == "live"
        assert bench.evaluate(far, NST).source == "live"
        assert bench.evaluate(far, "kd@1").valid_accuracy == 12.5
        assert trainer.calls == 2
        assert bench.evaluate(nk.Cell.from_index(0), NST).source == "measured"

    def test_live_trains_with_the_seed_that_is_asked_for_every_time(self):
        class Trainer:
            def evaluate(self, task, cell, fidelity, seed, signal):
                return nk.Evaluation(12.5, signal, 3.0, 777 if seed is None else seed, "live")

        bench = in_memory(column([0], [111], [500]), live=Trainer())
        measured, far = nk.Cell.from_index(0), nk.Cell.from_index(77)
        for seed in (888, 0, 888, None):
            assert bench.evaluate(far, NST, seed=seed).seed == (777 if seed is None else seed)
            assert bench.evaluate(measured, NST, seed=seed).seed == (111 if seed is None else seed)
        assert {bench.draw(measured, nk.Fidelity.parse(NST), run_seed).seed for run_seed in range(20)} == {
            111
        }

    def test_the_first_table_wins(self):
        bench = in_memory(column([3], [111], [100]), column([3], [222], [900]))
        assert bench.evaluate(nk.Cell.from_index(3), NST).valid_accuracy == 10.0

    def test_a_diverged_training_is_a_failed_evaluation(self):
        bench = in_memory(column([3], [111], [DIVERGED]))
        evaluation = bench.evaluate(nk.Cell.from_index(3), NST)
        assert evaluation.failed
        assert np.isnan(evaluation.valid_accuracy)
        assert evaluation.seconds == 2.0


class TestErrors:
    def test_unknown_task(self):
        with pytest.raises(UnknownNameError, match="Did you mean 'cifar100'"):
            nk.load("cifar1000")

    def test_unknown_fidelity_says_what_there_is_and_what_to_do(self):
        with pytest.raises(MissingEntryError, match=r"there are: .*none@200.*data pull.*fill"):
            nk.load("cifar10", data="embedded").evaluate(nk.Cell.from_index(0), "at@7")

    def test_unparsable_fidelity(self):
        with pytest.raises(FidelityError):
            nk.load("cifar10", data="embedded").evaluate(nk.Cell.from_index(0), "at7")

    def test_missing_cell_and_missing_seed(self):
        bench = in_memory(column([3], [111], [500]))
        with pytest.raises(MissingEntryError, match="nasbench-kd fill --task cifar10 --fidelity 'nst@4'"):
            bench.evaluate(nk.Cell.from_index(77), NST)
        with pytest.raises(MissingEntryError, match="no training seed 5; there are 111"):
            bench.evaluate(nk.Cell.from_index(3), NST, seed=5)
        with pytest.raises(MissingEntryError, match=r"2 of 3 cells.*the first of them 77"):
            bench.evaluate_many([3, 77, 78], NST)

    @pytest.mark.parametrize("cell", [0, "|none~0|", None])
    def test_something_else_than_a_cell(self, cell):
        with pytest.raises(CellError, match="takes a Cell"):
            nk.load("cifar10", data="embedded").evaluate(cell)

    def test_no_cells_have_no_entries(self):
        batch = nk.load("cifar10", data="embedded").evaluate_many([])
        assert batch.valid_accuracy.shape == batch.seconds.shape == (0,)

    @pytest.mark.parametrize("indices", [[-1], [0, SPACE_SIZE], [0.5], [True], ["3"], None])
    def test_indices_outside_the_space(self, indices):
        with pytest.raises(CellError):
            nk.load("cifar10", data="embedded").evaluate_many(indices)


def test_test_columns_are_out_of_reach():
    hidden = Column("cifar10", FULL, "test", 1000, make_rows([0], [0], [900], [1]), {"source": "measured"})
    bench = in_memory(column([0], [111], [500]), hidden)
    assert bench.fidelities == (NST,)
    with pytest.raises(MissingEntryError):
        bench.evaluate(nk.Cell.from_index(0), FULL)


class TestArguments:
    """What is no argument of a public function is refused in words, never taken for something else."""

    bench = nk.load("cifar10", data="embedded")
    cell = nk.Cell.from_index(0)

    @pytest.mark.parametrize("seed", [True, 777.0, np.float64(777), "777", [777], float("nan")])
    def test_a_seed_is_a_whole_number(self, seed):
        with pytest.raises(ArgumentError, match="seed is a whole number"):
            self.bench.evaluate(self.cell, seed=seed)
        assert self.bench.evaluate(self.cell, seed=np.int64(888)).seed == 888

    @pytest.mark.parametrize("cell", [5, None, "3", object()])
    def test_an_architecture_is_one_of_the_space(self, cell):
        for ask in (
            self.bench.evaluate,
            self.bench.seeds,
            lambda wrong: self.bench.draw(wrong, FULL, 0),
        ):
            with pytest.raises(CellError, match="takes a Cell of"):
                ask(cell)

    def test_fidelities_and_signals_of_other_types(self):
        for ask in (
            lambda: self.bench.evaluate(self.cell, ["none@200"]),
            lambda: self.bench.evaluate_many([0], {}),
            lambda: self.bench.covers(5),
        ):
            with pytest.raises(FidelityError, match="a fidelity is text"):
                ask()
        for ask in (
            lambda: self.bench.evaluate(self.cell, "none@200", []),
            lambda: self.bench.evaluate_many([0], "none@200", []),
        ):
            with pytest.raises(UnknownNameError, match="unknown signal"):
                ask()
        assert self.bench.covers("none@200")
        assert self.bench.draw(self.cell, "none@200", 5) == self.bench.draw(self.cell, FULL, 5)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"data": "Embedded"}, "data is one of embedded, installed, measured"),
            ({"data": None}, "data is one of"),
            ({"live": "no"}, "live is True or False"),
            ({"mean_over_seeds": 1}, "mean_over_seeds is True or False"),
        ],
    )
    def test_how_a_task_is_opened(self, arguments, words):
        with pytest.raises(ArgumentError, match=words):
            nk.load("cifar10", **arguments)
