"""Several tables' entries of one fidelity: searches and scores resolve them alike, and a curve keeps one seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.benchmark.scoring import NOT_SHOWN, open_scorer
from nasbench_kd.errors import DataError, MissingEntryError, SignalError, UnknownNameError
from nasbench_kd.execution.runs import RunRecord, to_table
from nasbench_kd.spaces.nasbench201 import SPACE, SPACE_SIZE, isomorphism_classes
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.column import DIVERGED, Column, make_rows
from nasbench_kd.tables.resolve import MEAN_SEED, SOURCES, resolve
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS

CURVE = Fidelity.parse("nst@3")


def column(
    fidelity,
    cells,
    seeds,
    correct=100,
    *,
    seconds=2.0,
    source="measured",
    images=1000,
    means=False,
    **readings,
):
    values = {name: np.broadcast_to(value, len(cells)) for name, value in readings.items()}
    rows = make_rows(
        cells,
        seeds,
        np.broadcast_to(correct, len(cells)),
        np.broadcast_to(np.round(np.asarray(seconds) * 1e6), len(cells)),
        values,
    )
    kinds = {name: None if np.asarray(value).dtype.kind == "f" else 1000 for name, value in readings.items()}
    return Column(
        "cifar10", Fidelity.parse(fidelity), "valid", images, rows, {"source": source}, kinds, means
    )


def opened(*columns: Column) -> Benchmark:
    return Benchmark(TASKS["cifar10"], [Table("memory", "0", columns, {})])


def test_a_seed_of_a_later_table_is_hidden_where_it_is_shown(tmp_path, monkeypatch):
    """The scorer knows every training that the benchmark may show."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    later = Column(
        "cifar10", FULL, "valid", 25_000, make_rows([5], [111], [12_345], [1e9]), {"source": "measured"}
    )
    write_table(tmp_path / "later", "later", [later], {})
    bench, scorer = nk.load("cifar10"), open_scorer("cifar10", "installed", basis="hidden seeds")
    cell = nk.Cell.from_index(5)
    assert 111 in bench.seeds(cell)
    shown = {bench.draw(cell, FULL, run).seed for run in range(40)}
    assert shown == set(bench.seeds(cell))
    for index in (5, 6, 4000):
        seen = {
            seed: bench.evaluate(nk.Cell.from_index(index), seed=seed).value
            for seed in bench.seeds(nk.Cell.from_index(index))
        }
        known = dict(zip(scorer.seeds.tolist(), scorer.valid[index].tolist(), strict=True))
        assert {seed: value for seed, value in known.items() if value == value} == pytest.approx(seen)
        for hidden in seen:
            others = [value for seed, value in seen.items() if seed != hidden]
            assert scorer.scores([index], [hidden])[0] == pytest.approx(np.mean(others))


def test_every_seed_that_was_shown_is_hidden():
    bench, scorer = nk.load("cifar10", data="embedded"), open_scorer("cifar10", basis="hidden seeds")
    cell = next(cell for cell in map(nk.Cell.from_index, range(100)) if len(bench.seeds(cell)) == 3)
    last = bench.evaluate(cell, seed=999).valid_accuracy
    assert scorer.scores([cell.index], [[777, 888]])[0] == pytest.approx(last)
    assert scorer.scores([cell.index], [[NOT_SHOWN, NOT_SHOWN]])[0] == pytest.approx(
        np.mean([bench.evaluate(cell, seed=seed).value for seed in bench.seeds(cell)])
    )


def test_entries_equal_a_slow_resolution():
    """Against the rules written out cell by cell, over random columns with means, twins and a surrogate."""
    rng = np.random.default_rng(0)
    classes = isomorphism_classes()
    for mean in range(4):
        columns = []
        for number in range(4):
            cells = np.sort(rng.choice(SPACE_SIZE, 6000, replace=False))
            pairs = [
                (cell, seed)
                for cell in cells
                for seed in (
                    [0] if number == mean else rng.choice([0, 1, 2], rng.integers(1, 3), replace=False)
                )
            ]
            columns.append(
                column(
                    "nst@3",
                    *map(np.array, zip(*pairs, strict=True)),
                    correct=rng.integers(0, 1000, len(pairs)),
                    source="surrogate" if number == 3 else "measured",
                    means=number == mean,
                )
            )
        expected = [{} for _ in range(SPACE_SIZE)]

        def add(column, source, expected=expected):
            before = [dict(known) for known in expected]
            more = [{} for _ in range(SPACE_SIZE)]
            for cell, seed, value in zip(
                column.rows["cell"].tolist(),
                column.rows["seed"].tolist(),
                column.accuracies().tolist(),
                strict=True,
            ):
                more[cell][None if column.means else seed] = (round(value, 10), source)
            filled = [bool(known) and source == "surrogate" for known in before]
            for known, new, full in zip(expected, more, filled, strict=True):
                if full:
                    continue
                if new and (not known or (set(known) == {None} and None not in new)):
                    known.clear()
                    known.update(new)
                elif None not in known:
                    known.update({seed: new[seed] for seed in new if seed not in known and seed is not None})

        def twins(source, expected=expected):
            first = {}
            for cell, known in enumerate(expected):
                if known:
                    first.setdefault(classes[cell], dict(known))
            for cell, known in enumerate(expected):
                if not known:
                    known.update(
                        {seed: (value, source) for seed, (value, _) in first.get(classes[cell], {}).items()}
                    )

        for each in columns[:3]:
            add(each, "measured")
        twins("isomorphic")
        add(columns[3], "surrogate")
        twins("surrogate")
        entries = resolve(columns, SPACE)
        found = [{} for _ in range(SPACE_SIZE)]
        for cell, seed, value, source in zip(
            entries.cell, entries.seed, entries.values("valid_accuracy")[0], entries.source, strict=True
        ):
            found[cell][None if seed == MEAN_SEED else int(seed)] = (value, SOURCES[source])
        assert found == expected


class TestSeedZero:
    """The seed 0 is a training like any other; a mean over seeds is told apart from it."""

    @pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
    def test_own_seeds_with_zero_stay_seeds_and_are_joined(self, tmp_path, seeds):
        own = column("nst@3", np.full(len(seeds), 5), seeds, np.arange(len(seeds)) + 100)
        table = write_table(tmp_path / "own", "own", [own], {})
        assert not table.columns[0].means
        bench = opened(*table.columns, column("nst@3", [5], [3], 400))
        cell = nk.Cell.from_index(5)
        assert bench.seeds(cell, CURVE) == (*seeds, 3)
        assert {bench.draw(cell, CURVE, run).seed for run in range(60)} == {*seeds, 3}
        assert bench.evaluate(cell, CURVE, seed=0).value == 10.0
        assert bench.evaluate(cell, CURVE, seed=3).value == 40.0

    def test_a_mean_has_no_seed_and_gives_way_to_single_ones(self, tmp_path):
        table = write_table(tmp_path / "m", "m", [column("nst@3", [5, 6], [0, 0], 250, means=True)], {})
        bench = opened(*table.columns, column("nst@3", [6], [0], 400))
        mean, single = (bench.draw(nk.Cell.from_index(index), CURVE, 1) for index in (5, 6))
        assert (mean.seed, mean.value, single.seed, single.value) == (None, 25.0, 0, 40.0)
        with pytest.raises(MissingEntryError, match="no training seed 0; there is the mean over its seeds"):
            bench.evaluate(nk.Cell.from_index(5), CURVE, seed=0)

    def test_means_that_name_seeds_are_refused(self, tmp_path):
        with pytest.raises(DataError, match="means over seeds and names seeds"):
            write_table(tmp_path / "m", "m", [column("nst@3", [5], [7], means=True)], {})

    def test_tables_of_earlier_versions_hold_means_where_all_seeds_are_zero(self):
        shipped = [each for table in tables("embedded") for each in table.columns if each.means]
        assert {(each.task, str(each.fidelity), each.split) for each in shipped} == {
            ("cifar10", "none@12", "valid"),
            *((task, "none@200", "test") for task in TASKS),
        }
        bench = nk.load("cifar10", data="embedded")
        assert bench.evaluate(nk.Cell.from_index(0), "none@12").seed is None

    def test_stored_runs_keep_means_and_seed_zero_apart(self):
        full = column("none@200", np.arange(SPACE_SIZE), np.zeros(SPACE_SIZE))
        for means, seed in ((False, 0), (True, None)):
            benchmark = opened(replace(full, means=means))
            run = nk.search("random", task=benchmark, budget="2 evaluations", seed=0)
            stored = to_table([RunRecord("random", 0, run)])
            assert stored["training_seed"][0].as_py() == [seed, seed]


class TestOneSeed:
    def test_epochs_with_fewer_seeds_show_the_seed_of_the_whole_curve(self):
        cells = np.arange(50)
        bench = opened(
            column("nst@1/3", cells, np.full(50, 888)),
            column("nst@2/3", np.repeat(cells, 2), np.tile([777, 888], 50)),
            column("nst@3", np.repeat(cells, 3), np.tile([777, 888, 999], 50)),
        )
        for run in range(20):
            for cell in map(nk.Cell.from_index, range(50)):
                assert {bench.draw(cell, CURVE.at_epoch(epoch), run).seed for epoch in (1, 2, 3)} == {888}

    def test_a_resumed_training_costs_the_difference_of_one_training(self):
        short, full = (
            column("none@12/200", [3], [777], seconds=10.0),
            column("none@200", [3] * 3, [777, 888, 999], seconds=[100.0, 300.0, 500.0]),
        )
        bench = opened(short, full)
        cell = nk.Cell.from_index(3)

        class Resumes(nk.Optimizer):
            def ask(self):
                self.asked = getattr(self, "asked", 0) + 1
                return nk.Query(cell, "none@12/200" if self.asked == 1 else "none@200")

            def tell(self, query, evaluation):
                self.keep_best(query, evaluation)

        for seed in range(10):
            steps = nk.search(
                Resumes, task=bench, budget="2 evaluations", seed=seed, bill_teacher=False
            ).steps
            assert [step.seed for step in steps[:2]] == [777, 777]
            assert [step.charged for step in steps[:2]] == [10_000_000, 90_000_000]

    def test_without_a_common_seed_every_epoch_has_its_own(self):
        bench = opened(column("nst@1/3", [3], [111]), column("nst@3", [3, 3], [777, 888]))
        cell = nk.Cell.from_index(3)
        assert bench.draw(cell, CURVE.at_epoch(1), 0).seed == 111
        assert {bench.draw(cell, CURVE, run).seed for run in range(30)} == {777, 888}

    def test_an_epoch_of_other_trainings_leaves_the_others_their_seed_and_costs_all_of_it(self):
        epochs = {"nst@1/3": [[111, 222], 10.0], "nst@2/3": [[111, 222], 20.0], "nst@3": [[777], 30.0]}
        bench = opened(
            *(
                column(name, [3] * len(seeds), seeds, seconds=[price] * len(seeds))
                for name, (seeds, price) in epochs.items()
            )
        )
        cell = nk.Cell.from_index(3)

        class Resumes(nk.Optimizer):
            def ask(self):
                self.asked = getattr(self, "asked", -1) + 1
                return nk.Query(cell, [*epochs][self.asked % 3])

            def tell(self, query, evaluation):
                self.keep_best(query, evaluation)

        shown = set()
        for seed in range(12):
            steps = nk.search(
                Resumes, task=bench, budget="3 evaluations", seed=seed, bill_teacher=False
            ).steps
            assert steps[0].seed == steps[1].seed
            assert [step.charged for step in steps[:3]] == [10_000_000, 10_000_000, 30_000_000]
            shown.add(steps[0].seed)
        assert shown == {111, 222}

    def test_own_epochs_keep_their_seed_where_an_isomorphic_cell_has_others(self):
        classes = nk.load("cifar10", data="embedded").task.space.classes
        cell, twin = np.flatnonzero(classes == np.flatnonzero(np.bincount(classes) == 2)[0]).tolist()
        bench = opened(
            column("nst@1/3", [cell] * 2, [111, 222]),
            column("nst@2/3", [cell] * 2, [111, 333]),
            column("nst@3", [twin] * 2, [222, 333]),
        )
        for run in range(20):
            seeds = [
                bench.draw(nk.Cell.from_index(cell), CURVE.at_epoch(epoch), run).seed for epoch in (1, 2)
            ]
            assert seeds == [111, 111]

    def test_what_a_curve_lacks_is_trained_with_its_seed(self):
        class Trainer:
            def evaluate(self, task, cell, fidelity, seed, signal):
                return nk.Evaluation(12.5, signal, 3.0, seed or 777, "live")

        bench = Benchmark(
            TASKS["cifar10"], [Table("memory", "0", (column("nst@3", [3, 4], [888, 0]),), {})], Trainer()
        )
        drawn = [bench.draw(nk.Cell.from_index(index), CURVE.at_epoch(1), 0).seed for index in (3, 4, 5)]
        assert drawn == [888, 777, 777]


class TestMeanSeconds:
    def test_a_cell_counts_once_however_many_seeds_and_columns_it_has(self):
        bench = opened(
            column("nst@3", [0, 15_600], [777, 777], seconds=[10.0, 40.0]),
            column("nst@3", [15_600, 15_600], [888, 999], seconds=[70.0, 100.0]),
        )
        twins = (
            (isomorphism_classes() == isomorphism_classes()[0]).sum(),
            (isomorphism_classes() == isomorphism_classes()[15_600]).sum(),
        )
        assert bench.mean_seconds("nst@3") == pytest.approx((10.0 * twins[0] + 70.0 * twins[1]) / sum(twins))

    @pytest.mark.parametrize("task", TASKS)
    def test_it_equals_the_mean_over_the_raw_rows_of_every_cell(self, task):
        (raw,) = (c for t in tables("embedded") if t.name == "nas-bench-201" for c in t.select(task, "valid"))
        by_cell = [[] for _ in range(SPACE_SIZE)]
        for cell, time in zip(raw.rows["cell"].tolist(), raw.rows["microseconds"].tolist(), strict=True):
            by_cell[cell].append(time)
        expected = np.mean([np.mean(times) for times in by_cell]) / 1e6
        assert nk.load(task, data="embedded").mean_seconds() == pytest.approx(expected, rel=1e-9)
        if task == "cifar10":
            assert expected == pytest.approx(1828.0, abs=0.05)


class TestSignals:
    def bench(self):
        return opened(
            column(
                "nst@1/3",
                [3, 4],
                [777, 777],
                [500, 600],
                train_loss=np.array([3.0, 4.0]),
                train_accuracy=np.array([250, 300]),
            ),
            column("nst@2/3", [3, 4], [777, 777], [500, 600], train_loss=np.array([2.0, 3.5])),
            column(
                "nst@3", [3, 4, 5], [777, 777, 777], [500, 600, 65535], train_loss=np.array([-1.5, 3.0, 9.0])
            ),
            column("kd@3", [3], [777], 0, images=0, train_loss=np.array([1.25])),
            column("none@3", [3], [777], 400),
        )

    def test_a_fidelity_is_read_by_what_it_has(self):
        bench, cell = self.bench(), nk.Cell.from_index(3)
        assert bench.evaluate(cell, "nst@3") == (50.0, "valid_accuracy", 2.0, 777, "measured")
        loss = bench.evaluate(cell, "nst@3", signal="train_loss")
        assert loss == (-1.5, "train_loss", 2.0, 777, "measured")
        assert (loss.utility, loss.failed) == (1.5, False)
        assert bench.evaluate(cell, "nst@1/3", "train_accuracy").value == 25.0
        assert bench.signals("nst@1/3") == (
            "valid_accuracy",
            "train_accuracy",
            "train_loss",
            "sum_train_loss",
        )
        batch = bench.evaluate_many([4, 3], "nst@3", signal="train_loss")
        assert batch.value.tolist() == [3.0, -1.5]
        for read in (loss, batch):
            with pytest.raises(SignalError, match="train_loss of a training, not its valid_accuracy"):
                _ = read.valid_accuracy

    def test_a_diverged_training_has_no_loss(self):
        bench, cell = self.bench(), nk.Cell.from_index(5)
        assert DIVERGED == 65535
        assert bench.evaluate(cell, "nst@3", signal="train_loss").failed

    def test_the_sum_of_losses_is_over_the_epochs_so_far(self):
        bench, cell = self.bench(), nk.Cell.from_index(3)
        sums = [bench.evaluate(cell, CURVE.at_epoch(epoch), "sum_train_loss").value for epoch in (1, 2, 3)]
        assert sums == [3.0, 5.0, 3.5]
        with pytest.raises(MissingEntryError, match="no sum_train_loss was recorded for cell 5 at nst@3"):
            bench.evaluate(nk.Cell.from_index(5), "nst@3", "sum_train_loss")
        with pytest.raises(MissingEntryError, match="no sum_train_loss was recorded at kd@3"):
            bench.evaluate(cell, "kd@3", "sum_train_loss")

    def test_a_training_without_validation_says_what_it_has(self):
        bench, cell = self.bench(), nk.Cell.from_index(3)
        with pytest.raises(
            MissingEntryError, match="no valid_accuracy was recorded at kd@3 on cifar10; there are train_loss"
        ):
            bench.evaluate(cell, "kd@3")
        assert bench.evaluate(cell, "kd@3", "train_loss").value == 1.25
        with pytest.raises(
            MissingEntryError, match="no train_loss was recorded at none@3 .*there are valid_accuracy"
        ):
            bench.evaluate_many([3], "none@3", "train_loss")
        with pytest.raises(UnknownNameError, match="Did you mean 'train_loss'"):
            bench.evaluate(cell, "nst@3", "train_los")

    def test_a_column_without_the_reading_beside_one_with_it(self):
        bench = opened(column("nst@3", [3], [777]), column("nst@3", [4], [777], train_loss=np.array([1.0])))
        assert bench.evaluate(nk.Cell.from_index(4), "nst@3", "train_loss").value == 1.0
        with pytest.raises(
            MissingEntryError, match="no train_loss was recorded for cell 3 .*there are valid_accuracy"
        ):
            bench.evaluate(nk.Cell.from_index(3), "nst@3", "train_loss")

    def test_a_second_signal_of_a_paid_training_is_free_and_every_step_names_its_own(self):
        class Reads(nk.Optimizer):
            def ask(self):
                self.told = getattr(self, "told", [])
                signal = ["train_loss", "valid_accuracy"][len(self.told) % 2]
                return nk.Query(nk.Cell.from_index(3 + len(self.told) // 2 % 2), "nst@3", signal)

            def tell(self, query, evaluation):
                self.told.append(evaluation)

        steps = nk.search(Reads, task=self.bench(), budget="2 evaluations", bill_teacher=False).steps[:4]
        assert [step.signal for step in steps] == ["train_loss", "valid_accuracy"] * 2
        assert [step.value for step in steps] == [-1.5, 50.0, 3.0, 60.0]
        assert [step.charged for step in steps] == [2_000_000, 0, 2_000_000, 0]


def test_entries_say_whose_trainings_they_are():
    """A cell without an entry has those of an isomorphic one, and that is the one that was trained."""
    classes, count = np.unique(SPACE.classes, return_counts=True)
    twins = np.flatnonzero(SPACE.classes == classes[count > 1][0])
    entries = resolve([column("none@200", twins[1:2], [777])], SPACE)
    found = dict(zip(entries.cell.tolist(), entries.trained.tolist(), strict=True))
    assert found == dict.fromkeys(twins.tolist(), int(twins[1]))
